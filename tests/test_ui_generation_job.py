from __future__ import annotations

import pytest

from celeb_core import SampleConfig, generate_each, parse_prompt
from ui.image_requests import ImageRequest, batches, with_seeds
from ui.previews import PREVIEW_INTERVAL, PREVIEW_SHARE, Previews

STEP = 0.05  # seconds of a denoising step by the clock of the tests


class Clock:
    """A clock that goes on when it is told to."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


@pytest.mark.parametrize("cost", [0.001, 0.1])
def test_previews_take_a_bounded_share_of_the_time(models, basis, cost):
    clock, began = Clock(), []

    def show(images):
        assert [image.size for image in images] == [(128, 128)] * 2
        began.append(clock.now)
        clock.now += cost

    previews = Previews(show, clock)

    def after_step(pipeline, latents):
        clock.now += STEP
        previews(pipeline, latents)

    prompts = [parse_prompt("a photo", {})] * 2
    generate_each(prompts, models, basis, SampleConfig(steps=70), on_latents=after_step)
    # Each preview, paid for in advance but for the first, and what comes before the next one.
    gaps = [later - earlier - cost for earlier, later in zip(began, began[1:], strict=False)]
    assert len(gaps) > 1 and began[0] >= PREVIEW_INTERVAL
    expected = max(PREVIEW_INTERVAL, cost / PREVIEW_SHARE)
    assert all(expected - 1e-9 <= gap <= expected + 2 * STEP for gap in gaps)


def test_only_seeds_that_count_up_are_generated_together():
    request = ImageRequest(parse_prompt("a photo", {}), SampleConfig(seed=5), "")
    requests = with_seeds(request, 6)
    assert [request.label for request in requests[:2]] == ["seed 5", "seed 6"]
    assert [len(group) for group in batches(requests, alone=False)] == [4, 2]
    assert [len(group) for group in batches(requests, alone=True)] == [1] * 6
    same = [requests[0]] * 3
    assert [len(group) for group in batches(same, alone=False)] == [1, 1, 1]
