from __future__ import annotations

import sys
from collections import Counter
from types import SimpleNamespace

import pytest
import torch
from PIL import Image

from bench import verdicts as module
from bench.verdicts import Case, Result, generate_cases, make_cases, report, true_kind
from celeb_core import Identity

PEOPLE, CELEBRITIES = ["p1", "p2", "p3", "p4"], ["Ann One", "Ben Two", "Cat Three"]


def unit(*indices):
    vector = torch.zeros(128)
    vector[list(indices)] = 1.0
    return vector / vector.norm()


def test_cases_are_wrong_on_purpose_every_third_time():
    cases = make_cases(PEOPLE, CELEBRITIES, 0, 90)
    assert cases == make_cases(PEOPLE, CELEBRITIES, 0, 90) != make_cases(PEOPLE, CELEBRITIES, 1, 90)
    assert Counter(len(case.wanted) for case in cases) == {2: 72, 3: 18}
    assert sum(case.mistake == "none" for case in cases) == 60
    for case in cases:
        wanted, shown = [(name,) for name in case.wanted], list(case.generated)
        different = sum(a != b for a, b in zip(wanted, shown, strict=False))
        if case.mistake == "none":
            assert shown == wanted
        elif case.mistake == "swapped":
            assert sorted(shown) == sorted(wanted) and different == 2
        elif case.mistake == "twice":
            assert set(shown) < set(wanted) and different == 1
        elif case.mistake == "alone":
            assert len(shown) == len(wanted) - 1 and set(shown) < set(wanted)
        elif case.mistake == "stranger":
            assert len(set(shown) - set(wanted)) == 1 and different == 1
        else:
            assert max(Counter(shown).values()) == 2 == max(map(len, shown))
    assert {case.mistake for case in cases} == {"none", *module.MISTAKES}


@pytest.fixture(scope="module")
def gallery():
    """The judge's embeddings of the people and of many others."""
    generator = torch.Generator().manual_seed(0)
    others = torch.nn.functional.normalize(torch.randn(200, 128, generator=generator), dim=1)
    people = {name: unit(i) for i, name in enumerate(("ada", "bob", "cy"))}
    return people | {f"other {i}": one for i, one in enumerate(others)}


@pytest.mark.parametrize(
    ("generated", "found", "kind"),
    [
        ("ada bob", [(0,), (1,)], "right"),
        ("ada bob", [(1,), (0,)], "swapped"),
        ("ada bob", [(0,), (0,)], "twice"),
        ("ada bob", [(0,)], "missing"),
        ("ada bob", [(0,), (60,)], "missing"),
        ("ada cy", [(0,), (2,)], "missing"),  # cy was generated, and is there
        ("ada bob", [(0, 1), (1,)], "twice"),  # nothing was mixed: it shows the nearer one
        ("ada+bob ada+bob", [(0, 1), (0, 1)], "blended"),
        ("ada+bob ada+bob", [(60,), (0, 1)], "blended"),
        ("ada+bob ada+bob", [(0,), (0,)], "twice"),
    ],
)
def test_the_truth_is_the_judges(gallery, generated, found, kind):
    embedded = torch.stack([unit(*indices) for indices in found])
    embedded[:, 1] += 0.01
    judge = SimpleNamespace(embed=lambda image, faces: embedded)
    world = SimpleNamespace(data=SimpleNamespace(judge=judge), judged=gallery)
    shown = tuple(tuple(who.split("+")) for who in generated.split())
    case = Case(("ada", "bob"), shown, "none")
    assert true_kind(world, case, Image.new("RGB", (9, 9)), [None] * len(found)) == kind


def test_images_of_cases(studio):
    basis = studio.basis
    coefficients = torch.zeros(basis.k, basis.p)
    people = {name: Identity(name, coefficients, basis.id) for name in ("ada", "bob")}
    world = SimpleNamespace(studio=studio, identities=people)
    shown = [
        (("ada",),),
        (("ada",), ("ada",)),
        (("ada", "Grezin"), ("Grezin",), ("bob",)),
    ]
    cases = [Case(("ada", "bob"), who, "none") for who in shown]
    images = generate_cases(world, cases, 5)
    assert [image.width / image.height for image in images] == [1.0, 1.5, 2.5]


def test_the_report_counts_pairs():
    case = Case(("ada", "bob"), (("bob",), ("ada",)), "swapped")
    results = [Result(case, "swapped", "swapped")] * 3 + [Result(case, "swapped", "right")]
    text = report(results)
    assert "accuracy 0.750 on 4 images" in text
    assert "of 4 wrong ones 3 are noticed as wrong" in text
    assert "swapped   on purpose: 3 of 4" in text
    (row,) = [line for line in text.splitlines() if line.startswith("swapped")]
    assert row.split()[1:] == ["1", "3", "0", "0", "0"]


def test_command(world, monkeypatch, capsys):
    result = Result(Case(("ada", "bob"), (("ada",),), "alone"), "missing", "missing")
    monkeypatch.setattr(sys, "argv", ["prog", "--model", str(world), "--images", "2"])
    assert module.main() == 1
    assert "no evaluation set" in capsys.readouterr().err
    monkeypatch.setattr(module, "load_world", lambda studio: studio)
    monkeypatch.setattr(module, "measure", lambda world, seed, count: [result] * count)
    assert module.main() == 0
    assert "accuracy 1.000 on 2 images" in capsys.readouterr().out
