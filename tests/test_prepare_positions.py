from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from conftest import portrait

from celeb_core.errors import FeatureMissing
from celeb_core.prepare import positions as module
from celeb_core.prepare.positions import (
    PAIRS,
    TARGETS,
    fit_curve,
    load_scores,
    measure_positions,
    person_positions,
    place_people,
)
from celeb_core.prompt import known_names


@pytest.fixture(scope="module")
def placed(models):
    return place_people(models.names, 2, models.encoders[0])


def test_people_are_placed_later_and_later(placed, models):
    single, pairs = placed
    assert place_people(models.names, 2, models.encoders[0]) == placed
    assert len(single) == 2 * len(TARGETS) and len(pairs) == 2 * len(PAIRS)
    for one in (*single, *pairs):
        assert set(known_names(one.text, models.names)) == set(one.names)
        before = one.text[: one.text.rindex(one.names[-1])]
        assert one.position == 1 + len(models.encoders[0].token_ids(before))
    positions = [one.position for one in single]
    assert positions == sorted(positions) and positions[:2] == [1, 1]
    assert len({one.text.replace(one.names[0], "") for one in single[2:]}) > len(TARGETS)


def test_a_fit_falls_and_finds_where_too_little_is_kept():
    positions = [1, 1, 4, 4, 7, 7, 10, 10, 20, 20]
    scores = [0.8, 0.9, 0.86, 0.84, 0.55, 0.8, 0.7, 0.6, 0.1, -0.2]
    curve = fit_curve(positions, scores)
    assert curve.positions == (1, 4, 7, 10, 20) and curve.limit == 10
    assert list(curve.kept) == sorted(curve.kept, reverse=True)
    assert curve.kept[:2] == (1.0, 1.0) and curve.kept[-1] == 0.0
    assert curve.kept[2] == pytest.approx(0.675 / 0.85, abs=1e-3)
    noisy = fit_curve(positions, [0.9, 0.7, 0.1, 0.9, 0.8, 0.9, 0.9, 0.9, 0.8, 0.7])
    assert noisy.limit is None and noisy.kept[-1] > 0.8
    assert fit_curve([1, 5], [0.0, 0.0]).limit is None  # nobody is known anywhere


def test_scores_are_of_the_last_person_and_kept_on_disk(
    placed, studio, calibration, monkeypatch, tmp_path
):
    generated = []

    def generate_each(prompts, models, basis, config):
        generated.extend(prompts)
        return [portrait() for _ in prompts]

    monkeypatch.setattr(module, "generate_each", generate_each)
    (face,) = studio.faces.find(portrait())
    own = torch.stack([face.embedding] * len(calibration.names))
    known = replace(calibration, face_embeddings=own)
    with pytest.raises(FeatureMissing, match="celeb-basis prepare"):
        load_scores(placed[0], 1, known, tmp_path)
    for texts in placed:
        for _ in measure_positions(texts, 1, known, studio, tmp_path):
            pass
        assert [one.text for one in texts] == [one.text for one in generated]
        generated.clear()
    # Everybody looks like the one face that there is, which is matched to one person of a pair.
    assert load_scores(placed[0], 1, known, tmp_path) == pytest.approx([1.0] * len(placed[0]))
    assert {round(x, 3) for x in load_scores(placed[1], 1, known, tmp_path)} <= {0.0, 1.0}
    found = person_positions(*placed, 1, known, tmp_path)
    assert found.first.limit is None and set(found.first.kept) == {1.0}
    assert list(measure_positions(placed[0], 1, known, studio, tmp_path)) and not generated
