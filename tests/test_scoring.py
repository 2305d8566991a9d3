from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import portrait
from PIL import Image

from celeb_core import find_face, load_studio, reference_faces, score_picture
from celeb_core import scoring as module
from celeb_core.alignment import JUDGE_TEMPLATE, align
from celeb_core.scoring import letterbox, match_faces
from celeb_core.types import Scores


@pytest.fixture(scope="module")
def measured(measured_world):
    return load_studio(measured_world, device="cpu")


def unit(*values: float) -> torch.Tensor:
    return torch.nn.functional.normalize(torch.tensor(values, dtype=torch.float32), dim=0)


def test_matching_is_one_to_one_and_best_in_all():
    a, b = unit(1, 0), unit(0, 1)
    # both found faces look most like a; only one can be a
    found = [unit(1, 0.2), unit(1, 0.9)]
    assert match_faces(found, [a, b]) == {0: 0, 1: 1}
    assert match_faces(found[1:], [b, a]) == {1: 0}
    assert match_faces([], [a]) == {} and match_faces(found, []) == {}


def test_the_right_person_scores_one_and_the_missing_zero(measured):
    picture = portrait(255)
    ada = find_face(picture, measured.faces)
    judged = measured.examiners.judge.embed(picture, [ada])[0]
    bob = find_face(portrait(190), measured.faces).embedding
    wanted = {"ada": ada.embedding, "bob": bob}
    scores = score_picture(picture, "<ada> and <bob>", wanted, measured, {"ada": judged})
    first, second = scores.faces
    assert (first.found, second.found) == (True, False)
    assert first.identity == pytest.approx(1, abs=1e-4) and first.judge == pytest.approx(
        1, abs=1e-4
    )
    assert second.identity == 0 and second.box is None
    assert scores.identity == pytest.approx(0.5, abs=1e-4) and scores.detected == 0.5
    assert -1 <= scores.prompt <= 1


def test_no_faces_and_nobody_wanted(measured):
    blank = Image.new("RGB", (128, 128), "blue")
    face = find_face(portrait(), measured.faces).embedding
    assert score_picture(blank, "<ada>", {"ada": face}, measured).identity == 0
    nobody = score_picture(blank, "a beach", {}, measured)
    assert nobody.identity is None and nobody.detected is None


def test_without_clip_there_is_no_prompt_score(studio):
    assert score_picture(portrait(), "a photo", {}, studio).prompt is None
    assert Scores((), None).judge is None


def test_names_do_not_count_for_the_prompt(measured):
    one = score_picture(portrait(), "a photo of <ada> in space", {}, measured).prompt
    other = score_picture(portrait(), "a photo of Bane Skaba in space", {}, measured).prompt
    plain = score_picture(portrait(), "a photo of in space", {}, measured).prompt
    assert one == pytest.approx(plain, abs=1e-6)
    assert other == pytest.approx(plain, abs=1e-6) or "Bane Skaba" not in measured.models.names


def test_alignment_puts_points_on_the_template():
    points = JUDGE_TEMPLATE @ np.array([[0, 0.5], [-0.5, 0]]) + [80, 20]  # turned and halved
    canvas = np.zeros((128, 128, 3), np.uint8)
    x, y = points[2]
    canvas[round(y) - 1 : round(y) + 2, round(x) - 1 : round(x) + 2] = 255
    warped = align(canvas, points, JUDGE_TEMPLATE)
    rows, columns = np.nonzero(warped[:, :, 0] > 128)
    assert abs(columns.mean() - JUDGE_TEMPLATE[2, 0]) < 1.5
    assert abs(rows.mean() - JUDGE_TEMPLATE[2, 1]) < 1.5


def test_letterbox_keeps_all_of_a_wide_picture():
    square = letterbox(Image.new("RGB", (192, 128), "red"))
    assert square.size == (192, 192)
    assert square.getpixel((5, 5)) == (0, 0, 0) and square.getpixel((5, 96)) == (255, 0, 0)


def test_reader_names_a_label_of_every_group(measured):
    read = measured.examiners.reader.read(Image.new("RGB", (192, 128), "red"))
    assert set(read) == {"expression", "scene"} and read["scene"] in ("plain", "beach", "space")


def test_references_are_the_models_own_pictures(measured, monkeypatch):
    def draw(prompt, models, basis, config):
        shade = 255 if "Grezin" in prompt.text else 200
        return [portrait(shade)] * config.num_images

    monkeypatch.setattr(module, "generate", draw)
    found = reference_faces({"Grezin": None, "ada": torch.zeros(2, 48)}, measured, pictures=2)
    expected = find_face(portrait(200), measured.faces).embedding
    assert torch.allclose(found["ada"], expected, atol=1e-5)
    monkeypatch.setattr(module, "generate", lambda *_: [Image.new("RGB", (128, 128))])
    assert reference_faces({"Grezin": None}, measured) == {}


def test_photographs_get_a_second_judge_where_the_model_has_none(
    measured_world, world, monkeypatch
):
    judge = object()
    monkeypatch.setattr(module, "load_second_judge", lambda: judge)
    assert module.load_examiners(None, photographs=True).likeness is judge
    assert module.load_examiners(None).likeness is None
    assert module.load_examiners(world, photographs=True).likeness is judge
    own = module.load_examiners(measured_world, photographs=True)
    assert own.likeness is own.judge and own.second is None
