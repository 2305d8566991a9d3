from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from celeb_core import PRESETS, TrainConfig, load_models
from celeb_core.augmentation import (
    JOINT_SHARE,
    PAPER_TEMPLATES,
    SHORT_TEMPLATES,
    AugmentedLatents,
    augment,
    gaussian_bumps,
)
from celeb_core.types import AugmentationConfig

CONFIG = TrainConfig(batch_size=4).changed(views=6)
STUDIO, PAPER = TrainConfig().augmentation, PRESETS["paper"].augmentation
WEIGHT = TrainConfig().loss.landmark_weight


# --- views


def views_of(faces, config, size=(128, 128), weight=WEIGHT, count=8, seed=0):
    return augment(faces, count, size, config, weight, np.random.default_rng(seed))


def test_views_differ_and_are_deterministic(person):
    first = views_of(person.faces, STUDIO)
    assert first.pixels.shape == (8, 3, 128, 128) and first.masks.shape == (8, 1, 128, 128)
    assert first.pixels.dtype == first.masks.dtype == torch.float32
    assert -1 <= first.pixels.min() < -0.5 and 0.5 < first.pixels.max() <= 1
    assert torch.equal(first.pixels, views_of(person.faces, STUDIO).pixels)
    assert not torch.equal(first.pixels, views_of(person.faces, STUDIO, seed=1).pixels)
    assert all(not torch.equal(first.pixels[0], other) for other in first.pixels[1:])


def test_the_mask_is_where_the_face_is(person):
    views = views_of(person.faces, STUDIO)
    red = (views.pixels[:, 0] > 0.3) & (views.pixels[:, 1] < 0)
    assert (views.masks[:, 0][red] >= 1).float().mean() > 0.95
    assert 0.3 < (views.masks >= 1).float().mean() < 0.8  # and it is not everywhere


@pytest.mark.parametrize("padding", ["edge", "black"])
def test_landmarks_weigh_more(padding, person):
    """Bumps on the landmarks, moved, shrunk and mirrored as the photo is."""
    dots = [(40, 52), (88, 52), (64, 68), (48, 84), (80, 84)]
    photo = Image.new("RGB", (128, 128))
    for x, y in dots:
        photo.paste((255, 255, 255), (x - 3, y - 3, x + 3, y + 3))
    face = replace(
        person.faces[0],
        image=photo,
        box=(32.0, 32.0, 96.0, 96.0),
        crop=(0.0, 0.0, 128.0, 128.0),
        landmarks=np.array(dots, np.float32),
    )
    config = replace(STUDIO, min_scale=0.6, padding=padding)
    views = views_of((face,), config, (192, 128), weight=2.0)
    for pixels, mask in zip(views.pixels, views.masks[:, 0], strict=True):
        dot = pixels[0] > 0.5
        assert dot.any() and (mask[dot] > 2.5).all()
        assert mask.max() == pytest.approx(3.0, abs=0.05)
        # a head of 96 x 80 at the most, and little of it is landmarks
        assert 0 < (mask > 2).sum() < 0.2 * (mask >= 1).sum()
    plain = views_of((face,), config, (192, 128), weight=0.0)
    assert torch.equal(plain.pixels, views.pixels)
    assert set(plain.masks.unique().tolist()) == {0.0, 1.0}


@pytest.mark.parametrize(("padding", "black"), [("black", True), ("edge", False)])
def test_what_is_around_a_shrunk_photo(padding, black, person):
    config = AugmentationConfig(min_scale=0.3, padding=padding)
    views = views_of(person.faces, config, (192, 128))
    assert views.pixels.shape == (8, 3, 128, 192)
    share = float((views.pixels == -1).all(1).float().mean())
    assert share > 0.2 if black else share < 0.01


