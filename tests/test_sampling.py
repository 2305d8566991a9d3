from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import celebrity_names
from PIL import Image

from celeb_core import Identity, SampleConfig, generate, generate_each, parse_prompt
from celeb_core.basis import words_of
from celeb_core.errors import ModelUnsupported, PromptError, PromptTooLong
from celeb_core.sampling import SCHEDULERS, make_scheduler, picture_size


@pytest.fixture
def ada(basis) -> Identity:
    return Identity("ada", torch.randn(basis.k, basis.p), basis.id)


@pytest.fixture
def prompt(ada):
    return parse_prompt("a photo of <ada>", {"ada": ada})


def array(picture: Image.Image) -> np.ndarray:
    return np.asarray(picture).astype(int)


def test_a_picture_is_the_same_in_any_batch(prompt, models, basis):
    config = SampleConfig(num_images=3, seed=5, batch_size=3)
    together = generate(prompt, models, basis, config)
    alone = generate(prompt, models, basis, SampleConfig(seed=6))
    assert [picture.size for picture in together] == [(128, 128)] * 3
    assert abs(array(together[1]) - array(alone[0])).max() <= 1
    assert (array(together[0]) != array(together[1])).any()
    again = generate(prompt, models, basis, config)
    assert all(np.array_equal(a, b) for a, b in zip(together, again, strict=True))


def test_equals_the_plain_pipeline_for_celebrities(models, basis):
    name = celebrity_names()[0]
    words = words_of(name, basis, models)
    prompt = parse_prompt("a photo of <x> on the beach", {"x": words})
    ours = generate(prompt, models, basis, SampleConfig(seed=3, scheduler="ddim"))[0]
    pipeline = type(models.pipeline)(
        **{**models.pipeline.components, "scheduler": make_scheduler(models, "ddim")},
        requires_safety_checker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    plain = pipeline(
        f"a photo of {name} on the beach",
        num_inference_steps=models.steps,
        guidance_scale=models.guidance,
        generator=torch.Generator().manual_seed(3),
    ).images[0]
    assert abs(array(ours) - array(plain)).max() <= 1


@pytest.mark.parametrize("name", SCHEDULERS)
def test_schedulers_by_name(name, prompt, models, basis):
    picture = generate(prompt, models, basis, SampleConfig(scheduler=name, steps=2))[0]
    assert np.asarray(picture).std() > 0
    assert type(make_scheduler(models, name)).__name__ == SCHEDULERS[name][0]
    assert make_scheduler(models, name).config.prediction_type == "v_prediction"


def test_default_scheduler_and_unknown_ones(models):
    default = make_scheduler(models)
    assert default.config.use_karras_sigmas and default.config.algorithm_type == "dpmsolver++"
    assert type(make_scheduler(replace(models, scheduler_name="ddim"))).__name__ == "DDIMScheduler"
    with pytest.raises(ModelUnsupported, match="euler a"):
        make_scheduler(models, "magic")


def test_progress_counts_every_step(prompt, models, basis):
    seen = []
    config = SampleConfig(num_images=3, batch_size=2, steps=2)
    generate(prompt, models, basis, config, on_step=lambda *at: seen.append(at))
    assert seen == [(2, 6), (4, 6), (5, 6), (6, 6)]


def test_stopping_returns_what_is_finished(prompt, models, basis):
    steps = []
    pictures = generate(
        prompt,
        models,
        basis,
        SampleConfig(num_images=4, batch_size=1, steps=2),
        on_step=lambda done, total: steps.append(done),
        should_stop=lambda: len(steps) >= 3,
    )
    assert len(pictures) == 1 and len(steps) == 3


def test_two_people_get_a_wider_canvas(ada, models):
    def size(text, **config):
        people = {"ada": ada, "bob": ada}
        prompt = parse_prompt(text, people)
        return picture_size(prompt, models, celebrity_names(), SampleConfig(**config))

    name, other = celebrity_names()[:2]
    assert size("<ada>") == size("<ada> and <ada>") == size(name) == (128, 128)
    assert size("<ada> and <bob>") == size(f"<ada> and {name}") == (192, 128)
    assert size(f"{name} next to {other}") == (192, 128)
    assert size("<ada>", width=250, height=100) == (256, 96)


def test_wide_pictures_come_out_wide(ada, models, basis):
    prompt = parse_prompt("<ada> and <bob>", {"ada": ada, "bob": ada})
    assert generate(prompt, models, basis)[0].size == (192, 128)


def test_negative_prompt_changes_the_picture(prompt, models, basis):
    plain = generate(prompt, models, basis, SampleConfig(guidance=9.0))[0]
    other = generate(prompt, models, basis, SampleConfig(guidance=9.0, negative_prompt="hat"))[0]
    assert not np.array_equal(plain, other)
    with pytest.raises(PromptTooLong):
        generate(prompt, models, basis, SampleConfig(negative_prompt="hat " * 100))


def test_different_prompts_and_sizes_in_one_call(ada, models, basis):
    people = {"ada": ada, "bob": ada}
    texts = ["a photo of <ada>", "<ada> and <bob>", "<ada> and <bob> in space"]
    prompts = [parse_prompt(text, people) for text in texts]
    pictures = generate_each(prompts, models, basis, SampleConfig(seed=10))
    assert [picture.size[0] for picture in pictures] == [128, 192, 192]
    alone = generate(prompts[2], models, basis, SampleConfig(seed=12))[0]
    assert abs(array(pictures[2]) - array(alone)).max() <= 1


def test_people_can_come_late(prompt, models, basis):
    def picture(who, delay):
        return array(generate(who, models, basis, SampleConfig(steps=4, seed=2, delay=delay))[0])

    anybody = parse_prompt("a photo of <ada>", {"ada": basis.mean})
    ada, nobody = picture(prompt, 0.0), picture(anybody, 0.0)
    assert (picture(prompt, 1.0) == nobody).all()
    assert (picture(anybody, 0.5) == nobody).all()  # what comes in is what was there
    late, later = picture(prompt, 0.25), picture(prompt, 0.5)
    assert 0 < abs(late - ada).mean() < abs(later - ada).mean()
    assert 0 < abs(later - nobody).mean() < abs(late - nobody).mean()
    celebrity = parse_prompt(f"a photo of {celebrity_names()[0]}", {})
    assert (picture(celebrity, 0.5) == picture(celebrity, 0.0)).all()


@pytest.mark.parametrize("delay", [-0.1, 1.5])
def test_a_delay_is_a_share(prompt, models, basis, delay):
    with pytest.raises(PromptError, match=str(delay)):
        generate(prompt, models, basis, SampleConfig(delay=delay))
