"""The face models' files: shapes, numbers and layout, with small untrained networks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from celeb_core.alignment import ARCFACE_TEMPLATE, JUDGE_TEMPLATE, align, similarity
from toonville.__main__ import ASSETS
from toonville.dataset import random_spec
from toonville.detector import CELL, LEVELS, Detector, export_detector, targets
from toonville.detector_data import LABEL_WIDTH, WHOLE, face_outline
from toonville.export import gallery, held_out_people
from toonville.face_report import Judge, Reader, find, measure_detector, overlap
from toonville.identity import NUM_TRAITS, sample_traits
from toonville.judge import JudgeNet, export_judge
from toonville.judge_scale import likeness
from toonville.people_store import draw_people_store, load_people_store, varied_spec
from toonville.reader import ReaderNet, export_reader
from toonville.recogniser import Recogniser, export_recogniser
from toonville.render import render
from toonville.world import GROUPS, labels_of

POINTS = ARCFACE_TEMPLATE * 0.6 + np.float32([[3, 5], [4, 5], [3, 6], [3, 5], [2, 4]])


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Detector, Recogniser]:
    """A folder with an untrained face pack, and its networks."""
    folder = tmp_path_factory.mktemp("toonville")
    torch.manual_seed(0)
    detector = Detector((8, 8, 8, 8)).eval()
    recogniser = Recogniser((8, 8, 8, 16)).eval()
    export_detector(detector, folder / "faces" / "det.onnx")
    export_recogniser(recogniser, folder / "faces" / "rec.onnx")
    return folder, detector, recogniser


def run(path: Path, x: torch.Tensor) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: x.numpy()})


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_alignment_is_insightface_s():
    from insightface.utils.face_align import estimate_norm, norm_crop

    np.testing.assert_allclose(
        similarity(POINTS, ARCFACE_TEMPLATE), estimate_norm(POINTS), atol=1e-4
    )
    image = np.random.default_rng(0).integers(0, 255, (128, 128, 3)).astype(np.uint8)
    gap = align(image, POINTS).astype(int) - norm_crop(image, POINTS)
    assert np.abs(gap).mean() < 0.01


def test_similarity_recovers_a_turn():
    turn = np.deg2rad(20)
    matrix = 1.7 * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    found = similarity(POINTS, POINTS @ matrix.T + (5, -3))
    np.testing.assert_allclose(found, np.column_stack([matrix, (5, -3)]), atol=1e-5)


def test_judge_sees_more_than_the_recogniser():
    wide = JUDGE_TEMPLATE[1, 0] - JUDGE_TEMPLATE[0, 0]
    assert wide == pytest.approx(0.62 * (ARCFACE_TEMPLATE[1, 0] - ARCFACE_TEMPLATE[0, 0]), rel=1e-5)


@pytest.mark.parametrize("size", [(128, 128), (192, 192), (256, 160)])
def test_detector_outputs_are_scrfd_s(pack, size):
    folder, detector, _ = pack
    width, height = size
    x = torch.randn(1, 3, height, width)
    outputs = run(folder / "faces" / "det.onnx", x)
    rows = [2 * (height // (CELL * level)) * (width // (CELL * level)) for level in LEVELS]
    assert [o.shape for o in outputs] == [(n, k) for k in (1, 4, 10) for n in rows]
    assert all((o >= 0).all() and (o <= 1).all() for o in outputs[:3])
    with torch.no_grad():
        for ours, theirs in zip(detector(x), outputs, strict=True):
            np.testing.assert_allclose(ours.numpy(), theirs, atol=2e-2)


def test_targets_decode_to_the_label():
    label = np.zeros((1, 2, LABEL_WIDTH), np.float32)
    label[0, 1] = [20, 16, 50, 56, *(POINTS * 0.5 + 10).ravel(), WHOLE]
    wanted, values = targets(label)
    assert (wanted[0, 0] == 0).all()  # too large for the first anchor
    ys, xs = np.nonzero(wanted[0, 1].numpy() > 0.9)
    assert len(xs) > 0
    assert (wanted[0, 1] == -1).any()
    for y, x in zip(ys, xs, strict=True):
        row = values[0, 1, :, y, x].numpy()
        box = np.concatenate([(x, y) - row[:2], (x, y) + row[2:4]]) * CELL
        np.testing.assert_allclose(box, label[0, 1, :4], atol=1e-4)
        points = (row[4:].reshape(5, 2) + (x, y)) * CELL
        np.testing.assert_allclose(points.ravel(), label[0, 1, 4:14], atol=1e-4)


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_face_analysis_loads_the_pack(pack):
    from insightface.app import FaceAnalysis

    folder, _, recogniser = pack
    analysis = FaceAnalysis(name=str(folder / "faces"), providers=["CPUExecutionProvider"])
    assert type(analysis.models["recognition"]).__name__ == "ArcFaceONNX"
    rec = analysis.models["recognition"]
    assert (rec.input_mean, rec.input_std) == (127.5, 127.5)
    image = np.random.default_rng(1).integers(0, 255, (128, 192, 3)).astype(np.uint8)
    for size in (None, (128, 128), (256, 256)):
        analysis.prepare(ctx_id=-1, det_thresh=0.01, det_size=size)
        faces = analysis.get(image, max_num=1)
        assert faces[0].kps.shape == (5, 2)
        assert faces[0].embedding.shape == (512,)
    crop = align(image[:, :, ::-1].copy(), POINTS)
    x = torch.from_numpy(crop).permute(2, 0, 1)[None].float().sub(127.5).div(127.5)
    with torch.no_grad():
        ours = recogniser(x)[0].numpy()
    theirs = rec.get_feat(np.ascontiguousarray(crop[:, :, ::-1])).ravel()
    assert ours @ theirs / np.linalg.norm(ours) / np.linalg.norm(theirs) > 0.999


def test_no_node_name_changes_the_preprocessing(pack):
    graph = onnx.load(pack[0] / "faces" / "rec.onnx").graph
    names = [node.name for node in graph.node[:8]]
    assert not any(name.startswith(("Sub", "_minus", "Mul", "_mul")) for name in names)
    assert len(graph.output) == 1


def test_measuring_an_untrained_detector(pack):
    numbers = measure_detector(pack[0], seed=0, pictures=1)
    assert set(numbers) == {
        "detector_recall",
        "detector_false_per_picture",
        "detector_landmark_error",
    }


def test_judge_file(tmp_path: Path):
    network = JudgeNet((8, 8, 16, 16)).eval()
    export_judge(network, tmp_path)
    session = onnxruntime.InferenceSession(tmp_path / "judge.onnx")
    assert [i.name for i in session.get_inputs()] == ["crop"]
    assert [o.name for o in session.get_outputs()] == ["traits", "embedding"]
    images = [np.full((128, 128, 3), shade, np.uint8) for shade in (10, 120, 250)]
    traits, embeddings = Judge(tmp_path)(images, [POINTS] * 3)
    assert traits.shape == (3, NUM_TRAITS)
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1, atol=1e-4)


@pytest.mark.toonville
def test_the_more_a_face_is_wrong_the_less_the_judge_knows_it():
    judge, people = Judge(ASSETS), held_out_people()[:6]
    entries = gallery(judge, people, 1)
    right, wrong, worse = (likeness(judge, people, entries, e, 5).mean() for e in (0.0, 0.2, 0.4))
    assert right > 0.97
    assert right > wrong + 0.05 > worse + 0.1


def test_reader_file(tmp_path: Path):
    export_reader(ReaderNet((8, 8, 16, 16)).eval(), tmp_path)
    answers = Reader(tmp_path)([np.zeros((128, 128, 3), np.uint8)] * 2)
    assert list(answers) == list(GROUPS)
    assert all(a in GROUPS[group] for group, said in answers.items() for a in said)


def test_labels_follow_the_spec():
    spec = random_spec(np.random.default_rng(3), sample_traits(np.random.default_rng(0), 1))
    said = dict(zip(GROUPS, labels_of(spec), strict=True))
    assert GROUPS["scene"][said["scene"]] == spec.scene
    assert GROUPS["clothes"][said["clothes"]] == spec.people[0].clothes


def test_outline_from_landmarks():
    rng = np.random.default_rng(5)
    picture = render(varied_spec(rng, sample_traits(rng, 2)))
    for drawn, person in zip(picture.people, picture.spec.people, strict=True):
        outline = face_outline(person.traits, drawn.landmarks)
        np.testing.assert_allclose(outline, drawn.face_outline, atol=1e-3)


def test_people_store(tmp_path: Path):
    draw_people_store(tmp_path, num_people=3, pictures_each=4, seed=1, side=56, workers=1)
    store = load_people_store(tmp_path)
    assert store.crops.shape == (12, 56, 56, 3)
    assert np.bincount(store.who).tolist() == [4, 4, 4]
    assert store.traits.shape == (3, NUM_TRAITS)


def test_overlap():
    assert overlap((0, 0, 2, 2), (1, 0, 3, 2)) == pytest.approx(1 / 3)
    assert overlap((0, 0, 1, 1), (2, 2, 3, 3)) == 0


def test_nothing_is_found_in_black(pack):
    from toonville.face_report import open_faces

    assert find(open_faces(pack[0]), np.zeros((128, 128, 3), np.uint8)) == []
