"""Which names of a list the model knows (the filter of Celeb Basis, section 3.2).

A known name has one face from all seeds, a face of its own, and still has it beside another name.
Images are generated and stored first, by this process or by workers; then the names are compared.
"""

import base64
import hashlib
import io
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from html import escape
from pathlib import Path
from string import Template

import numpy as np
import torch
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor
from torch.nn.functional import normalize

from celeb_core.errors import FeatureMissing
from celeb_core.many.workers import Here, Makers
from celeb_core.marks.xmp import build_packet
from celeb_core.prepare.calibration import embed_largest_face
from celeb_core.prompt import PORTRAIT, parse_prompt
from celeb_core.sampling import generate
from celeb_core.studio import Studio
from celeb_core.types import SampleConfig

MIN_NAMES = 4  # fewer cannot be compared
MADE_UP = 24  # names that no candidate has, for what chance reaches
PAIRS = ("a photo of {0} and {1}", "a photo of {1} and {0}")
OWN_IMAGES = 2  # of a name's own words
THUMBNAIL = 96  # pixels

MIN_DETECTED = 0.75  # share of a name's portraits with a face
WELL_KNOWN = 0.9  # quantile of the names' consistency that counts as a known name's
SAME_FACE = 0.7  # cosine of two names' faces over the geometric mean of their consistencies
MIN_BESIDE = 0.9  # see `NameVerdict.beside`


@dataclass(frozen=True)
class Candidate:
    """A name and what it is generated with."""

    name: str
    own: str  # its words that no other candidate has; empty if none or all of them are
    partner: str  # the name beside it in images of two
    made_up: bool = False


@dataclass(frozen=True, eq=False)
class NameImages:
    """The faces in the images of one name, of unit norm; zeros where none was found."""

    faces: Tensor  # (s, 512) of portraits, the same seeds for every name
    own: Tensor  # (o, 512) of portraits of its own words; o is 0 without any
    beside: Tensor  # (b, 512) all faces of the images with its partner
    thumbnails: Tensor  # (bytes,) uint8: a JPEG of the images in a row


@dataclass(frozen=True)
class NameVerdict:
    """Whether the model knows a name. Cosines are between faces less the mean face."""

    name: str
    known: bool
    reason: str  # why it is not known; empty if it is
    detected: float  # share of its portraits with a face
    consistency: float  # mean cosine over pairs of its portraits
    beside: float  # share of the other names that no face of its images of two is as near to
    images: NameImages