def test_colours_change_with_jitter_alone(person):
    still = views_of(person.faces, replace(STUDIO, min_scale=1.0), count=20)
    as_they_are = torch.cat([still.pixels, still.pixels.flip(-1)]).unique(dim=0)
    assert len(as_they_are) == 2  # the photo and its mirror image
    moved = views_of(person.faces, replace(STUDIO, min_scale=1.0, colour_jitter=0.2), count=20)
    assert len(moved.pixels.mean((2, 3)).unique(dim=0)) == 20
    hues = views_of(person.faces, replace(PAPER, min_scale=1.0, colour_jitter=0.0), count=20)
    assert len(hues.pixels.unique(dim=0)) > 2


def test_photos_take_turns(people):
    faces = people[0].faces + people[2].faces
    views = views_of(faces, replace(STUDIO, min_scale=1.0), count=4)
    reds = views.pixels[:, 0].amax((1, 2))
    assert reds[0] == reds[2] > reds[1] == reds[3]


def test_bumps_have_height_one_on_their_points_and_their_deviation():
    points = np.array([[10.5, 4.5], [20.5, 12.5]])
    bumps = gaussian_bumps(np.stack([points, points[::-1]]), 2.0, (16, 32))
    assert bumps.shape == (2, 16, 32) and np.array_equal(bumps[0], bumps[1])
    assert bumps[0, 4, 10] == bumps[0, 12, 20] == bumps.max() == 1
    assert bumps[0, 4, 8] == pytest.approx(np.exp(-0.5), abs=1e-6)  # one deviation to the left


def test_the_papers_photo_is_stretched_a_little_and_resized_without_antialiasing(person):
    size, lines = 128, np.zeros((128, 128, 3), np.uint8)
    white = replace(person.faces[0], image=Image.fromarray(lines + 255))
    config = replace(PAPER, colour_jitter=0.0, min_scale=0.5)
    pasted = views_of((white,), config, (size, size), count=60).pixels[:, 0] > 0.9
    tall, wide = (pasted.any(side).sum(-1) for side in (2, 1))
    assert tall.min() >= size // 2 and tall.max() > 0.9 * size
    aspects = wide[tall < 110] / tall[tall < 110]
    assert 0.88 < aspects.min() < 0.93 and 1.07 < aspects.max() <= 1.1
    # At half of the size, an average over pixels makes single lines grey; two-tap samples do not.
    lines[:, ::8] = 255
    striped = replace(white, image=Image.fromarray(lines))
    half = views_of((striped,), replace(config, min_scale=0.25), (size, size), count=40)
    brightest = half.pixels[:, 0].amax((1, 2))
    assert float((brightest > 0.9).float().mean()) > 0.8


def test_templates_name_the_person_once():
    for templates, end in ((SHORT_TEMPLATES, "{}"), (PAPER_TEMPLATES, "face of {} person")):
        assert all(t.count("{}") == 1 and t.endswith(end) for t in templates)
    assert len(set(SHORT_TEMPLATES)) == len(SHORT_TEMPLATES)


def test_the_papers_templates_are_as_many_of_each_kind_as_the_official_ones():
    def kinds(templates):
        words = ("photo", "illustration", "depiction", "rendition", "rendering")
        return Counter(next(w for w in words if f"{w} of" in t) for t in templates)

    once = {"photo": 24, "illustration": 15, "depiction": 15, "rendition": 2, "rendering": 1}
    every = {**once, "photo": 42, "rendition": 6, "rendering": 3}
    assert kinds(PAPER_TEMPLATES) == every and len(PAPER_TEMPLATES) == 81
    assert kinds(set(PAPER_TEMPLATES)) == once and len(set(PAPER_TEMPLATES)) == 57
    assert set(Counter(PAPER_TEMPLATES).values()) == {1, 3}


# --- latents


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_latents_are_the_scaled_ones_of_the_views(person, models):
    config = CONFIG.changed(min_scale=1.0)
    latents, masks = AugmentedLatents([person], models, config, generator()).encode(0, 3, 0)
    assert latents.shape == (3, 4, 16, 16) and masks.shape == (3, 1, 16, 16)
    views = augment(
        person.faces, 3, (128, 128), config.augmentation, WEIGHT, np.random.default_rng((0, 0, 0))
    )
    with torch.no_grad():
        posterior = models.vae.encode(views.pixels).latent_dist
    deviation = posterior.std * models.vae.config.scaling_factor
    distance = (latents - posterior.mean * models.vae.config.scaling_factor) / deviation
    assert 0.9 < float(distance.std()) < 1.1 and abs(float(distance.mean())) < 0.1
    assert torch.allclose(masks.mean(), views.masks.mean(), atol=1e-5)


