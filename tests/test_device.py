from __future__ import annotations

import gc
import logging
from types import SimpleNamespace
from unittest.mock import MagicMock

import numpy as np
import pytest
import torch
from accelerate import cpu_offload_with_hook

from celeb_core import PRESETS, SampleConfig, device, fit, generate, load_models, parse_prompt
from celeb_core.device import (
    MODES,
    Memory,
    best_device,
    best_dtype,
    best_mode,
    checked_device,
    checked_mode,
    dtype_of,
    exact_vae,
    free_memory,
    loss_scaler,
    within_memory,
)
from celeb_core.errors import MemoryShort, ModelError
from celeb_core.training_run import Training

BRIEF = PRESETS["fast"].changed(steps=3, batch_size=4, views=4)
CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.fixture
def own(world):
    """Models of the test's own: a leaner mode stays."""
    return load_models(world, device="cpu", memory="full")


# --- device and dtype


def machine(monkeypatch, cuda: bool, mps: bool) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)


@pytest.mark.parametrize(
    ("cuda", "mps", "best"),
    [(True, True, "cuda"), (False, True, "mps"), (False, False, "cpu")],
)
def test_the_best_device_is_the_fastest_that_is_there(cuda, mps, best, monkeypatch):
    machine(monkeypatch, cuda, mps)
    assert best_device() == best == checked_device(best)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("cuda:1", "no device “cuda:1” here, only cpu and mps. Install PyTorch with CUDA, or name"),
        ("tpu", "no device “tpu” here, only cpu and mps. Name one of these"),
        ("", "no device “” here"),
    ],
)
def test_a_device_that_is_not_there(name, message, monkeypatch):
    machine(monkeypatch, cuda=False, mps=True)
    with pytest.raises(ModelError, match=message):
        checked_device(name)


def test_dtypes_by_name():
    names = ("float32", "bfloat16", "float16", "mixed")
    dtypes = [torch.float32, torch.bfloat16, torch.float16, torch.float32]
    assert [dtype_of(name) for name in names] == dtypes
    with pytest.raises(ModelError, match="“int8” is no dtype. Choose float32, bfloat16, float16"):
        dtype_of("int8")


def test_large_models_take_half_the_memory_where_the_device_computes_in_it(monkeypatch):
    assert best_dtype("mps", 10**9) == best_dtype("cpu", 10**6) == "float32"
    for has in ({"avx512_bf16": True}, {"bf16": True}, {"avx2": True, "amx_bf16": False}):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda has=has: has)
        assert best_dtype("cpu", 10**9) == ("mixed" if "avx2" in has else "bfloat16")
    for native in (True, False):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda *_, native=native, **__: native)
        assert best_dtype("cuda", 10**9) == ("bfloat16" if native else "float16")
        assert best_dtype("cuda:1", 10**6) == "float32"


def test_a_vae_that_overflows_in_float16_computes_in_float32_and_is_restored(world):
    vae = load_models(world, device="cpu", dtype="float16").vae
    before = {key: weight.clone() for key, weight in vae.state_dict().items()}
    for overflows, dtype in ((False, torch.float16), (True, torch.float32)):
        vae.register_to_config(force_upcast=overflows)
        with pytest.raises(ZeroDivisionError), exact_vae(vae) as exact:
            assert exact is vae and vae.dtype == dtype
            1 / 0  # noqa: B018
        assert all(torch.equal(before[key], weight) for key, weight in vae.state_dict().items())
        assert vae.dtype == torch.float16
    with exact_vae(vae.float()):
        assert vae.dtype == torch.float32
    assert vae.dtype == torch.float32


