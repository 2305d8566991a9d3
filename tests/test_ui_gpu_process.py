from __future__ import annotations

import threading
from dataclasses import replace

import pytest
import torch
from conftest import portrait
from gpu_process import GpuProcess, forbid, load_here_and_there, use_process
from PIL import Image, ImageChops
from ui_help import fill_library, finish, make_page, make_shared, opened_page, until

from celeb_core import (
    PRESETS,
    Person,
    SampleConfig,
    TrainConfig,
    find_face,
    fit_identities,
    load_studio,
    parse_prompt,
)
from celeb_core.errors import PromptTooLong
from celeb_core.studio import without_gpu
from ui import gpu_tasks
from ui.executor import GpuUnavailable
from ui.gpu_costs import MOST, WORK, declared
from ui.images import read_settings
from ui.portrait_job import PortraitJob


@pytest.fixture(scope="module")
def process():
    process = GpuProcess()
    yield process
    process.close()


@pytest.fixture(scope="module", params=["toonville", "sdxl"])
def loaded(request, process, tmp_path_factory):
    """The bundled model and a tiny SDXL, here and in the process."""
    if request.param == "toonville":
        return load_here_and_there(process, "toonville", load_studio)
    folder = request.getfixturevalue("sdxl_world")
    cache = tmp_path_factory.mktemp("cache")
    return load_here_and_there(process, folder, load_studio, cache=cache)


@pytest.fixture
def page(loaded, process, tmp_path, monkeypatch):
    """A page whose process cannot run the networks."""
    studio = without_gpu(loaded)
    forbid(loaded, monkeypatch)
    process.calls.clear()
    page = make_page(studio, tmp_path)
    use_process(page.shared, process, most_steps=4)
    yield page
    page.shared.runner.close()


def enlist(page, *names):
    workspace = page.shared.workspace("")
    examples = [image for image, _ in page.shared.examples()]
    examples = examples or [portrait(255), portrait(215)]
    for name, image in zip(names, examples, strict=False):
        workspace.enlist(workspace.add_photo(image, name), 0, name, consent=True)
    return [trainee.id for trainee in workspace.trainees.values() if trainee.name in names]


def train(page, *names, preset="fast", steps=6):
    updates = page.train.start(enlist(page, *names), preset, steps, 0, "")
    assert updates == {page.train.problem: ""}
    return finish(page.train.job(""))


def compose(page, text, **form):
    usual = {
        "grid_people": [], "count": 1, "seed": 5, "new_seed": False, "strength": 1.0,
        "embed_settings": True, "steps": 2, "guidance_scale": 3.0, "session": "",
    }  # fmt: skip
    updates = page.compose.start(text=text, **{**usual, **form})
    assert updates[page.compose.problem] == ""
    return finish(page.compose.results.job(""))


def test_people_are_trained_generated_and_scored_by_a_process_of_its_own(page, process):
    names = ["ada", "bob"][: 1 if page.shared.examples() else 2]  # one of the larger model
    job = train(page, *names, preset="best")
    assert (job.status, job.error, job.warning) == ("done", "", "")
    assert [step for step, _ in job.losses] == [1, 2, 3, 4, 5, 6]
    assert len(process.calls) >= 3 and all(0 < seconds <= MOST for seconds in process.calls)
    assert len(job.results) == 2 * len(names) and not job.previews
    assert all(-1 <= image.settings["identity"] <= 1 for image in job.results)
    workspace = page.shared.workspace("")
    assert list(workspace.people()) == names and all(map(workspace.portraits.find, names))
    before = len(process.calls)
    job = compose(page, "a photo of <ada>\n<ada> on the beach", count=2)
    assert (job.status, job.error) == ("done", "")
    assert len(process.calls) == before + 1  # one call for all
    assert [read_settings(image.path)["seed"] for image in job.images] == [5, 6, 5, 6]
    assert set(job.images[-1].settings["scores"]["people"]) == {"ada"}
    assert (job.done, job.total) == (8, 8)
    job = train(page, "ada", preset="fast", steps=2)
    assert (job.status, job.step, job.error) == ("done", 2, "")


def test_images_of_another_process_are_those_of_this_one(
    loaded, process, people, tmp_path, monkeypatch
):
    page = make_page(loaded, tmp_path)
    fill_library(page, people[:1])
    here = compose(page, "a photo of <ada>", count=2)
    use_process(page.shared, process)
    page.shared.core = without_gpu(loaded)
    forbid(loaded, monkeypatch)
    there = compose(page, "a photo of <ada>", count=2)
    pairs = zip(here.images, there.images, strict=True)
    for ours, theirs in pairs:  # one by one, and in a batch
        difference = ImageChops.difference(Image.open(ours.path), Image.open(theirs.path))
        assert difference.getextrema()[0][1] <= 2
    page.shared.runner.close()


def test_portraits_need_no_network_here(page, people):
    fill_library(page, people[:2])
    page.library.generate("")
    job = finish(page.shared.runner.latest("local", PortraitJob))
    assert (job.status, job.error) == ("done", "")
    workspace = page.shared.workspace("")
    assert all(workspace.portraits.find(name) for name in ("ada", "bob"))


