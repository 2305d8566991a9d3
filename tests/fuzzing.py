"""Mutations of small valid files, for tests that nothing but a CelebError comes of them."""

from __future__ import annotations

import io
import random
import struct
import zlib
from collections.abc import Callable, Iterator

import numpy as np
from PIL import Image

Mutator = Callable[[bytes, random.Random], bytes]
FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "AVIF", "HEIF", "TIFF", "BMP", "GIF")


def image_seeds(face: Image.Image) -> dict[str, bytes]:
    """Return small valid files of all formats and many modes, which show an RGB face."""
    import pillow_heif

    pillow_heif.register_heif_opener()
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "a camera"
    grey = np.asarray(face.convert("L"))
    alpha = face.copy()
    alpha.putalpha(200)
    deep = Image.fromarray((grey.astype(np.uint16) << 4).astype(np.uint16))
    return {
        "jpeg": _saved(face, "JPEG", exif=exif),
        "progressive": _saved(face, "JPEG", progressive=True, exif=exif),
        "cmyk": _saved(face.convert("CMYK"), "JPEG"),
        "mpo": _saved(face, "MPO", save_all=True, append_images=[face]),
        "png": _saved(face, "PNG", exif=exif),
        "palette": _saved(face.convert("P"), "PNG", transparency=3),
        "alpha": _saved(alpha, "PNG"),
        "png16": _saved(deep, "PNG"),
        "apng": _saved(face, "PNG", save_all=True, append_images=[face.rotate(90)]),
        "webp": _saved(face, "WEBP", exif=exif),
        "lossless": _saved(alpha, "WEBP", lossless=True),
        "moving": _saved(face, "WEBP", save_all=True, append_images=[face.rotate(90)]),
        "avif": _saved(face, "AVIF", exif=exif.tobytes()),
        "avif-alpha": _saved(alpha, "AVIF"),
        "heif": _saved(face, "HEIF", exif=exif.tobytes()),
        "tiff": _saved(face, "TIFF", exif=exif),
        "lzw": _saved(alpha, "TIFF", compression="tiff_lzw"),
        "tiff-jpeg": _saved(face, "TIFF", compression="jpeg"),
        "tiff16": _saved(deep, "TIFF", compression="tiff_deflate"),
        "float": _saved(Image.fromarray(grey.astype(np.float32) / 255), "TIFF"),
        "bmp": _saved(face, "BMP"),
        "bmp-palette": _saved(face.convert("P"), "BMP"),
        "bmp-rle": _run_length_bmp(face),
        "gif": _saved(face, "GIF"),
        "gif-moving": _saved(face, "GIF", save_all=True, append_images=[face.rotate(90)]),
    }


