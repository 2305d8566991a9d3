from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
from conftest import portrait
from safetensors import safe_open
from safetensors.torch import save_file
from ui_help import finish, make_page, opened_page, request, selected, until

from celeb_core import PRESETS, fit_identities, list_identities, recipe
from celeb_core.identity import MAX_BYTES
from ui.cards import summary
from ui.curve import COLOURS, POINTS, curve
from ui.estimate_job import EstimateJob
from ui.jobs import Job
from ui.time_estimate import FEWEST
from ui.train import NOTHING, worth_drawing
from ui.training_job import TrainJob

# Of a short “fast” training, and the same as the version before this one stored it.
CONFIG = PRESETS["fast"].changed(steps=4, shrink=0.9, gradients="truncated")
OLD_CONFIG = {
    "preset": "fast", "steps": 4, "batch_size": 8, "learning_rate": 0.002, "weight_decay": 0.01,
    "decay": True, "max_seconds": None, "seed": 0, "norm": "free", "calibrated": True,
    "calibrated_rate": 0.1, "ema": 0.97, "ema_from_noise": False, "shrink": 0.9, "views": 24,
    "flip": True, "jitter": 0.0, "smallest": 0.92, "canvas": "edge", "templates": "studio",
    "prompts": 1, "photo_words": True, "photo_rate": 0.1, "background": 0.2, "features": 3.0,
    "gradients": "way up", "stratified": True, "log_snr_min": -1.5, "log_snr_max": 1.5,
}  # fmt: skip


class Short(Job):
    def run(self):
        return "done"


@pytest.fixture
def prepared(studio, calibration):
    """Without a calibration, a training begins with a regression over all names: seconds."""
    return replace(studio, calibration=calibration)


@pytest.fixture
def page(prepared, tmp_path):
    yield from opened_page(prepared, tmp_path)


@pytest.fixture
def unprepared(studio, tmp_path):
    yield from opened_page(studio, tmp_path)


@pytest.fixture
def train(page):
    return page.train


def enlist(page, *names):
    workspace = page.shared.workspace("")
    for index, name in enumerate(names):
        photo = workspace.add_photo(portrait(255 - 20 * index), name)
        workspace.enlist(photo, 0, name, consent=True)
    return list(workspace.trainees)


def start(page, *names, preset="fast", steps=3):
    updates = page.train.start(enlist(page, *names), preset, steps, 0, "")
    assert updates == {page.train.problem: ""}
    return page.train.job("")


def stopped(page, *names, at=1):
    """A training that was stopped after some steps of many."""
    job = start(page, *names, steps=4000)
    until(lambda: job.step >= at)
    page.train.stop("")
    assert finish(job).status == "stopped" and job.step < 4000
    return job


def poll(page, shown=NOTHING):
    return page.train.poll(shown, "")


def test_a_training_ends_with_people_in_the_library_and_images(page, train):
    job = finish(start(page, "ada", "bob"))
    assert job.error == "" and job.status == "done"
    assert list(list_identities(page.shared.library)) == ["ada", "bob"]
    shown = poll(page)
    assert "trained in" in shown[train.status] and "step 3 of 3" in shown[train.status]
    ada, bob = train.cards.results("")
    assert (ada.trainee.name, len(ada.images), bob.trainee.name) == ("ada", 2, "bob")
    assert "identity score" in summary(ada) and summary(ada).endswith("KB")
    assert ada.file.stat().st_size <= MAX_BYTES
    assert all("identity score" in image.caption for image in job.results)
    assert all(image.path.is_relative_to(page.shared.images) for image in job.results)
    assert all(image.path.is_file() for image in job.results)
    assert shown[train.compose_button]["visible"] and not shown[train.resume_button]["visible"]
    assert page.shared.workspace("").portraits.find("ada").is_file()


def test_the_plot_has_every_series_from_the_first_frame_on(page, train):
    empty = curve([])
    assert list(empty["series"]) == list(COLOURS)
    assert str(empty["loss"].dtype) == "float64"
    job = finish(start(page, "ada"))
    frame = poll(page)[train.plot]["value"]
    raw = frame[frame["series"] == "each step"].dropna()
    assert list(raw["step"]) == [1, 2, 3]
    assert list(raw["loss"]) == [loss for _, (loss,) in job.losses]
    assert set(frame["series"]) == set(COLOURS)


