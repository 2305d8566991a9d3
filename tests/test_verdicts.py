from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
import torch
from conftest import portrait

from celeb_core import find_face
from celeb_core.verdicts import other_people, verdict_of, who_is_shown

SIZE = (300, 100)  # pixels
NAMES = ("ada", "bob", "cy", "di")


def axis(*indices, noise=0.0):
    """A unit vector: the mean of these axes, and as much of one that is nobody's as `noise`."""
    vector = torch.zeros(512)
    vector[list(indices)] = 1.0
    vector[300 + indices[0] % 100] = noise
    return vector / vector.norm()


ADA, BOB, CY, DI = (axis(i) for i in range(4))


@pytest.fixture(scope="module")
def face(studio):
    return find_face(portrait(), studio.faces)


@pytest.fixture(scope="module")
def others():
    """People of whom one in a hundred is a little like somebody."""
    generator = torch.Generator().manual_seed(0)
    return torch.nn.functional.normalize(torch.randn(700, 512, generator=generator), dim=1)


@pytest.fixture
def verdict(face, others):
    """Judge faces that stand side by side from left to right."""

    def judge(*found, wanted=2, places=None, others=others):
        width = SIZE[0] / max(1, len(found))
        faces = [
            replace(face, embedding=one, box=(i * width, 20.0, (i + 1) * width, 60.0))
            for i, one in enumerate(found)
        ]
        names = NAMES[:wanted]
        references = dict(zip(names, (ADA, BOB, CY, DI), strict=False))
        columns = {name: (i / wanted, 0.0, (i + 1) / wanted, 1.0) for i, name in enumerate(names)}
        return verdict_of(faces, references, places or columns, SIZE, others)

    return judge


def weak(*indices):
    """A face that is only a little like somebody."""
    return axis(*indices, noise=1.5)


@pytest.mark.parametrize(
    ("found", "wanted", "kind", "sentence"),
    [
        ((ADA, BOB), 2, "right", "ada and bob are each in their place"),
        ((weak(0), weak(1)), 2, "right", "ada and bob are each in their place"),
        ((ADA, BOB, CY, DI), 4, "right", "ada, bob, cy and di are each in their place"),
        ((ADA, axis(400), BOB), 2, "right", "ada and bob are each in their place"),
        ((BOB, ADA), 2, "swapped", "ada and bob are swapped"),
        ((ADA, CY, BOB), 3, "swapped", "bob and cy are swapped"),
        ((BOB, CY, ADA), 3, "swapped", "ada, bob and cy are in each other's place"),
        ((ADA, weak(0)), 2, "twice", "ada is there twice, bob is not"),
        ((ADA, BOB, ADA), 2, "twice", "ada is there twice"),
        ((BOB, BOB, CY), 3, "twice", "bob is there twice, ada is not"),
        ((axis(0, 1), axis(0, 1)), 2, "blended", "2 faces mix ada and bob"),
        ((ADA, axis(0, 1)), 2, "blended", "a face mixes ada and bob"),
        ((axis(1, 2, 3), ADA, BOB, CY), 4, "blended", "a face mixes bob, cy and di"),
        ((ADA,), 2, "missing", "bob is missing"),
        ((ADA, axis(400)), 2, "missing", "bob is missing"),
        ((BOB,), 3, "missing", "ada and cy are missing"),
        ((), 2, "missing", "ada and bob are missing"),
    ],
)
def test_kinds_and_what_they_say(verdict, found, wanted, kind, sentence):
    result = verdict(*found, wanted=wanted)
    assert (result.kind, result.sentence) == (kind, sentence)
    assert result.faces == len(found)
    without_calibration = verdict(*found, wanted=wanted, others=None)
    assert (without_calibration.kind, without_calibration.sentence) == (kind, sentence)


def test_people_have_their_face_and_place(verdict):
    ada, bob, cy = verdict(BOB, weak(0), wanted=3).people
    assert (ada.name, ada.found, ada.in_place) == ("ada", True, False)
    assert ada.identity == pytest.approx(float(weak(0) @ ADA), abs=1e-6)
    assert ada.box == (150.0, 20.0, 300.0, 60.0)
    assert bob.identity == pytest.approx(1.0) and bob.box == (0.0, 20.0, 150.0, 60.0)
    assert (cy.found, cy.identity, cy.box, cy.in_place) == (False, 0.0, None, False)


def test_places_may_be_anywhere(verdict):
    right = {"ada": (0.6, 0.0, 1.0, 1.0), "bob": (0.0, 0.0, 0.4, 1.0)}
    assert verdict(BOB, ADA, places=right).kind == "right"
    assert verdict(ADA, BOB, places=right).kind == "swapped"


def test_of_two_faces_of_somebody_the_better_one_is_theirs(verdict):
    assert verdict(weak(0), ADA).people[0].box[0] == 150.0


def test_people_who_look_alike_are_told_apart_by_how_alike_they_are(others):
    """A face of somebody resembles their double as much as the two resemble each other."""
    double = torch.nn.functional.normalize(ADA + 0.7 * BOB, dim=0)
    known = torch.stack([ADA, double])
    middle = torch.nn.functional.normalize(ADA + double, dim=0)
    found = torch.stack([ADA, double, middle])
    assert who_is_shown(found, known, others) == [(0,), (1,), (0, 1)]


def test_how_alike_strangers_are_is_learnt_from_other_people(others):
    """With a recogniser that finds everybody alike, a face must be more alike to be somebody's."""
    common = torch.nn.functional.normalize(others + 2 * axis(0), dim=1)
    known = torch.stack([axis(0, 5), axis(0, 6)])
    stranger = axis(0, 7)[None]
    assert float(stranger @ known[0]) == pytest.approx(0.5)
    assert who_is_shown(stranger, known, others) == [(0, 1)]
    assert who_is_shown(stranger, known, common) == [()]


def test_excess_is_the_cosines_less_those_of_the_references(verdict):
    result = verdict(axis(0, 1), wanted=2)
    half = 0.5**0.5
    (row,) = [row for row in result.excess if not math.isnan(row[0])]
    assert sorted(row) == pytest.approx([half - 1, half])
    both = verdict(ADA, BOB).excess
    assert torch.tensor(both).abs().max() < 1e-6


def test_as_json(verdict):
    about = json.loads(json.dumps(verdict(BOB, weak(0), wanted=3).as_dict(), allow_nan=False))
    assert about["kind"] == "missing" and about["sentence"] == "cy is missing"
    assert about["people"][2] == {
        "name": "cy", "found": False, "identity": 0.0, "box": None, "in_place": False
    }  # fmt: skip
    assert about["faces"] == 2 and about["excess"][2] == [None] * 3


def test_rank_prefers_more_right_people_then_the_more_similar(verdict):
    worst_first = [
        (),
        (BOB, ADA),
        (weak(0),),
        (ADA,),
        (ADA, BOB, ADA),
        (weak(0), weak(1)),
        (ADA, BOB),
    ]
    ranks = [verdict(*found).rank for found in worst_first]
    assert ranks == sorted(ranks) and len(set(ranks)) == len(ranks)


def test_others_are_a_calibrations_people_with_a_face(calibration):
    faces = calibration.face_embeddings.repeat(4, 1)
    faces[0] = 0
    many = replace(calibration, names=tuple(map(str, range(len(faces)))), face_embeddings=faces)
    assert torch.equal(other_people(many, ["1", "nobody"]), faces[2:])
    assert other_people(calibration) is None  # a quantile needs more
    assert other_people(None) is None
