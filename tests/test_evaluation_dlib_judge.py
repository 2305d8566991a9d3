"""On the real portraits that scikit-image and insightface bring."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from celeb_core.evaluation.dlib_judge import SAME_PERSON, load_dlib_judge, overlap
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
