"""Styles of whole images: pixel art, pencil sketch, old photograph."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageFilter

BLOCK = 4  # units: side of a square of pixel art; smaller ones do not fit into the latents
LEVELS = 6  # of each colour in pixel art
CHROMA = 0.28  # share of the colours that pencils keep: a sketch still tells hair from hair
PAPER = np.array([250, 248, 242], dtype=np.float32)


def apply_style(image: Image.Image, style: str, pixels: int) -> Image.Image:
    """Return an image in one of world.STYLES.

    Args:
        image: RGB.
        style: What it becomes; "plain" leaves it as it is.
        pixels: Of the image per unit.
    """
    if style == "pixel art":
        step = 255 / (LEVELS - 1)
        palette = [round(step * round(value / step)) for value in range(256)] * 3
        small = image.reduce(BLOCK * pixels).point(palette)
        return small.resize(image.size, Image.Resampling.NEAREST)
    if style == "pencil sketch":
        return _pencil_sketch(image, pixels)
    if style == "old photograph":
        grey = np.asarray(image.convert("L"), dtype=np.float32)[..., None]
        sepia = 40 + grey * np.array([0.84, 0.68, 0.46], dtype=np.float32)
        return Image.fromarray(np.clip(sepia, 0, 255).astype(np.uint8))
    return image


def _pencil_sketch(image: Image.Image, pixels: int) -> Image.Image:
    """Pale tones on paper, with dark strokes where the image has edges."""
    colours = np.asarray(image, dtype=np.float32)
    grey = np.asarray(image.convert("L"), dtype=np.float32)[..., None]
    smooth = image.convert("L").filter(ImageFilter.GaussianBlur(0.35 * pixels))
    padded = np.pad(np.asarray(smooth, dtype=np.float32), pixels, mode="edge")
    inner, before, after = slice(pixels, -pixels), slice(None, -2 * pixels), slice(2 * pixels, None)
    edges = np.hypot(
        padded[inner, after] - padded[inner, before], padded[after, inner] - padded[before, inner]
    )[..., None]
    tone = grey + CHROMA * (colours - grey)
    strokes = np.clip(edges / 90, 0, 1) * 0.72
    drawn = (0.45 * PAPER + 0.55 * tone) * (1 - strokes) + 45 * strokes
    return Image.fromarray(np.clip(drawn, 0, 255).astype(np.uint8))