def test_60_steps_in_slices_are_those_in_one_go(loaded, process, tmp_path):
    shared = make_shared(loaded, tmp_path)
    executor = use_process(shared, process, most_steps=23)
    examples = [image for image, _ in shared.examples()][:1] or [portrait()]
    people = [Person("ada", (find_face(examples[0], loaded.faces),))]
    config = PRESETS["best"].changed(steps=60, batch_size=1, views=4)
    options = {"calibration": loaded.calibration, "recogniser": loaded.faces.id}
    whole = list(fit_identities(people, loaded.models, loaded.basis, config, **options))
    process.calls.clear()
    sliced = [step for step in executor.train(loaded, people, config, None) if step.losses]
    assert len(process.calls) >= 3  # more on a machine that is slower than is assumed
    assert [step.step for step in sliced] == list(range(1, 61)) and sliced[-1].checkpoint
    for one, other in zip(whole[-60:], sliced, strict=True):
        assert other.losses == pytest.approx(one.losses, rel=1e-6)
        for ours, theirs in zip(one.people, other.people, strict=True):
            assert (ours.name, ours.settings) == (theirs.name, theirs.settings)
            assert torch.allclose(ours.coefficients, theirs.coefficients, rtol=0, atol=1e-6)


# --- the same executor with a process that is none


class Here:
    """`perform` in this process; it waits for `go`, and refuses after some calls."""

    def __init__(self, studio, calls=1000):
        gpu_tasks.use(studio)
        self.calls, self.left = [], calls
        self.go = threading.Event()
        self.go.set()

    def __call__(self, seconds, request):
        self.calls.append(seconds)
        self.go.wait(60)
        if not self.left:
            raise GpuUnavailable("ZeroGPU quota exceeded: 40 s requested, 3 s left.")
        self.left -= 1
        return gpu_tasks.perform(seconds, request)


@pytest.fixture
def own(studio, calibration, tmp_path):
    yield from opened_page(replace(studio, calibration=calibration), tmp_path)


def test_nothing_trained_is_lost_when_the_quota_is_spent(own, studio):
    here = Here(studio, calls=2)
    use_process(own.shared, here, most_steps=2)
    job = train(own, "ada", steps=6)
    assert job.status == "failed" and "quota exceeded" in job.error
    assert job.step == 4 and job.resumable and job.savable
    assert "at step 4" in own.train.poll(("", "", -1, -1, -1), "")[own.train.resume_button]["value"]
    here.left = 1000
    assert own.train.resume("") == {own.train.problem: ""}
    job = finish(own.train.job(""))
    assert (job.status, job.step) == ("done", 6)
    assert [step for step, _ in job.losses] == [1, 2, 3, 4, 5, 6]
    assert list(own.shared.workspace("").people()) == ["ada"]


def test_people_are_saved_when_only_their_images_are_refused(own, studio):
    use_process(own.shared, Here(studio, calls=3), most_steps=2)
    job = train(own, "ada", steps=6)
    assert job.status == "done" and "quota exceeded" in job.warning and not job.results
    assert list(own.shared.workspace("").people()) == ["ada"] and not job.resumable


def test_a_training_stops_after_the_slice_under_way_and_keeps_all_of_it(own, studio):
    here = Here(studio)
    use_process(own.shared, here, most_steps=3)
    here.go.clear()
    own.train.start(enlist(own, "ada"), "fast", 9, 0, "")
    until(lambda: here.calls)
    own.train.stop("")
    here.go.set()
    job = finish(own.train.job(""))
    assert (job.status, job.step, len(here.calls)) == ("stopped", 3, 1) and job.resumable


def test_generation_stops_between_calls(own, studio, people):
    fill_library(own, people[:1])
    here = Here(studio)
    use_process(own.shared, here).costs.images = lambda prompts, config: WORK * 0.6
    here.go.clear()
    form = {"grid_people": [], "count": 16, "seed": 5, "new_seed": False, "strength": 1.0}
    form |= {"embed_settings": True, "steps": 1, "guidance_scale": 3.0, "session": ""}
    own.compose.start(text="a photo of <ada>", **form)
    until(lambda: here.calls)
    own.compose.results.cancel("")
    here.go.set()
    job = finish(own.compose.results.job(""))
    assert job.status == "stopped" and len(job.images) == 4 and len(here.calls) == 1
    assert here.calls == [declared(WORK * 0.6)]


def test_an_instant_person_needs_no_gpu(own, studio, monkeypatch):
    own.shared.use(without_gpu(own.shared.core))
    forbid(studio, monkeypatch)
    here = Here(studio, calls=0)
    use_process(own.shared, here)
    job = train(own, "ada", preset="instant", steps=0)
    assert (job.status, job.error, here.calls) == ("done", "", [])
    assert list(own.shared.workspace("").people()) == ["ada"] and not job.results


def test_errors_of_the_other_process_are_raised_here(own, studio):
    executor = use_process(own.shared, Here(studio))
    prompt = parse_prompt("smiling " * 90, {})
    with pytest.raises(PromptTooLong, match="do not fit") as raised:
        list(executor.generate(studio, [((prompt,), SampleConfig())]))
    assert raised.value.tokens > 77


def test_a_long_regression_over_the_names_is_shortened(own, studio):
    executor = use_process(own.shared, Here(studio))
    config = PRESETS["fast"].changed(regression_batch=6)
    assert executor.fitting(config, 1) == config
    own.shared.estimates.assume("a slow one", 0.4)
    shorter = executor.fitting(config, 1)
    assert 1 <= shorter.mapper.regression_batch < 6
    assert executor.costs.regression(shorter, 1) <= WORK
    assert executor.fitting(TrainConfig(), 1) == TrainConfig()  # there is none
