"""Identity and prompt scores of an image: are the right people in it, does it show the prompt?"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import onnxruntime
import torch
from insightface.utils.face_align import estimate_norm
from PIL import Image, ImageOps
from safetensors.torch import load_file
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from celeb_core.faces import FaceModel, largest_face, mean_embedding
from celeb_core.models import Models
from celeb_core.prompt import PORTRAIT, parse_prompt, strip_people
from celeb_core.sampling import generate
from celeb_core.types import Box, CelebBasis, Face, Identity, SampleConfig

CROP = 112  # pixels
ZOOM = 0.62  # the judge's crop, which shows hair and shoulders, too, is ArcFace's, scaled
SHIFT = np.array([[0.0, 0.0, 56 - ZOOM * 56], [0.0, 0.0, 58 - ZOOM * 72]])  # and shifted, pixels


@dataclass(frozen=True)
class FaceScore:
    """One wanted person in one image. A missing face scores zero."""

    name: str
    found: bool
    identity: float  # recogniser cosine
    judge: float | None  # the judge's cosine, if there is a judge
    box: Box | None


@dataclass(frozen=True)
class Scores:
    """How well an image does what it was asked for."""

    faces: tuple[FaceScore, ...]
    prompt: float | None  # CLIP cosine of image and text without names; None without a CLIP

    @property
    def identity(self) -> float | None:
        """Mean recogniser cosine over the wanted people; None if there are none."""
        return _mean([face.identity for face in self.faces])

    @property
    def judge(self) -> float | None:
        """Mean judge cosine; None without a judge."""
        return _mean([face.judge for face in self.faces if face.judge is not None])


class Judge:
    """Reads traits and an embedding from a head; no training ever saw it, it only scores."""

    def __init__(self, path: Path) -> None:
        self.session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])

    def read(self, image: Image.Image, faces: Sequence[Face]) -> dict[str, Tensor]:
        """Return traits (n, 24) and embedding (n, 128) of faces that were found in this image."""
        rgb = np.asarray(image.convert("RGB"))
        crops = np.stack([judge_crop(rgb, face.landmarks) for face in faces])
        traits, embedding = self.session.run(["traits", "embedding"], {"crop": _planes(crops)})
        return {"traits": torch.from_numpy(traits), "embedding": torch.from_numpy(embedding)}

    def embed(self, image: Image.Image, faces: Sequence[Face]) -> Tensor:
        """Return (n, 128) of unit norm for faces that were found in this image."""
        return self.read(image, faces)["embedding"] if faces else torch.zeros(0, 128)


class AttributeReader:
    """Reads what an image shows: one label per group (expression, accessory, scene, ...)."""

    def __init__(self, path: Path) -> None:
        self.session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        self.labels: dict[str, list[str]] = json.loads(path.with_suffix(".json").read_bytes())

    def read(self, image: Image.Image) -> dict[str, str]:
        """Return group -> label."""
        small = image.convert("RGB").resize((128, 128), Image.Resampling.BICUBIC)
        (source,) = self.session.get_inputs()
        outputs = self.session.run(None, {source.name: _planes(np.asarray(small)[None])})
        groups = zip(self.labels.items(), outputs, strict=True)
        return {group: labels[int(logits[0].argmax())] for (group, labels), logits in groups}


class ClipScorer:
    """CLIP; a folder without text tower or tokenizer uses those of the model that it is in."""

    def __init__(self, folder: Path) -> None:
        from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel, CLIPTokenizer

        self.model = CLIPModel(CLIPConfig.from_pretrained(folder, local_files_only=True)).eval()
        weights = load_file(folder / "model.safetensors")
        prefix = "text_model."
        if not any(name.startswith(prefix) for name in weights):
            tower = load_file(folder.parent / "text_encoder" / "model.safetensors")
            weights |= {prefix + name.removeprefix(prefix): value for name, value in tower.items()}
        # Older transformers stored the positions 0, 1, 2, ..., too.
        weights = {name: w for name, w in weights.items() if not name.endswith("position_ids")}
        self.model.load_state_dict(weights)  # in float32, whatever the file's dtype
        self.processor = CLIPImageProcessorPil.from_pretrained(folder, local_files_only=True)
        own = (folder / "tokenizer_config.json").is_file()
        tokenizer = folder if own else folder.parent / "tokenizer"
        self.tokenizer = CLIPTokenizer.from_pretrained(tokenizer, local_files_only=True)

    def score(self, image: Image.Image, text: str) -> float:
        """Return the cosine, -1 to 1; wide images are letterboxed, so that no one is cut off."""
        pixels = self.processor(letterbox(image), return_tensors="pt")["pixel_values"]
        tokens = self.tokenizer(text, truncation=True, padding="max_length", return_tensors="pt")
        with torch.no_grad():
            result = self.model(pixel_values=pixels, **tokens)
        return float(torch.cosine_similarity(result.image_embeds, result.text_embeds)[0])


@dataclass(frozen=True, eq=False)
class Scorers:
    """What images of a model are scored with; what its folder lacks is None, and its score, too."""

    faces: FaceModel
    names: tuple[str, ...] = ()  # celebrities, whose names are no part of what is to be shown
    judge: Judge | None = None
    reader: AttributeReader | None = None
    clip: ClipScorer | None = None


def load_scorers(models: Models, faces: FaceModel) -> Scorers:
    """Load whatever of judge, reader and CLIP the model's folder has."""
    folder, found = models.folder, Scorers(faces, models.names)
    if folder and (path := folder / "judge.onnx").is_file():
        found = replace(found, judge=Judge(path))
    if folder and (path := folder / "reader.onnx").is_file():
        found = replace(found, reader=AttributeReader(path))
    if folder and (folder / "clip" / "config.json").is_file():
        found = replace(found, clip=ClipScorer(folder / "clip"))
    return found


