from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import portrait
from insightface.utils.face_align import arcface_dst
from PIL import Image, ImageDraw
from scipy.ndimage import center_of_mass

from celeb_core import find_face, load_studio, reference_embeddings, score_image, scoring
from celeb_core.scoring import FaceScore, Scores, letterbox, load_scorers, match_faces, strip_people


@pytest.fixture(scope="module")
def measured(measured_world):
    return load_studio(measured_world, device="cpu")


def unit(*values: float) -> torch.Tensor:
    return torch.nn.functional.normalize(torch.tensor(values, dtype=torch.float32), dim=0)


# --- scores


def test_matching_is_one_to_one_and_best_in_all():
    a, b = unit(1, 0), unit(0, 1)
    # both found faces are most like a; only one can be a
    found = [unit(1, 0.2), unit(1, 0.9)]
    assert match_faces(found, [a, b]) == {0: 0, 1: 1}
    assert match_faces(found[1:], [b, a]) == {1: 0}
    assert match_faces([], [a]) == {} and match_faces(found, []) == {}


def test_the_right_person_scores_one_and_the_missing_zero(measured):
    image = portrait(255)
    ada = find_face(image, measured.faces)
    judge_references = {"ada": measured.scorers.judge.embed(image, [ada])[0]}
    bob = find_face(portrait(190), measured.faces).embedding
    references = {"ada": ada.embedding, "bob": bob}
    scores = score_image(image, "<ada> and <bob>", references, measured.scorers, judge_references)
    first, second = scores.faces
    assert (first.found, second.found) == (True, False)
    assert first.identity == pytest.approx(1, abs=1e-4)
    assert first.judge == pytest.approx(1, abs=1e-4)
    assert first.box == ada.box
    assert second == FaceScore("bob", False, 0.0, None, None)
    assert scores.identity == pytest.approx(0.5, abs=1e-4)
    assert scores.judge == first.judge and -1 <= scores.prompt <= 1


def test_the_judge_gives_a_missing_face_zero_and_is_asked_for(measured):
    image = portrait(255)
    ada = find_face(image, measured.faces)
    judged = measured.scorers.judge.embed(image, [ada])[0]
    blank = Image.new("RGB", (128, 128), "blue")
    wanted = ({"ada": ada.embedding}, measured.scorers)
    (missing,) = score_image(blank, "<ada>", *wanted, {"ada": judged}).faces
    assert (missing.found, missing.identity, missing.judge) == (False, 0.0, 0.0)
    (unjudged,) = score_image(image, "<ada>", *wanted).faces
    assert unjudged.found and unjudged.judge is None
    without = replace(measured.scorers, judge=None)
    (unjudged,) = score_image(image, "<ada>", wanted[0], without, {"ada": judged}).faces
    assert unjudged.found and unjudged.judge is None


def test_no_faces_and_no_people(measured):
    blank = Image.new("RGB", (128, 128), "blue")
    face = find_face(portrait(), measured.faces).embedding
    assert score_image(blank, "<ada>", {"ada": face}, measured.scorers).identity == 0
    empty = score_image(blank, "a beach", {}, measured.scorers)
    assert empty.faces == () and empty.identity is None
    assert Scores((), None).judge is None


def test_names_do_not_count_for_the_prompt(measured):
    name = measured.models.names[0]

    def prompt_score(text: str) -> float:
        return score_image(portrait(), text, {}, measured.scorers).prompt

    plain = prompt_score("a photo of in space")
    assert prompt_score("a photo of <ada> in space") == pytest.approx(plain, abs=1e-6)
    assert prompt_score(f"a photo of {name.upper()} in space") == pytest.approx(plain, abs=1e-6)
    assert prompt_score("a photo of a hat in space") != pytest.approx(plain, abs=1e-6)


def test_people_are_stripped_from_a_prompt():
    names = ("Bane Skaba", "Grezin")
    text = "<ada>  next to bane skaba and <bob>, reading about Grezina"
    assert strip_people(text, names) == "next to and , reading about Grezina"
    assert strip_people(text) == "next to bane skaba and , reading about Grezina"


# --- the networks


