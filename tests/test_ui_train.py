from __future__ import annotations

import math
import time
from dataclasses import replace

import gradio as gr
import pytest
from conftest import portrait
from ui_help import finish, make_page, selected, until

from celeb_core import PRESETS, list_identities
from celeb_core.identity import MAX_BYTES
from ui.cards import summary
from ui.curve import COLOURS, POINTS, curve
from ui.jobs import Job
from ui.pace import FEWEST, PaceJob
from ui.studio import TICK
from ui.train import NOTHING_SEEN, worth_drawing

PER_STEP = 0.01  # seconds; faster than any model here trains
STATUS, RUNNING, PLOT, LEGEND, PREVIEWS, RESULTS, TIMER = range(1, 8)
START, STOP, RESUME, KEEP, COMPOSE = range(8, 13)


class Short(Job):
    def run(self):
        return "done"


@pytest.fixture
def page(studio, tmp_path):
    page = make_page(studio, tmp_path)
    yield page
    page.shared.runner.close()


def enlist(page, *names):
    workspace = page.shared.workspace("")
    for index, name in enumerate(names):
        photo = workspace.add_photo(portrait(255 - 20 * index), name)
        workspace.enlist(photo, 0, name, consent=True)
    return list(workspace.trainees)


def start(page, *names, preset="fast", steps=3):
    problem = page.train.start(enlist(page, *names), preset, steps, 0, "")
    assert problem == ""
    return page.train.job("")


def poll(page, seen=NOTHING_SEEN):
    return page.train.poll(seen, "")


def test_a_training_ends_with_people_in_the_library_and_pictures(page):
    job = finish(start(page, "ada", "bob"))
    assert job.error == "" and job.status == "done"
    assert list(list_identities(page.shared.library)) == ["ada", "bob"]
    shown = poll(page)
    assert "trained in" in shown[STATUS] and "step 3 of 3" in shown[STATUS]
    ada, bob = page.train.cards.results("")
    assert (ada.trainee.name, len(ada.drawn), bob.trainee.name) == ("ada", 2, "bob")
    assert "likeness" in summary(ada) and summary(ada).endswith("KB")
    assert ada.file.stat().st_size <= MAX_BYTES
    assert all("likeness" in d.caption for d in job.results)
    assert all(d.path.is_file() for d in job.results)
    assert shown[COMPOSE]["visible"] and not shown[RESUME]["visible"]
    assert page.shared.workspace("").portrait("ada").is_file()


def test_the_plot_has_every_series_from_the_first_frame_on(page):
    empty = curve([])
    assert list(empty["series"]) == list(COLOURS)
    assert str(empty["loss"].dtype) == "float64"
    job = finish(start(page, "ada"))
    frame = poll(page)[PLOT]["value"]
    raw = frame[frame["series"] == "each step"].dropna()
    assert list(raw["step"]) == [1, 2, 3]
    assert list(raw["loss"]) == [loss for _, (loss,) in job.losses]
    assert set(frame["series"]) == set(COLOURS)


@pytest.mark.parametrize("count", [1, 149, 150, 151, 10_000])
def test_the_plot_stays_small_and_keeps_the_last_point(count):
    for people in (1, 3):
        losses = [(step, (1 / step,) * people) for step in range(1, count + 1)]
        frame = curve(losses).dropna()
        assert len(frame) <= POINTS
        assert frame["step"].max() == count


def test_smoothing_starts_at_the_first_value():
    frame = curve([(1, (4.0,)), (2, (0.0,)), (3, (0.0,))]).dropna()
    smooth = list(frame[frame["series"] == "smoothed"]["loss"])
    assert smooth[0] == 4 and 4 > smooth[1] > smooth[2] > 0


def test_people_who_are_trained_together_have_a_line_each(page):
    finish(start(page, "<b>ada".replace("<", "&").replace(">", ";"), "bob"))
    shown = poll(page)
    frame = shown[PLOT]["value"].dropna()
    assert sorted(set(frame["series"])) == ["person 1", "person 2"]
    assert "bob" in shown[LEGEND] and "&amp;b;ada" in shown[LEGEND]


def test_a_crowd_has_one_line_for_all():
    frame = curve([(1, (0.0,) * 9 + (1.0,))]).dropna()
    assert set(frame["series"]) == {"each step", "smoothed"}
    assert frame["loss"].iloc[0] == pytest.approx(0.1)


