"""An invisible mark in the pixels, which outlives screenshots and new encodings, by TrustMark.

Optional: the package, which needs torchvision and downloads weights of its own, is imported where
the mark is wanted. See arXiv:2311.18297.
"""

import threading
from importlib import import_module
from typing import Any, Protocol

from PIL import Image

from celeb_core.errors import UsageError, quote

MOST = 8  # characters of 7 bits, with TrustMark's default error correction


class Watermark(Protocol):
    """What is used of trustmark.TrustMark."""

    def encode(self, in_cover_image: Image.Image, string_secret: str) -> Image.Image:
        """Return the image with a text in it."""

    def decode(self, in_stego_image: Image.Image) -> tuple[str, bool, int]:
        """Return the text, whether there is one, and its version."""


class InvisibleMark:
    """Marks images with a short text, and finds it again.

    Args:
        text: At most MOST characters of ASCII.
        watermark: What marks; None loads TrustMark.

    Raises:
        UsageError: TrustMark is not installed, or its weights cannot be had.
    """

    def __init__(self, text: str, watermark: Watermark | None = None) -> None:
        assert text.isascii() and 0 < len(text) <= MOST
        self.text, self._watermark = text, watermark or _load_trustmark()
        self._lock = threading.Lock()  # its error correction has buffers

    def mark(self, image: Image.Image) -> Image.Image:
        """Return the image (RGB) with the mark in it."""
        with self._lock:
            return self._watermark.encode(image.convert("RGB"), self.text)

    def found(self, image: Image.Image) -> bool:
        """Return whether an image (RGB) has this very mark."""
        with self._lock:
            text, detected, _ = self._watermark.decode(image)
        return detected and text == self.text


def _load_trustmark() -> Watermark:
    try:
        module: Any = import_module("trustmark")
    except ImportError as error:
        raise UsageError(
            "--invisible-mark needs the package trustmark, which is not installed or lacks one of "
            f"its own ({quote(str(error))}). Install it (pip install trustmark; it brings "
            "torchvision, of the version that fits your torch), or leave out --invisible-mark."
        ) from error
    try:
        made: Watermark = module.TrustMark(verbose=False, model_type="Q", loadRemover=False)
    except Exception as error:  # whatever comes of weights that could not be downloaded
        raise UsageError(
            f"The weights of --invisible-mark could not be loaded ({quote(str(error))}). Connect "
            "this machine once, so that trustmark can download them, or leave the option out."
        ) from error
    return made
