from __future__ import annotations

import io
import os
import struct
import zlib
from unittest.mock import Mock

import numpy as np
import pillow_heif
import pytest
from PIL import Image, PngImagePlugin

from celeb_core import load_photo
from celeb_core.errors import PhotoTooLarge, PhotoUnreadable
from celeb_core.formats.image_file import MAX_BYTES, MAX_TEXT, TURNS, png_text
from celeb_core.formats.image_parts import PNG, orientation

pillow_heif.register_heif_opener()


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


def saved(image: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def ramp(mode: str = "RGB") -> Image.Image:
    """Return 64 x 48 pixels, dark on the left and light on the right, the upper part lighter."""
    values = np.tile(np.linspace(0, 200, 64), (48, 1))
    values[:24] += 50
    return Image.fromarray(values.astype(np.uint8)).convert(mode)


def with_chunks(content: bytes, *chunks: tuple[bytes, bytes], wrong: bool = False) -> bytes:
    """Put chunks behind a PNG's header."""
    parts = [content[:33]]
    for kind, data in chunks:
        checksum = zlib.crc32(kind + data) ^ wrong
        parts += [len(data).to_bytes(4), kind, data, checksum.to_bytes(4)]
    return b"".join([*parts, content[33:]])


def difference(a: Image.Image, b: Image.Image) -> float:
    return float(np.abs(np.asarray(a, np.float32) - np.asarray(b, np.float32)).mean())


REFUSED = {
    "endless.png": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n%%EndComments\n{} loop\n",
    "layers.jpg": saved(ramp(), "JPEG2000"),
    "icon.png": saved(ramp(), "ICO"),
    "photo.webp": b"<svg xmlns='http://www.w3.org/2000/svg'><circle r='50'/></svg>",
    "photo.pdf": saved(ramp(), "PDF"),
    "photo.heic": b"\0\0\0\x18ftypisom" + bytes(100),
    "photo.bmp": saved(ramp(), "PPM"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_other_formats_are_refused_by_content_before_any_decoder_runs(name, tmp_path, monkeypatch):
    (tmp_path / name).write_bytes(REFUSED[name])
    monkeypatch.setattr("subprocess.Popen", None)
    with pytest.raises(PhotoUnreadable, match=rf"{name} is no image of a format.*JPEG, PNG, WebP"):
        load_photo(tmp_path / name)


def test_a_suffix_does_not_matter(tmp_path):
    (tmp_path / "photo.eps").write_bytes(saved(ramp(), "PNG"))
    assert difference(load_photo(tmp_path / "photo.eps"), ramp()) == 0


def broken_exif() -> bytes:
    """Turned by 90 degrees, with a resolution that is no fraction and a tag beyond the end."""
    entries = [(0x0112, 3, 1, 6), (0x011A, 2, 4, 0x41414141), (0x8769, 4, 1, 0xFFFFFF)]
    directory = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + directory + bytes(4)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_orientation_is_read_from_damaged_exif(kind):
    turned = ramp().transpose(Image.Transpose.ROTATE_90)
    photo = load_photo(saved(turned, kind, exif=broken_exif(), quality=95))
    assert photo.size == (64, 48) and difference(photo, ramp()) < 4


def test_orientation_of_every_kind():
    for value, turn in TURNS.items():
        inverse = {4: 2, 2: 4}.get(turn.value, turn.value)  # of a quarter: the other one
        stored = ramp().transpose(Image.Transpose(inverse))
        exif = Image.Exif()
        exif[0x0112] = value
        for kind in ("PNG", "TIFF"):
            assert difference(load_photo(saved(stored, kind, exif=exif)), ramp()) == 0


@pytest.mark.parametrize(
    "exif", [b"", b"Exif\0\0", b"II*\0\xff\xff\xff\xff", b"MM\0*\0\0\0\x08\0\x09"]
)
def test_exif_that_says_nothing(exif):
    assert orientation(exif) == 1


@pytest.mark.parametrize("kind", ["AVIF", "HEIF"])
def test_formats_that_turn_their_images_themselves_are_turned_once(kind):
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = ramp().transpose(Image.Transpose.ROTATE_90)
    content = saved(turned, kind, exif=exif.tobytes(), quality=95)
    assert difference(load_photo(content), ramp()) < 4


@pytest.mark.parametrize("wrong", [True, False])
def test_what_a_png_holds_beside_its_pixels_does_not_matter(wrong):
    text = b"workflow\0" + bytes(3_000_000)
    profile = b"icc\0\0" + zlib.compress(bytes(3_000_000))
    chunks = [(b"tEXt", text), (b"iCCP", profile), (b"zTXt", b"a"), (b"eXIf", b"no EXIF")]
    content = with_chunks(saved(ramp(), "PNG"), *chunks, wrong=wrong) + b"garbage"
    assert difference(load_photo(content), ramp()) == 0


def test_a_png_whose_pixels_are_damaged():
    content = saved(ramp(), "PNG")
    at = content.index(b"IDAT") + 20
    for damaged in (content[:at] + b"\xff\xff" + content[at + 2 :], content[:at], content[:-12]):
        with pytest.raises(PhotoUnreadable):
            load_photo(damaged)


def test_the_first_image_of_several():
    for kind in ("MPO", "PNG", "WEBP", "GIF", "TIFF"):
        more = {"save_all": True, "append_images": [Image.new("RGB", (64, 48))]}
        assert difference(load_photo(saved(ramp(), kind, **more)), ramp()) < 4


@pytest.mark.parametrize("top", [0.9, 1.0, 1.5, 250.0, 65535.0, 1e9])
def test_floats_are_scaled_by_their_range(top):
    values = np.tile(np.linspace(0, top, 64, dtype=np.float32), (48, 1))
    values[0, :3] = np.nan, np.inf, -np.inf
    photo = np.asarray(load_photo(Image.fromarray(values)))
    white = round(255 * 0.9) if top == 0.9 else 250 if top == 250 else 255
    assert photo.max() == 255 and photo[5].max() == white and photo[5, 0, 0] == 0


@pytest.mark.parametrize("top", [255, 4095, 65535])
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_are_scaled_by_their_range(kind, top):
    values = np.tile(np.linspace(0, top, 64).astype(np.uint16), (48, 1))
    photo = load_photo(saved(Image.fromarray(values), kind))
    assert (
        difference(photo, Image.fromarray((values / top * 255).astype(np.uint8)).convert("RGB")) < 1
    )


@pytest.mark.parametrize(
    "mode", ["1", "L", "LA", "P", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV", "I", "F"]
)
def test_images_of_every_mode(mode):
    image = Image.new("RGB", (40, 40), "white").convert(mode)
    assert difference(load_photo(image), Image.new("RGB", (40, 40), "white")) < 2


def test_shrinking_in_bands_is_shrinking():
    x, y = np.meshgrid(np.arange(6500), np.arange(650))
    large = Image.fromarray(((np.sin(x / 300) * np.cos(y / 200) + 1) * 127).astype(np.uint8))
    photo = load_photo(large)
    assert photo.size == (2048, 205)
    assert (
        difference(photo, large.resize(photo.size, Image.Resampling.BICUBIC).convert("RGB")) < 0.6
    )


def test_sizes_before_anything_is_decoded():
    with pytest.raises(PhotoUnreadable, match="too long and narrow: 64 x 9000.*Crop"):
        load_photo(Image.new("L", (64, 9000)))
    header = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 6, 0, 0, 0)
    png = PNG + b"".join(
        len(data).to_bytes(4) + kind + data + zlib.crc32(kind + data).to_bytes(4)
        for kind, data in ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(100))), (b"IEND", b""))
    )
    with pytest.raises(PhotoTooLarge, match="50000 x 50000 pixels, more than 150 million"):
        load_photo(png)


