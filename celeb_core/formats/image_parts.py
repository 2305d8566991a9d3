"""The parts of an image file: a decoder gets those that its pixels need, and no others."""

import re
import zlib
from collections.abc import Iterator
from typing import Literal

PNG = b"\x89PNG\r\n\x1a\n"
STARTS = {  # of a file, by Pillow's name of its format
    "JPEG": (b"\xff\xd8\xff",),
    "PNG": (PNG,),
    "GIF": (b"GIF87a", b"GIF89a"),
    "TIFF": (b"II*\0", b"MM\0*"),
    "BMP": (b"BM",),
}
AVIF = {b"avif", b"avis"}  # brands
HEIF = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"}
FORMATS = (*STARTS, "WEBP", "AVIF", "HEIF")

MAX_PARTS = 200_000  # of a file; more would take seconds
MAX_EXIF = 10_000_000  # bytes
PIXEL_CHUNKS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT")
MARKER = re.compile(rb"\xff([^\0\xff])")
OTHER_SEGMENTS = {*range(0xE1, 0xEE), 0xEF, 0xFE}  # of a JPEG: metadata; JFIF's and Adobe's stay
# of a TIFF; the others are about its use: resolution, colour profile, texts, EXIF, next page
PIXEL_TAGS = {*range(256, 260), 262, 266, 273, *range(277, 280), 284, 292, 293, 317, 320}
PIXEL_TAGS |= {*range(322, 326), 338, 339, 347, *range(512, 522), *range(529, 533)}
ORIENTATION = 274
EXIF_ITEM = re.compile(rb"(infe.{8}(?:..)?)Exif", re.DOTALL)


def image_format(content: bytes) -> str | None:
    """Return which one of FORMATS a file has, whatever its suffix says; None: another one."""
    for name, starts in STARTS.items():
        if content.startswith(starts):
            return name
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "WEBP"
    if content[4:8] == b"ftyp":
        end = min(int.from_bytes(content[:4]), 256)
        brands = {content[at : at + 4] for at in range(8, end, 4)}
        return "AVIF" if brands & AVIF else "HEIF" if brands & HEIF else None
    return None


def pixel_parts(content: bytes, name: str) -> tuple[bytes, bytes]:
    """Leave out what a file of a format holds beside its pixels, however large or damaged it is.

    Returns:
        The file of the first image, and its EXIF as far as the decoder does not see to that.

    Raises:
        ValueError: What the pixels need is damaged.
    """
    if name == "PNG":
        return _png(content)
    if name == "JPEG":
        return _jpeg(content)
    if name == "TIFF":
        return _tiff(content)
    if name in ("AVIF", "HEIF"):  # there EXIF does not say how to turn the image
        return EXIF_ITEM.sub(rb"\1none", content), b""
    return content, b""


def orientation(exif: bytes) -> int:
    """Return how EXIF, or a TIFF, says that the image is to be turned, 1 to 8; 1 if damaged."""
    order, entries = _directory(exif.removeprefix(b"Exif\0\0"))
    for entry in entries:
        if int.from_bytes(entry[:2], order) == ORIENTATION:
            width = {1: 1, 3: 2, 4: 4}.get(int.from_bytes(entry[2:4], order), 0)  # by its type
            value = int.from_bytes(entry[8 : 8 + width], order)
            return value if 1 <= value <= 8 else 1
    return 1


def png_chunks(content: bytes) -> Iterator[tuple[bytes, memoryview, bytes]]:
    """Yield the types, data and checksums of a PNG's chunks until its end.

    Raises:
        ValueError: The file ends before, or has more than MAX_PARTS.
    """
    view, at = memoryview(content), len(PNG)
    for _ in range(MAX_PARTS):
        size, kind = int.from_bytes(view[at : at + 4]), bytes(view[at + 4 : at + 8])
        if kind == b"IEND":
            return
        if at + 12 + size > len(view):
            break
        yield kind, view[at + 8 : at + 8 + size], bytes(view[at + 8 + size : at + 12 + size])
        at += 12 + size
    raise ValueError("a part of a PNG")


def _png(content: bytes) -> tuple[bytes, bytes]:
    parts: list[bytes | memoryview] = [PNG]
    exif = b""
    for kind, data, checksum in png_chunks(content):
        if kind == b"eXIf" and len(data) <= MAX_EXIF:
            exif = bytes(data)
        if kind in PIXEL_CHUNKS:
            right = zlib.crc32(data, zlib.crc32(kind)).to_bytes(4)
            if checksum != right and kind != b"tRNS":
                raise ValueError(f"a wrong checksum of {kind.decode()}")
            parts += [len(data).to_bytes(4), kind, data, right]
    return b"".join([*parts, bytes(4), b"IEND", zlib.crc32(b"IEND").to_bytes(4)]), exif


def _jpeg(content: bytes) -> tuple[bytes, bytes]:
    parts: list[bytes | memoryview] = [b"\xff\xd8"]
    view, exif, at = memoryview(content), b"", 2
    for _ in range(MAX_PARTS):
        if not (found := MARKER.search(content, at)):
            break
        start, marker = found.start(), found[1][0]
        if marker == 0xDA:  # the pixels; behind their end MPO has further images
            end = content.find(b"\xff\xd9", start)
            return b"".join([*parts, view[start : end + 2 if end > 0 else None]]), exif
        at = found.end()
        if 0xD0 <= marker <= 0xD8 or marker == 1:  # without data
            continue
        at += max(int.from_bytes(view[at : at + 2]), 2)
        if marker not in OTHER_SEGMENTS:
            parts.append(view[start:at])
        elif not exif and marker == 0xE1 and content.startswith(b"Exif\0\0", start + 4):
            exif = bytes(view[start + 4 : at])
    raise ValueError("a JPEG without pixels")


def _tiff(content: bytes) -> tuple[bytes, bytes]:
    """Give a TIFF a new directory, at its end, of what its first page needs."""
    order, entries = _directory(content)
    kept = [entry for entry in entries if int.from_bytes(entry[:2], order) in PIXEL_TAGS]
    if any(int.from_bytes(entry[4:8], order) > MAX_PARTS for entry in kept):
        raise ValueError("a TIFF of too many parts")
    at = (len(content) + 1) // 2 * 2
    start = (content[:4], at.to_bytes(4, order), memoryview(content)[8:], bytes(at - len(content)))
    return b"".join([*start, len(kept).to_bytes(2, order), *kept, bytes(4)]), content


def _directory(tiff: bytes) -> tuple[Literal["little", "big"], list[bytes]]:
    """Return the byte order of a TIFF, and the entries of its first directory that are there."""
    order: Literal["little", "big"] = "little" if tiff[:2] == b"II" else "big"
    at = int.from_bytes(tiff[4:8], order)
    count = int.from_bytes(tiff[at : at + 2], order)
    entries = [tiff[at + 2 + 12 * i : at + 14 + 12 * i] for i in range(count)]
    return order, [entry for entry in entries if len(entry) == 12]
