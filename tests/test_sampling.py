from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import celebrity_names
from PIL import Image

from celeb_core import (
    Identity,
    SampleConfig,
    generate,
    generate_each,
    interpolate,
    parse_prompt,
    person_embeddings,
)
from celeb_core.errors import (
    ModelUnsupported,
    PromptTooLong,
    SettingsError,
    UnknownName,
)
from celeb_core.sampling import (
    SCHEDULERS,
    decode_preview,
    image_size,
    make_scheduler,
)


@pytest.fixture
def ada(basis) -> Identity:
    return Identity("ada", torch.randn(basis.k, basis.p), basis.id)


@pytest.fixture
def prompt(ada):
    return parse_prompt("a photo of <ada>", {"ada": ada})


def array(image: Image.Image) -> np.ndarray:
    return np.asarray(image).astype(int)


def test_an_image_is_the_same_in_any_batch(prompt, models, basis):
    config = SampleConfig(num_images=3, seed=5, batch_size=3)
    together = generate(prompt, models, basis, config)
    alone = generate(prompt, models, basis, SampleConfig(seed=6))
    assert [image.size for image in together] == [(128, 128)] * 3
    assert abs(array(together[1]) - array(alone[0])).max() <= 1
    assert (array(together[0]) != array(together[1])).any()
    again = generate(prompt, models, basis, config)
    assert all(np.array_equal(a, b) for a, b in zip(together, again, strict=True))


def test_equals_the_plain_pipeline_for_celebrities(models, basis):
    name = celebrity_names()[0]
    embeddings = person_embeddings(name, basis, models)
    prompt = parse_prompt("a photo of <x> on the beach", {"x": embeddings})
    ours = generate(prompt, models, basis, SampleConfig(seed=3, scheduler="ddim"))[0]
    pipeline = type(models.pipeline)(
        **{**models.pipeline.components, "scheduler": make_scheduler(models, "ddim")},
        requires_safety_checker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    plain = pipeline(
        f"a photo of {name} on the beach",
        num_inference_steps=models.steps,
        guidance_scale=models.guidance_scale,
        generator=torch.Generator().manual_seed(3),
    ).images[0]
    assert abs(array(ours) - array(plain)).max() <= 1


@pytest.mark.parametrize("name", SCHEDULERS)
def test_schedulers_by_name(name, prompt, models, basis):
    image = generate(prompt, models, basis, SampleConfig(scheduler=name, steps=2))[0]
    assert np.asarray(image).std() > 0
    assert type(make_scheduler(models, name)).__name__ == SCHEDULERS[name][0]
    assert make_scheduler(models, name).config.prediction_type == "v_prediction"


def test_default_scheduler_and_unknown_ones(models):
    default = make_scheduler(models)
    assert default.config.use_karras_sigmas and default.config.algorithm_type == "dpmsolver++"
    assert type(make_scheduler(replace(models, scheduler_name="ddim"))).__name__ == "DDIMScheduler"
    with pytest.raises(ModelUnsupported, match="euler a"):
        make_scheduler(models, "magic")


def test_progress_counts_every_step(prompt, models, basis):
    progress = []
    config = SampleConfig(num_images=3, batch_size=2, steps=2)
    generate(prompt, models, basis, config, on_step=lambda *at: progress.append(at))
    assert progress == [(2, 6), (4, 6), (5, 6), (6, 6)]


def test_stopping_returns_what_is_finished(prompt, models, basis):
    steps = []
    images = generate(
        prompt,
        models,
        basis,
        SampleConfig(num_images=4, batch_size=1, steps=2),
        on_step=lambda done, total: steps.append(done),
        should_stop=lambda: len(steps) >= 3,
    )
    assert len(images) == 1 and len(steps) == 3


def test_several_people_get_a_wider_canvas(ada, models):
    def size(text, **config):
        people = dict.fromkeys(("ada", "bob", "cy", "dan", "eve"), ada)
        prompt = parse_prompt(text, people)
        return image_size(prompt, models, celebrity_names(), SampleConfig(**config))

    name, other = celebrity_names()[:2]
    assert size("<ada>") == size("<ada> and <ada>") == size(name) == (128, 128)
    assert size("<ada> and <bob>") == size(f"<ada> and {name}") == (192, 128)
    assert size(f"{name} next to {other}") == (192, 128)
    assert size("<ada>, <bob> and <cy>") == (288, 128)
    assert size("<ada>, <bob>, <cy>, <dan>") == size("<ada> <bob> <cy> <dan> <eve>") == (384, 128)
    assert size("<ada>", width=250, height=100) == (256, 96)


def test_wide_images_come_out_wide(ada, models, basis):
    prompt = parse_prompt("<ada> and <bob>", {"ada": ada, "bob": ada})
    assert generate(prompt, models, basis)[0].size == (192, 128)


def test_the_negative_prompt_changes_the_image(prompt, models, basis):
    plain = generate(prompt, models, basis, SampleConfig(guidance_scale=9.0))[0]
    other = generate(
        prompt, models, basis, SampleConfig(guidance_scale=9.0, negative_prompt="hat")
    )[0]
    assert not np.array_equal(plain, other)
    with pytest.raises(PromptTooLong):
        generate(prompt, models, basis, SampleConfig(negative_prompt="hat " * 100))


def test_people_of_the_library_can_be_in_the_negative_prompt(ada, models, basis):
    bob = replace(ada, name="bob", coefficients=-ada.coefficients)
    prompt = parse_prompt("a photo of <ada>", {"ada": ada, "bob": bob})

    def image(negative):
        config = SampleConfig(guidance_scale=9.0, negative_prompt=negative)
        return generate(prompt, models, basis, config)[0]

    with_bob = image("<bob>")
    assert with_bob.size == (128, 128)  # he is not to be in it, so it is not wide
    assert not np.array_equal(with_bob, image("")) and not np.array_equal(with_bob, image("<ada>"))
    assert np.array_equal(with_bob, image("\uff1cBOB\uff1e"))
    with pytest.raises(UnknownName, match="Negative prompt: .*<eve>"):
        image("<eve>")


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"steps": 0}, "Steps is 0: give a whole number from 1 to 1,000"),
        ({"steps": 1001}, "Steps is 1001"),
        ({"steps": 1e30}, "Steps is 1e\\+30"),
        ({"steps": float("nan")}, "Steps is not a finite number"),
        ({"steps": 51, "scheduler": "lcm"}, "Steps of lcm is 51: give a whole number from 1 to 50"),
        ({"seed": 99999999999999999999}, "Seed is 99999999999999999999"),
        ({"seed": "5"}, "Seed is “5”"),
        ({"num_images": -1}, "Number of images is -1"),
        ({"num_images": float("inf")}, "Number of images"),
        ({"guidance_scale": float("nan")}, "Guidance scale is not a finite number"),
        ({"guidance_scale": -1}, "Guidance scale is -1"),
        ({"width": 100_000}, "Width is 100000: give a whole number from 1 to 4,096"),
        ({"height": -64}, "Height is -64"),
        ({"batch_size": 0}, "Batch size is 0"),
    ],
)
def test_numbers_out_of_their_range_are_refused(prompt, models, basis, wrong, says):
    with pytest.raises(SettingsError, match=says):
        generate(prompt, models, basis, SampleConfig(**wrong))


