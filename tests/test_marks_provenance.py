from __future__ import annotations

import os

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from celeb_core.errors import PhotoUnreadable, UsageError
from celeb_core.formats.image_file import load_photo
from celeb_core.marks.invisible_mark import MOST, InvisibleMark
from celeb_core.marks.provenance import KEY_FILE, SETTINGS, Marker, load_key, load_marker
from celeb_core.marks.xmp import GENERATED, NAME, PNG_KEY, build_packet

HERE, ELSEWHERE = Marker(b"h" * 32), Marker(b"e" * 32)
SETTINGS_OF_ADA = {"prompt": "a photo of <ada>", "seed": 5}


def image(width: int = 64) -> Image.Image:
    noise = np.random.default_rng(0).integers(0, 255, (48, width, 3), dtype=np.uint8)
    return Image.fromarray(noise)


def info_of(path) -> dict:
    with Image.open(path) as opened:
        opened.load()
        return dict(opened.info)


@pytest.fixture
def made(tmp_path):
    path = tmp_path / "made.png"
    path.write_bytes(HERE.png(image(), SETTINGS_OF_ADA, "as text"))
    return path


def resaved(path, pixels, kind="PNG", **texts):
    info = PngInfo()
    for key, text in texts.items():
        info.add_itxt(key, text)
    more = {"pnginfo": info} if kind == "PNG" else {"xmp": texts[PNG_KEY].encode()}
    pixels.save(path, kind, **more)
    return path


def test_anybody_can_read_that_it_was_generated_and_only_we_that_it_was_here(made):
    packet = info_of(made)[PNG_KEY]
    assert GENERATED in packet and NAME in packet
    assert HERE.examine(made).verdict == "unchanged" and not HERE.examine(made).notes
    assert ELSEWHERE.examine(made).verdict == "elsewhere"


@pytest.mark.parametrize("width", [64, 4000])
def test_without_settings_and_of_any_size(width, tmp_path):
    path = tmp_path / "made.png"
    path.write_bytes(HERE.png(image(width), None))
    assert HERE.examine(path).verdict == "unchanged"
    assert set(info_of(path)) & {SETTINGS, "parameters"} == set()


def test_the_mark_tells_nothing_of_who_and_what(made):
    packet = info_of(made)[PNG_KEY]
    assert "ada" not in packet and "photo of" not in packet
    again = Marker(HERE.key).png(image(), SETTINGS_OF_ADA, "as text")
    assert again == made.read_bytes()  # the same for all: no user, no time, nothing random


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_pixels_that_were_changed_are_no_longer_ours_but_the_mark_is(kind, made, tmp_path):
    edited = load_photo(made)
    edited.putpixel((3, 4), (1, 2, 3))
    path = resaved(tmp_path / "edited", edited, kind, **{PNG_KEY: info_of(made)[PNG_KEY]})
    found = HERE.examine(path)
    assert found.verdict == "changed"
    assert "copied into an image from elsewhere" in found.text


def test_settings_that_were_changed_are_said_to_be(made, tmp_path):
    packet = info_of(made)[PNG_KEY]
    for texts in ({}, {SETTINGS: '{"prompt": "another"}'}):
        path = resaved(tmp_path / "other.png", image(), **{PNG_KEY: packet, **texts})
        found = HERE.examine(path)
        assert found.verdict == "unchanged" and "settings beside" in found.notes[0]


def test_a_strangers_image_is_not_claimed(tmp_path):
    generated = build_packet({}).replace(NAME, "Other tool")
    claimed = build_packet({"pixels": "00", "settings": "", "seal": "00"})
    odd = build_packet({"pixels": "ä", "settings": "", "seal": "ä"})
    camera = generated.replace("trainedAlgorithmicMedia", "digitalCapture")
    verdicts = [
        HERE.examine(resaved(tmp_path / "a.png", image(), **texts)).verdict
        for texts in ({PNG_KEY: generated}, {PNG_KEY: claimed}, {PNG_KEY: odd}, {PNG_KEY: camera})
    ]
    assert verdicts == ["other tool", "elsewhere", "elsewhere", "nothing"]
    bare = HERE.examine(resaved(tmp_path / "b.png", image()))
    assert bare.verdict == "nothing" and "proves nothing" in bare.text
    other = HERE.examine(resaved(tmp_path / "c.png", image(), parameters="a cat\nSteps: 5"))
    assert other.verdict == "nothing" and "not signed" in other.text


