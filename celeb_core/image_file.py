"""Images that a person hands in: an allow-list of formats, bounded sizes, one error."""

import zlib
from collections.abc import Iterator
from pathlib import Path

from celeb_core import errors
from celeb_core.files import read_bytes

PNG = b"\x89PNG\r\n\x1a\n"
MAX_PNG = 50_000_000  # bytes of a PNG whose text is read
MAX_TEXT = 10_000_000  # bytes of one text, inflated


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
        for kind, data in _chunks(content) if content.startswith(PNG) else ():
            if kind in (b"tEXt", b"zTXt", b"iTXt") and data[: len(wanted)] == wanted:
                return _text(kind, bytes(data[len(wanted) :]))
        return None
    except (OSError, ValueError, zlib.error) as error:
        raise errors.PhotoUnreadable(
            f"The text in {errors.quote(name)} cannot be read ({errors.quote(str(error))}). "
            "Use the file as it was first saved."
        ) from error


def _chunks(content: bytes) -> Iterator[tuple[bytes, memoryview]]:
    """Yield the types and data of a PNG's chunks, whatever their checksums, until its end.

    Raises:
        ValueError: The file ends before.
    """
    view, at = memoryview(content), len(PNG)
    while at + 12 <= len(view):
        size, kind = int.from_bytes(view[at : at + 4]), bytes(view[at + 4 : at + 8])
        if kind == b"IEND":
            return
        if at + 12 + size > len(view):
            break
        yield kind, view[at + 8 : at + 8 + size]
        at += 12 + size
    raise ValueError("a part of a PNG")


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