def score_image(
    image: Image.Image,
    text: str,
    references: Mapping[str, Tensor],
    scorers: Scorers,
    judge_references: Mapping[str, Tensor] | None = None,
    faces: Sequence[Face] | None = None,
) -> Scores:
    """Match the faces of an image of a prompt one to one to the wanted people, and score it.

    Args:
        image: RGB.
        text: The prompt.
        references: Name -> face embedding (512,), the photo's or `reference_embeddings`'.
        scorers: Of the model.
        judge_references: Name -> the judge's embedding (128,), for the judge's score.
        faces: Of the image, if they have been found already.
    """
    if faces is None:
        faces = scorers.faces.find(image) if references else []
    pairs = match_faces([face.embedding for face in faces], list(references.values()))
    judged = scorers.judge.embed(image, faces) if scorers.judge and judge_references else None
    scores = []
    for index, (name, reference) in enumerate(references.items()):
        at, identity, judge, box = pairs.get(index), 0.0, None, None
        if at is not None:
            identity, box = float(faces[at].embedding @ reference), faces[at].box
        if judged is not None and judge_references and name in judge_references:
            judge = 0.0 if at is None else float(judged[at] @ judge_references[name])
        scores.append(FaceScore(name, at is not None, identity, judge, box))
    prompt = strip_people(text, scorers.names)
    return Scores(tuple(scores), scorers.clip.score(image, prompt) if scorers.clip else None)


def reference_embeddings(
    people: Mapping[str, Identity | Tensor | None],
    models: Models,
    basis: CelebBasis,
    faces: FaceModel,
    images: int = 4,
    seed: int = 1000,
) -> dict[str, Tensor]:
    """Return each person's mean face embedding (512,) in images of “a photo of <name>”.

    A person is an identity (it does not hold the photo's embedding), token embeddings (k, d), or
    None for that celebrity. `images` are generated of each, from `seed` on; people without a face
    in any are left out.
    """
    found = {}
    for name, person in people.items():
        text = PORTRAIT.format(name if person is None else f"<{name}>")
        prompt = parse_prompt(text, {} if person is None else {name: person})
        generated = generate(prompt, models, basis, SampleConfig(num_images=images, seed=seed))
        embeddings = [largest_face(each).embedding for each in map(faces.find, generated) if each]
        if embeddings:
            found[name] = mean_embedding(embeddings)
    return found


def match_faces(found: Sequence[Tensor], wanted: Sequence[Tensor]) -> dict[int, int]:
    """Assign one to one with the greatest total cosine: index of wanted -> index of found."""
    if not found or not wanted:
        return {}
    cosines = torch.stack(list(wanted)) @ torch.stack(list(found)).T
    rows, columns = linear_sum_assignment(-cosines.numpy())
    return dict(zip(rows.tolist(), columns.tolist(), strict=True))


def letterbox(image: Image.Image) -> Image.Image:
    """Return the image in the middle of a black square."""
    return ImageOps.pad(image, (max(image.size), max(image.size)))


def judge_crop(rgb: npt.NDArray[np.uint8], landmarks: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Cut out a head (112, 112, 3) by its landmarks (5, 2)."""
    matrix = ZOOM * estimate_norm(landmarks, CROP) + SHIFT
    return np.asarray(cv2.warpAffine(rgb, matrix, (CROP, CROP), borderValue=0.0), np.uint8)


def _planes(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """(n, h, w, 3) uint8 -> (n, 3, h, w) float32 in [-1, 1]."""
    return ((images.astype(np.float32) - 127.5) / 127.5).transpose(0, 3, 1, 2)


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
