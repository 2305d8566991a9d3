from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from celeb_core import TrainConfig, fit
from celeb_core.denoising import Denoising
from celeb_core.presets import PRESETS
from celeb_core.prompt import encode_texts
from celeb_core.templates import STUDIO

FAST = TrainConfig(steps=4, batch_size=2, views=4, learning_rate=1e-2)
# A stand-in for the UNet has no way up, and hears no words.
EXACT = replace(FAST, gradients="exact", photo_words=False)


def words_at(basis) -> torch.Tensor:
    return basis.mean[None]


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction", "sample"])
def test_targets_of_all_prediction_types(kind, person, models, basis, monkeypatch):
    """A network that returns the true target has no loss."""
    denoising = Denoising([person], models, EXACT)
    denoising.noising.register_to_config(prediction_type=kind)
    latents, heads = denoising.batches(0)
    seen = {}

    def add_noise(clean, noise, timesteps):
        scale = denoising.noising.alphas_cumprod[timesteps].view(-1, 1, 1, 1)
        seen["epsilon"], seen["sample"] = noise, clean
        seen["v_prediction"] = scale.sqrt() * noise - (1 - scale).sqrt() * clean
        return clean

    monkeypatch.setattr(denoising.noising, "add_noise", add_noise)
    fake = type(
        "Fake", (), {"modules": lambda self: (), "__call__": lambda self, *a, **k: (seen[kind],)}
    )()
    parts = {name: getattr(models, name) for name in ("encoders", "vae", "memory")}
    denoising.models = type("Bundle", (), {**parts, "unet": fake})()
    assert float(denoising.losses(words_at(basis), latents, heads)) < 1e-10


def test_stratified_timesteps_cover_the_range(person, models, basis):
    denoising = Denoising([person], models, FAST)
    parts = (denoising.timesteps(10, (0, 1000)) // 100).sort().values
    assert parts.tolist() == list(range(10))
    inside = denoising.timesteps(200, (300, 350))
    assert sorted(set(inside.tolist())) == list(range(300, 350))


@pytest.mark.parametrize("side", [16, 64])
def test_timesteps_hide_as_much_of_a_shrunk_picture_at_any_size(person, models, side):
    """Log SNR of a mean over (side / 16)^2 latents: log(a / (1 - a)) + 2 log(side / 16)."""
    denoising = Denoising([person], models, replace(FAST, log_snr_min=-1.5, log_snr_max=2.5))
    first, end = denoising.bounds(side * side)
    alphas = denoising.noising.alphas_cumprod.double()
    ratio = (alphas / (1 - alphas)).log() + 2 * math.log(side / 16)
    assert [int(t) for t in ((ratio >= -1.5) & (ratio <= 2.5)).nonzero()] == list(range(first, end))


def test_the_paper_draws_from_all_timesteps(person, models):
    denoising = Denoising([person], models, PRESETS["paper"])
    assert denoising.bounds(64 * 64) == (0, 1000)


def test_a_range_that_holds_no_timestep_gives_the_nearest(person, models):
    for limit in (-60.0, 60.0):
        config = replace(FAST, log_snr_min=limit, log_snr_max=limit)
        first, end = Denoising([person], models, config).bounds(64 * 64)
        assert (first, end) == ((999, 1000) if limit < 0 else (0, 1))


def test_background_counts_less_in_the_loss(person, models, basis, monkeypatch):
    """An error outside the head counts `background` times one inside; the mean weight is one."""
    denoising = Denoising([person], models, replace(EXACT, background=0.25))
    latents, heads = denoising.batches(0)
    heads = (heads > 0.5).float()
    inside = float(heads.mean())
    assert 0.05 < inside < 0.95

    def loss(error):
        offset = error.expand_as(latents).flatten(0, 1)
        truth = {}

        def velocity(clean, noise, timesteps):
            truth["target"] = noise
            return noise

        monkeypatch.setattr(denoising.noising, "get_velocity", velocity)
        unet = type(
            "Fake",
            (),
            {"modules": lambda self: (), "__call__": lambda *a, **k: (truth["target"] + offset,)},
        )()
        parts = {name: getattr(models, name) for name in ("encoders", "vae", "memory")}
        denoising.models = type("Bundle", (), {**parts, "unet": unet})()
        return float(denoising.losses(words_at(basis), latents, heads))

    in_head, outside, everywhere = loss(heads), loss(1 - heads), loss(torch.ones_like(heads))
    assert abs(everywhere - 1) < 1e-4 and abs(in_head + outside - 1) < 1e-3
    per_area = (in_head / inside) / (outside / (1 - inside))
    assert 3.5 < per_area < 4.5


def test_text_states_are_encoded_once_per_distinct_prompt(people, models, basis, monkeypatch):
    counts = []

    def counting(texts, *others):
        counts.append(len(texts))
        return encode_texts(texts, *others)

    monkeypatch.setattr("celeb_core.denoising.encode_texts", counting)
    fit(people, models, basis, replace(FAST, steps=1, batch_size=8))
    assert counts == [3]


@pytest.mark.parametrize("photo_words", [True, False])
def test_words_in_training_are_the_words_in_prompts(photo_words, person, models, basis):
    config = replace(FAST, templates="studio", photo_words=photo_words)
    denoising = Denoising([person], models, config)
    words = torch.randn(2, 48)
    states = denoising.text_states(words[None], 2).states
    said, tail = {"x": words}, ""
    if denoising.photo_words is not None:
        said, tail = said | {"photo": denoising.photo_words()[0]}, " <photo>"
    texts = [template.format("<x>") + tail for template in STUDIO]
    expected = encode_texts(texts, [said] * len(texts), basis.k, models.encoders)
    distances = (expected.states - states[:1]).detach().flatten(1).norm(dim=1)
    assert float(distances.min()) < 1e-4 and torch.equal(states[0], states[1])
