"""Damaged files of people, embeddings and models give a CelebError, soon and in little memory.

`--full -s` tries 1,000 of each family and prints what came of them.
"""

from __future__ import annotations

import random
import time
import zlib
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from fuzzing_files import embedding_seeds, mutated, saved
from safetensors.torch import save
from test_textual_inversion import random_person

from celeb_core import (
    TrainConfig,
    fit_identities,
    import_identities,
    list_identities,
    load_basis,
    load_identity,
    save_basis,
    save_calibration,
    save_identity,
)
from celeb_core.basis import person_embeddings
from celeb_core.errors import CelebError
from celeb_core.formats.calibration_file import read_calibration
from celeb_core.formats.checkpoint_file import checkpoint_kind, read_weights
from celeb_core.training import save_checkpoint
from celeb_core.training_checkpoint import restore
from celeb_core.training_run import Training

pytestmark = pytest.mark.filterwarnings("ignore:Duplicate name")  # in a zip that is to be odd

SECONDS, GROWTH = 5.0, 1_000_000_000  # of the processor, and bytes of memory, for one file
FAST = TrainConfig(steps=4, batch_size=2).changed(views=2, learning_rate=1e-2)


def peak() -> int:
    """The most bytes of memory that this process had since `reset`; 0 where nobody says."""
    status = Path("/proc/self/status")
    text = status.read_text() if status.is_file() else ""
    return int(text.partition("VmHWM:")[2].split()[0]) * 1024 if "VmHWM:" in text else 0


def reset() -> None:
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        pass


@pytest.fixture
def hold(request, tmp_path):
    """Reads mutated seeds: `read` may raise nothing but a CelebError."""

    def hold(family: str, seeds: dict[str, bytes], read, small: int) -> None:
        full = request.config.getoption("--full")
        outcomes, slowest, largest = Counter(), 0.0, 0
        for seed in seeds.values():
            (tmp_path / "file").write_bytes(seed)
            read(tmp_path / "file")  # as it is, it is read
        for number in range(1000 if full else small):
            dice = random.Random(zlib.crc32(f"{family} {number}".encode()))
            name = dice.choice(list(seeds))
            (tmp_path / "file").write_bytes(mutated(seeds[name], dice))
            reset()
            before, began = peak(), time.process_time()
            try:
                read(tmp_path / "file")
                outcomes["read"] += 1
            except CelebError as error:
                outcomes[type(error).__name__] += 1
                assert "weights_only" not in str(error) and "safe_globals" not in str(error)
                assert len(str(error)) < 2000
            except BaseException as error:
                raise AssertionError(f"{family} {number}, of {name}: {error!r}") from error
            slowest = max(slowest, time.process_time() - began)
            largest = max(largest, peak() - before)
        if full:
            print(f"\n{family}: {dict(outcomes)}, {slowest:.2f} s, {largest / 1e6:.0f} MB at most")
            assert slowest < SECONDS
        assert largest < GROWTH and len(outcomes) > 1

    return hold


def test_identities(hold, basis, models, tmp_path):
    ada = random_person(basis)
    other = replace(ada, basis_id="another", settings={"trained": 3, "preset": "best"})
    seeds = [save_identity(one, tmp_path / "seed").read_bytes() for one in (ada, other)]

    def read(path: Path) -> None:
        path = path.replace(tmp_path / "x.safetensors")
        list_identities(tmp_path, basis=basis)
        person = load_identity(path)
        again = load_identity(save_identity(person, tmp_path / "again"))
        assert torch.equal(again.coefficients, person.coefficients.half().float())
        import_identities(path, basis)
        person_embeddings(person, basis, models)

    with pytest.raises(CelebError):  # of the second
        hold("identities", dict(zip("ab", seeds, strict=True)), read, 0)
    hold("identities", {"own": seeds[0]}, read, 150)


@pytest.mark.parametrize("kind", ["sd", "sdxl"])
def test_embeddings(kind, hold, models, basis, sdxl, sdxl_basis, tmp_path):
    models, basis = (models, basis) if kind == "sd" else (sdxl, sdxl_basis)
    vectors = person_embeddings(random_person(basis), basis, models)
    seeds = embedding_seeds(vectors, basis.widths)
    both = ("sdxl", "trainer", "comfyui")
    seeds = {name: seed for name, seed in seeds.items() if (name in both) == (kind == "sdxl")}

    def read(path: Path) -> None:
        for person in import_identities(path, basis, "x", min_explained=0.0):
            saved = load_identity(save_identity(person.identity, tmp_path / "people"), basis)
            assert saved.coefficients.isfinite().all()

    hold(f"embeddings of {kind}", seeds, read, 300)


def test_training_checkpoints(hold, person, models, basis, calibration, tmp_path):
    setting = ([person], models, basis, FAST)
    seeds = {}
    for name, known in (("free", None), ("calibrated", calibration)):
        for step in fit_identities(*setting, calibration=known):
            if step.step == 2:
                save_checkpoint(step, tmp_path / name)
                seeds[name] = (tmp_path / name).read_bytes()
                break
    trainings = [Training(*setting, calibration) for _ in range(2)]

    def read(path: Path) -> None:
        training = trainings[0]
        restore(training, path)
        training.update()

    hold("training checkpoints", seeds, read, 60)


def test_calibrations(hold, calibration, tmp_path):
    save_calibration(calibration, tmp_path / "seed")
    fits = calibration.recogniser, calibration.basis_id
    seeds = {"own": (tmp_path / "seed").read_bytes()}
    hold("calibrations", seeds, lambda path: read_calibration(path, *fits), 100)


def test_bases(hold, basis, tmp_path):
    save_basis(basis, tmp_path / "seed")
    hold("bases", {"own": (tmp_path / "seed").read_bytes()}, load_basis, 100)


def test_models(hold):
    text = "cond_stage_model.transformer.text_model.embeddings.position_embedding.weight"
    unet = "model.diffusion_model.input_blocks.0.0.weight"
    weights = {text: torch.zeros(7, 4), unet: torch.ones(8, 4, 3, 3)}
    seeds = {"safetensors": save(weights)}
    for name, zipped in (("zip", True), ("pickle", False)):
        seeds[name] = saved({"state_dict": weights}, zipped)

    def read(path: Path) -> None:
        kind = checkpoint_kind(path, read_weights(path, allow_pickle=True))
        assert kind == "sd1"

    hold("models", seeds, read, 200)
