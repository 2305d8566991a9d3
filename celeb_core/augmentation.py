"""Photo -> augmented views and their latents, masks of head and landmarks; prompt templates.

Celeb Basis, section 3.3: colour jitter, random resize, random shift. The official code pastes the
photo on a black canvas and turns hues a little, too.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageEnhance
from torch import Generator, Tensor
from torch.nn import functional

from celeb_core.device import exact_vae
from celeb_core.models import Models
from celeb_core.types import AugmentationConfig, Face, Person, TrainConfig

JOINT_SHARE = 0.5  # of a person's batch and views, when several train together on views
ENCODE_PIXELS = 8 * 128**2  # that the VAE encodes at once

HEAD = 1.5  # side of the head (hair, ears) over the side of the face box
LANDMARK = 0.11  # standard deviation of the bump on a landmark, over the same
OFFICIAL_HUE = 0.01
OFFICIAL_ASPECT = (0.9, 1.1)  # width over height of the pasted photo

SHORT_TEMPLATES = (
    "a photo of {}", "a depiction of {}", "a portrait of {}", "a picture of {}",
    "a close-up photo of {}", "an image of {}",
)  # fmt: skip
"""Prompts of a training; `{}` is the person."""

_ONCE = tuple(
    f"{medium} of {determiner}"
    for medium in ("a photo", "an illustration", "a depiction")
    for determiner in (
        "a", "my", "one", "the", "a clean", "a cool", "a dirty", "a nice", "a small", "the clean",
        "the cool", "the large", "the nice", "the small", "the weird",
    )
)  # fmt: skip
_THRICE = (
    "the photo of a", "a rendering of a", "a bright photo of the", "a dark photo of the",
    *(f"a {medium} of {determiner}" for determiner in ("a", "the") for medium in (
        "close-up photo", "cropped photo", "good photo", "rendition",
    )),
)  # fmt: skip
PAPER_TEMPLATES = tuple(f"{start} face of {{}} person" for start in _ONCE + 3 * _THRICE)
"""The official code's 81 prompts, 57 distinct ones; one is drawn for each image."""

Mask = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Views:
    """n augmented views; masks are 1 inside of the head's box, and more on eyes, nose and mouth."""

    pixels: Tensor  # (n, 3, h, w) float32 in [-1, 1]
    masks: Tensor  # (n, 1, h, w) float32, 0 to 1 + landmark_weight


