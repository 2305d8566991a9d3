"""The face pack as insightface loads it, and the measurements of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from insightface.app import FaceAnalysis
from insightface.utils.face_align import arcface_dst, norm_crop

from celeb_core.loading import ASSETS, BUNDLED
from toonville.detector import Detector, export_detector
from toonville.face_report import find, measure_detector, measure_recogniser, open_faces, overlap
from toonville.recogniser import Recogniser, export_recogniser


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Recogniser]:
    """A folder with an untrained face pack, and its recogniser."""
    folder = tmp_path_factory.mktemp("toonville")
    torch.manual_seed(0)
    recogniser = Recogniser((8, 8, 8, 16)).eval()
    export_detector(Detector((8, 8, 8, 8)).eval(), folder / "faces" / "det.onnx")
    export_recogniser(recogniser, folder / "faces" / "rec.onnx")
    return folder, recogniser


def test_face_analysis_loads_the_pack(pack: tuple[Path, Recogniser]) -> None:
    folder, recogniser = pack
    analysis = FaceAnalysis(name=str(folder / "faces"), providers=["CPUExecutionProvider"])
    rec = analysis.models["recognition"]
    assert type(rec).__name__ == "ArcFaceONNX"
    assert (rec.input_mean, rec.input_std) == (127.5, 127.5)
    image = np.random.default_rng(1).integers(0, 255, (128, 192, 3)).astype(np.uint8)
    for size in (None, (128, 128), (256, 256)):
        analysis.prepare(ctx_id=-1, det_thresh=0.01, det_size=size)
        faces = analysis.get(image, max_num=1)
        assert faces[0].kps.shape == (5, 2)
        assert faces[0].embedding.shape == (512,)
    crop = norm_crop(image[:, :, ::-1].copy(), arcface_dst * 0.6 + 4)
    x = torch.from_numpy(crop).permute(2, 0, 1)[None].float().sub(127.5).div(127.5)
    with torch.no_grad():
        expected = recogniser(x)[0].numpy()
    embedding = rec.get_feat(np.ascontiguousarray(crop[:, :, ::-1])).ravel()
    cosine = expected @ embedding / np.linalg.norm(expected) / np.linalg.norm(embedding)
    assert cosine > 0.999


def test_no_node_name_changes_the_preprocessing(pack: tuple[Path, Recogniser]) -> None:
    """Insightface guesses the mean and deviation of the input from the first nodes."""
    graph = onnx.load(pack[0] / "faces" / "rec.onnx").graph
    names = [node.name for node in graph.node[:8]]
    assert not any(name.startswith(("Sub", "_minus", "Mul", "_mul")) for name in names)
    assert len(graph.output) == 1


def test_nothing_is_found_in_black(pack: tuple[Path, Recogniser]) -> None:
    assert find(open_faces(pack[0]), np.zeros((128, 128, 3), np.uint8)) == []


def test_an_untrained_detector_measures_badly(pack: tuple[Path, Recogniser]) -> None:
    numbers = measure_detector(pack[0], seed=0, images=1)
    assert numbers == {
        "detector_recall": 0.0,
        "detector_false_per_image": 0.0,
        "detector_landmark_error": 1.0,
    }


@pytest.mark.toonville
def test_the_shipped_pack_measures_well() -> None:
    numbers = measure_detector(ASSETS / BUNDLED, seed=1, images=4)
    assert numbers["detector_recall"] == 1
    assert numbers["detector_false_per_image"] < 0.1
    assert 0 < numbers["detector_landmark_error"] < 0.1
    assert measure_recogniser(ASSETS / BUNDLED, seed=0, people=8) == {
        "recogniser_tar": 1.0,
        "recogniser_rank1": 1.0,
    }


def test_overlap() -> None:
    assert overlap((0, 0, 2, 2), (1, 0, 3, 2)) == pytest.approx(1 / 3)
    assert overlap((0, 0, 1, 1), (2, 2, 3, 3)) == 0
