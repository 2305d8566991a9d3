from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

import celeb_core
from celeb_core.errors import PhotoUnreadable
from celeb_core.marks.xmp import (
    CREATOR,
    GENERATED,
    MAX_PACKET,
    add_to_gif,
    build_packet,
    is_generated,
    is_mp4,
    mp4_box,
    mp4_stream,
    read_packet,
    read_properties,
)

PACKET = build_packet({"note": 'a <b> & "c"'})
BOX = (16).to_bytes(4) + b"ftypisom" + bytes(4)


def photo() -> Image.Image:
    noise = np.random.default_rng(0).integers(0, 255, (32, 48, 3), dtype=np.uint8)
    return Image.fromarray(noise)


def test_the_program_says_which_version_it_is():
    assert celeb_core.__version__ in CREATOR


def test_a_packet_says_that_the_image_was_generated_and_by_what():
    found = read_properties(PACKET)
    assert found["Iptc4xmpExt:DigitalSourceType"] == GENERATED and is_generated(found)
    assert found["xmp:CreatorTool"] == CREATOR
    assert found["studio:note"] == 'a <b> & "c"'


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "GIF"])
def test_it_is_found_in_a_file_of_a_format_by_us_and_by_pillow(kind, tmp_path):
    file, path = BytesIO(), tmp_path / "image"
    if kind == "GIF":
        photo().save(file, kind)
        path.write_bytes(add_to_gif(file.getvalue(), PACKET))
    else:
        photo().save(path, kind, xmp=PACKET.encode())
    assert read_properties(read_packet(path)) == read_properties(PACKET)
    with Image.open(path) as image:
        image.load()
        assert kind == "GIF" or GENERATED.encode() in image.info["xmp"]


def test_an_mp4_has_it_behind_its_video(tmp_path):
    video = BOX + (12).to_bytes(4) + b"mdat" + b"film"
    marked = video + mp4_box(PACKET)
    (tmp_path / "film.mp4").write_bytes(marked)
    assert is_generated(read_properties(read_packet(tmp_path / "film.mp4")))
    assert is_mp4(marked) and mp4_stream(marked) == mp4_stream(video) == b"film"
    assert not is_mp4(BOX.replace(b"isom", b"heic"))


@pytest.mark.parametrize("damaged", [b"", BOX[:6], bytes(40), BOX + b"\0\0\0\1mdat" + bytes(20)])
def test_a_damaged_mp4_has_no_video(damaged):
    assert mp4_stream(damaged) == b""


@pytest.mark.parametrize(
    "packet",
    [
        "", "<x:xmpmeta", PACKET[: len(PACKET) // 2], PACKET.replace("rdf:about", "<"),
        PACKET.replace("<rdf:RDF", '<!DOCTYPE a [<!ENTITY b "c">]><rdf:RDF'),
        f"<x:xmpmeta>{'<a>' * 50_000}</x:xmpmeta>", "\udc80",
        f"<x:xmpmeta>{'<a>' * 140_000}{'</a>' * 140_000}</x:xmpmeta>",
    ],
)  # fmt: skip
def test_what_is_no_packet_says_nothing(packet):
    assert read_properties(packet) == {}


def test_packets_of_other_tools_have_elements_or_no_frame():
    rdf = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
    iptc = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
    value = f"<e:DigitalSourceType>{GENERATED}</e:DigitalSourceType>"
    inside = f'<r:Description xmlns:e="{iptc}">{value}</r:Description>'
    whole = (
        f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><r:RDF xmlns:r="{rdf}">{inside}</r:RDF></x:xmpmeta>'
    )
    assert is_generated(read_properties(whole))
    bare = whole[whole.index("<r:RDF") : whole.rindex("</x:")].replace("r:", "rdf:")
    assert is_generated(read_properties(bare.replace("xmlns:r=", "xmlns:rdf=")))
    photo = whole.replace("trainedAlgorithmicMedia", "digitalCapture")
    assert read_properties(photo) and not is_generated(read_properties(photo))


def test_a_file_is_read_within_bounds(tmp_path):
    with pytest.raises(PhotoUnreadable):
        read_packet(tmp_path / "none.png")
    endless = tmp_path / "endless.jpg"
    endless.write_bytes(b"<x:xmpmeta>" + b" " * MAX_PACKET + b"</x:xmpmeta>")
    assert read_packet(endless) == ""
    endless.write_bytes(b"<x:xmpmeta " * 2_000_000)  # none of them ends
    assert read_packet(endless) == ""
