from __future__ import annotations

import io
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import skimage
import torch
from conftest import portrait
from PIL import Image, ImageFilter

from celeb_core import faces, find_face, find_faces, load_face_model, load_photo
from celeb_core.errors import (
    FacePackMissing,
    NoFaceFound,
    PhotoTooLarge,
    PhotoUnreadable,
    SeveralFaces,
)
from celeb_core.evaluation.data import held_out_photos
from celeb_core.faces import (
    FaceModel,
    examine_photo,
    is_photograph,
    largest_face,
    portrait_box,
    quality_notes,
)
from celeb_core.types import Face, Framing


def encoded(photo: Image.Image, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    photo.save(buffer, format=kind, **options)
    return buffer.getvalue()


def two_faces() -> Image.Image:
    photo = portrait(255, at=(2, 2))
    photo.paste(portrait(200, at=(0, 0)).crop((0, 0, 64, 64)), (0, 0))
    return photo


def test_face_of_a_portrait(studio):
    face = find_face(portrait(), studio.faces)
    assert face.box == (32.0, 32.0, 96.0, 96.0)
    assert face.embedding.shape == (512,) and abs(float(face.embedding.norm()) - 1) < 1e-5
    assert face.aligned.shape == (112, 112, 3) and face.landmarks.shape == (5, 2)
    assert face.image.size == (128, 128) and face.image.mode == "RGB"


def test_no_face_tells_what_the_model_knows(studio):
    with pytest.raises(NoFaceFound, match="only red squares"):
        find_face(Image.new("RGB", (128, 128), "blue"), studio.faces)


def test_several_faces_are_carried_for_the_user_to_choose(studio):
    with pytest.raises(SeveralFaces, match="1 to 2") as caught:
        find_face(two_faces(), studio.faces)
    left, right = caught.value.faces
    assert left.box[0] < right.box[0]
    assert torch.equal(find_face(two_faces(), studio.faces, choose=2).embedding, right.embedding)
    with pytest.raises(SeveralFaces):
        find_face(two_faces(), studio.faces, choose=3)


@pytest.mark.parametrize(
    ("kind", "mode", "options"),
    [
        ("PNG", "RGB", {}),
        ("PNG", "RGBA", {}),
        ("PNG", "P", {}),
        ("JPEG", "RGB", {"quality": 95}),
        ("JPEG", "CMYK", {"quality": 95}),
        ("WEBP", "RGB", {"lossless": True}),
        ("HEIF", "RGB", {"quality": 95}),
        ("TIFF", "RGB", {}),
        ("GIF", "P", {}),
    ],
)
def test_every_usual_format_shows_the_same_face(kind, mode, options, studio):
    if kind == "HEIF":
        load_photo(encoded(portrait()))  # registers the format
    face = find_face(encoded(portrait().convert(mode), kind, **options), studio.faces)
    assert float(face.embedding @ find_face(portrait(), studio.faces).embedding) > 0.98


@pytest.mark.parametrize("kind", ["TIFF", "JPEG", "HEIF", "PNG", "WEBP"])
def test_rotation_by_the_camera_is_undone(kind, studio):
    photo = portrait(255, at=(2, 1))
    exif = Image.Exif()
    exif[0x0112] = 6  # shown rotated by 90 degrees clockwise
    if kind == "HEIF":
        load_photo(encoded(portrait()))  # registers the format
    options = {} if kind == "TIFF" else {"quality": 95}
    turned = photo.transpose(Image.Transpose.ROTATE_90)
    content = encoded(turned, kind, exif=exif.tobytes(), **options)  # HEIF turns the image too
    assert find_face(content, studio.faces).box == (64.0, 32.0, 128.0, 96.0)


def test_a_large_photo_from_a_phone(studio):
    """48 megapixels, turned by the camera, decoded at a fraction of its size."""
    exif = Image.Exif()
    exif[0x0112] = 8  # shown rotated by 90 degrees counter-clockwise
    large = portrait(255, at=(2, 1)).resize((6944, 6944)).transpose(Image.Transpose.ROTATE_270)
    content = encoded(large, "JPEG", quality=90, exif=exif)
    opened = load_photo(content)
    assert opened.size == (2048, 2048)
    assert opened.getpixel((1100, 600))[0] > 200 > opened.getpixel((900, 600))[0]
    assert find_faces(opened.resize((128, 128)), studio.faces)[0].box == (64.0, 32.0, 128.0, 96.0)


def test_small_photos(studio):
    assert load_photo(encoded(Image.new("RGB", (16, 16)))).size == (16, 16)
    with pytest.raises(PhotoUnreadable, match="15 x 16 pixels.*at least 128"):
        load_photo(encoded(Image.new("RGB", (15, 16))))
    with pytest.raises(NoFaceFound):
        find_face(encoded(Image.new("RGB", (16, 2000))), studio.faces)
    assert find_face(encoded(portrait().resize((64, 64))), studio.faces).image.size == (64, 64)


def test_sixteen_bits_keep_their_range():
    ramp = np.linspace(0, 65535, 64 * 64).reshape(64, 64).astype(np.uint16)
    opened = np.asarray(load_photo(encoded(Image.fromarray(ramp))))
    assert opened.min() == 0 and opened.max() == 255 and 100 < opened.mean() < 150


def test_transparency_becomes_white():
    assert (
        load_photo(encoded(Image.new("RGBA", (64, 64), (0, 0, 0, 0)))).getpixel((5, 5))
        == (255,) * 3
    )


@pytest.mark.parametrize(
    "content",
    [
        encoded(Image.new("RGB", (1, 1))),
        encoded(portrait(), "JPEG")[:700],
        encoded(portrait())[:300],
        b"this is a text file named photo.jpg",
        b"",
    ],
)
def test_what_is_no_photo_says_so(content):
    with pytest.raises(PhotoUnreadable):
        load_photo(content)


def test_missing_file(tmp_path):
    with pytest.raises(PhotoUnreadable, match="no file"):
        load_photo(tmp_path / "none.jpg")


def test_a_hundred_megapixels_are_scaled_down():
    photo = load_photo(encoded(Image.new("L", (10_000, 10_000), 128), compress_level=1))
    assert photo.size == (2048, 2048) and photo.mode == "RGB"


def test_decompression_bombs_are_refused():
    bomb = encoded(Image.new("1", (20_000, 10_000)))
    with pytest.raises(PhotoTooLarge, match="smaller copy"):
        load_photo(bomb)


def test_the_callers_image_is_left_alone():
    photo = Image.new("RGB", (3000, 100))
    assert load_photo(photo).size == (2048, 68) and photo.size == (3000, 100)


def test_portrait_box_stays_inside_the_photo():
    framing = Framing(side=2.0, x=0.5, y=0.4)
    assert portrait_box((100, 100, 140, 150), (400, 400), framing) == (70.0, 85.0, 170.0, 185.0)
    assert portrait_box((0, 0, 40, 50), (400, 400), framing) == (0.0, 0.0, 100.0, 100.0)
    assert portrait_box((10, 10, 90, 90), (120, 100), framing) == (0.0, 0.0, 100.0, 100.0)


def test_missing_pack_is_found_before_any_download(tmp_path, monkeypatch):
    monkeypatch.setattr("socket.socket", None)
    with pytest.raises(
        FacePackMissing,
        match="models/buffalo_l .*buffalo_l.zip.*non-commercial.*celeb-basis pack buffalo_l",
    ):
        load_face_model("buffalo_l", root=tmp_path)
    with pytest.raises(FacePackMissing, match="where it is published"):
        load_face_model(tmp_path)


def test_a_pack_that_unpacked_too_deep_or_in_part(world, tmp_path):
    inner = tmp_path / "models" / "antelopev2" / "antelopev2"
    shutil.copytree(world / "faces", inner)
    with pytest.raises(FacePackMissing, match="too deep, in .*antelopev2/antelopev2. Move them"):
        load_face_model("antelopev2", root=tmp_path)
    for size in (0, 100, -50):
        content = (world / "faces" / "rec.onnx").read_bytes()
        (inner / "rec.onnx").write_bytes(content[:size])
        with pytest.raises(FacePackMissing, match="in part"):
            load_face_model(inner)


def test_a_recogniser_of_another_width(world, tmp_path):
    shutil.copytree(world / "faces", tmp_path / "faces")
    network = onnx.load(tmp_path / "faces" / "rec.onnx")
    (weight,) = (w for w in network.graph.initializer if len(w.dims) == 2)
    narrow = onnx.numpy_helper.to_array(weight)[:, :128]
    weight.CopyFrom(onnx.numpy_helper.from_array(narrow, weight.name))
    network.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 128
    onnx.save(network, tmp_path / "faces" / "rec.onnx")
    with pytest.raises(FacePackMissing, match="No face recogniser .* 512.*ArcFace"):
        load_face_model(tmp_path / "faces")


def test_incomplete_packs(world, tmp_path):
    for name in ("a.onnx", "b.onnx"):
        (tmp_path / name).write_bytes((world / "faces" / "rec.onnx").read_bytes())
    with pytest.raises(FacePackMissing, match="detector"):
        load_face_model(tmp_path)
    for name in ("a.onnx", "b.onnx"):
        (tmp_path / name).write_bytes((world / "faces" / "det.onnx").read_bytes())
    with pytest.raises(FacePackMissing, match="recogniser"):
        load_face_model(tmp_path)


def test_two_photos_of_one_face_are_closer_than_two_faces(studio):
    def embedding(shade, side=128):
        return find_faces(portrait(shade, side), studio.faces)[0].embedding

    same = embedding(255) @ embedding(255, 256)
    assert same > 0.99 > embedding(255) @ embedding(190)


def test_a_face_is_embedded_as_the_mean_of_shifted_and_mirrored_views(studio):
    (face,) = studio.faces.find(portrait())
    recogniser = studio.faces.analysis.models["recognition"]
    embeddings = []
    for dy, dx in ((0, 0), (-2, 0), (2, 0), (0, -2), (0, 2)):
        rows = np.clip(np.arange(112) + dy, 0, 111)
        columns = np.clip(np.arange(112) + dx, 0, 111)
        view = face.aligned[rows][:, columns, ::-1]  # it takes BGR
        embeddings += [recogniser.get_feat(view)[0], recogniser.get_feat(view[:, ::-1])[0]]
    unit = torch.nn.functional.normalize(torch.from_numpy(np.stack(embeddings)), dim=1)
    expected = torch.nn.functional.normalize(unit.mean(0), dim=0)
    assert torch.allclose(face.embedding, expected, atol=1e-5)


LOOKING_AHEAD = np.array([[38, 52], [74, 52], [56, 72], [42, 92], [70, 92]], np.float32)


@pytest.fixture
def face() -> Face:
    """64 pixels high, evenly noisy, looking ahead."""
    aligned = np.random.default_rng(0).integers(0, 256, (112, 112, 3), dtype=np.uint8)
    box = (20.0, 20.0, 70.0, 84.0)
    image = Image.fromarray(aligned)
    return Face(image, aligned, torch.zeros(512), box, box, LOOKING_AHEAD, 0.9)


def blurred(face: Face) -> Face:
    return replace(face, aligned=np.asarray(face.image.filter(ImageFilter.GaussianBlur(8))))


def turned(face: Face) -> Face:
    return replace(face, landmarks=LOOKING_AHEAD + np.eye(5, 2, -2, dtype=np.float32) * 15)


FLAWS = {
    "Small": lambda face: replace(face, box=(0.0, 0.0, 20.0, 24.0)),
    "Blurred": blurred,
    "Dark": lambda face: replace(face, aligned=face.aligned // 5),
    "Turned": turned,
    "Hard to make out": lambda face: replace(face, score=0.55),
}


def test_a_good_photo_has_no_notes(face):
    assert quality_notes(face, 128) == []


@pytest.mark.parametrize("word", FLAWS)
def test_each_flaw_is_named_alone_with_what_to_do(face, word):
    (note,) = quality_notes(FLAWS[word](face), 128)
    assert note.startswith(word) and "Use" in note


def test_what_is_small_depends_on_the_model(face):
    assert "64 pixels" in quality_notes(face, 512)[0]
    assert "128 or more" in quality_notes(face, 512)[0]


def test_the_largest_face_is_that_of_the_largest_box(face):
    boxes = [(0.0, 0.0, 10.0, 90.0), (50.0, 10.0, 90.0, 50.0), (90.0, 0.0, 120.0, 30.0)]
    faces = [replace(face, box=box) for box in boxes]
    assert largest_face(faces) is faces[1]


def test_a_face_model_runs_where_it_is_told_to(world, monkeypatch, caplog):
    asked = []

    class Analysis(faces.FaceAnalysis):
        def __init__(self, providers, **options):
            asked.append(providers)
            super().__init__(providers=["CPUExecutionProvider"], **options)

    monkeypatch.setattr(faces, "FaceAnalysis", Analysis)
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: ["CUDAExecutionProvider"])
    load_face_model(world / "faces", device="cuda:0")
    assert "faces are found on the CPU" in caplog.text and "onnxruntime-gpu" in caplog.text
    caplog.clear()
    load_face_model(world / "faces")
    assert not caplog.records
    assert asked == [["CUDAExecutionProvider", "CPUExecutionProvider"], ["CPUExecutionProvider"]]


def test_the_providers_that_are_really_in_use(studio):
    assert studio.faces.ready and studio.faces.providers == ("CPUExecutionProvider",)


def test_without_a_face_pack_no_face_is_found():
    missing = FaceModel(None, "", "Get a pack.", Framing())
    assert not missing.ready and missing.providers == ()
    with pytest.raises(FacePackMissing, match="Get a pack"):
        find_faces(portrait(), missing)


ASSETS = Path(__file__).parents[1] / "assets" / "toonville"


@pytest.fixture(scope="module")
def toonville():
    options = json.loads((ASSETS / "studio.json").read_text(encoding="utf-8"))
    drawn = options["faces"]["drawn"]
    return load_face_model(ASSETS / "faces", "Only drawn.", det_size=(288, 288), drawn=drawn)


def person(number: int) -> Image.Image:
    return held_out_photos(ASSETS / "evaluation" / "people.webp")[number]


@pytest.mark.toonville
@pytest.mark.parametrize("number", [9, 84, 95])  # upside down the last is found at .995, else .993
def test_a_photo_in_any_orientation_shows_the_same_face(number, toonville):
    upright = find_face(person(number), toonville)
    assert upright.turned == 0
    assert not any("turned upright" in note for note in quality_notes(upright, 128))
    for turned in (90, 180, 270):
        found = examine_photo(person(number).rotate(-turned), toonville)
        assert found.photo.tobytes() == person(number).tobytes()
        (face,) = found.faces
        assert float(face.embedding @ upright.embedding) > 0.99 and face.turned == turned
        note, *_ = quality_notes(face, 128)
        assert note.startswith(f"The photo was turned upright by {turned} degrees")


@pytest.mark.toonville
def test_a_group_upside_down(toonville):
    side = person(0).width
    group = Image.new("RGB", (3 * side, side))
    for index in range(3):
        group.paste(person(index), (index * side, 0))
    faces, upright = (find_faces(image, toonville) for image in (group.rotate(180), group))
    for face, expected in zip(faces, upright, strict=True):
        assert (face.turned, expected.turned) == (180, 0)
        assert float(face.embedding @ expected.embedding) > 0.99


@pytest.mark.toonville
def test_generated_images_are_not_turned(toonville):
    assert all(face.turned == 0 for face in toonville.find(person(84).rotate(180)))


@pytest.mark.toonville
def test_a_photograph_is_recognised_where_the_model_knows_drawn_faces(toonville):
    photograph = Image.fromarray(skimage.data.astronaut())
    for photo in (photograph, photograph.resize((200, 200)), encoded(photograph, "JPEG")):
        notes = quality_notes(find_face(photo, toonville), 128)
        assert any(
            n.startswith("This looks like a photograph") and "Only drawn." in n for n in notes
        )
    faces = find_faces(photograph, replace(toonville, drawn=False))
    assert not any("photograph" in note for note in quality_notes(faces[0], 128))


def shaded_drawing() -> Image.Image:
    """Return a face of gradients, as vector graphics have them."""
    y, x = np.mgrid[0:256, 0:256] / 256.0
    image = np.ones((256, 256, 3)) * (180, 210, 235) * (1 - 0.3 * y[..., None])
    head = ((x - 0.5) / 0.3) ** 2 + ((y - 0.52) / 0.38) ** 2 < 1
    image[head] = (np.array((235, 190, 150)) * (1.05 - 0.25 * x[..., None]))[head]
    for middle in (0.38, 0.62):
        for radius, colour in ((0.06, 250), (0.03, 40)):
            image[(x - middle) ** 2 + (y - 0.45) ** 2 < radius**2] = colour
    image[((x - 0.5) / 0.1) ** 2 + ((y - 0.72) / 0.02) ** 2 < 1] = (170, 60, 60)
    return Image.fromarray(image.clip(0, 255).astype(np.uint8))


@pytest.mark.toonville
def test_drawn_faces_are_no_photographs(toonville):
    drawings = [person(number) for number in range(0, 120, 15)] + [shaded_drawing()]
    for drawing in drawings:
        noise = np.random.default_rng(0).normal(0, 5, (drawing.height, drawing.width, 3))
        noisy = (np.asarray(drawing) + noise).clip(0, 255).astype(np.uint8)
        for photo in (drawing, encoded(drawing, "JPEG", quality=60), Image.fromarray(noisy)):
            for face in toonville.find(load_photo(photo)):
                assert not is_photograph(face.aligned)
