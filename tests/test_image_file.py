from __future__ import annotations

import io
import zlib

import pytest
from PIL import Image, PngImagePlugin

from celeb_core.errors import PhotoUnreadable
from celeb_core.image_file import MAX_TEXT, png_text


def png(info: PngImagePlugin.PngInfo) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (16, 16)).save(buffer, "PNG", pnginfo=info)
    return buffer.getvalue()


@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize("kind", ["add_text", "add_itxt"])
def test_text_of_a_png(kind, compressed, tmp_path):
    info = PngImagePlugin.PngInfo()
    info.add_text("sd", "another key that begins so")
    getattr(info, kind)("sd-ti-embedding", "größer", zip=compressed)
    assert png_text(png(info), "sd-ti-embedding") == "größer"
    (tmp_path / "ada.txt").write_bytes(png(info))
    assert png_text(tmp_path / "ada.txt", "sd-ti-embedding") == "größer"
    assert png_text(png(info), "sd-ti") is None


def test_what_is_no_png_has_no_text(tmp_path):
    assert png_text(b"", "a") is None and png_text(b"GIF89a", "a") is None
    for path in (tmp_path / "none.png", tmp_path):
        with pytest.raises(PhotoUnreadable, match="cannot be read"):
            png_text(path, "a")


def test_damaged_text():
    info = PngImagePlugin.PngInfo()
    info.add_text("a", "text " * 50, zip=True)
    content = png(info)
    start = content.index(b"zTXt")
    for damaged in (
        content[: start + 12],
        content[: start + 8] + b"\xff" + content[start + 9 :],  # in the compressed text
        content[: start - 2] + b"\xff" + content[start - 1 :],  # its length
    ):
        with pytest.raises(PhotoUnreadable):
            png_text(damaged, "a")
    with pytest.raises(PhotoUnreadable):
        png_text(content[:-14], "b")  # without its end
    checksum = content.index(b"IDAT") - 8
    changed = content[:checksum] + b"0000" + content[checksum + 4 :]
    assert png_text(changed, "a") == "text " * 50


def test_text_is_inflated_up_to_a_limit():
    info = PngImagePlugin.PngInfo()
    info.add(b"zTXt", b"a\0\0" + zlib.compress(bytes(MAX_TEXT + 1)))
    with pytest.raises(PhotoUnreadable, match="more than"):
        png_text(png(info), "a")


def test_text_in_unknown_pieces():
    info = PngImagePlugin.PngInfo()
    info.add(b"iTXt", b"a\0\0\0en")  # no end of the languages
    with pytest.raises(PhotoUnreadable):
        png_text(png(info), "a")