def test_a_progressive_jpeg_of_too_many_scans():
    content = saved(ramp().resize((640, 640)), "JPEG", progressive=True)
    scan = content[content.index(b"\xff\xda") : content.rindex(b"\xff\xd9")]
    with pytest.raises(PhotoTooLarge):
        load_photo(content[:-2] + scan * 1000 + b"\xff\xd9")


def test_whatever_a_decoder_raises_is_an_unreadable_image(tmp_path, monkeypatch):
    path = tmp_path / "ada.png"
    path.write_bytes(saved(ramp(), "PNG"))
    for wrong in (RuntimeError, struct.error, TypeError, MemoryError, zlib.error, RecursionError):
        monkeypatch.setattr(Image.Image, "load", Mock(side_effect=wrong))
        monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", Mock(side_effect=wrong))
        for source in (path, Image.new("RGB", (64, 64))):
            with pytest.raises(PhotoUnreadable, match="ada.png|the image"):
                load_photo(source)


def test_what_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    for path in (tmp_path / "pipe.png", tmp_path, tmp_path / "none", "\0", ""):
        with pytest.raises(PhotoUnreadable, match="There is no file"):
            load_photo(path)
    with pytest.raises(PhotoUnreadable) as caught:
        load_photo("a" * 5000)
    assert len(str(caught.value)) < 400


def test_a_file_of_too_many_bytes(tmp_path):
    path = tmp_path / "sparse.png"
    with open(path, "wb") as file:
        file.truncate(MAX_BYTES + 1)
    with pytest.raises(PhotoTooLarge, match="200,000,001 bytes.*smaller copy"):
        load_photo(path)