@pytest.mark.parametrize("count", [1, 149, 150, 151, 10_000])
def test_the_plot_stays_small_and_has_the_last_point(count):
    for people in (1, 3):
        losses = [(step, (1 / step,) * people) for step in range(1, count + 1)]
        frame = curve(losses).dropna()
        assert len(frame) <= POINTS
        assert frame["step"].max() == count


def test_smoothing_starts_at_the_first_value():
    frame = curve([(1, (4.0,)), (2, (0.0,)), (3, (0.0,))]).dropna()
    smooth = list(frame[frame["series"] == "smoothed"]["loss"])
    assert smooth[0] == 4 and 4 > smooth[1] > smooth[2] > 0


def test_people_who_are_trained_together_have_a_line_each(page, train):
    finish(start(page, "&b;ada", "bob"))
    shown = poll(page)
    frame = shown[train.plot]["value"].dropna()
    assert sorted(set(frame["series"])) == ["person 1", "person 2"]
    assert "bob" in shown[train.legend] and "&amp;b;ada" in shown[train.legend]


def test_a_crowd_has_one_line_for_all():
    frame = curve([(1, (0.0,) * 9 + (1.0,))]).dropna()
    assert set(frame["series"]) == {"each step", "smoothed"}
    assert frame["loss"].iloc[0] == pytest.approx(0.1)


def test_a_long_curve_is_drawn_seldom_and_is_never_far_behind():
    polls, drawn, times = range(10, 20_001, 10), 0, 0
    for steps in polls:
        if worth_drawing(steps, drawn):
            drawn, times = steps, times + 1
        assert steps < 1.03 * drawn
    assert times < len(polls) / 5


def test_times_are_estimated_from_what_was_measured(page, train, prepared, tmp_path):
    def labels():
        recipes = train.form.estimate(["x"])[train.form.preset]
        return {key: label for label, key in recipes["choices"]}

    estimates = page.shared.estimates
    assert "about" not in labels()["best"]
    finish(page.shared.runner.submit(EstimateJob(owner="", estimates=estimates)))
    config = PRESETS["fast"]
    by_size = estimates.estimate(config, 1)
    images = estimates.estimate(replace(config, steps=0), 1)
    training = by_size - images  # of a batch; three people have half a batch each
    assert estimates.estimate(config, 3) == pytest.approx(1.5 * training + 3 * images)
    assert estimates.estimate(PRESETS["best"], 1) > by_size > 0
    assert "about" in labels()["best"]
    estimates.learn(config, people=2, steps=10, seconds=400)
    assert estimates.estimate(config, 1) == pytest.approx(40 * config.steps, rel=0.2)
    assert estimates.estimate(PRESETS["best"], 1) > estimates.estimate(config, 1)
    again = make_page(prepared, tmp_path).shared.estimates
    assert again.estimate(config, 1) == estimates.estimate(config, 1)


def test_the_regression_over_the_names_is_a_part_of_the_estimate(page, studio):
    estimates = page.shared.estimates
    estimates.measure()
    config = recipe("best", None)
    plain, names = config.changed(regression_batch=0), len(studio.basis.names)
    one, three = (
        estimates.estimate(config, people) - estimates.estimate(plain, people) for people in (1, 3)
    )
    # A latent of the regression is half a step of sampling. Three people have four images each.
    images = estimates.estimate(config.changed(steps=0, regression_batch=0), 1)
    assert one == pytest.approx(6 * names * images / (2 * 2 * studio.models.steps))
    assert three == pytest.approx(one * 3 * 4 / 6)
    # What a training took is divided among its steps and the names.
    estimates.learn(config, people=1, steps=config.steps, seconds=100)
    assert estimates.estimate(config, 1) == pytest.approx(100 + images)