@pytest.mark.parametrize(("kind", "options"), [
    ("WEBP", {"quality": 85, "save_all": True, "append_images": [image().rotate(180)]}),
    ("WEBP", {"quality": 90}),
    ("JPEG", {"quality": 80}),
    ("GIF", {"save_all": True, "append_images": [image().rotate(180)], "loop": 0}),
])  # fmt: skip
def test_other_formats_have_the_mark_too_of_the_pixels_as_encoded(kind, options, tmp_path):
    path = tmp_path / "made"
    path.write_bytes(HERE.encode(image(), kind, **options))
    assert HERE.examine(path).verdict == "unchanged"
    with Image.open(path) as opened:
        assert getattr(opened, "n_frames", 1) == 1 + len(options.get("append_images", []))


def test_a_video_has_it_too(tmp_path):
    video = (16).to_bytes(4) + b"ftypisom" + bytes(4) + (12).to_bytes(4) + b"mdat" + b"film"
    path = tmp_path / "film.mp4"
    path.write_bytes(HERE.mp4(video))
    assert HERE.examine(path).verdict == "unchanged"
    path.write_bytes(path.read_bytes().replace(b"film", b"fake"))
    assert HERE.examine(path).verdict == "changed"


@pytest.mark.parametrize("content", [b"", b"text", b"<x:xmpmeta></x:xmpmeta>"])
def test_what_is_no_image_is_refused(content, tmp_path):
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(PhotoUnreadable):
        HERE.examine(tmp_path / "file")


def test_the_key_is_made_once_and_private(tmp_path):
    folder = tmp_path / "private"
    key = load_key(folder)
    assert load_key(folder) == key and len(key) == 32
    assert [path.name for path in folder.iterdir()] == [KEY_FILE]
    if os.name == "posix":
        assert (folder / KEY_FILE).stat().st_mode & 0o777 == 0o600
    assert load_key(tmp_path / "another") != key


def test_a_damaged_key_is_not_replaced(tmp_path):
    (tmp_path / KEY_FILE).write_text("00")
    with pytest.raises(UsageError, match="damaged"):
        load_key(tmp_path)
    assert (tmp_path / KEY_FILE).read_text() == "00"


def test_where_no_key_can_be_kept_images_are_marked_all_the_same(tmp_path, caplog):
    (tmp_path / "file").write_text("")
    assert len(load_key(tmp_path / "file" / "private")) == 32
    assert "will not be recognised" in caplog.text


class Watermark:
    """In place of TrustMark: the text in the first pixels."""

    def encode(self, in_cover_image, string_secret):
        marked = in_cover_image.copy()
        for x, letter in enumerate(string_secret):
            marked.putpixel((x, 0), (ord(letter),) * 3)
        return marked

    def decode(self, in_stego_image):
        row = [in_stego_image.getpixel((x, 0))[0] for x in range(MOST)]
        return "".join(map(chr, row)), True, 1


def test_an_invisible_mark_outlives_the_metadata(tmp_path):
    here = Marker(b"h" * 32, invisible=InvisibleMark("abcdefgh", Watermark()))
    path = tmp_path / "made.png"
    path.write_bytes(here.png(image(), None))
    assert here.examine(path).verdict == "unchanged"
    load_photo(path).save(path)
    found = here.examine(path)
    assert found.verdict == "changed" and "invisible mark" in found.notes[0]
    image().save(path)
    assert here.examine(path).verdict == "nothing"


def test_options_that_need_a_package_name_it(tmp_path, monkeypatch):
    def missing(name):
        raise ImportError(f"No module named '{name}'")

    monkeypatch.setattr("celeb_core.marks.invisible_mark.import_module", missing)
    monkeypatch.setattr("celeb_core.marks.content_credentials.import_module", missing)
    with pytest.raises(UsageError, match="pip install trustmark"):
        load_marker(tmp_path, hidden=True)
    with pytest.raises(UsageError, match="pip install c2pa-python"):
        load_marker(tmp_path, tmp_path, tmp_path)
    with pytest.raises(UsageError, match="together"):
        load_marker(tmp_path, tmp_path)


def test_a_file_that_is_signed_is_marked_first(tmp_path):
    class Credentials:
        def sign(self, content, kind):
            return content + f"signed as {kind}".encode()

    signed = Marker(HERE.key, Credentials())
    assert signed.png(image(), None) == HERE.png(image(), None) + b"signed as PNG"
    assert signed.encode(image(), "JPEG", sign=False) == HERE.encode(image(), "JPEG")
    assert signed.encode(image(), "GIF").endswith(b"signed as GIF")
