"""Images that the bundled model generates, and the faces in them, for the report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from diffusers import DPMSolverMultistepScheduler, StableDiffusionPipeline
from insightface.utils.face_align import norm_crop
from numpy.typing import NDArray
from PIL import Image
from transformers import CLIPTokenizer

from toonville.face_report import Judge, find, open_faces
from toonville.vae import to_tensor
from toonville.world import SIZES

STEPS = 20
GUIDANCE = 3.0
BATCH, GROUP_BATCH = 16, 8  # images of one person, and of several, which are wider

Array = NDArray[np.float32]
Item = TypeVar("Item")


class ImageGenerator:
    """Generates images of prompts with a model folder, STEPS steps, guidance on."""

    def __init__(self, assets: Path) -> None:
        self.pipe = StableDiffusionPipeline.from_pretrained(
            assets, torch_dtype=torch.float32, safety_checker=None
        )
        self.pipe.scheduler = DPMSolverMultistepScheduler.from_config(
            self.pipe.scheduler.config, use_karras_sigmas=True
        )
        self.pipe.set_progress_bar_config(disable=True)

    @property
    def tokenizer(self) -> CLIPTokenizer:
        """Of the model."""
        return self.pipe.tokenizer

    def __call__(
        self,
        prompts: Sequence[str],
        seed: int,
        size: tuple[int, int] = SIZES[1],
        negative_prompt: str = "",
    ) -> list[Image.Image]:
        """Generate one image per prompt.

        Args:
            prompts: Of the images.
            seed: Image i has seed `seed` + i.
            size: Width and height in pixels.
            negative_prompt: Of all images.
        """
        images: list[Image.Image] = []
        for batch in _batches(prompts, GROUP_BATCH if size[0] > size[1] else BATCH):
            seeds = range(seed + len(images), seed + len(images) + len(batch))
            images += self.pipe(
                list(batch),
                negative_prompt=[negative_prompt] * len(batch),
                num_inference_steps=STEPS,
                guidance_scale=GUIDANCE,
                width=size[0],
                height=size[1],
                generator=[torch.Generator().manual_seed(s) for s in seeds],
            ).images
        return images

    def reconstructed(self, images: Sequence[Image.Image]) -> list[Image.Image]:
        """Encode images of one size with the VAE, and decode the latents' modes."""
        out: list[Image.Image] = []
        for batch in _batches(images, BATCH):
            pixels = to_tensor(np.stack([np.asarray(image) for image in batch]))
            with torch.no_grad():
                latents = self.pipe.vae.encode(pixels).latent_dist.mode()
                decoded = self.pipe.vae.decode(latents).sample
            out += self.pipe.image_processor.postprocess(decoded)
        return out


def _batches(items: Sequence[Item], size: int) -> list[Sequence[Item]]:
    return [items[start : start + size] for start in range(0, len(items), size)]


class FaceEmbedder:
    """Finds faces with a model folder's pack; embeds them with the judge or the recogniser."""

    def __init__(self, assets: Path) -> None:
        self.faces = open_faces(assets)
        self.judge = Judge(assets)

    def judged(self, image: Image.Image) -> Array:
        """Return the judge's embeddings (n, 128) of all faces of an image, left to right."""
        pixels = np.asarray(image)
        found = sorted(find(self.faces, pixels), key=lambda face: float(face.bbox[0]))
        if not found:
            return np.zeros((0, 128), np.float32)
        _, embeddings = self.judge([pixels] * len(found), [face.kps for face in found])
        return embeddings

    def recognised(self, image: Image.Image, landmarks: Array) -> Array:
        """Return the recogniser's unit embedding (512,) of the face with known landmarks."""
        crop = norm_crop(np.asarray(image), landmarks)[:, :, ::-1]
        embedding: Array = self.faces.models["recognition"].get_feat(crop)[0]
        return embedding / np.linalg.norm(embedding)

    def identity_scores(self, images: Sequence[Image.Image], people: Array) -> Array:
        """Return the judge's cosines (n,) of images with people.

        Args:
            images: n of them, of one person each; one with no face or with several scores 0.
            people: The judge's embeddings (n, 128) of who should be in them.
        """
        faces = [self.judged(image) for image in images]
        cosines = [
            float(face[0] @ person) if len(face) == 1 else 0.0
            for face, person in zip(faces, people, strict=True)
        ]
        return np.array(cosines, np.float32)

    def nearest(self, images: Sequence[Image.Image], among: Array) -> NDArray[np.int64]:
        """Return for each image the row of `among` (m, 128) that is nearest to its only face.

        It is -1 where an image has no face or several.
        """
        faces = [self.judged(image) for image in images]
        return np.array([(among @ f[0]).argmax() if len(f) == 1 else -1 for f in faces], np.int64)


def mean(values: Sequence[float] | NDArray[np.bool_] | NDArray[np.floating]) -> float:
    """Return the mean of numbers, or the share of true ones; 0 of none."""
    return float(np.asarray(values, np.float64).mean()) if len(values) else 0.0


def ratio(part: float, whole: float) -> float:
    """Return the quotient, 0 if the divisor is not positive."""
    return part / whole if whole > 0 else 0.0
