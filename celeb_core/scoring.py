"""Scores of one picture: are the right people there, and does it show what was asked?

The judge (a face network that no training ever saw), the attribute reader and CLIP are optional
files of a model folder; without them their scores are None.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional

from celeb_core.alignment import JUDGE_TEMPLATE, align
from celeb_core.calibration import PORTRAIT, largest, mean_direction
from celeb_core.prompt import PLACEHOLDER, known_names, parse_prompt
from celeb_core.sampling import generate
from celeb_core.second_judge import SecondJudge, load_second_judge
from celeb_core.types import Face, FaceScore, Identity, SampleConfig, Scores

if TYPE_CHECKING:
    from celeb_core.models import Studio


class Likeness(Protocol):
    """A judge of likeness: the model folder's own, or `second_judge` on photographs."""

    def embed(self, picture: Image.Image, faces: Sequence[Face]) -> Tensor:
        """(n, 128) unit norm; faces as found in this very picture."""
        ...


class Judge:
    """Reads traits and an embedding from an aligned head; only ever used to score."""

    def __init__(self, path: Path) -> None:
        self.session = _session(path)

    def look(self, picture: Image.Image, landmarks: Sequence[npt.NDArray[Any]]) -> dict[str, Any]:
        """Faces of one picture by their (5, 2) landmarks -> traits (n, 24), embedding (n, 128)."""
        rgb = np.asarray(picture.convert("RGB"))
        crops = np.stack([align(rgb, points, JUDGE_TEMPLATE) for points in landmarks])
        inputs = {"crop": _planes(crops)}
        traits, embedding = self.session.run(["traits", "embedding"], inputs)
        return {"traits": torch.from_numpy(traits), "embedding": torch.from_numpy(embedding)}

    def embed(self, picture: Image.Image, faces: Sequence[Face]) -> Tensor:
        """(n, 128) unit norm; faces as found in this very picture."""
        if not faces:
            return torch.zeros(0, 128)
        embedding: Tensor = self.look(picture, [face.landmarks for face in faces])["embedding"]
        return embedding


class Reader:
    """Reads what a picture shows: one label per group (expression, accessory, scene, ...)."""

    def __init__(self, path: Path, labels: Path) -> None:
        self.session = _session(path)
        self.labels: dict[str, list[str]] = json.loads(labels.read_text(encoding="utf-8"))

    def read(self, picture: Image.Image) -> dict[str, str]:
        """Group -> label."""
        small = picture.convert("RGB").resize((128, 128), Image.Resampling.BICUBIC)
        outputs = self.session.run(None, {"picture": _planes(np.asarray(small)[None])})
        return {
            group: labels[int(logits[0].argmax())]
            for (group, labels), logits in zip(self.labels.items(), outputs, strict=True)
        }


class ClipScorer:
    """Cosine of picture and text by a CLIP model.

    A `clip/` folder without a text tower uses the model's own text encoder as one.
    """

    def __init__(self, folder: Path, tokenizer: Path) -> None:
        from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel, CLIPTokenizer

        self.model = CLIPModel(CLIPConfig.from_pretrained(folder, local_files_only=True)).eval()
        self.model.load_state_dict(_clip_weights(folder))
        self.processor = CLIPImageProcessorPil.from_pretrained(folder, local_files_only=True)
        self.tokenizer = CLIPTokenizer.from_pretrained(tokenizer, local_files_only=True)

    def score(self, picture: Image.Image, text: str) -> float:
        """-1 to 1. Wide pictures are letterboxed: nobody is cropped away."""
        pixels = self.processor(letterbox(picture), return_tensors="pt")["pixel_values"]
        tokens = self.tokenizer(text, truncation=True, padding="max_length", return_tensors="pt")
        with torch.no_grad():
            result = self.model(pixel_values=pixels, **tokens)
        return float(functional.cosine_similarity(result.image_embeds, result.text_embeds)[0])


def _clip_weights(folder: Path) -> dict[str, Tensor]:
    """The weights of `clip/`, with the text tower of `text_encoder/` if there is none."""
    weights = load_file(folder / "model.safetensors")
    prefix = "text_model."
    if not any(name.startswith(prefix) for name in weights):
        tower = load_file(folder.parent / "text_encoder" / "model.safetensors")
        weights |= {prefix + name.removeprefix(prefix): value for name, value in tower.items()}
    return {name: value.float() for name, value in weights.items()}


@dataclass(frozen=True, eq=False)
class Examiners:
    """The optional networks of a model folder."""

    judge: Judge | None = None
    second: SecondJudge | None = None  # on photographs only
    reader: Reader | None = None
    clip: ClipScorer | None = None

    @property
    def likeness(self) -> Likeness | None:
        """Who judges likeness: the model's own judge, else the second one."""
        return self.judge or self.second


