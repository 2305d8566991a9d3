from __future__ import annotations

import logging
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from celeb_core import PRESETS, SampleConfig, fit, generate, load_models, memory, parse_prompt
from celeb_core.errors import MemoryShort, ModelError
from celeb_core.memory import MODES, best_mode, free_memory, within_memory

BRIEF = replace(PRESETS["fast"], steps=3, batch_size=4, views=4)


@pytest.fixture
def own(world):
    """Models of our own: modes stay."""
    return load_models(world, device="cpu", memory="full")


def short(models, monkeypatch, until: str, error: Exception) -> list[str]:
    """Let the UNet run out of memory in every mode before `until` -> the modes it was tried in."""
    tried, forward = [], models.unet.forward

    def failing(*args, **kwargs):
        tried.append(models.memory.mode)
        if MODES.index(models.memory.mode) < MODES.index(until):
            raise error
        return forward(*args, **kwargs)

    monkeypatch.setattr(models.unet, "forward", failing)
    return tried


@pytest.mark.parametrize(
    "error",
    [torch.OutOfMemoryError("CUDA out of memory."), RuntimeError("MPS backend out of memory")],
)
def test_training_steps_down_and_goes_on(error, own, person, basis, monkeypatch, caplog):
    expected = fit([person], own, basis, BRIEF)["ada"].coefficients
    tried = short(own, monkeypatch, "recompute", error)
    with caplog.at_level(logging.WARNING):
        got = fit([person], own, basis, BRIEF)["ada"].coefficients
    assert list(dict.fromkeys(tried)) == ["full", "pieces", "recompute"]
    assert own.memory.mode == "recompute" and own.unet.is_gradient_checkpointing
    assert "ran out in mode “full”; going on in mode “pieces”" in caplog.text
    assert torch.allclose(got, expected, atol=2e-3)  # the same noise again, in pieces


def test_drawing_steps_down_and_goes_on(own, basis, monkeypatch):
    prompt, config = parse_prompt("a photo of a hat", {}), SampleConfig(num_images=3, steps=2)
    expected = generate(prompt, own, basis, config)
    seen = []
    short(own, monkeypatch, "pieces", torch.OutOfMemoryError("CUDA out of memory."))
    got = generate(prompt, own, basis, config, on_step=lambda *at: seen.append(at))
    assert seen == [(i + 1, 6) for i in range(6)]  # one by one now
    for a, b in zip(expected, got, strict=True):
        assert abs(np.asarray(a).astype(int) - np.asarray(b).astype(int)).max() <= 1


def test_when_no_mode_is_lean_enough(own, person, basis, monkeypatch):
    def failing(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate more.")

    monkeypatch.setattr(own.unet, "forward", failing)
    with pytest.raises(MemoryShort, match="leanest mode .CUDA out of memory.*--device cpu"):
        fit([person], own, basis, BRIEF)


def test_other_errors_are_bugs(own):
    def attempt():
        raise RuntimeError("shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="shapes"):
        within_memory(own, attempt)
    assert own.memory.mode == "full"


def test_offloaded_parts_work_and_rest(own, person, basis, monkeypatch):
    own.memory.mode = "recompute"
    own.memory.step_down()
    rested = []
    monkeypatch.setattr(own.memory._vae_hook, "offload", lambda: rested.append(True))
    people = fit([person], own, basis, BRIEF)
    generate(parse_prompt("<ada>", people), own, basis, SampleConfig(steps=1))
    assert own.vae._hf_hook and len(rested) == 2
    assert not own.memory.step_down()


def fake_pipeline(unet: float, texts: int = 1, side: int = 64):
    """A pipeline of which only the sizes (in GB of half precision) are looked at."""

    def network(gigabytes: float):
        weight = SimpleNamespace(numel=lambda: int(gigabytes * 1e9 / 2), element_size=lambda: 2)
        table = SimpleNamespace(weight=torch.zeros(2, 2))
        return SimpleNamespace(
            parameters=lambda: [weight],
            config=SimpleNamespace(sample_size=side),
            get_input_embeddings=lambda: table,
        )

    second = {"text_encoder_2": network(2.8), "tokenizer_2": None} if texts == 2 else {}
    return SimpleNamespace(
        unet=network(unet), vae=network(0.17), tokenizer=None, text_encoder=network(0.5), **second
    )


@pytest.mark.parametrize(
    ("free", "sd", "xl"),
    [
        (24, "full", "pieces"),
        (12, "full", "offload"),
        (11, "pieces", "offload"),
        (5.6, "pieces", "offload"),
        (4.2, "recompute", "offload"),
        (3, "offload", "offload"),
    ],
)
def test_the_mode_is_chosen_from_the_free_memory(free, sd, xl, monkeypatch):
    monkeypatch.setattr(memory, "free_memory", lambda device: free * 1e9)
    cuda = torch.device("cuda")
    assert best_mode(fake_pipeline(1.72), cuda, torch.bfloat16) == sd
    assert best_mode(fake_pipeline(5.13, texts=2, side=128), cuda, torch.bfloat16) == xl


def test_on_a_cpu_large_models_work_in_pieces_and_small_ones_do_not(models, monkeypatch):
    monkeypatch.setattr(memory, "free_memory", lambda device: 1e12)
    cpu = torch.device("cpu")
    assert best_mode(fake_pipeline(1.72), cpu, torch.bfloat16) == "pieces"
    assert best_mode(models.pipeline, cpu, torch.float32) == "full"
    assert free_memory(cpu) > 0


def test_unknown_modes(world):
    with pytest.raises(ModelError, match="full, pieces, recompute, offload"):
        load_models(world, device="cpu", memory="tiny")
