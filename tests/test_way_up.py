from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from celeb_core import PRESETS, load_studio
from celeb_core.basis import compose
from celeb_core.denoising import Denoising
from celeb_core.evaluation import load_bench
from celeb_core.mapper import CALIBRATED, CalibratedMapper
from celeb_core.places import BUNDLED
from celeb_core.way_up import gradients_of_the_way_up


@pytest.fixture
def states(models):
    width = models.unet.config.cross_attention_dim
    return torch.randn(2, 7, width, generator=torch.Generator().manual_seed(0))


def predict(unet, states):
    side, channels = 16, unet.config.in_channels
    noisy = torch.randn(2, channels, side, side, generator=torch.Generator().manual_seed(1))
    return unet(noisy, torch.tensor([300, 600]), states, return_dict=False)[0]


def gradient(unet, states):
    states = states.clone().requires_grad_()
    predict(unet, states).square().sum().backward()
    return states.grad


def test_the_prediction_is_the_same(models, states):
    with torch.no_grad():
        expected = predict(models.unet, states)
    with gradients_of_the_way_up(models.unet):
        assert torch.equal(predict(models.unet, states.requires_grad_()), expected)


def test_gradients_are_of_words_that_are_heard_on_the_way_up_past_self_attention(models, states):
    exact = gradient(models.unet, states)
    with gradients_of_the_way_up(models.unet):
        found = gradient(models.unet, states)

    def deaf(module, arguments, options):
        heard = options.get("encoder_hidden_states")
        return arguments, options | {"encoder_hidden_states": heard.detach()}

    hooks = [
        block.register_forward_pre_hook(deaf, with_kwargs=True)
        for block in models.unet.down_blocks
        if getattr(block, "has_cross_attention", False)
    ]
    heard = gradient(models.unet, states)
    hooks += [
        module.register_forward_hook(lambda *arguments: arguments[-1].detach())
        for name, module in models.unet.named_modules()
        if name.endswith("attn1")
    ]
    expected = gradient(models.unet, states)
    for hook in hooks:
        hook.remove()
    assert hooks and torch.allclose(found, expected, rtol=1e-5, atol=1e-8)
    assert not torch.allclose(heard, exact, rtol=1e-2)
    assert not torch.allclose(expected, heard, rtol=1e-2)


def test_afterwards_all_is_as_before_even_if_it_failed(models, states):
    expected = gradient(models.unet, states)
    with pytest.raises(RuntimeError), gradients_of_the_way_up(models.unet):
        predict(models.unet, states[:, :, :3])
    assert torch.is_grad_enabled()
    assert torch.equal(gradient(models.unet, states), expected)
    with torch.no_grad(), gradients_of_the_way_up(models.unet):
        predict(models.unet, states)
        assert not torch.is_grad_enabled()


@pytest.mark.toonville
def test_on_toonville_they_go_where_exact_ones_go():
    studio = load_studio(BUNDLED, device="cpu")
    people, calibration = load_bench(studio, 0, 3).people, studio.calibration
    faces = torch.stack([person.faces[0].embedding for person in people])
    mapper = CalibratedMapper(
        (studio.basis.k, studio.basis.p), *(getattr(calibration, name) for name in CALIBRATED)
    )

    def found(gradients):
        denoising = Denoising(people, studio.models, replace(PRESETS["best"], gradients=gradients))
        coefficients = mapper(faces).detach().requires_grad_()
        for step in range(4):
            losses = denoising.losses(compose(studio.basis, coefficients), *denoising.batches(step))
            losses.sum().backward()
        return coefficients.grad.flatten(1) @ calibration.directions.float()

    cosine = torch.cosine_similarity(found("way up"), found("exact"), dim=1)
    print(f"cosine with exact gradients: {cosine.mean():.4f}")
    assert cosine.min() > 0.93