def test_the_form_says_how_a_model_without_a_calibration_is_trained(page, unprepared, studio):
    assert unprepared.shared.core.calibration is None
    shown, usual = (
        each.train.form.estimate([])[each.train.form.preset] for each in (unprepared, page)
    )
    assert "not prepared" in shown["info"] and f"{len(studio.basis.names)} names" in shown["info"]
    assert "not prepared" not in usual["info"]
    keys = [[key for _, key in each["choices"]] for each in (shown, usual)]
    assert keys == [["fast", "best", "paper"], ["instant", "fast", "best", "paper"]]
    job = finish(start(unprepared, "ada"))
    (ada,) = job.people
    assert job.config == recipe("fast", None).changed(steps=3) and ada.settings["trained"] == 3
    assert ada.settings["regression_batch"] == 6


def test_a_finished_training_tells_how_long_it_took(page):
    estimates = page.shared.estimates
    estimates.measure()
    before = estimates.estimate(PRESETS["fast"], 1)
    finish(start(page, "ada"))
    assert estimates.estimate(PRESETS["fast"], 1) == before  # 3 steps say too little
    finish(start(page, "ada", steps=FEWEST))
    assert estimates.estimate(PRESETS["fast"], 1) != before


def test_polling_sends_only_what_is_new(page, train):
    finish(start(page, "ada"))
    first = poll(page)
    again = poll(page, first[train.shown])
    large = {train.plot, train.legend, train.previews}
    assert large <= set(first) and not large & set(again)
    assert again[train.cards.finished] == first[train.cards.finished] != ""
    assert set(again) <= set(train.outputs)


def test_instant_has_no_steps_and_no_plot(page, train):
    job = finish(start(page, "ada", preset="instant", steps=None))
    assert job.status == "done" and job.losses == []
    assert poll(page)[train.plot]["visible"] == "hidden"
    assert "ada" in page.shared.workspace("").people()


def test_nobody_chosen_is_said(train):
    for chosen in ([], ["../x"]):
        problem = train.start(chosen, "fast", None, 0, "")[train.problem]
        assert "Choose at least one person" in problem
    assert train.job("") is None


def test_a_stopped_training_goes_on_where_it_was(page, train):
    job = stopped(page, "ada", at=2)
    assert job.resumable
    shown = poll(page)
    assert shown[train.resume_button]["visible"]
    assert "Resume ada at step" in shown[train.resume_button]["value"]
    assert not page.shared.workspace("").people()
    at = job.step
    assert train.resume("") == {train.problem: ""}
    again = train.job("")
    assert again is not job
    until(lambda: again.step > at)
    assert [step for step, _ in again.losses[: at + 1]] == list(range(1, at + 2))
    train.stop("")
    finish(again)


def test_nothing_is_resumed_or_saved_where_nothing_was_stopped(train):
    assert "no stopped training" in train.resume("")[train.problem]
    assert "no stopped training" in train.save("")[train.problem]
    assert train.poll(NOTHING, "") == {train.shown: NOTHING}


@pytest.mark.parametrize("note", ["Training", "Generating a preview"])
def test_a_training_is_stopped_in_whatever_it_does_and_the_next_job_runs(page, note):
    job = start(page, "ada", steps=4000)
    until(lambda: job.note == note and job.step >= 1)
    after = page.shared.runner.submit(Short("other"))
    page.train.stop("")
    assert finish(after).status == "done"
    assert job.status == "stopped" and job.step < 4000
    assert after.began >= job.ended


def test_a_restarted_app_offers_to_go_on(page, prepared, tmp_path):
    job = stopped(page, "ada", at=2)
    train = make_page(prepared, tmp_path).train
    shown = train.poll(NOTHING, "")
    assert shown[train.resume_button]["visible"] and "ada" in shown[train.status]
    assert len(shown[train.plot]["value"].dropna()) == 2 * len(job.losses)
    assert train.resume("") == {train.problem: ""}
    again = train.job("")
    until(lambda: again.step > job.step)
    train.stop("")
    finish(again)
    assert "stated by the user" in again.people[0].settings["consent"]