@pytest.mark.parametrize("scheduler", ["magic", ["euler"], 5])
def test_schedulers_that_are_not_there_are_refused(prompt, models, basis, scheduler):
    with pytest.raises(ModelUnsupported, match="Choose one of"):
        generate(prompt, models, basis, SampleConfig(scheduler=scheduler))


def test_no_image_is_wanted(prompt, models, basis):
    assert generate(prompt, models, basis, SampleConfig(num_images=0)) == []


def test_different_prompts_and_sizes_in_one_call(ada, models, basis):
    people = {"ada": ada, "bob": ada}
    texts = ["a photo of <ada>", "<ada> and <bob>", "<ada> and <bob> in space"]
    prompts = [parse_prompt(text, people) for text in texts]
    images = generate_each(prompts, models, basis, SampleConfig(seed=10))
    assert [image.size[0] for image in images] == [128, 192, 192]
    alone = generate(prompts[2], models, basis, SampleConfig(seed=12))[0]
    assert abs(array(images[2]) - array(alone)).max() <= 1


# --- previews


def watched(models, basis, previews, **config):
    """Two images, and what they looked like after each step."""
    prompts = [parse_prompt("a photo", {})] * 2
    config = SampleConfig(**{"seed": 3, "steps": 6, **config})

    def on_latents(pipeline, latents):
        previews.append(decode_preview(pipeline, latents))

    return generate_each(prompts, models, basis, config, on_latents=on_latents)


def test_previews_come_near_the_finished_images(models, basis):
    previews = []
    images = watched(models, basis, previews)
    assert len(previews) == 6 and all(len(each) == 2 for each in previews)
    off = [
        np.mean([abs(array(a) - array(b)).mean() for a, b in zip(each, images, strict=True)])
        for each in previews
    ]
    assert off[-1] < 1 and off[-1] < off[2] < off[0]


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_previews_change_no_image(models, basis, scheduler):
    prompts, previews = [parse_prompt("a photo", {})] * 2, []
    config = SampleConfig(seed=3, steps=3, scheduler=scheduler)
    plain = generate_each(prompts, models, basis, config)
    images = watched(models, basis, previews, scheduler=scheduler, steps=3)
    assert len(previews) == 3
    assert all(np.array_equal(a, b) for a, b in zip(plain, images, strict=True))


# --- SDXL: two text encoders, and a pooled output


@pytest.fixture
def sdxl_image(sdxl, sdxl_basis):
    def image(person, **config):
        prompt = parse_prompt("a photo of <x>", {"x": person})
        config = SampleConfig(**{"steps": 2, "seed": 1, **config})
        return array(generate(prompt, sdxl, sdxl_basis, config)[0])

    return image


@pytest.fixture
def sdxl_ada(sdxl_basis) -> Identity:
    numbers = torch.randn(2, sdxl_basis.p, generator=torch.Generator().manual_seed(0))
    return Identity("ada", numbers * (sdxl_basis.std > 0), sdxl_basis.id)


def test_sdxls_people_and_mixtures_differ(sdxl_image, sdxl_ada, sdxl, sdxl_basis):
    nobody = replace(sdxl_ada, coefficients=sdxl_ada.coefficients * 0)
    assert (sdxl_image(nobody) == sdxl_image(sdxl_basis.mean)).all()
    ada = sdxl_image(sdxl_ada)
    assert (ada != sdxl_image(nobody)).any()
    mixture = interpolate(sdxl_ada, celebrity_names()[0], 0.25, sdxl_basis, sdxl)
    assert (sdxl_image(mixture) != ada).any()


def test_sdxls_negative_prompt(sdxl_image, sdxl_ada, sdxl):
    """None is zeros, as in diffusers; a text is encoded."""
    zeros = sdxl_image(sdxl_ada)
    assert (zeros != sdxl_image(sdxl_ada, negative_prompt="hat")).any()
    sdxl.pipeline.register_to_config(force_zeros_for_empty_prompt=False)
    try:
        encoded = sdxl_image(sdxl_ada)
    finally:
        sdxl.pipeline.register_to_config(force_zeros_for_empty_prompt=True)
    assert (encoded != zeros).any()