class AugmentedLatents:
    """Batches of the people's augmented views as latents, with masks of their heads.

    With `config.augmentation.views` each person's views are encoded once and batches are drawn
    from them; without, every step encodes a fresh batch, as the official code does.
    """

    def __init__(
        self, people: Sequence[Person], models: Models, config: TrainConfig, generator: Generator
    ) -> None:
        views = config.augmentation.views
        share = JOINT_SHARE if len(people) > 1 and views else 1.0
        self.people, self.models, self.config = people, models, config
        self.batch_size = max(1, round(config.batch_size * share))
        self.views = max(1, round(views * share)) if views else 0
        self._generator = generator
        self._encoded: dict[int, tuple[Tensor, Tensor]] = {}

    def batch(self, step: int, people: Sequence[int] | None = None) -> tuple[Tensor, Tensor]:
        """Return latents (n, b, c, h, w) and masks (n, b, 1, h, w), b views of each person.

        `people` are the numbers of those who are in it; None is everybody.
        """
        people = range(len(self.people)) if people is None else people
        if not self.views:
            pairs = [self.encode(person, self.batch_size, step) for person in people]
        else:
            for new in [person for person in people if person not in self._encoded]:
                self._encoded[new] = self.encode(new, self.views, 0)
            rows = torch.arange(self.batch_size) % self.views
            picks = [torch.randperm(self.views, generator=self._generator)[rows] for _ in people]
            views = zip((self._encoded[person] for person in people), picks, strict=True)
            pairs = [(latents[pick], masks[pick]) for (latents, masks), pick in views]
        return torch.stack([pair[0] for pair in pairs]), torch.stack([pair[1] for pair in pairs])

    def encode(self, person: int, count: int, step: int) -> tuple[Tensor, Tensor]:
        """Encode new views of a person: latents (count, c, h, w), masks (count, 1, h, w).

        They have a seed of their own, so that a resumed training has the same ones.
        """
        config = self.config
        rng = np.random.default_rng((config.seed, person, step))
        size, faces = (self.models.width, self.models.height), self.people[person].faces
        views = augment(faces, count, size, config.augmentation, config.loss.landmark_weight, rng)
        noise = Generator().manual_seed(int(rng.integers(2**31)))
        latents = []
        with torch.no_grad(), exact_vae(self.models.vae) as vae:
            for pixels in views.pixels.split(max(1, ENCODE_PIXELS // (size[0] * size[1]))):
                posterior = vae.encode(pixels.to(self.models.device, vae.dtype)).latent_dist
                latents.append(posterior.sample(generator=noise))
            self.models.memory.offload_vae()
        shift = getattr(vae.config, "shift_factor", None) or 0.0
        scaled = (torch.cat(latents) - shift) * vae.config.scaling_factor
        masks = functional.interpolate(views.masks, scaled.shape[-2:], mode="area")
        return scaled.to(self.models.vae.dtype), masks.to(scaled.device)


def augment(
    faces: tuple[Face, ...],
    count: int,
    size: tuple[int, int],
    config: AugmentationConfig,
    landmark_weight: float,
    rng: np.random.Generator,
) -> Views:
    """Make `count` random views of one person's faces in turn.

    `size` is width and height in pixels; `landmark_weight` the height of the masks' bumps.
    """
    views = [_view(faces[i % len(faces)], size, config, landmark_weight, rng) for i in range(count)]
    pixels = torch.stack([torch.from_numpy(v.astype(np.float32) / 127.5 - 1) for v, _ in views])
    masks = torch.stack([torch.from_numpy(mask) for _, mask in views])
    return Views(pixels.permute(0, 3, 1, 2), masks[:, None])


def _view(
    face: Face,
    size: tuple[int, int],
    config: AugmentationConfig,
    landmark_weight: float,
    rng: np.random.Generator,
) -> tuple[npt.NDArray[np.uint8], Mask]:
    """Make one view (h, w, 3) and its mask (h, w)."""
    width, height = size
    photo = _jitter(face.image.convert("RGB"), config, rng)
    wide = tall = round(min(size) * rng.uniform(config.min_scale, 1.0))
    if config.padding == "black":
        wide = min(int(tall * rng.uniform(*OFFICIAL_ASPECT)), width)
    left = int(rng.integers(0, width - wide + 1))
    top = int(rng.integers(0, height - tall + 1))
    small = _resize(photo, (wide, tall), min(size), config)
    margins = ((top, height - tall - top), (left, width - wide - left), (0, 0))
    canvas = np.pad(small, margins, mode="edge" if config.padding == "edge" else "constant")
    side = face.crop[2] - face.crop[0]
    scale = np.array((wide / side, tall / side), np.float32)
    landmarks = (face.landmarks - face.crop[:2]) * scale + (left, top)
    deviation = LANDMARK * (tall / side) * max(face.box[2] - face.box[0], face.box[3] - face.box[1])
    mask = landmark_weight * gaussian_bumps(landmarks, deviation, (height, width))
    x0, y0, x1, y1 = _head_in_crop(face)
    rows = slice(max(0, round(top + y0 * tall)), max(0, round(top + y1 * tall)))
    columns = slice(max(0, round(left + x0 * wide)), max(0, round(left + x1 * wide)))
    mask[rows, columns] += 1.0
    if rng.random() < 0.5:
        canvas, mask = canvas[:, ::-1], mask[:, ::-1]
    return np.ascontiguousarray(canvas), np.ascontiguousarray(mask)


def _resize(
    photo: Image.Image, size: tuple[int, int], full: int, config: AugmentationConfig
) -> npt.NDArray[np.uint8]:
    """Resize to (width, height); for a black canvas from `full` pixels without antialiasing."""
    if config.padding == "edge":
        return np.asarray(photo.resize(size, Image.Resampling.LANCZOS))
    square = np.asarray(photo.resize((full, full), Image.Resampling.BILINEAR))
    planes = torch.from_numpy(square.astype(np.float32)).permute(2, 0, 1)[None]
    planes = functional.interpolate(planes, size[::-1], mode="bilinear", align_corners=True)
    return planes[0].permute(1, 2, 0).round().byte().numpy()


def gaussian_bumps(
    points: npt.NDArray[np.floating], deviation: float, shape: tuple[int, int]
) -> Mask:
    """Return the maximum over Gaussian bumps of height 1: points (..., n, 2) -> (..., h, w).

    Points are x and y in pixels, `deviation` is in pixels too, `shape` is (h, w).
    """
    height, width = shape
    x, y = np.moveaxis(points.astype(np.float32), -1, 0)
    across, down = (
        np.exp(-(((np.arange(side, dtype=np.float32) + 0.5 - at[..., None]) / deviation) ** 2) / 2)
        for side, at in ((width, x), (height, y))
    )
    highest: Mask = (down[..., None] * across[..., None, :]).max(-3)
    return highest


def _head_in_crop(face: Face) -> tuple[float, float, float, float]:
    """Return the head's box as shares of the crop's side; most of the margin is for foreheads."""
    side = face.crop[2] - face.crop[0]
    left, top, right, bottom = face.box
    grow = (HEAD - 1) / 2 * max(right - left, bottom - top)
    return (
        (left - grow - face.crop[0]) / side,
        (top - 1.5 * grow - face.crop[1]) / side,
        (right + grow - face.crop[0]) / side,
        (bottom + 0.5 * grow - face.crop[1]) / side,
    )


def _jitter(
    photo: Image.Image, config: AugmentationConfig, rng: np.random.Generator
) -> Image.Image:
    """Change brightness, contrast and saturation; on the official black canvas the hue, too."""
    for enhance in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        jitter = config.colour_jitter
        photo = enhance(photo).enhance(1 + rng.uniform(-jitter, jitter))
    if config.padding == "black":
        shift = round(rng.uniform(-OFFICIAL_HUE, OFFICIAL_HUE) * 256)
        bands = list(photo.convert("HSV").split())
        bands[0] = bands[0].point(lambda hue: (hue + shift) % 256)
        photo = Image.merge("HSV", bands).convert("RGB")
    return photo
