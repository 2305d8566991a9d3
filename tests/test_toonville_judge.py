"""The judge: its crop, its file, and how its scores fall with errors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from insightface.utils.face_align import arcface_dst, norm_crop

from celeb_core.loading import ASSETS, BUNDLED
from celeb_core.scoring import judge_crop
from toonville.export import gallery, held_out_people
from toonville.face_report import Judge
from toonville.identity import NUM_TRAITS
from toonville.judge import JudgeNet, export_judge
from toonville.judge_scale import identity_scores


def test_the_judge_sees_more_than_the_recogniser() -> None:
    white = np.full((112, 112, 3), 255, np.uint8)
    assert norm_crop(white, arcface_dst).mean() == 255
    assert judge_crop(white, arcface_dst).mean() / 255 == pytest.approx(0.62**2, abs=0.01)


def test_judge_file(tmp_path: Path) -> None:
    export_judge(JudgeNet((8, 8, 16, 16)).eval(), tmp_path)
    session = onnxruntime.InferenceSession(tmp_path / "judge.onnx")
    assert [i.name for i in session.get_inputs()] == ["crop"]
    assert [o.name for o in session.get_outputs()] == ["traits", "embedding"]
    images = [np.full((128, 128, 3), shade, np.uint8) for shade in (10, 120, 250)]
    traits, embeddings = Judge(tmp_path)(images, [arcface_dst * 0.6 + 4] * 3)
    assert traits.shape == (3, NUM_TRAITS)
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1, atol=1e-4)


@pytest.mark.toonville
def test_scores_fall_with_the_error_of_the_traits() -> None:
    judge, people = Judge(ASSETS / BUNDLED), held_out_people()[:6]
    entries = gallery(judge, people, 1)
    right, wrong, worse = (
        identity_scores(judge, people, entries, error, 5).mean() for error in (0.0, 0.2, 0.4)
    )
    assert right > 0.97
    assert right > wrong + 0.05 > worse + 0.1