def test_a_training_makes_no_second_vae(world, person, basis):
    """In float16 and with the VAE off the device; the latents are those of a float32 VAE."""
    half = load_models(world, device="cpu", dtype="float16", memory="offload")
    half.vae.register_to_config(force_upcast=True)
    full = load_models(world, device="cpu", dtype="float16", memory="offload")
    full.vae.float()

    def vaes() -> int:
        gc.collect()
        return sum(type(each) is type(half.vae) for each in gc.get_objects())

    before = vaes()
    training, other = (Training([person], models, basis, BRIEF) for models in (half, full))
    latents, _ = training.latents.batch(0)
    assert vaes() == before and half.vae.dtype == latents.dtype == torch.float16
    assert torch.equal(latents, other.latents.batch(0)[0].half())


def test_a_vae_that_diffusers_upcast_is_restored_when_memory_runs_out(
    sdxl_world, sdxl_basis, monkeypatch
):
    models = load_models(sdxl_world, device="cpu", dtype="float16", memory="full")
    models.vae.register_to_config(force_upcast=True)
    decode, dtypes = models.vae.decode, []

    def short(*args, **kwargs):
        dtypes.append(models.vae.dtype)
        if len(dtypes) == 1:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return decode(*args, **kwargs)

    monkeypatch.setattr(models.vae, "decode", short)
    config = SampleConfig(steps=1)
    (image,) = generate(parse_prompt("a photo", {}), models, sdxl_basis, config)
    assert dtypes == [torch.float32] * 2 and models.memory.mode == "micro-batches"
    assert models.vae.dtype == torch.float16 and np.asarray(image).std() > 0


def test_only_the_loss_in_float16_is_scaled():
    assert not loss_scaler(CPU, torch.float32).is_enabled()
    assert not loss_scaler(CPU, torch.bfloat16).is_enabled()
    assert loss_scaler(CPU, torch.float16).is_enabled()


# --- memory modes


def short(models, monkeypatch, until: str, error: Exception) -> list[str]:
    """Let the UNet fail in every mode before `until`; returns the modes that it was called in."""
    tried, forward = [], models.unet.forward

    def failing(*args, **kwargs):
        tried.append(models.memory.mode)
        if MODES.index(models.memory.mode) < MODES.index(until):
            raise error
        return forward(*args, **kwargs)

    monkeypatch.setattr(models.unet, "forward", failing)
    return tried


def test_training_steps_down_and_goes_on(own, person, basis, monkeypatch, caplog):
    expected = fit([person], own, basis, BRIEF)["ada"].coefficients
    error = torch.OutOfMemoryError("CUDA out of memory.")
    tried = short(own, monkeypatch, "checkpointing", error)
    with caplog.at_level(logging.WARNING):
        got = fit([person], own, basis, BRIEF)["ada"].coefficients
    assert list(dict.fromkeys(tried)) == ["full", "micro-batches", "checkpointing"]
    assert own.memory.mode == "checkpointing" and own.unet.is_gradient_checkpointing
    assert "Out of memory in mode “full”; going on in mode “micro-batches”" in caplog.text
    assert torch.allclose(got, expected, atol=2e-3)  # the same noise again, image by image


def test_generating_steps_down_and_goes_on(own, basis, monkeypatch):
    prompt, config = parse_prompt("a photo of a hat", {}), SampleConfig(num_images=3, steps=2)
    expected = generate(prompt, own, basis, config)
    counts = []
    short(own, monkeypatch, "micro-batches", torch.OutOfMemoryError("CUDA out of memory."))
    got = generate(prompt, own, basis, config, on_step=lambda *at: counts.append(at))
    assert counts == [(i + 1, 6) for i in range(6)]  # one by one now
    for a, b in zip(expected, got, strict=True):
        assert abs(np.asarray(a).astype(int) - np.asarray(b).astype(int)).max() <= 1


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be reported later."),
        RuntimeError("MPS backend out of memory (MPS allocated: 9.05 GB, max allowed: 9.07 GB)."),
        RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes."),
    ],
    ids=["cuda", "cuda call", "mps", "linux", "windows"],
)
def test_what_running_out_of_memory_looks_like(error):
    memory, tried = Memory(MagicMock(), CPU, "full"), []

    def attempt() -> str:
        tried.append(memory.mode)
        if len(tried) < 3:
            raise error
        return "done"

    assert within_memory(memory, attempt) == "done"
    assert tried == ["full", "micro-batches", "checkpointing"]


