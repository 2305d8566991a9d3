from __future__ import annotations

from dataclasses import replace

import pytest
from ui_help import finish, make_page

from celeb_core.prepare.preparation import PrepareStep
from ui import prepare as module
from ui.prepare import LABELS, describe


@pytest.fixture
def page(studio, tmp_path):
    page = make_page(replace(studio, calibration=None, cache=tmp_path / "cache"), tmp_path)
    yield page
    page.shared.close()


@pytest.fixture
def steps(calibration, studio, monkeypatch):
    """What a preparation yields; collects how it was called."""
    made = replace(calibration, basis_id=studio.basis.id, recogniser=studio.faces.id)
    wanted = [PrepareStep(1, 4, "portrait 8 of 16", 7.0), PrepareStep(4, 4, "done", 0.0, made)]
    calls = []

    def prepare_model(core, folder, level):
        calls.append((folder, level))
        yield from wanted

    monkeypatch.setattr(module, "prepare_model", prepare_model)
    monkeypatch.setattr(module, "planned_cost", lambda plan, core: 1000)
    return calls


def test_the_card_prepares_the_model_and_goes(page, steps, tmp_path):
    card = page.train.prepare
    assert card.offered and card.refresh()[card.card]["visible"]
    assert page.train.form.refresh([], "")[page.train.form.preset]["choices"][0][1] != "instant"
    card.start("full")
    job = finish(card.job())
    assert job.status == "done", job.error
    ((folder, level),) = steps
    assert level == "full" and folder.parent == tmp_path / "cache"
    assert page.shared.core.calibration is not None
    assert folder.with_suffix(".safetensors").is_file()
    assert not card.refresh()[card.card]["visible"]
    assert page.train.form.refresh([], "")[page.train.form.preset]["choices"][0][1] == "instant"


def test_a_preparation_is_stopped_and_goes_on(page, steps, monkeypatch):
    card = page.train.prepare

    def prepare_model(core, folder, level):
        card.stop()
        yield PrepareStep(1, 4, "portrait 8 of 16", 7.0)
        raise AssertionError("it was not stopped")

    monkeypatch.setattr(module, "prepare_model", prepare_model)
    card.start("quick")
    job = finish(card.job())
    assert job.status == "stopped" and "goes on" in describe(job)
    assert page.shared.core.calibration is None and card.refresh()[card.card]["visible"]


def test_progress_says_what_is_done_and_how_long_it_takes(page, steps, monkeypatch):
    card, seen = page.train.prepare, []

    def prepare_model(core, folder, level):
        yield PrepareStep(1, 4, "portrait 8 of 16", 90.0)
        updates = card.refresh()
        seen.append((updates[card.status], updates[card.start_button]["interactive"]))

    monkeypatch.setattr(module, "prepare_model", prepare_model)
    card.start("quick")
    finish(card.job())
    ((status, interactive),) = seen
    assert "Portrait 8 of 16" in status and "about 1 min 30 s left" in status and not interactive


def test_the_times_are_estimated_once_the_device_is_measured(page, steps):
    card = page.train.prepare
    assert [label for label, _ in card._choices()] == [
        text.format(names=len(page.shared.core.basis.names)) for text in LABELS.values()
    ]
    page.shared.estimates._known["sampling"] = 0.2
    assert all("about 1 min" in label for label, _ in card._choices())


def test_visitors_of_a_shared_page_cannot_start_it(studio, tmp_path):
    page = make_page(replace(studio, calibration=None), tmp_path, isolated=True)
    card = page.train.prepare
    assert card.wanted and not card.offered and not hasattr(card, "start_button")


def test_a_prepared_model_has_no_card(studio, calibration, tmp_path):
    page = make_page(replace(studio, calibration=calibration), tmp_path)
    assert not hasattr(page.train.prepare, "card")