def load_examiners(folder: Path | None, photographs: bool = False) -> Examiners:
    """Whatever of judge, reader and CLIP the folder has; the second judge for a model that draws
    photographs and has none."""
    own = folder is not None and (folder / "judge.onnx").is_file()
    second = load_second_judge() if photographs and not own else None
    if folder is None:
        return Examiners(second=second)
    judge, reader, clip = folder / "judge.onnx", folder / "reader.onnx", folder / "clip"
    words = clip if (clip / "tokenizer_config.json").is_file() else folder / "tokenizer"
    return Examiners(
        judge=Judge(judge) if judge.is_file() else None,
        second=second,
        reader=Reader(reader, folder / "reader.json") if reader.is_file() else None,
        clip=ClipScorer(clip, words) if (clip / "config.json").is_file() else None,
    )


def score_picture(
    picture: Image.Image,
    text: str,
    wanted: Mapping[str, Tensor],
    studio: Studio,
    judged: Mapping[str, Tensor] | None = None,
) -> Scores:
    """Match the faces of a picture one to one to the wanted people and score it.

    `wanted`: name -> face embedding (512,) to compare with, the photo's or `reference_faces`'.
    `judged`: name -> the judge's embedding (128,), if its score is wanted too.
    """
    faces = studio.faces.find(picture) if wanted else []
    pairs = match_faces([face.embedding for face in faces], list(wanted.values()))
    seen = None
    likeness = studio.examiners.likeness
    if judged and likeness and faces:
        seen = likeness.embed(picture, faces)
    scores = []
    for index, (name, embedding) in enumerate(wanted.items()):
        face = pairs.get(index)
        found = face is not None
        judge = None
        if judged and name in judged and likeness:
            judge = float(seen[face] @ judged[name]) if seen is not None and found else 0.0
        identity = float(faces[face].embedding @ embedding) if face is not None else 0.0
        box = faces[face].box if face is not None else None
        scores.append(FaceScore(name, found, identity, judge, box))
    clip = studio.examiners.clip
    stripped = strip_people(text, studio.models.names)
    return Scores(tuple(scores), clip.score(picture, stripped) if clip else None)


def reference_faces(
    people: Mapping[str, Identity | Tensor | None],
    studio: Studio,
    pictures: int = 4,
    seed: int = 1000,
) -> dict[str, Tensor]:
    """Mean face embedding (512,) of each person as the model draws “a photo of <name>”.

    For saved identities, whose photo's embedding is deliberately not kept; None stands for a
    celebrity of that name. People without any face in their pictures are left out.
    """
    found = {}
    for name, person in people.items():
        text = PORTRAIT.format(name if person is None else f"<{name}>")
        prompt = parse_prompt(text, {} if person is None else {name: person})
        config = SampleConfig(num_images=pictures, seed=seed)
        faces = [
            largest(seen).embedding
            for picture in generate(prompt, studio.models, studio.basis, config)
            if (seen := studio.faces.find(picture))
        ]
        if faces:
            found[name] = mean_direction(torch.stack(faces))
    return found


def match_faces(found: Sequence[Tensor], wanted: Sequence[Tensor]) -> dict[int, int]:
    """One-to-one assignment of greatest total cosine: index of wanted -> index of found."""
    from scipy.optimize import linear_sum_assignment

    if not found or not wanted:
        return {}
    cosines = torch.stack(list(wanted)) @ torch.stack(list(found)).T
    rows, columns = linear_sum_assignment(-cosines.numpy())
    return {int(row): int(column) for row, column in zip(rows, columns, strict=True)}


def strip_people(text: str, names: Sequence[str] = ()) -> str:
    """The prompt without its people, placeholders and celebrities alike (METHOD.md §2)."""
    text = PLACEHOLDER.sub(" ", text)
    for name in known_names(text, names):
        text = re.sub(re.escape(name), " ", text, flags=re.IGNORECASE)
    return " ".join(text.split())


def letterbox(picture: Image.Image) -> Image.Image:
    """The picture in the middle of a black square."""
    side = max(picture.size)
    square = Image.new("RGB", (side, side))
    square.paste(picture, ((side - picture.width) // 2, (side - picture.height) // 2))
    return square


def _session(path: Path) -> Any:
    import onnxruntime

    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def _planes(pictures: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """(n, h, w, 3) uint8 -> (n, 3, h, w) float32 in [-1, 1]."""
    planes = (pictures.astype(np.float32) - 127.5) / 127.5
    return np.ascontiguousarray(planes.transpose(0, 3, 1, 2))