def _saved(image: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def _run_length_bmp(image: Image.Image) -> bytes:
    """Pillow reads such files and writes none."""
    content = bytearray(_saved(image.convert("P"), "BMP"))
    start = struct.unpack_from("<I", content, 10)[0]
    rows = np.frombuffer(bytes(content[start:]), np.uint8).reshape(image.height, -1)
    pairs = b"".join(bytes((1, value)) for row in rows[:, : image.width] for value in row)
    content[30:34] = struct.pack("<I", 1)
    return bytes(content[:start]) + pairs + b"\0\1"


def mutations(content: bytes, others: list[bytes], rng: random.Random) -> Iterator[bytes]:
    """Yield changed copies of a file without an end; `others` lend their parts."""
    while True:
        changed = content
        for _ in range(rng.choice((1, 1, 1, 2, 4))):
            changed = rng.choice(MUTATORS)(changed or content, rng)
        if rng.random() < 0.1:
            changed = splice(changed, rng.choice(others), rng)
        yield changed


def splice(content: bytes, other: bytes, rng: random.Random) -> bytes:
    """Put a part of another file in place of a part of this one."""
    at, start = rng.randrange(len(content) + 1), rng.randrange(len(other))
    part = other[start : start + rng.randrange(1, 2000)]
    return content[:at] + part + content[at + rng.choice((0, len(part))) :]


def flip(content: bytes, rng: random.Random) -> bytes:
    """Change some bytes."""
    changed = bytearray(content)
    for _ in range(rng.choice((1, 1, 3, 10, 50))):
        changed[rng.randrange(len(changed))] = rng.choice((0, 255, 127, 128, rng.randrange(256)))
    return bytes(changed)


def flip_header(content: bytes, rng: random.Random) -> bytes:
    """Change bytes where sizes, types and offsets are."""
    changed = bytearray(content)
    for _ in range(rng.choice((1, 2, 4))):
        at = rng.randrange(min(len(changed), rng.choice((32, 200, 600))))
        changed[at] = rng.choice((0, 1, 255, 127, 128, rng.randrange(256)))
    return bytes(changed)


def write_number(content: bytes, rng: random.Random) -> bytes:
    """Write a large, small or negative number of 2 or 4 bytes, in either order."""
    number = rng.choice((0, 1, 2, 0x7FFF, 0xFFFF, 0x10000, 0x7FFFFFFF, 0xFFFFFFFF, 0x40000001))
    order, width = rng.choice("<>"), rng.choice("HI")
    data = struct.pack(order + width, number & (0xFFFF if width == "H" else 0xFFFFFFFF))
    at = rng.randrange(min(len(content), rng.choice((64, 400, len(content)))))
    return content[:at] + data + content[at + len(data) :]


def truncate(content: bytes, rng: random.Random) -> bytes:
    """Cut off the end."""
    return content[: rng.randrange(1, len(content) + 1)]


def remove(content: bytes, rng: random.Random) -> bytes:
    """Leave out a part."""
    at = rng.randrange(len(content))
    return content[:at] + content[at + rng.choice((1, 2, 4, 12, 100)) :]


def insert(content: bytes, rng: random.Random) -> bytes:
    """Put bytes between."""
    at = rng.randrange(len(content) + 1)
    return content[:at] + rng.randbytes(rng.choice((1, 4, 100, 5000))) + content[at:]


def repeat(content: bytes, rng: random.Random) -> bytes:
    """Repeat a part many times."""
    at = rng.randrange(len(content))
    part = content[at : at + rng.choice((1, 4, 12, 64, 300))]
    return content[:at] + part * rng.choice((2, 10, 300)) + content[at:]


def damage_chunk(content: bytes, rng: random.Random) -> bytes:
    """Add to, change or drop a chunk of a PNG, with a checksum that is right; else `flip`."""
    if not content.startswith(b"\x89PNG\r\n\x1a\n"):
        return flip_header(content, rng)
    chunks, at = [], 8
    while at + 12 <= len(content) and len(chunks) < 100:
        size = int.from_bytes(content[at : at + 4])
        chunks.append((content[at + 4 : at + 8], content[at + 8 : at + 8 + size]))
        at += 12 + size
    if not chunks:
        return flip(content, rng)
    which = rng.randrange(len(chunks))
    kind, data = chunks[which]
    if data and rng.random() < 0.6:
        chunks[which] = kind, flip_header(data, rng)
    elif rng.random() < 0.5:
        kind = rng.choice((b"tEXt", b"iCCP", b"eXIf", b"tRNS", b"PLTE", b"IDAT", b"acTL", b"zTXt"))
        chunks.insert(which, (kind, rng.randbytes(rng.choice((0, 3, 200)))))
    else:
        del chunks[which]
    parts = [content[:8]]
    for kind, data in chunks:
        parts += [len(data).to_bytes(4), kind, data, zlib.crc32(kind + data).to_bytes(4)]
    return b"".join(parts)


MUTATORS: tuple[Mutator, ...] = (
    flip, flip_header, write_number, truncate, remove, insert, repeat, damage_chunk,
)  # fmt: skip