def test_views_have_seeds_of_their_own(people, models):
    """So that a resumed training has the same ones, whatever was drawn in between."""
    source = AugmentedLatents(people, models, CONFIG, generator())
    first = source.encode(1, 2, 3)[0]
    source.batch(0)
    assert torch.equal(source.encode(1, 2, 3)[0], first)
    for person, step in ((0, 3), (1, 4)):
        assert not torch.equal(source.encode(person, 2, step)[0], first)
    other = AugmentedLatents(people, models, replace(CONFIG, seed=1), generator())
    assert not torch.equal(other.encode(1, 2, 3)[0], first)


def counted(models, monkeypatch) -> list[int]:
    """The sizes of what the VAE encodes from now on."""
    sizes, encode = [], models.vae.encode
    monkeypatch.setattr(models.vae, "encode", lambda x: (sizes.append(len(x)), encode(x))[1])
    return sizes


def test_views_are_encoded_once_and_batches_are_drawn_from_them(person, models, monkeypatch):
    sizes = counted(models, monkeypatch)
    source = AugmentedLatents([person], models, CONFIG, generator())
    batches = [source.batch(step) for step in range(3)]
    assert sizes == [6]
    for latents, masks in batches:
        assert latents.shape == (1, 4, 4, 16, 16) and masks.shape == (1, 4, 1, 16, 16)
        assert len(latents[0].unique(dim=0)) == 4  # without repetition
    drawn = torch.cat([latents[0] for latents, _ in batches]).unique(dim=0)
    assert 4 < len(drawn) <= 6
    again = AugmentedLatents([person], models, CONFIG, generator())
    assert all(torch.equal(again.batch(9)[0], latents) for latents, _ in batches)


def test_a_batch_larger_than_the_views_repeats_them_evenly(person, models):
    config = CONFIG.changed(batch_size=6, views=3)
    latents, masks = AugmentedLatents([person], models, config, generator()).batch(0)
    _, counts = latents[0].flatten(1).unique(dim=0, return_counts=True)
    assert counts.tolist() == [2, 2, 2]
    assert torch.equal(masks[0, :3], masks[0, 3:])


def test_without_views_every_step_encodes_a_fresh_batch(person, models, monkeypatch):
    sizes = counted(models, monkeypatch)
    source = AugmentedLatents([person], models, CONFIG.changed(views=0), generator())
    first, second = source.batch(0)[0], source.batch(1)[0]
    assert sizes == [4, 4] and not torch.equal(first, second)
    assert torch.equal(source.batch(0)[0], first)


def test_people_who_train_together_share(people, models):
    alone = AugmentedLatents(people[:1], models, CONFIG, generator())
    together = AugmentedLatents(people, models, CONFIG, generator())
    for name in ("batch_size", "views"):
        assert getattr(together, name) == round(getattr(alone, name) * JOINT_SHARE) > 0
    latents, masks = together.batch(0)
    assert latents.shape[:2] == masks.shape[:2] == (3, 2)
    least = AugmentedLatents(people, models, CONFIG.changed(batch_size=1, views=1), generator())
    assert (least.batch_size, least.views) == (1, 1)


def test_a_vae_that_overflows_in_half_precision_encodes_in_full(world, person):
    half = load_models(world, device="cpu", dtype="float16")
    half.vae.register_to_config(force_upcast=True)
    with torch.no_grad():  # what comes out of the first layer is too large for float16
        half.vae.encoder.conv_in.weight.mul_(2e5)
    latents, _ = AugmentedLatents([person], half, CONFIG, generator()).batch(0)
    assert latents.dtype == torch.float16 and latents.isfinite().all()
    assert half.vae.dtype == torch.float16
