from __future__ import annotations

import time
from types import SimpleNamespace

import numpy as np
import pytest

from celeb_core import SampleConfig, generate_each, parse_prompt
from celeb_core import previews as module
from celeb_core.previews import SHARE, Previews
from celeb_core.sampling import SCHEDULERS


def draw(models, basis, previews, **config):
    config = SampleConfig(**{"seed": 3, "steps": 6, **config})
    prompts = [parse_prompt("a photo", {})] * 2
    return generate_each(prompts, models, basis, config, previews=previews)


def test_what_is_shown_comes_near_the_finished_pictures(models, basis, monkeypatch):
    monkeypatch.setattr(module, "SOONEST", 0.0)
    monkeypatch.setattr(module, "SHARE", 1e6)
    shown = []
    pictures = draw(models, basis, Previews(shown.append))
    assert len(shown) == 6 and all(len(each) == 2 for each in shown)
    off = [
        np.mean([abs(np.asarray(a, int) - np.asarray(b, int)).mean() for a, b in pairs])
        for pairs in (zip(each, pictures, strict=True) for each in shown)
    ]
    assert off[-1] < 1 and off[-1] < off[2] < off[0]


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_looking_changes_no_picture(models, basis, monkeypatch, scheduler):
    plain = draw(models, basis, None, scheduler=scheduler, steps=3)
    monkeypatch.setattr(module, "SOONEST", 0.0)
    shown = []
    watched = draw(models, basis, Previews(shown.append), scheduler=scheduler, steps=3)
    assert shown
    assert all(a.tobytes() == b.tobytes() for a, b in zip(plain, watched, strict=True))


def test_looking_takes_at_most_a_tenth_of_the_time(models, basis, monkeypatch):
    clock = time.thread_time  # what others do on this machine does not count
    monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=clock))
    monkeypatch.setattr(module, "SOONEST", 0.0)
    shown = []
    draw(models, basis, previews := Previews(shown.append), steps=2)  # pays for the first look
    spent, began = previews.spent, clock()
    while clock() - began < 0.5:
        draw(models, basis, previews)
    share = (previews.spent - spent) / (clock() - began)
    print(f"looking takes {share:.1%} of the drawing time, {len(shown)} looks")
    assert len(shown) > 2 and share < 1.2 * SHARE