def candidates(names: Sequence[str]) -> list[Candidate]:
    """Pair each name with the next one, and add made-up names; FeatureMissing below MIN_NAMES."""
    if len(names) < MIN_NAMES:
        raise FeatureMissing(
            f"{len(names)} names are too few to compare with each other. List {MIN_NAMES} or more."
        )
    count = Counter(word for name in names for word in set(name.split()))
    found = []
    for index, name in enumerate(names):
        own = " ".join(word for word in name.split() if count[word] == 1)
        found.append(Candidate(name, "" if own == name else own, names[(index + 1) % len(names)]))
    for real in found[:: max(1, len(names) // MADE_UP)][:MADE_UP]:
        words = [word[::-1].capitalize() for word in real.name.split()]
        found.append(Candidate(" ".join(words), "", real.partner, made_up=True))
    return found


@dataclass(frozen=True)
class NameTask:
    """The images of a candidate."""

    candidate: Candidate
    config: SampleConfig

    def make(self, studio: Studio) -> bytes:
        """Generate the images, as a file of `NameImages`."""
        content: bytes = save(dict(vars(_generate(self.candidate, studio, self.config))))
        return content


def generate_name_images(
    people: Sequence[Candidate],
    studio: Studio,
    folder: Path,
    config: SampleConfig,
    makers: Makers | None = None,
) -> Iterator[int]:
    """Generate the images that the folder does not have yet.

    Of the config, num_images (portraits per name), seed and steps count; `makers` generate, this
    process by default. Yields how many candidates are done.
    """
    paths = [_path(folder, candidate, studio, config) for candidate in people]
    tasks = [NameTask(candidate, config) for candidate in people]
    return (makers or Here(studio)).make(paths, tasks, lambda path: _read(path) is not None)


def load_name_images(
    people: Sequence[Candidate], studio: Studio, folder: Path, config: SampleConfig
) -> list[NameImages | None]:
    """Load what `generate_name_images` stored; None for a candidate that is still to come."""
    return [_read(_path(folder, candidate, studio, config)) for candidate in people]


def rank_names(
    people: Sequence[Candidate], images: Sequence[NameImages]
) -> tuple[list[NameVerdict], float]:
    """Tell known names from others by the faces in their images.

    Returns:
        Verdicts on the real names, known ones first, then by consistency; and the consistency that
        a known name needs: halfway from the made-up names' median to the real ones' WELL_KNOWN
        quantile.
    """
    faces = torch.stack([one.faces for one in images])
    found = faces.norm(dim=-1) > 0.5
    real = torch.tensor([not candidate.made_up for candidate in people])
    mean = faces[real].sum(0) / found[real].sum(0).clamp_min(1)[:, None]  # of each seed
    centred = normalize(faces - mean, dim=-1) * found[..., None]
    cosines = _mean_cosines(centred, found)
    consistency = cosines.diagonal()
    low, high = consistency[~real].median(), consistency[real].quantile(WELL_KNOWN)
    threshold = float(low + high) / 2
    directions = normalize(centred.sum(1), dim=-1)
    own = [_own(one.own, mean, axis) for one, axis in zip(images, directions, strict=True)]
    evidence = torch.tensor(own).double() + consistency
    words = [set() if one.made_up else set(one.name.split()) for one in people]
    namesakes = torch.tensor([[not mine.isdisjoint(other) for other in words] for mine in words])
    same_face = cosines >= SAME_FACE * torch.outer(consistency, consistency).clamp_min(0).sqrt()
    # The face belongs to a namesake whose own words show it better.
    taken = namesakes & same_face & (consistency >= threshold) & (evidence > evidence[:, None])
    owners = cosines.where(taken, -1.0).argmax(1).tolist()
    scores, verdicts = consistency.tolist(), []
    for i in real.nonzero().flatten().tolist():
        name, partner = people[i].name, people[i].partner
        not_partner = torch.tensor([other.name != partner for other in people])
        others = directions[real & ~namesakes[i] & not_partner]
        beside = _beside(images[i].beside - mean.mean(0), others, directions[i])
        detected = found[i].float().mean().item()
        problems = {
            "no face in too many images": detected < MIN_DETECTED,
            "another face each time": consistency[i] < threshold,
            f"the face of {people[owners[i]].name}": taken[i].any(),
            f"lost beside {partner}": beside < MIN_BESIDE,
        }
        reason = next((text for text, true in problems.items() if true), "")
        measured = detected, scores[i], beside
        verdicts.append(NameVerdict(name, not reason, reason, *measured, images[i]))
    return sorted(verdicts, key=lambda v: (-v.known, -v.consistency)), threshold


def html_report(verdicts: Sequence[NameVerdict], title: str, threshold: float) -> str:
    """Write the verdicts and threshold of `rank_names` as an HTML page that holds its images."""
    rows = ""
    for rank, v in enumerate(verdicts, start=1):
        data = base64.b64encode(v.images.thumbnails.numpy().tobytes()).decode()
        rows += (
            f"<tr><td>{rank}<td>{escape(v.name)}<td>{v.consistency:.2f}<td>{v.detected:.0%}"
            f"<td>{v.beside:.0%}<td>{escape(v.reason or 'known')}<td><img loading='lazy' "
            f"alt='{escape(v.name)}' src='data:image/jpeg;base64,{data}'>\n"
        )
    page = Template(Path(__file__).with_name("names.html").read_text(encoding="utf-8"))
    counts = {"known": sum(v.known for v in verdicts), "count": len(verdicts)}
    return page.substitute(counts, title=escape(title), threshold=f"{threshold:.2f}", rows=rows)


def _path(folder: Path, candidate: Candidate, studio: Studio, config: SampleConfig) -> Path:
    """Name a file by all that decides the images, the UNet by its last layer."""
    sampled = {"images": config.num_images, "seed": config.seed, "steps": config.steps}
    made_by = [studio.models.id, studio.basis.id, studio.faces.id, sampled]
    digest = hashlib.sha256(json.dumps([vars(candidate), *made_by]).encode())
    digest.update(studio.models.unet.conv_out.weight.float().cpu().numpy().tobytes())
    return folder / f"{digest.hexdigest()[:24]}.safetensors"


def _read(path: Path) -> NameImages | None:
    """Read one file; None if it is missing or was cut short."""
    try:
        tensors = load_file(path)
    except (FileNotFoundError, SafetensorError):
        return None
    tensors |= {name: tensors[name].float() for name in ("faces", "own", "beside")}
    return NameImages(**tensors)


def _generate(candidate: Candidate, studio: Studio, config: SampleConfig) -> NameImages:
    """Generate one candidate's images and embed their faces."""

    def images_of(text: str, count: int) -> list[Image.Image]:
        sample = replace(config, num_images=count)
        return generate(parse_prompt(text, {}), studio.models, studio.basis, sample)

    portraits = images_of(PORTRAIT.format(candidate.name), config.num_images)
    pairs = [images_of(text.format(candidate.name, candidate.partner), 1)[0] for text in PAIRS]
    own = images_of(PORTRAIT.format(candidate.own), OWN_IMAGES) if candidate.own else []
    beside = [face.embedding for image in pairs for face in studio.faces.find(image)]
    return NameImages(
        faces=_stack([embed_largest_face(image, studio.faces)[0] for image in portraits]),
        own=_stack([embed_largest_face(image, studio.faces)[0] for image in own]),
        beside=_stack(beside),
        thumbnails=_jpeg([*portraits, *pairs, *own]),
    )


def _stack(embeddings: Sequence[Tensor]) -> Tensor:
    """Stack embeddings (512,), or none, as (n, 512) in half precision."""
    return torch.stack([torch.zeros(512), *embeddings])[1:].half()


def _jpeg(images: Sequence[Image.Image]) -> Tensor:
    """Encode thumbnails, side by side, as one JPEG."""
    small = [image.resize((image.width * THUMBNAIL // image.height, THUMBNAIL)) for image in images]
    gap = ((0, 0), (0, 2), (0, 0))
    row = np.hstack([np.pad(np.asarray(image), gap, constant_values=255) for image in small])
    buffer = io.BytesIO()
    Image.fromarray(row).save(buffer, "JPEG", quality=80, xmp=build_packet({}).encode())
    return torch.frombuffer(bytearray(buffer.getvalue()), dtype=torch.uint8)


def _mean_cosines(centred: Tensor, found: Tensor) -> Tensor:
    """(n, n) mean cosine over all pairs of different seeds of faces (n, s, 512)."""
    count, total = found.float(), centred.sum(1)
    same_seed = centred.flatten(1) @ centred.flatten(1).T
    pairs = count.sum(1)[:, None] * count.sum(1)[None] - count @ count.T
    return (total @ total.T - same_seed) / pairs.clamp_min(1)


def _own(faces: Tensor, mean: Tensor, direction: Tensor) -> float:
    """Mean cosine of the own words' faces (o, 512) to the name's; 0 without any."""
    found = faces.norm(dim=-1) > 0.5
    cosines = normalize(faces - mean[: len(faces)], dim=-1) @ direction
    return float((cosines * found).sum() / found.sum().clamp_min(1))


def _beside(faces: Tensor, others: Tensor, direction: Tensor) -> float:
    """Share of the others (m, 512) that no face (b, 512) is as near to as one is to the name."""
    if not len(faces):
        return 0.0
    centred = normalize(faces, dim=-1)
    nearest = (centred @ others.T).amax(0)
    return float((nearest < (centred @ direction).max()).float().mean())
