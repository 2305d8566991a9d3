from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from conftest import portrait
from onnx import numpy_helper

from celeb_core.errors import FacePackMissing, FeatureMissing, UsageError
from celeb_core.evaluation.judges import (
    WITHOUT_CLIP,
    WITHOUT_JUDGE,
    PackJudge,
    find_clip,
    find_judge,
)
from celeb_core.faces import find_face


@pytest.fixture
def other_pack(world, tmp_path):
    """A face pack with another recogniser."""
    folder = shutil.copytree(world / "faces", tmp_path / "antelope")
    model = onnx.load(folder / "rec.onnx")
    (weight,) = (one for one in model.graph.initializer if one.name == "weight_y")
    rolled = np.roll(numpy_helper.to_array(weight), 7, axis=0)
    weight.CopyFrom(numpy_helper.from_array(rolled, "weight_y"))
    onnx.save(model, folder / "rec.onnx")
    return folder


def test_the_models_own_judge_comes_first(evaluated):
    found = find_judge(evaluated)
    assert found.judge is evaluated.scorers.judge
    assert found.id.startswith("judge-") and not found.note


def test_without_a_judge_the_recogniser_judges_and_that_is_said(studio, person):
    found, face = find_judge(studio), person.faces[0]
    assert (found.id, found.note) == (studio.faces.id, WITHOUT_JUDGE)
    assert torch.equal(found.judge.embed(portrait(), [face])[0], face.embedding)
    assert found.judge.embed(portrait(), []).shape == (0, 512)


def test_another_face_pack_judges(studio, other_pack):
    found, photo = find_judge(studio, str(other_pack)), portrait()
    face = find_face(photo, studio.faces)
    (embedding,) = found.judge.embed(photo, [face])
    assert not found.note and found.id.startswith("antelope-") and found.id != studio.faces.id
    assert float(embedding.norm()) == pytest.approx(1, abs=1e-5)
    assert abs(float(embedding @ face.embedding)) < 0.9  # it is another recogniser
    assert float(embedding @ found.judge.embed(photo, [face])[0]) == pytest.approx(1, abs=1e-5)


def test_the_conditioning_recogniser_is_refused_under_any_name(studio, world, tmp_path):
    copy = shutil.copytree(world / "faces", tmp_path / "renamed")
    with pytest.raises(UsageError, match="judge its own work"):
        find_judge(studio, str(copy))


def test_dlib_judges_where_it_is_installed(studio, monkeypatch):
    monkeypatch.setattr("celeb_core.evaluation.judges.load_dlib_judge", lambda: None)
    with pytest.raises(FeatureMissing, match=r"requirements-judge\.txt"):
        find_judge(studio, "dlib")
    judge = PackJudge()
    monkeypatch.setattr("celeb_core.evaluation.judges.load_dlib_judge", lambda: judge)
    assert find_judge(studio, "dlib") == (judge, "dlib", "")


def test_a_judge_that_is_not_there(studio, tmp_path):
    with pytest.raises(FacePackMissing, match="The judge: There is no face pack"):
        find_judge(studio, str(tmp_path / "none"))


def test_clip_is_the_models_own_or_named_or_missed(evaluated, studio, measured_world):
    own, note = find_clip(evaluated)
    assert own is evaluated.scorers.clip and not note
    assert find_clip(studio) == (None, WITHOUT_CLIP)
    # That folder has no tokenizer of its own: the one of the model around it is taken.
    named, note = find_clip(studio, str(measured_world / "clip"))
    assert named and not note
    assert named.score(portrait(), "on the beach") == own.score(portrait(), "on the beach")


def test_a_clip_as_the_hub_has_it(studio, measured_world, tmp_path):
    """With positions among its weights, as older transformers stored them, and a tokenizer."""
    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(measured_world / "clip", tmp_path / "clip")
    shutil.copytree(measured_world / "tokenizer", folder, dirs_exist_ok=True)
    weights = load_file(folder / "model.safetensors")
    for tower, length in (("text", 77), ("vision", 5)):
        weights[f"{tower}_model.embeddings.position_ids"] = torch.arange(length)[None]
    save_file(weights, folder / "model.safetensors")
    clip, _ = find_clip(studio, str(folder))
    own, _ = find_clip(studio, str(measured_world / "clip"))
    assert clip.score(portrait(), "a hat") == own.score(portrait(), "a hat")


def test_a_clip_that_cannot_be_used(studio, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    for source in (str(tmp_path), "owner/none"):
        with pytest.raises(FeatureMissing, match="cannot be used"):
            find_clip(replace(studio), source)