def test_a_training_of_the_version_before_goes_on(studio, tmp_path, models, basis):
    private = tmp_path / "identities" / ".studio"
    photos, folder = private / "people" / "ab12", private / "jobs" / "cd34"
    photos.mkdir(parents=True), folder.mkdir(parents=True)
    portrait().save(photos / "1.png")
    record = {"name": "ada", "faces": [[64.0, 64.0]], "consent": True}
    (photos / "person.json").write_text(json.dumps(record))
    losses = [[1, [0.5]], [2, [0.4]]]
    record = {"trainees": ["ab12"], "config": OLD_CONFIG, "losses": losses}
    (folder / "job.json").write_text(json.dumps(record))

    page = make_page(studio, tmp_path)
    (ada,) = page.shared.workspace("").trainees.values()
    old_checkpoint(ada.person(), models, basis, folder / "state.safetensors")
    job = page.train.job("")
    assert job.resumable and job.config == CONFIG
    assert page.train.resume("") == {page.train.problem: ""}
    resumed = finish(page.train.job(""))
    assert resumed.status == "done", resumed.error
    assert [step for step, _ in resumed.losses] == [1, 2, 3, 4]
    *_, straight = fit_identities([ada.person()], models, basis, CONFIG)
    ada = page.shared.workspace("").people()["ada"]
    trained = ada.coefficients
    assert ada.settings["consent"] == "stated by the user"
    assert (trained - straight.people[0].coefficients).abs().max() < 1e-3


def old_checkpoint(person, models, basis, path):
    """After two steps, as the version before this one wrote it."""
    for step in fit_identities([person], models, basis, CONFIG):
        if step.step == 2:
            break
    tensors, metadata = step.checkpoint()
    tensors["photo_words"] = tensors.pop("nuisance_tokens")
    tensors["mapper.radius"] = tensors["mapper.linear.bias"][:2].clone()
    run = ["celeb-training 1", ["ada"], basis.id, models.id, OLD_CONFIG]
    save_file(tensors, path, {**metadata, "format": "celeb-training 1", "run": json.dumps(run)})
    with safe_open(path, framework="pt") as file:
        assert "photo_words" in file.keys()


@pytest.mark.parametrize(
    "damage", ["no json", "[]", '{"trainees": [], "config": []}', '{"trainees": ["gone"]}']
)
def test_a_damaged_record_of_a_training_is_passed_over(studio, tmp_path, damage):
    folder = tmp_path / "identities" / ".studio" / "jobs" / "cd34"
    folder.mkdir(parents=True)
    (folder / "job.json").write_text(damage)
    assert make_page(studio, tmp_path).train.job("") is None


def test_an_older_stopped_training_is_still_offered_after_a_newer_one(page, train):
    stopped(page, "ada")
    finish(start(page, "bob", steps=2))
    assert "Resume ada" in poll(page)[train.resume_button]["value"]


def test_the_people_of_a_stopped_training_can_be_saved_as_they_are(page, train):
    stopped(page, "ada")
    assert poll(page)[train.save_button]["visible"]
    assert "Saved as after step" in train.save("")[train.problem]
    assert "ada" in page.shared.workspace("").people()
    shown = poll(page)
    assert not shown[train.resume_button]["visible"] and not shown[train.save_button]["visible"]