@pytest.mark.parametrize("people", [1, 4])
def test_the_plot_costs_less_than_a_twentieth_of_the_training(people):
    losses = [(step, (1 / step,) * people) for step in range(1, 20_001)]
    plot = gr.LinePlot(x="step", y="loss", color="series")
    plot.postprocess(curve(losses))
    cost, shown = 0.0, 0
    for count in range(1, len(losses), int(TICK / PER_STEP)):  # one look at the job after another
        if worth_drawing(count, shown):
            shown, began = count, time.thread_time()
            plot.postprocess(curve(losses[:count]))
            cost += time.thread_time() - began
    share = cost / (len(losses) * PER_STEP)
    print(f"the plot takes {share:.1%} of the time of {len(losses)} steps")
    assert share < 0.05


def test_times_are_estimated_from_what_was_measured(page, studio, tmp_path):
    def labels():
        return dict((key, label) for label, key in page.train.whom.recipes(["x"])["choices"])

    pace = page.shared.pace
    assert "about" not in labels()["best"]
    finish(page.shared.runner.submit(PaceJob(owner="", pace=pace)))
    config = PRESETS["fast"]
    by_drawing = pace.estimate(config, 1)
    pictures = pace.estimate(replace(config, steps=0), 1)
    training = by_drawing - pictures  # of a batch; three people have half a batch each
    assert pace.estimate(config, 3) == pytest.approx(1.5 * training + 3 * pictures)
    assert pace.estimate(PRESETS["best"], 1) > by_drawing > 0
    assert "about" in labels()["best"]
    pace.learn(config, people=2, steps=10, seconds=400)
    assert pace.estimate(config, 1) == pytest.approx(40 * config.steps, rel=0.2)
    assert pace.estimate(PRESETS["best"], 1) > pace.estimate(config, 1)
    again = make_page(studio, tmp_path).shared.pace
    assert again.estimate(config, 1) == pace.estimate(config, 1)


def test_a_finished_training_tells_how_long_it_took(page):
    page.shared.pace.measure()
    before = page.shared.pace.estimate(PRESETS["fast"], 1)
    finish(start(page, "ada"))
    assert page.shared.pace.estimate(PRESETS["fast"], 1) == before  # 3 steps say too little
    finish(start(page, "ada", steps=FEWEST))
    assert page.shared.pace.estimate(PRESETS["fast"], 1) != before


def test_polling_sends_only_what_is_new(page):
    finish(start(page, "ada"))
    seen, *_ = poll(page)
    again = poll(page, seen)
    kept = (PLOT, LEGEND, PREVIEWS)
    assert not any("value" in again[i] for i in kept)
    assert [again[i]["__type__"] for i in kept] == ["update"] * 3
    assert again[RESULTS] == poll(page)[RESULTS] != ""


def test_instant_has_no_steps_and_no_plot(page):
    job = finish(start(page, "ada", preset="instant", steps=None))
    assert job.status == "done" and job.losses == []
    assert poll(page)[PLOT]["visible"] is False
    assert "ada" in page.shared.workspace("").people()


def test_nobody_chosen_is_said(page):
    assert "Choose at least one person" in page.train.start([], "fast", None, 0, "")
    assert "Choose at least one person" in page.train.start(["../x"], "fast", None, 0, "")


def test_a_stopped_training_goes_on_where_it_was(page):
    job = start(page, "ada", steps=400)
    until(lambda: job.step >= 2)
    page.train.stop("")
    stopped = finish(job, 5)
    assert stopped.status == "stopped" and stopped.resumable
    shown = poll(page)
    assert shown[RESUME]["visible"] and "Resume ada at step" in shown[RESUME]["value"]
    assert not page.shared.workspace("").people()
    at = stopped.step
    assert page.train.resume("") == ""
    again = page.train.job("")
    assert again is not job
    until(lambda: again.step > at)
    assert [step for step, _ in again.losses[: at + 1]] == list(range(1, at + 2))
    page.train.stop("")
    finish(again, 5)


@pytest.mark.parametrize("note", ["Training", "Drawing a preview"])
def test_a_training_stops_soon_and_the_next_job_starts_at_once(page, note):
    job = start(page, "ada", steps=4000)
    until(lambda: job.note == note and job.step >= 1)
    after = page.shared.runner.submit(Short("other"))
    page.train.stop("")
    finish(job, 2)
    assert finish(after).began - job.ended < 0.5
    step = job.step
    time.sleep(0.1)
    assert job.step == step  # nothing runs behind