def test_when_no_mode_is_lean_enough(own, person, basis, monkeypatch):
    def failing(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate more.")

    monkeypatch.setattr(own.unet, "forward", failing)
    with pytest.raises(MemoryShort, match="leanest mode .CUDA out of memory.*--device cpu"):
        fit([person], own, basis, BRIEF)
    assert own.memory.mode == MODES[-1]


def test_other_errors_are_bugs():
    memory = Memory(MagicMock(), CPU, "full")

    def attempt():
        raise RuntimeError("shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="shapes"):
        within_memory(memory, attempt)
    assert memory.mode == "full"


def test_an_offloaded_vae_works_and_leaves_the_device_after_every_use(
    world, person, basis, monkeypatch
):
    events = []

    def record(owner, name: str) -> None:
        call = getattr(owner, name)

        def recorded(*args, **kwargs):
            events.append(name)
            return call(*args, **kwargs)

        monkeypatch.setattr(owner, name, recorded)

    def hooked(network, where):
        network, hook = cpu_offload_with_hook(network, where)
        record(hook, "offload")
        return network, hook

    monkeypatch.setattr(device, "cpu_offload_with_hook", hooked)
    own = load_models(world, device="cpu", memory="checkpointing")
    assert own.memory.step_down() and own.memory.mode == "offload"
    record(own.vae, "encode")
    record(own.vae, "decode")
    people = fit([person], own, basis, BRIEF)
    assert events == ["encode", "offload"]
    generate(parse_prompt("<ada>", people), own, basis, SampleConfig(steps=1))
    assert events == ["encode", "offload", "decode", "offload"]
    assert not own.memory.step_down()


def test_leaner_modes_keep_what_the_others_do(world):
    for level, mode in enumerate(MODES):
        models = load_models(world, device="cpu", memory=mode)
        assert models.memory.mode == mode
        assert models.memory.micro_batch == (1 if level else None)
        assert models.vae.use_slicing is models.vae.use_tiling is (level >= 1)
        assert models.unet.is_gradient_checkpointing is (level >= 2)
        assert models.memory.step_down() is (level < 3)


# --- the mode that is chosen


def sized_pipeline(unet: float, texts: int = 1, side: int = 64):
    """A pipeline that has sizes only, in GB of half precision."""

    def network(gigabytes: float):
        table = SimpleNamespace(weight=torch.zeros(2, 2))
        return SimpleNamespace(
            get_memory_footprint=lambda return_buffers: int(gigabytes * 1e9),
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
        (24, "full", "micro-batches"),
        (12, "full", "offload"),
        (11, "micro-batches", "offload"),
        (5.6, "micro-batches", "offload"),
        (4.2, "checkpointing", "offload"),
        (3, "offload", "offload"),
    ],
)
def test_the_mode_is_chosen_from_the_free_memory(free, sd, xl, monkeypatch):
    monkeypatch.setattr(device, "free_memory", lambda _: free * 1e9)
    assert best_mode(sized_pipeline(1.72), CUDA, torch.bfloat16) == sd
    assert best_mode(sized_pipeline(5.13, texts=2, side=128), CUDA, torch.bfloat16) == xl


def test_on_a_cpu_large_models_take_one_image_at_a_time_and_small_ones_all(models, monkeypatch):
    assert free_memory(CPU) > 0
    monkeypatch.setattr(device, "free_memory", lambda _: 1e12)
    assert best_mode(sized_pipeline(1.72), CPU, torch.bfloat16) == "micro-batches"
    assert best_mode(models.pipeline, CPU, torch.float32) == "full"


def test_unknown_modes(models):
    with pytest.raises(ModelError, match="“tiny” is no memory mode. Choose full, micro-batches, "):
        checked_mode("tiny")
    with pytest.raises(ModelError, match="checkpointing, offload"):
        Memory(models.pipeline, CPU, "recompute")