def test_a_full_disk_costs_no_training(page, train, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    chosen = enlist(page, "ada")
    with monkeypatch.context() as patch:
        patch.setattr("os.replace", full)
        told = train.start(chosen, "fast", 3, 0, "")[train.problem]  # before the work
        assert "No space left" in told and train.job("") is None
        patch.setattr(
            "ui.training_start.check_writable", lambda folder: None
        )  # full only afterwards
        train.start(chosen, "fast", 3, 0, "")
        job = finish(train.job(""))
    assert job.status == "failed" and "No space left" in job.error
    assert "No space left" in poll(page)[train.status]
    assert job.step == 3 and poll(page)[train.save_button]["visible"]
    assert "Saved" in train.save("")[train.problem]
    assert "ada" in page.shared.workspace("").people()


def test_only_new_people_are_chosen_by_themselves(page, train):
    form = train.form
    (ada,) = enlist(page, "ada")
    shown = form.refresh([], "")
    assert [name for _, name in shown[form.faces]["value"]] == ["ada"]
    assert shown[form.chosen]["value"] == [ada] and not shown[form.nobody]["visible"]
    finish(start(page, "ada"))
    enlist(page, "bob")
    chosen = form.refresh([], "")[form.chosen]
    assert [label for label, id in chosen["choices"] if id in chosen["value"]] == ["bob"]


def test_a_click_on_a_face_chooses_and_a_second_one_does_not(page, train):
    ada, bob = enlist(page, "ada", "bob")

    def click(chosen, index):
        return train.form.toggle(chosen, "", selected(index))[train.form.chosen]

    assert click([ada], 1) == [ada, bob]
    assert click([ada, bob], 0) == [bob]
    assert click([ada], 7) == [ada]


def test_time_left_is_known_while_it_runs(page, train):
    job = start(page, "ada", steps=4000)
    until(lambda: job.step >= 2 and job.seconds_left is not None)
    assert math.isfinite(job.seconds_left)
    assert "left" in poll(page)[train.status]
    train.stop("")
    finish(job)


def test_every_tab_knows_of_the_training_under_way_and_of_none_that_is_over(page, train):
    assert page.arrive(NOTHING, request()) == {train.shown: NOTHING}
    job = start(page, "ada", steps=4000)
    start(page, "bob", steps=4000)
    until(lambda: job.step >= 1)
    arrived = page.arrive(NOTHING, request())
    assert set(train.outputs) <= set(arrived)
    assert "Training ada · step" in arrived[train.running]
    assert "of 4000" in arrived[train.running]
    train.stop("")
    finish(job)
    follows = train.job("")
    assert "bob" in poll(page)[train.running]
    train.stop("")
    finish(follows)
    assert poll(page)[train.running] == ""


def test_away_from_home_a_training_is_shown_to_its_session_alone(studio, tmp_path):
    page = make_page(studio, tmp_path, isolated=True)
    mine, theirs = page.shared.new_session(), page.shared.new_session()
    workspace = page.shared.workspace(mine)
    workspace.enlist(workspace.add_photo(portrait(), "<b>"), 0, "ada", consent=True)
    page.train.start(list(workspace.trainees), "fast", 4000, 0, mine)
    try:
        assert "ada" in page.arrive(NOTHING, request(mine))[page.train.running]
        for session in (theirs, ""):
            assert page.train.running not in page.arrive(NOTHING, request(session))
    finally:
        page.shared.runner.close()
    assert page.arrive(NOTHING, request(mine))[page.train.running] == ""


def test_a_plot_of_one_point_is_not_shown(page, train):
    job = finish(start(page, "ada", steps=2))
    shown = poll(page)
    assert shown[train.plot]["visible"] is True and "smoothed" in shown[train.legend]
    job.losses = job.losses[:1]
    shown = poll(page)
    assert shown[train.plot]["visible"] == "hidden" and shown[train.legend] == ""


def test_a_training_can_be_stopped_while_the_names_are_compared(unprepared, monkeypatch):
    seen = []

    def told_to_stop(job):
        seen.append(job.note)
        return len(seen) > 1

    monkeypatch.setattr(TrainJob, "told_to_stop", told_to_stop)
    job = finish(start(unprepared, "ada"))
    assert job.status == "stopped" and "names" in seen[-1]
    assert not job.resumable and not job.savable and not job.previews


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"steps": float("nan")}, "Steps is not a finite number: give a whole number from 1"),
        ({"steps": 1e30}, "Steps is 1e+30"),
        ({"steps": "5"}, "Steps is “5”"),
        ({"seed": -1}, "Seed is -1"),
        ({"seed": [0]}, "Seed is of a wrong kind (list)"),
        ({"preset": "bset"}, "Preset is “bset”: choose one of instant, fast, best, paper"),
        ({"preset": None}, "Preset is empty"),
        ({"chosen": 5}, "The choice of people is 5"),
        ({"chosen": [["ada"]]}, "The choice of people is"),
        ({"chosen": None}, "Choose at least one person"),
    ],
)
def test_values_that_no_widget_can_have_are_named(page, wrong, says):
    usual = {"chosen": enlist(page, "ada"), "preset": "fast", "steps": 1, "seed": 0, "session": ""}
    assert says in page.train.start(**{**usual, **wrong})[page.train.problem]
    assert page.train.job("") is None
