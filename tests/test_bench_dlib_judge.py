"""On the real portraits that scikit-image and insightface bring."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import portrait
from PIL import Image, ImageOps

from bench import dlib_judge as module
from bench.dlib_judge import SAME_PERSON, compare, load_dlib_judge, overlap
from celeb_core import find_face
from celeb_core.types import Face

ASTRONAUT = (175.0, 60.0, 266.0, 180.0)
SIX = [  # t1.jpg, left to right: measured by hand
    (70.0, 260.0, 165.0, 390.0),
    (280.0, 160.0, 360.0, 265.0),
    (455.0, 280.0, 560.0, 415.0),
    (730.0, 345.0, 835.0, 475.0),
    (880.0, 70.0, 985.0, 200.0),
    (1118.0, 265.0, 1220.0, 395.0),
]


def bundled(package: str, *path: str) -> Image.Image:
    found = importlib.util.find_spec(package)
    file = Path(found.origin).parent.joinpath(*path)
    if not file.is_file():
        pytest.skip(f"this {package} brings no {file.name}")
    return Image.open(file).convert("RGB")


def face(box: tuple[float, float, float, float]) -> Face:
    nothing = np.zeros((5, 2), np.float32)
    return Face(Image.new("RGB", (8, 8)), nothing, torch.zeros(512), box, box, nothing, 1.0)


@pytest.fixture(scope="module")
def judge():
    found = load_dlib_judge()
    if found is None:
        pytest.skip("pip install -r requirements-judge.txt for dlib")
    return found


@pytest.fixture(scope="module")
def astronaut() -> Image.Image:
    return bundled("skimage", "data", "astronaut.png")


def test_one_person_in_other_photographs_of_her(judge, astronaut):
    her = judge.embed(astronaut, [face(ASTRONAUT)])[0]
    assert float(her.norm()) == pytest.approx(1, abs=1e-5)
    left, top, right, bottom = ASTRONAUT
    mirrored = ImageOps.mirror(astronaut)
    again = [
        judge.embed(mirrored, [face((512 - right, top, 512 - left, bottom))])[0],
        judge.embed(astronaut.rotate(12), [face((160.0, 90.0, 270.0, 200.0))])[0],
        judge.embed(astronaut.resize((1024, 1024)), [face(tuple(2 * v for v in ASTRONAUT))])[0],
        judge.embed(ImageOps.autocontrast(astronaut.convert("L")), [face(ASTRONAUT)])[0],
    ]
    cosines = [float(one @ her) for one in again]
    assert min(cosines) > SAME_PERSON, cosines


def test_six_people_and_the_astronaut_are_seven(judge, astronaut):
    friends = judge.embed(bundled("insightface", "data", "images", "t1.jpg"), [*map(face, SIX)])
    everybody = torch.cat([friends, judge.embed(astronaut, [face(ASTRONAUT)])])
    cosines = everybody @ everybody.T - 2 * torch.eye(7)
    assert everybody.shape == (7, 128) and float(cosines.max()) < SAME_PERSON, cosines.max()


def test_a_face_that_dlibs_own_detector_does_not_find(judge, astronaut):
    small = astronaut.crop((150, 40, 300, 200)).resize((45, 48))
    box = (8.0, 6.0, 35.0, 42.0)
    assert judge.embed(small, [face(box)]).shape == (1, 128)
    assert judge.embed(small, []).shape == (0, 128)


def test_overlap_of_boxes():
    assert overlap((0, 0, 2, 2), (1, 0, 3, 2)) == pytest.approx(1 / 3)
    assert overlap((0, 0, 1, 1), (2, 0, 3, 1)) == 0


class Shades:
    """Stands in for the judge: an embedding of the face's red."""

    def embed(self, image, faces):
        reds = torch.stack([torch.tensor(float(np.asarray(f.image)[..., 0].max())) for f in faces])
        return torch.stack([reds, 255 - reds], 1) / 255


def test_the_nearest_face_is_compared(studio, tmp_path):
    two = portrait(200, at=(0, 0))
    two.paste(portrait(255, at=(2, 2)).crop((64, 64, 128, 128)), (64, 64))
    images = {"same": portrait(), "two": two, "none": Image.new("RGB", (128, 128))}
    for name, image in images.items():
        image.save(tmp_path / f"{name}.png")
    paths = [tmp_path / f"{name}.png" for name in images]
    same, nearest, none = compare(paths[0], paths, None, studio, Shades())
    assert same == f"{paths[0]}: recogniser 1.000, judge 1.000"
    original = find_face(portrait(), studio.faces).embedding
    cosine = max(float(one.embedding @ original) for one in studio.faces.find(two))
    assert nearest.startswith(f"{paths[1]}: recogniser {cosine:.3f}, judge ")
    assert none == f"{paths[2]}: recogniser 0.000, judge 0.000"


def test_command(world, tmp_path, monkeypatch, capsys):
    path = tmp_path / "ada.png"
    portrait().save(path)
    monkeypatch.setattr(sys, "argv", ["prog", str(path), str(path), "--model", str(world)])
    monkeypatch.setattr(module, "load_dlib_judge", Shades)
    assert module.main() == 0
    assert capsys.readouterr().out == f"{path}: recogniser 1.000, judge 1.000\n"
    monkeypatch.setattr(module, "load_dlib_judge", lambda: None)
    assert module.main() == 1
    assert "requirements-judge.txt" in capsys.readouterr().err
