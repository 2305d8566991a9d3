"""Images of several people are generated again until everybody is right."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from PIL import Image
from ui_help import fill_library, make_page

from celeb_core import Prompt, SampleConfig, parse_prompt
from celeb_core.errors import CelebError
from celeb_core.safety import REASON
from celeb_core.types import RegionConfig
from celeb_core.verdicts import PersonVerdict, Verdict
from ui import gpu_tasks
from ui.calls import OutOfProcess
from ui.compose_job import MAX_IMAGES, ComposeJob, check_attempts
from ui.gallery import BEST, BY_VERDICT, arranged, describe
from ui.gpu_costs import GpuCosts
from ui.history import about
from ui.image_requests import ImageRequest, with_attempts, with_seeds
from ui.image_scores import ImageScores, first_attempt
from ui.images import read_settings
from ui.limits import LimitReached, Limits

NAMES = ("ada", "bob")


@pytest.fixture
def page(studio, people, tmp_path):
    page = make_page(studio, tmp_path)
    fill_library(page, people[:2])
    yield page
    page.shared.close()


class Executor:
    """Generates images that are as red as their seed says, and remembers the seeds."""

    costs = None

    def __init__(self):
        self.seeds = []

    def one_by_one(self, core, batch):
        return False

    def generate(self, core, batches, watch):
        for prompts, config in batches:
            if watch.should_stop():
                return
            seeds = range(config.seed, config.seed + len(prompts))
            self.seeds.append(list(seeds))
            watch.on_step(1, len(prompts))
            yield [Image.new("RGB", (64, 64), (seed, 0, 0)) for seed in seeds]


def verdict(kind, identity=0.5):
    """A verdict in which bob alone is wrong, if somebody is."""
    right = kind == "right"
    bob = PersonVerdict("bob", right, identity * right, None, right)
    both = (PersonVerdict("ada", True, identity, None, True), bob)
    return Verdict(kind, f"it is {kind}", both, 2, ((0.0, 0.0),) * 2)


@pytest.fixture
def make_job(page, monkeypatch):
    """Make a job whose images have verdicts by their seeds; those without one are blocked."""

    def make(verdicts, count=1, attempts=4, text="<ada> with <bob>", seed=5):
        core, workspace = page.shared.core, page.shared.workspace("")

        def score(self, request, image):
            return first_attempt(request, image, verdict=verdicts[image.getpixel((0, 0))[0]])

        monkeypatch.setattr(ImageScores, "score", score)
        monkeypatch.setattr(
            "ui.generation_job.is_blocked", lambda image: image.getpixel((0, 0))[0] not in verdicts
        )
        known = workspace.people()
        prompt = parse_prompt(text, known)
        request = ImageRequest(prompt, SampleConfig(seed=seed), "")  # people without reference
        requests = with_attempts(with_seeds(request, count), attempts, core.models.names)
        return ComposeJob(
            owner="", core=core, workspace=workspace, requests=requests, executor=Executor()
        )

    return make


def test_a_wrong_image_is_generated_with_new_seeds_until_it_is_right(make_job):
    kinds = dict(zip(range(5, 12), ["right", *["missing"] * 4, "twice", "blended"], strict=True))
    kinds[9] = "right"
    job = make_job({seed: verdict(kind) for seed, kind in kinds.items()}, count=3)
    assert job.image_count == 12 and job.run() == "done"
    # Three at first, then the two that are wrong, together, then the one that still is.
    assert job.executor.seeds == [[5, 6, 7], [8, 9], [10], [11]]
    assert [len(one.settings.get("attempts", ())) for one in job.images] == [0, 4, 2]


def test_the_best_attempt_stays_and_the_others_are_listed(make_job):
    verdicts = {5: verdict("missing", 0.2), 6: verdict("twice", 0.9), 7: verdict("blended", 0.3)}
    job = make_job(verdicts, attempts=3)
    assert job.run() == "done"
    (image,) = job.images
    settings = read_settings(image.path)
    assert settings["seed"] == 6 and settings["verdict"]["kind"] == "twice"
    tried = [(one["seed"], one["verdict"]) for one in settings["attempts"]]
    assert tried == [(5, "missing"), (6, "twice"), (7, "blended")]
    assert image.caption == "⧉\u00a0one person twice · seed 6 · attempt 2 of 3"
    assert Image.open(image.path).getpixel((0, 0))[0] == 6
    assert [path.name for path in image.path.parent.iterdir()] == [image.path.name]
    shown = about(image.settings)
    assert "seed 5, missing" in shown and "seed 6, twice, this image" in shown
    assert "twice: it is twice" in shown
    job.status = "done"
    assert "1 one person twice" in describe(job) and "3 attempts" in describe(job)


def test_a_right_image_ends_it(make_job):
    job = make_job({5: verdict("missing"), 6: verdict("right", 0.1)})
    job.run()
    assert job.executor.seeds == [[5], [6]]
    assert job.images[0].caption == "✓\u00a0right · seed 6 · attempt 2 of 2"


@pytest.mark.parametrize(
    ("verdicts", "text", "attempts"),
    [
        ({5: verdict("right")}, "<ada> with <bob>", 8),
        ({5: None}, "<ada> with <bob>", 8),  # nobody to compare with
        ({5: verdict("missing")}, "<ada> with <bob>", 1),
        ({5: verdict("missing")}, "<ada>", 8),
        ({}, "<ada> with <bob>", 8),  # blocked
    ],
)
def test_what_is_generated_once(make_job, verdicts, text, attempts):
    job = make_job(verdicts, text=text, attempts=attempts)
    assert job.run() == "done"
    assert job.executor.seeds == [[5]] and len(job.images) == 1
    assert "attempts" not in job.images[0].settings


def test_a_blocked_attempt_counts_and_is_not_kept(make_job):
    job = make_job({5: verdict("swapped"), 7: verdict("right")})
    job.run()
    (image,) = job.images
    assert [one["verdict"] for one in image.settings["attempts"]] == ["swapped", REASON, "right"]
    assert image.settings["seed"] == 7 and not image.blocked


def test_cancelling_keeps_what_there_is(make_job):
    job = make_job({seed: verdict("missing") for seed in range(5, 20)}, count=2)
    generate = job.executor.generate

    def cancelled(core, batches, watch):
        yield from generate(core, batches, watch)
        if len(job.executor.seeds) == 2:
            job.stop.set()

    job.executor.generate = cancelled
    assert job.run() == "stopped"
    assert [len(one.settings["attempts"]) for one in job.images] == [2, 2]
    assert all(image.path.is_file() for image in job.images)


def test_the_page_notices_every_attempt(make_job):
    job = make_job({5: verdict("missing"), 6: verdict("missing", 0.1), 7: verdict("right")})
    notes, revisions, keep = [], [], job._keep

    def watched(*arguments):
        keep(*arguments)
        notes.append(job.note)
        revisions.append(job.revision)

    job._keep = watched
    job.run()
    assert notes[1].startswith("Attempt 3 of 4 for 1 image")
    assert revisions == [2, 3]


def test_attempts_are_made_in_another_process(page, make_job, studio, monkeypatch):
    job, calls = make_job({}, attempts=3), []

    def perform(seconds, request):
        calls.append(seconds)
        return gpu_tasks.perform(seconds, request)

    monkeypatch.setattr(gpu_tasks, "_studio", studio)
    monkeypatch.setattr("ui.generation_job.is_blocked", lambda image: False)
    monkeypatch.setattr(
        ImageScores, "score", lambda *made: first_attempt(*made[1:], verdict=verdict("missing"))
    )
    job.requests = [replace(one, config=replace(one.config, steps=1)) for one in job.requests]
    job.executor = OutOfProcess(perform, GpuCosts(page.shared.estimates))
    assert job.run() == "done" and len(calls) == 3
    assert [one["seed"] for one in job.images[0].settings["attempts"]] == [5, 6, 7]


def test_all_attempts_count_for_the_limits(page, make_job):
    job = make_job({}, count=4, attempts=5)
    with pytest.raises(LimitReached, match="20 images"):
        Limits(images=16).check_images(job.image_count)
    requests = with_attempts(job.requests[:1], 8, ())
    check_attempts(requests, 12)
    with pytest.raises(CelebError, match=f"104.*{MAX_IMAGES}"):
        check_attempts(requests, 13)


def test_celebrities_are_people(page):
    prompt = parse_prompt("<ada> with Grezin", page.shared.workspace("").people())
    request = ImageRequest(prompt, SampleConfig(), "")
    (both,) = with_attempts([request], 3, page.shared.core.models.names)
    (alone,) = with_attempts([request], 3, ())
    assert (both.attempts, alone.attempts) == (3, 1)


def test_right_ones_first():
    def image(name, kind, in_place, score):
        people = {"ada": score}
        about = {"kind": kind, "people": [{"in_place": one} for one in in_place]}
        settings = {"prompt": "x", "scores": {"people": people, "prompt": None}, "verdict": about}
        return SimpleNamespace(path=name, caption=name, settings=settings)

    images = [
        image("none", "missing", [False, False], 0.9),
        image("one", "missing", [True, False], 0.8),
        image("more", "twice", [True, True], 0.7),
        image("right", "right", [True, True], 0.5),
        image("better", "right", [True, True], 0.6),
    ]
    order = [row[0] for row in arranged(images, BY_VERDICT)["value"]]
    assert order == ["better", "right", "more", "one", "none"]
    assert [row[0] for row in arranged(images, BEST)["value"]] == ["better"]


@pytest.mark.parametrize(("regions", "kind"), [(None, "right"), (RegionConfig(), "swapped")])
def test_boxes_are_places_where_there_are_regions(page, people, monkeypatch, regions, kind):
    """Faces from left to right, ada's box on the right."""
    core, workspace = page.shared.core, page.shared.workspace("")
    face, axes = people[0].faces[0], torch.eye(512)
    faces = [
        replace(face, embedding=axes[i], box=(x, 9.0, x + 9.0, 18.0))
        for i, x in ((0, 5.0), (1, 50.0))
    ]
    monkeypatch.setattr(type(core.faces), "find", lambda self, image: faces)
    known = workspace.people()
    monkeypatch.setattr(
        workspace, "reference", lambda identity: axes[list(known).index(identity.name)]
    )
    prompt = parse_prompt("<ada> with <bob>", known)
    prompt = replace(prompt, boxes={"ada": (0.5, 0.0, 1.0, 1.0), "bob": (0.0, 0.0, 0.5, 1.0)})
    request = ImageRequest(prompt, SampleConfig(regions=regions), "", people=known)
    made = ImageScores(core, workspace).score(request, Image.new("RGB", (64, 64)))
    assert made.verdict.kind == kind
    assert made.settings()["verdict"]["sentence"].startswith("ada and bob are")
    assert [face.identity for face in made.scores.faces] == [1.0, 1.0]


def test_celebrities_are_those_of_the_basis(studio, basis):
    """A model of the hub has no list of names in its folder: its basis was built from another."""
    core = replace(studio, models=replace(studio.models, names=()), basis=basis)
    request = ImageRequest(Prompt(f"{basis.names[0]} at dinner", {}), SampleConfig(), "")
    assert ImageScores(core, None).people(request) == {basis.names[0]: None}
    pair = replace(request, prompt=Prompt(f"{basis.names[0]} and {basis.names[1]}", {}))
    assert [one.attempts for one in with_attempts([request, pair], 3, basis.names)] == [1, 3]
