from __future__ import annotations

import pytest
import torch
from conftest import celebrity_names, portrait
from torch.nn.functional import normalize

from celeb_core import filter_names as module
from celeb_core.errors import FeatureMissing
from celeb_core.filter_names import Candidate, FilterConfig, Sighting, candidates, look, sightings
from celeb_core.names_report import as_html
from celeb_core.verdicts import judge_names

NAMES = ("Ada Bel", "Ada Cole", "Dan Ek", "Fay Gil", "Hal", "Ivo Jan", "Kim Lee", "Max Nye")


def test_candidates_have_partners_own_words_and_made_up_ones_after_them():
    people = candidates(NAMES)
    real = [who for who in people if not who.made_up]
    assert [who.name for who in real] == list(NAMES)
    assert [who.own for who in real[:4]] == ["Bel", "Cole", "", ""]
    assert real[0].partner == "Ada Cole" and real[-1].partner == "Ada Bel"
    assert people[8].made_up and people[8].name == "Ada Leb"
    with pytest.raises(FeatureMissing, match="List 4"):
        candidates(NAMES[:3])


def seen(people: list[Candidate], known: dict[str, str], missing: str = "") -> list[Sighting]:
    """A recogniser's dream: names of `known` have the face of somebody, others of anybody."""
    generator = torch.Generator().manual_seed(0)

    def noise(*shape: int) -> torch.Tensor:
        return normalize(torch.randn(*shape, 512, generator=generator), dim=-1)

    mean = noise()
    face = {name: noise() for name in sorted(set(known.values()))}

    def pictures(name: str, count: int) -> torch.Tensor:
        who = face[known[name]] if name in known else noise(count)
        return normalize(mean + who + 0.4 * noise(count), dim=-1)

    result = []
    for who in people:
        faces = pictures(who.name, 4)
        if who.name == missing:
            faces = faces * torch.tensor([1.0, 0, 0, 0])[:, None]
        beside = torch.cat([pictures(who.name, 2), pictures(who.partner, 2)])
        own = pictures(who.own, 2) if who.own else torch.zeros(0, 512)
        result.append(Sighting(faces, own, beside, torch.zeros(1, dtype=torch.uint8)))
    return result


def test_known_names_are_kept_and_every_other_says_why():
    people = candidates(NAMES)
    known = {name: name for name in NAMES[1:6]} | {"Cole": "Ada Cole", "Ada Bel": "Ada Cole"}
    verdicts, threshold = judge_names(people, seen(people, known, missing="Dan Ek"))
    why = {verdict.name: verdict.why for verdict in verdicts}
    assert [v.name for v in verdicts if v.kept] == [v.name for v in verdicts[:4]]
    assert {name for name in why if not why[name]} == {"Ada Cole", "Fay Gil", "Hal", "Ivo Jan"}
    assert why["Ada Bel"] == "the face of Ada Cole"
    assert "no face" in why["Dan Ek"] and "another face" in why["Kim Lee"]
    assert 0.2 < threshold < 0.8


def test_a_name_that_is_lost_beside_another_goes():
    people = candidates(NAMES)
    sightings = seen(people, {name: name for name in NAMES})
    index = NAMES.index("Hal")
    alone = sightings[index]
    only_partner = sightings[index + 1].faces
    sightings[index] = Sighting(alone.faces, alone.own, only_partner, alone.pictures)
    verdicts, _ = judge_names(people, sightings)
    assert [v.why for v in verdicts if not v.kept] == ["lost beside Ivo Jan"]


def test_shares_divide_the_work_and_nothing_is_drawn_twice(studio, tmp_path, monkeypatch):
    drawn = []

    def generate(prompt, models, basis, config):
        drawn.append(prompt.text)
        return [portrait()] * config.num_images

    monkeypatch.setattr(module, "generate", generate)
    people, config = candidates(celebrity_names()[:4])[:6], FilterConfig(pictures=2, steps=1)
    assert list(look(people, studio, tmp_path, config, (0, 2))) == [(1, 3), (2, 3), (3, 3)]
    half = sightings(people, studio, tmp_path, config)
    assert [kept is not None for kept in half] == [True, False] * 3
    list(look(people, studio, tmp_path, config, (1, 2)))
    first = [text for text in drawn if text.startswith("a photo of " + people[0].name)]
    assert len(first) == len(set(first)) == 3  # alone, with its partner, as a partner
    count = len(drawn)
    list(look(people, studio, tmp_path, config))
    assert len(drawn) == count
    kept = sightings(people, studio, tmp_path, config)
    assert kept[0] is not None and kept[0].faces.shape == (2, 512)
    assert bytes(kept[0].pictures.numpy()[:2]) == b"\xff\xd8"
    other = FilterConfig(pictures=3, steps=1)
    assert sightings(people, studio, tmp_path, other) == [None] * 6


def test_the_report_needs_nothing_from_outside():
    people = candidates(("<b>Ada", *NAMES[1:]))
    results = seen(people, {name: name for name in NAMES})
    verdicts, threshold = judge_names(people, results)
    shown = {who.name: sight for who, sight in zip(people, results, strict=True)}
    page = as_html(verdicts, shown, "Tinyville", threshold)
    assert "&lt;b&gt;Ada" in page and "<b>Ada" not in page and page.count("<img") == len(NAMES)
    assert "http" not in page and "//" not in page.replace("data:image/jpeg;base64,//", "")
