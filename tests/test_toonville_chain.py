"""The chain of all stages: its plan, and that it goes on after an interruption."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from celeb_core.errors import UsageError
from toonville import stage_runs
from toonville.chain import TINY_MINUTES, plan, run_chain, select
from toonville.devices import moved, pick
from toonville.stage_runs import Numbers, Settings
from toonville.stages import STAGES, Stage, chain_settings
from toonville.unet_batches import Batch
from toonville.unnamed_people import PEOPLE_FILE, UnnamedPeople, save_unnamed_people

NAMES = ("render", "unet", "decoder", "export")
FACES = {"recogniser", "detector", "judge"}


class Stubs:
    """Stages that only write files, each with a checkpoint, and can be killed in the middle."""

    def __init__(self, work: Path) -> None:
        self.work = work
        self.kill: str | None = None
        self.runs: list[tuple[str, bool]] = []  # stage, and whether it found its checkpoint
        self.stages = tuple(self._stage(i, name) for i, name in enumerate(NAMES))

    def _stage(self, i: int, name: str) -> Stage:
        checkpoint, made = f"models/{name}.pt", f"data/{name}"

        def run(s: Settings) -> Numbers:
            self.runs.append((name, (s.work / checkpoint).exists()))
            assert s.resume
            for path in (checkpoint, made):
                if path == made and self.kill == name:
                    raise KeyboardInterrupt
                (s.work / path).parent.mkdir(parents=True, exist_ok=True)
                (s.work / path).write_text(name)
            return {"examples": i}

        needs = (f"data/{NAMES[i - 1]}",) if i else ()
        kind = "training" if i in (1, 2) else "one core"
        return Stage(name, run, 10.0, kind, "", needs, (made,), (checkpoint,))

    def chain(self, anew: str | None = None) -> None:
        begin = [stage.name for stage in self.stages].index(anew) if anew else 0
        stages = self.stages[begin:]
        minutes = plan(stages, None, 2)
        settings = chain_settings(self.work, self.work / "assets")
        run_chain(stages, minutes, settings, self.work / "assets", stages if anew else ())

    def take_runs(self) -> list[tuple[str, bool]]:
        runs, self.runs = self.runs, []
        return runs


@pytest.fixture
def stubs(tmp_path: Path) -> Stubs:
    return Stubs(tmp_path)


@pytest.mark.parametrize("total", [300.0, 480.0, 2000.0])
@pytest.mark.parametrize("threads", [2, 16])
def test_the_plan_sums_up_and_trainings_keep_their_proportions(total: float, threads: int) -> None:
    stages = select()
    minutes = plan(stages, total, threads)
    assert list(minutes) == [stage.name for stage in stages]
    assert sum(minutes.values()) == pytest.approx(total)
    usual = plan(stages, None, threads)
    for stage in stages:
        scale = minutes["unet"] / usual["unet"] if stage.work == "training" else 1.0
        assert minutes[stage.name] == pytest.approx(scale * usual[stage.name])
    assert usual["encode"] == next(s.minutes for s in STAGES if s.name == "encode") / threads


def test_a_plan_counts_the_stages_of_its_chain_alone() -> None:
    part = select("unet", "decoder")
    assert [stage.name for stage in part] == ["unet", "decoder"]
    assert sum(plan(part, 12.0, 2).values()) == pytest.approx(12.0)
    tiny = plan(select(), None, 2, tiny=True)
    assert tiny["unet"] == TINY_MINUTES and max(tiny.values()) == 1.0


def test_a_total_without_time_for_trainings_is_refused() -> None:
    with pytest.raises(UsageError, match="too few"):
        plan(select(), 20.0, 2)
    with pytest.raises(UsageError, match="before"):
        select("unet", "vae")


def test_face_models_are_trained_only_when_asked_for() -> None:
    names = {stage.name for stage in select()}
    assert names == {stage.name for stage in STAGES} - FACES
    assert {stage.name for stage in select(faces=True)} == names | FACES
    assert [stage.name for stage in select("judge", "judge")] == ["judge"]


def test_what_a_stage_needs_is_made_before_it() -> None:
    made: set[str] = set()
    for stage in STAGES:
        assert made.issuperset(stage.needs), stage.name
        made |= set(stage.makes)
        assert not any(path.startswith("assets/") for path in stage.resumes)


@pytest.mark.parametrize("killed", NAMES)
def test_the_same_command_goes_on_after_a_kill(stubs: Stubs, killed: str) -> None:
    stubs.kill = killed
    with pytest.raises(KeyboardInterrupt):
        stubs.chain()
    begun = NAMES.index(killed)
    assert stubs.take_runs() == [(name, False) for name in NAMES[: begun + 1]]
    stubs.kill = None
    stubs.chain()
    assert stubs.take_runs() == [(name, name == killed) for name in NAMES[begun:]]
    stubs.chain()
    assert stubs.take_runs() == []
    for i, name in enumerate(NAMES):
        numbers = json.loads((stubs.work / "done" / f"{name}.json").read_text())
        assert numbers["examples"] == i and numbers["minutes"] == 10.0


@pytest.mark.parametrize("killed", NAMES[1:])
def test_stages_that_are_done_anew_forget_their_checkpoints_once(stubs: Stubs, killed: str) -> None:
    stubs.chain()
    stubs.take_runs()
    stubs.kill = killed
    with pytest.raises(KeyboardInterrupt):
        stubs.chain(anew="unet")
    begun = NAMES.index(killed)
    assert stubs.take_runs() == [(name, False) for name in NAMES[1 : begun + 1]]
    stubs.kill = None
    stubs.chain(anew="unet")
    assert stubs.take_runs() == [(name, name == killed) for name in NAMES[begun:]]
    stubs.chain(anew="unet")
    assert stubs.take_runs() == [(name, False) for name in NAMES[1:]]


def test_what_is_missing_is_named_with_the_stage_that_makes_it(tmp_path: Path) -> None:
    settings = chain_settings(tmp_path, tmp_path / "assets")
    stages = select("export", "export")
    with pytest.raises(UsageError, match=r"models/vae, which vae makes.*--from vae"):
        run_chain(stages, plan(stages, None, 2), settings, tmp_path / "assets", stages)


def test_a_training_reports_its_steps(tmp_path: Path) -> None:
    calls: list[dict[str, Any]] = []

    def train(data: Path, folder: Path, minutes: float, resume: bool, **options: Any) -> None:
        calls.append({"data": data, "minutes": minutes, "resume": resume, **options})
        folder.mkdir()
        torch.save({"step": 7, "model": nn.Linear(2, 2).state_dict()}, folder / "line.pt")

    settings = Settings(*[tmp_path] * 6, minutes=3.0, options={"weight": 2.0})
    run = stage_runs.training("line", train, on_device=True)
    assert run(settings) == {"steps": 7}
    made = {"data": tmp_path / "data", "minutes": 3.0, "resume": True}
    assert calls == [{**made, "weight": 2.0, "device": "cpu"}]


def test_the_decoder_starts_from_the_same_vae_every_time(tmp_path: Path) -> None:
    settings = Settings(*[tmp_path] * 6)
    weights = settings.models / "vae" / "weights"
    weights.parent.mkdir(parents=True)
    weights.write_text("of the VAE's training")
    for _ in range(2):
        stage_runs.keep_vae(settings)
        assert weights.read_text() == "of the VAE's training"
        weights.write_text("of the decoder's training")


def test_every_kind_is_encoded_with_its_people(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    settings = Settings(*[tmp_path] * 6, tiny=True, threads=3)
    embeddings = np.zeros((5, 2, 4), np.float16)
    unnamed = UnnamedPeople(embeddings, np.zeros((5, 24), np.float32))
    save_unnamed_people(unnamed, settings.data / PEOPLE_FILE)
    stores: dict[str, tuple[Any, ...]] = {}

    def record(out: Path, *arguments: Any) -> None:
        stores[out.name] = arguments

    monkeypatch.setattr(stage_runs.encoded, "encode_store", record)
    numbers = stage_runs.encode(settings)
    assert {name.removesuffix("_encoded") for name in stores} == set(numbers)
    seeds = set()
    for name, (n, people, seed, example, models, among, workers) in stores.items():
        assert (n, models, workers) == (stage_runs.TINY_EXAMPLES, settings.models, 3)
        made = example(seed)
        assert len(made.spec.people) == people
        assert (among is not None) == name.startswith("between")
        seeds.add(seed)
    assert len(seeds) == len(stores)


@pytest.mark.toonville
def test_what_is_not_trained_again_is_kept(tmp_path: Path) -> None:
    settings = chain_settings(tmp_path, tmp_path / "assets")
    stage_runs.unpack(settings)
    start = settings.models / "start"
    for part in ("vae", "unet", "clip", "tokenizer"):
        assert (start / part).is_dir() and not (settings.models / part).exists()
    for name in ("judge.onnx", "reader.onnx", "reader.json", "faces/rec.onnx", "faces/det.onnx"):
        assert (settings.models / name).read_bytes() == (settings.start / name).read_bytes()


def test_devices() -> None:
    assert pick("cpu").type == "cpu"
    assert pick("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    if not torch.cuda.is_available():
        with pytest.raises(UsageError, match="CUDA"):
            pick("cuda")
    batch = Batch(*torch.zeros(7, 2))
    on_meta = moved(batch, torch.device("meta"))
    assert on_meta.latents.device.type == on_meta.labels.device.type == "meta"
    assert batch.latents.device.type == "cpu"