def test_a_restarted_app_offers_to_go_on(page, studio, tmp_path):
    job = start(page, "ada", steps=400)
    until(lambda: job.step >= 2)
    page.train.stop("")
    finish(job, 5)
    after = make_page(studio, tmp_path)
    shown = after.train.poll(NOTHING_SEEN, "")
    assert shown[RESUME]["visible"] and "ada" in shown[STATUS]
    assert len(shown[PLOT]["value"].dropna()) == 2 * len(job.losses)
    assert after.train.resume("") == ""
    again = after.train.job("")
    until(lambda: again.step > job.step)
    after.train.stop("")
    finish(again, 5)


def test_an_older_stopped_training_is_still_offered_after_a_newer_one(page):
    job = start(page, "ada", steps=400)
    until(lambda: job.step >= 1)
    page.train.stop("")
    finish(job, 5)
    finish(start(page, "bob", steps=2))
    assert "Resume ada" in poll(page)[RESUME]["value"]


def test_a_stopped_training_can_be_kept_as_it_is(page):
    job = start(page, "ada", steps=400)
    until(lambda: job.step >= 1)
    page.train.stop("")
    finish(job, 5)
    assert poll(page)[KEEP]["visible"]
    assert "Saved as after step" in page.train.keep("")
    assert "ada" in page.shared.workspace("").people()
    assert not poll(page)[RESUME]["visible"] and not poll(page)[KEEP]["visible"]


def test_a_full_disk_costs_no_training(page, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    chosen = enlist(page, "ada")
    with monkeypatch.context() as patch:
        patch.setattr("os.replace", full)
        page.train.start(chosen, "fast", 3, 0, "")
        job = finish(page.train.job(""))
    assert job.status == "failed" and "No space left" in job.error
    assert "No space left" in poll(page)[STATUS]
    assert job.step == 3 and poll(page)[KEEP]["visible"]
    assert "Saved" in page.train.keep("")
    assert "ada" in page.shared.workspace("").people()


def test_only_newcomers_are_chosen_by_themselves(page):
    (ada,) = enlist(page, "ada")
    faces, who, nobody, _ = page.train.whom.refresh([], "")
    assert [name for _, name in faces["value"]] == ["ada"]
    assert who["value"] == [ada] and not nobody["visible"]
    finish(start(page, "ada"))
    enlist(page, "bob")
    _, who, *_ = page.train.whom.refresh([], "")
    assert [label for label, id in who["choices"] if id in who["value"]] == ["bob"]


def test_a_click_on_a_face_chooses_and_a_second_one_does_not(page):
    ada, bob = enlist(page, "ada", "bob")
    assert page.train.whom.toggle([ada], "", selected(1))[1] == [ada, bob]
    assert page.train.whom.toggle([ada, bob], "", selected(0))[1] == [bob]
    assert page.train.whom.toggle([ada], "", selected(7))[1] == [ada]


def test_time_left_is_known_while_it_runs(page):
    job = start(page, "ada", steps=200)
    until(lambda: job.step >= 2 and job.seconds_left is not None)
    assert math.isfinite(job.seconds_left)
    assert "left" in poll(page)[STATUS]
    page.train.stop("")
    finish(job, 5)


def test_every_tab_knows_of_the_training_under_way_and_of_none_that_is_over(page):
    _, seen, *told = page.arrive("", NOTHING_SEEN)
    assert seen == NOTHING_SEEN and all(update == gr.skip() for update in told)
    job = start(page, "ada", steps=400)
    start(page, "bob", steps=400)
    until(lambda: job.step >= 1)
    session, *told = page.arrive("", NOTHING_SEEN)
    assert session and len(told) == len(page.train.watched)
    assert "Training ada · step" in told[RUNNING] and "of 400" in told[RUNNING]
    page.train.stop("")
    finish(job)
    follows = page.train.job("")
    assert "bob" in poll(page)[RUNNING]
    page.train.stop("")
    finish(follows)
    assert poll(page)[RUNNING] == ""


def test_a_plot_of_one_point_is_not_shown(page):
    job = finish(start(page, "ada", steps=2))
    assert poll(page)[PLOT]["visible"] and "smoothed" in poll(page)[LEGEND]
    job.losses = job.losses[:1]
    assert not poll(page)[PLOT]["visible"] and poll(page)[LEGEND] == ""
