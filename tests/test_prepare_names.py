from __future__ import annotations

import pytest
import torch
from conftest import celebrity_names, portrait
from torch.nn.functional import normalize

from celeb_core.errors import FeatureMissing
from celeb_core.prepare import names as module
from celeb_core.prepare.names import (
    Candidate,
    NameImages,
    candidates,
    generate_name_images,
    html_report,
    load_name_images,
    rank_names,
)
from celeb_core.types import SampleConfig

NAMES = ("Ada Bel", "Ada Cole", "Dan Ek", "Fay Gil", "Hal", "Ivo Jan", "Kim Lee", "Max Nye")


def test_candidates_have_partners_own_words_and_made_up_ones_after_them():
    people = candidates(NAMES)
    real = [one for one in people if not one.made_up]
    assert [one.name for one in real] == list(NAMES)
    assert [one.own for one in real[:4]] == ["Bel", "Cole", "", ""]
    assert real[0].partner == "Ada Cole" and real[-1].partner == "Ada Bel"
    assert people[8].made_up and people[8].name == "Ada Leb"
    with pytest.raises(FeatureMissing, match="List 4"):
        candidates(NAMES[:3])


def recognised(
    people: list[Candidate], known: dict[str, str], missing: str = ""
) -> list[NameImages]:
    """Names of `known` have the face of that name, others another face in every image."""
    generator = torch.Generator().manual_seed(0)

    def noise(*shape: int) -> torch.Tensor:
        return normalize(torch.randn(*shape, 512, generator=generator), dim=-1)

    mean = noise()
    face = {name: noise() for name in sorted(set(known.values()))}

    def embeddings(name: str, count: int) -> torch.Tensor:
        one = face[known[name]] if name in known else noise(count)
        return normalize(mean + one + 0.4 * noise(count), dim=-1)

    result = []
    for one in people:
        faces = embeddings(one.name, 4)
        if one.name == missing:
            faces = faces * torch.tensor([1.0, 0, 0, 0])[:, None]
        beside = torch.cat([embeddings(one.name, 2), embeddings(one.partner, 2)])
        own = embeddings(one.own, 2) if one.own else torch.zeros(0, 512)
        result.append(NameImages(faces, own, beside, torch.zeros(1, dtype=torch.uint8)))
    return result


def test_known_names_and_why_the_others_are_not():
    people = candidates(NAMES)
    known = {name: name for name in NAMES[1:6]} | {"Cole": "Ada Cole", "Ada Bel": "Ada Cole"}
    verdicts, threshold = rank_names(people, recognised(people, known, missing="Dan Ek"))
    reasons = {verdict.name: verdict.reason for verdict in verdicts}
    assert set(reasons) == set(NAMES)
    assert [v.known for v in verdicts] == [True] * 4 + [False] * 4
    best = [v.consistency for v in verdicts[:4]]
    assert best == sorted(best, reverse=True) and best[-1] >= threshold
    assert {name for name in NAMES if not reasons[name]} == {
        "Ada Cole",
        "Fay Gil",
        "Hal",
        "Ivo Jan",
    }
    assert reasons["Ada Bel"] == "the face of Ada Cole"
    assert "no face" in reasons["Dan Ek"] and "another face" in reasons["Kim Lee"]
    assert 0.2 < threshold < 0.8


def test_a_name_that_is_lost_beside_another_is_not_known():
    people = candidates(NAMES)
    images = recognised(people, {name: name for name in NAMES})
    index = NAMES.index("Hal")
    alone = images[index]
    only_partner = images[index + 1].faces
    images[index] = NameImages(alone.faces, alone.own, only_partner, alone.thumbnails)
    verdicts, _ = rank_names(people, images)
    assert [v.reason for v in verdicts if not v.known] == ["lost beside Ivo Jan"]
    images[index] = NameImages(alone.faces, alone.own, torch.zeros(0, 512), alone.thumbnails)
    verdicts, _ = rank_names(people, images)
    assert [v.beside for v in verdicts if not v.known] == [0.0]


def test_processes_divide_the_work_and_nothing_is_generated_twice(studio, tmp_path, monkeypatch):
    texts = []

    def generate(prompt, models, basis, config):
        texts.append(prompt.text)
        return [portrait()] * config.num_images

    monkeypatch.setattr(module, "generate", generate)
    people, config = candidates(celebrity_names()[:4])[:6], SampleConfig(2, steps=1)
    progress = list(generate_name_images(people[::2], studio, tmp_path, config))
    assert progress == [0, 1, 2, 3]
    half = load_name_images(people, studio, tmp_path, config)
    assert [one is not None for one in half] == [True, False] * 3
    list(generate_name_images(people[1::2], studio, tmp_path, config))
    first = [text for text in texts if text.startswith("a photo of " + people[0].name)]
    assert len(first) == len(set(first)) == 3  # alone, with its partner, as a partner
    count = len(texts)
    list(generate_name_images(people, studio, tmp_path, config))
    assert len(texts) == count
    stored = load_name_images(people, studio, tmp_path, config)
    assert stored[0] is not None and stored[0].faces.shape == (2, 512)
    assert stored[0].faces.dtype == torch.float32 and len(stored[0].beside) == 2
    assert bytes(stored[0].thumbnails.numpy()[:2]) == b"\xff\xd8"  # a JPEG
    other = SampleConfig(3, steps=1)
    assert load_name_images(people, studio, tmp_path, other) == [None] * 6


def test_a_damaged_file_is_generated_again(studio, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "generate", lambda *at: [portrait()] * at[-1].num_images)
    people, config = candidates(celebrity_names()[:4])[:1], SampleConfig(1)
    list(generate_name_images(people, studio, tmp_path, config))
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:100])
    assert load_name_images(people, studio, tmp_path, config) == [None]
    list(generate_name_images(people, studio, tmp_path, config))
    assert load_name_images(people, studio, tmp_path, config) != [None]


def test_the_report_needs_nothing_from_outside():
    people = candidates(("<b>Ada", *NAMES[1:]))
    images = recognised(people, {name: name for name in NAMES})
    verdicts, threshold = rank_names(people, images)
    page = html_report(verdicts, "Tinyville", threshold)
    assert "&lt;b&gt;Ada" in page and "<b>Ada" not in page and page.count("<img") == len(NAMES)
    assert "http" not in page and "//" not in page.replace("data:image/jpeg;base64,//", "")
    known = sum(verdict.known for verdict in verdicts)
    assert f"Tinyville knows {known} of {len(NAMES)} names" in page
