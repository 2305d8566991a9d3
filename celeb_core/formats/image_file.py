"""Images that a person hands in -> upright RGB, or one error whatever is wrong with them."""

import zlib
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile
from PIL.AvifImagePlugin import AvifImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile
from pillow_heif import HeifImageFile, register_heif_opener

from celeb_core import errors
from celeb_core.files import read_bytes
from celeb_core.formats.image_parts import PNG, image_format, orientation, pixel_parts, png_chunks

PhotoSource: TypeAlias = str | Path | bytes | Image.Image

# By format. Image.open would try others, too, some of which start programs. MPO is JPEG with more
# images behind the first one.
DECODERS: dict[str, Any] = {
    "JPEG": JpegImageFile,
    "PNG": PngImageFile,
    "WEBP": WebPImageFile,
    "AVIF": AvifImageFile,
    "HEIF": HeifImageFile,
    "TIFF": TiffImageFile,
    "BMP": BmpImageFile,
    "GIF": GifImageFile,
}
MAX_BYTES = 200_000_000  # of a file
MAX_SIDE = 2048  # of the decoded photo, in pixels
MIN_SIDE = 16  # pixels
# Pixels of a file: decoding takes less than 1 GB and some seconds. More is a decompression bomb.
MAX_PIXELS = {"JPEG": 250_000_000, "PNG": 150_000_000, "BMP": 150_000_000, "TIFF": 80_000_000}
MAX_PIXELS |= {"GIF": 80_000_000, "HEIF": 60_000_000, "AVIF": 50_000_000, "WEBP": 40_000_000}
MAX_RUNS = 2_000_000  # bytes of a compressed BMP, which Pillow decodes in Python
MAX_BUFFERED = 100_000_000  # of a JPEG whose coefficients are kept from scan to scan
MAX_SCANNED = 2_000_000_000  # in all scans
BAND = 1_000_000  # pixels that are converted at once
TOPS = (255.0, 4095.0, 65535.0)  # of the values of an image of more than 8 bits
HIGHLIGHT = 16.0  # more than that is no light relative to white

TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

MAX_PNG = 50_000_000  # bytes of a PNG whose text is read
MAX_TEXT = 10_000_000  # bytes of one text, inflated


def load_photo(source: PhotoSource) -> Image.Image:
    """Decode an image file of one of DECODERS' formats, of any mode, or convert an image.

    It becomes upright 8-bit RGB, on white where transparent, the longer side at most MAX_SIDE.

    Raises:
        PhotoUnreadable: No image of these formats, a part of one, or too few pixels.
        PhotoTooLarge: More than MAX_PIXELS.
    """
    name = _name(source)
    try:
        if isinstance(source, Image.Image):
            image = source
            _check_size(image, max(MAX_PIXELS.values()), name)
        else:
            image = _open(source, name)
        image.load()
        photo, turn = _to_rgb(image), TURNS.get(orientation(image.info.get("exif") or b""))
        return photo if turn is None else photo.transpose(turn)
    except errors.PhotoError:
        raise
    except FileNotFoundError as error:
        raise errors.PhotoUnreadable(f"There is no file {name}.") from error
    except Exception as error:  # decoders of damaged files raise anything
        raise errors.PhotoUnreadable(
            f"{name} is no image that can be read, or only a part of one. "
            "Save it again as JPEG or PNG."
        ) from error


def _name(source: PhotoSource) -> str:
    """Return what a message calls an image: its path, unless that is too long to be quoted."""
    if not isinstance(source, str | Path):
        return "the image"
    return str(source) if len(str(source)) <= errors.QUOTED else errors.quote(Path(source).name)