def test_the_scorers_are_those_that_the_folder_has(studio, measured):
    faces = studio.faces
    for models in (studio.models, replace(studio.models, folder=None)):
        scorers = load_scorers(models, faces)
        assert (scorers.judge, scorers.reader, scorers.clip) == (None, None, None)
        assert scorers.faces is faces and scorers.names == models.names
    assert score_image(portrait(), "a photo", {}, studio.scorers).prompt is None
    whole = load_scorers(measured.models, faces)
    assert whole.judge and whole.reader and whole.clip


class Recorder:
    """Stands in for the judge's network and remembers its input."""

    def run(self, _, inputs):
        self.crop = ((inputs["crop"][0].transpose(1, 2, 0) + 1) * 127.5).round()
        return np.zeros((1, 24), np.float32), np.zeros((1, 128), np.float32)


def test_the_judge_gets_a_wider_crop_than_the_recogniser(measured_world, measured):
    """Landmarks end at .62 of ArcFace's distances around (56, 58), turned upright."""
    template = (arcface_dst - [56, 72]) * 0.62 + [56, 58]
    turn = np.array([[0.3, 1.4], [-1.4, 0.3]])
    points = (template @ turn + [150, 0]).astype(np.float32)
    image = Image.new("RGB", (200, 200), "navy")
    x, y = points[2]  # the nose
    ImageDraw.Draw(image).ellipse((x - 5, y - 5, x + 5, y + 5), fill="white")
    face = replace(find_face(portrait(), measured.faces), landmarks=points)
    judge = scoring.Judge(measured_world / "judge.onnx")
    judge.session = Recorder()
    assert judge.embed(image, [face]).shape == (1, 128)
    crop = judge.session.crop
    assert crop.shape == (112, 112, 3)
    row, column = center_of_mass(crop[..., 0])
    assert (column, row) == pytest.approx(tuple(template[2]), abs=1.0)
    assert (crop == 0).all(-1).any()  # outside of the image it is black


def test_the_judge_on_no_faces_and_on_several(measured):
    judge, face = measured.scorers.judge, find_face(portrait(), measured.faces)
    assert judge.embed(portrait(), []).shape == (0, 128)
    read = judge.read(portrait(), [face, face])
    assert read["traits"].shape == (2, 24)
    assert torch.allclose(read["embedding"].norm(dim=1), torch.ones(2), atol=1e-5)


def test_letterbox_keeps_all_of_a_wide_image():
    square = letterbox(Image.new("RGB", (192, 128), "red"))
    assert square.size == (192, 192)
    assert square.getpixel((5, 5)) == (0, 0, 0) and square.getpixel((5, 96)) == (255, 0, 0)


def test_reader_names_a_label_of_every_group(measured):
    read = measured.scorers.reader.read(Image.new("RGB", (192, 128), "red"))
    assert set(read) == {"expression", "scene"}
    assert all(label in measured.scorers.reader.labels[group] for group, label in read.items())
    shown = [
        measured.scorers.reader.read(Image.new("RGB", (64, 64), colour))["scene"]
        for colour in ("red", "lime", "blue", "white", "black", "yellow", "cyan")
    ]
    assert len(set(shown)) > 1


# --- references


def test_references_are_the_largest_faces_of_the_models_own_images(measured, monkeypatch):
    asked, blank = [], Image.new("RGB", (128, 128))
    large = find_face(portrait(200), measured.faces)
    small = replace(find_face(portrait(255), measured.faces), box=(0.0, 0.0, 9.0, 9.0))
    faces = SimpleNamespace(find=lambda image: [] if image is blank else [small, large])

    def generate(prompt, models, basis, config):
        asked.append((prompt.text, config.num_images, config.seed))
        return [portrait(), blank, portrait()]

    monkeypatch.setattr(scoring, "generate", generate)
    setting = (measured.models, measured.basis, faces)
    people = {"Grezin": None, "ada": torch.zeros(2, 48)}
    found = reference_embeddings(people, *setting, images=3, seed=7)
    assert asked == [("a photo of Grezin", 3, 7), ("a photo of <ada>", 3, 7)]
    for name in people:
        assert torch.allclose(found[name], large.embedding, atol=1e-6)
    monkeypatch.setattr(scoring, "generate", lambda *_: [blank])
    assert reference_embeddings({"Grezin": None}, *setting) == {}