def _open(source: str | Path | bytes, name: str) -> Image.Image:
    """Open a file by its content, not yet decoded; no more of it is kept than the decoder needs."""
    register_heif_opener()  # Pillow's users may save such images, too
    try:
        content = source if isinstance(source, bytes) else read_bytes(Path(source), MAX_BYTES)
    except ValueError as error:
        raise errors.PhotoTooLarge(f"{name} has {error}. Save a smaller copy.") from error
    if (kind := image_format(content)) is None:
        raise errors.PhotoUnreadable(
            f"{name} is no image of a format that is read: JPEG, PNG, WebP, AVIF, HEIC, TIFF, BMP, "
            "GIF. Save it again as JPEG or PNG."
        )
    content, exif = pixel_parts(content, kind)
    image: ImageFile.ImageFile = DECODERS[kind](BytesIO(content))
    image.info["exif"] = exif or image.info.get("exif")
    if image.tile and image.tile[0][0] == "bmp_rle" and len(content) > MAX_RUNS:
        raise ValueError("a BMP of too many runs")
    if isinstance(image, JpegImageFile):
        scans = content.count(b"\xff\xda")
        if scans > 1 or image.info.get("progressive"):
            _check_size(image, min(MAX_BUFFERED, MAX_SCANNED // max(1, scans)), name)
    _check_size(image, MAX_PIXELS[kind], name)
    if isinstance(image, JpegImageFile):
        image.draft(None, _bounded(image.size))  # decodes at a fraction of the size
    return image


def _check_size(image: Image.Image, most: int, name: str) -> None:
    """Refuse what is too large to be decoded, or has a side that is too short to show a face."""
    width, height = image.size
    if width * height > most:
        raise errors.PhotoTooLarge(
            f"{name} has {width} x {height} pixels, more than {most / 1e6:.3g} million. "
            "Save a smaller copy and use that."
        )
    if min(width, height) < MIN_SIDE:
        raise errors.PhotoUnreadable(
            f"{name} has only {width} x {height} pixels. Use a photo of at least 128 x 128."
        )
    if min(_bounded(image.size)) < MIN_SIDE:
        raise errors.PhotoUnreadable(
            f"{name} is too long and narrow: {width} x {height} pixels. Crop it to the face."
        )


def _bounded(size: tuple[int, int]) -> tuple[int, int]:
    """Return the size that a photo gets."""
    scale = min(1.0, MAX_SIDE / max(size))
    return round(size[0] * scale), round(size[1] * scale)


def _to_rgb(image: Image.Image) -> Image.Image:
    """Convert to 8-bit RGB and shrink, in bands of rows: never are there two of full size."""
    (width, height), factor = image.size, max(1, int(max(image.size) / MAX_SIDE / 1.5))
    top = _top(image) if image.mode.startswith("I") or image.mode == "F" else None
    small = Image.new("RGB", (-(-width // factor), -(-height // factor)))
    for row, band in _bands(image, factor):
        if top is not None:
            values = np.nan_to_num(_values(band), nan=0, posinf=top, neginf=0) / top
            band = Image.fromarray(np.rint(values.clip(0, 1) * 255).astype(np.uint8))
        elif band.has_transparency_data:
            white = Image.new("RGBA", band.size, "white")
            band = Image.alpha_composite(white, band.convert("RGBA"))
        small.paste(band.convert("RGB").reduce(factor), (0, row // factor))
    box = (0, 0, width / factor, height / factor)
    return small.resize(_bounded(image.size), Image.Resampling.BICUBIC, box, reducing_gap=2.0)


def _bands(image: Image.Image, factor: int = 1) -> Iterator[tuple[int, Image.Image]]:
    """Yield bands of about BAND pixels, a multiple of `factor` rows each, and their first rows."""
    rows = factor * max(1, BAND // (image.width * factor))
    for row in range(0, image.height, rows):
        yield row, image.crop((0, row, image.width, min(row + rows, image.height)))


def _values(image: Image.Image) -> npt.NDArray[np.float32]:
    return np.asarray(image).astype(np.float32)


def _top(image: Image.Image) -> float:
    """Return what is white in an image of more than 8 bits: the end of a usual range, or its peak.

    Linear light, 0 to 1 with highlights above, goes to its peak.
    """
    bands = (_values(band) for _, band in _bands(image))
    peak = max(float(band.max(initial=0, where=np.isfinite(band))) for band in bands)
    if image.mode == "F" and peak <= HIGHLIGHT:
        return max(1.0, peak)
    return next((top for top in TOPS if peak <= top), peak)


def png_text(source: str | Path | bytes, key: str) -> str | None:
    """Read the text of a PNG that other tools keep under a key, compressed or not.

    Returns:
        The first one of that key; None if there is none, or the file is no PNG.

    Raises:
        PhotoUnreadable: There is no such file, or it is too large or damaged.
    """
    name = "the image" if isinstance(source, bytes) else Path(source).name
    try:
        content = source if isinstance(source, bytes) else read_bytes(Path(source), MAX_PNG)
        if len(content) > MAX_PNG:
            raise ValueError(f"{len(content):,} bytes; at most {MAX_PNG:,} are read")
        wanted = key.encode("latin-1", "replace") + b"\0"
        for kind, data, _ in png_chunks(content) if content.startswith(PNG) else ():
            if kind in (b"tEXt", b"zTXt", b"iTXt") and data[: len(wanted)] == wanted:
                return _text(kind, bytes(data[len(wanted) :]))
        return None
    except (OSError, ValueError, zlib.error) as error:
        raise errors.PhotoUnreadable(
            f"The text in {errors.quote(name)} cannot be read ({errors.quote(str(error))}). "
            "Use the file as it was first saved."
        ) from error


def _text(kind: bytes, data: bytes) -> str:
    """Decode what follows the key in a chunk of text."""
    compressed = kind == b"zTXt"
    if kind == b"iTXt":
        compressed, (_, _, data) = data[:1] == b"\1", data[2:].split(b"\0", 2)  # two languages
    elif compressed:
        data = data[1:]  # the method, of which there is one
    if compressed:
        inflater = zlib.decompressobj()
        data = inflater.decompress(data, MAX_TEXT + 1)
        if not inflater.eof and len(data) <= MAX_TEXT:
            raise ValueError("a part of a text")
    if len(data) > MAX_TEXT:
        raise ValueError(f"more than {MAX_TEXT:,} bytes of text")
    return data.decode("utf-8" if kind == b"iTXt" else "latin-1", "replace")
