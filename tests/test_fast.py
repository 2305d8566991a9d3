from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from diffusers import AutoencoderTiny
from peft import LoraConfig, get_peft_model_state_dict
from PIL import Image
from safetensors.torch import save_file

from celeb_core import SampleConfig, fast, generate, load_models, parse_prompt
from celeb_core.__main__ import main
from celeb_core.errors import ModelNotFound, ModelUnsupported
from celeb_core.sampling import make_scheduler

PROMPT = parse_prompt("a photo of a hat", {})


@pytest.fixture
def own(world):
    return load_models(world, device="cpu")


@pytest.fixture(scope="module")
def lora(world, tmp_path_factory):
    """A random LoRA of the tiny UNet, as diffusers saves them."""
    from diffusers import StableDiffusionPipeline

    unet = load_models(world, device="cpu").unet
    torch.manual_seed(0)
    unet.add_adapter(LoraConfig(r=2, init_lora_weights=False, target_modules=["to_q", "to_v"]))
    folder = tmp_path_factory.mktemp("lora")
    StableDiffusionPipeline.save_lora_weights(folder, get_peft_model_state_dict(unet))
    return folder / "pytorch_lora_weights.safetensors"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    widths = {"encoder_block_out_channels": (8,) * 4, "decoder_block_out_channels": (8,) * 4}
    torch.manual_seed(0)
    AutoencoderTiny(**widths).save_pretrained(folder)
    return folder


def test_a_lora_changes_the_pictures_and_nothing_can_be_trained(own, basis, lora):
    config = SampleConfig(steps=2, scheduler="lcm", guidance=1.5)
    before = np.asarray(generate(PROMPT, own, basis, config)[0]).astype(int)
    fast.add_fast_lora(own, lora)
    after = np.asarray(generate(PROMPT, own, basis, config)[0]).astype(int)
    assert abs(before - after).max() > 3
    assert not any(weight.requires_grad for weight in own.unet.parameters())
    assert type(make_scheduler(own, fast.SCHEDULER)).__name__ == "LCMScheduler"


def test_a_lora_on_weights_that_rest_in_half(world, basis, lora):
    models = load_models(world, device="cpu", dtype="mixed")
    fast.add_fast_lora(models, lora)
    assert np.asarray(generate(PROMPT, models, basis, SampleConfig(steps=1))[0]).std() > 0


def test_what_is_no_lora(own, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ModelNotFound, match="not there"):
        fast.add_fast_lora(own, tmp_path / "none.safetensors")
    with pytest.raises(ModelNotFound, match="owner/lora is not there, or not whole"):
        fast.add_fast_lora(own, "owner/lora")
    (tmp_path / "part.safetensors").write_bytes(b"123")
    with pytest.raises(ModelNotFound, match="not whole"):
        fast.add_fast_lora(own, tmp_path / "part.safetensors")
    save_file({"emb_params": torch.zeros(2, 48)}, tmp_path / "other.safetensors")
    with pytest.raises(ModelUnsupported):
        fast.add_fast_lora(own, tmp_path / "other.safetensors")


def test_a_tiny_vae_draws(own, basis, tiny):
    own.pipeline.vae = fast.load_tiny_vae(own, tiny)
    picture = generate(PROMPT, own, basis, SampleConfig(steps=1))[0]
    assert picture.size == (128, 128)


def test_a_vae_that_does_not_fit(own, tmp_path):
    with pytest.raises(ModelNotFound, match="not there"):
        fast.load_tiny_vae(own, tmp_path)
    widths = {"encoder_block_out_channels": (8,) * 4, "decoder_block_out_channels": (8,) * 4}
    AutoencoderTiny(**widths, latent_channels=16).save_pretrained(tmp_path)
    with pytest.raises(ModelUnsupported, match="16 channels"):
        fast.load_tiny_vae(own, tmp_path)


def test_fast_mode_from_the_command_line(world, lora, tiny, tmp_path, monkeypatch, capsys):
    import celeb_core.cli.pictures as module

    seen, draw = [], module.generate

    def watched(prompt, models, basis, config, **options):
        seen.append(config)
        return draw(prompt, models, basis, config, **options)

    monkeypatch.setattr(module, "generate", watched)
    monkeypatch.chdir(tmp_path)
    common = ("generate", "a hat", "--model", str(world), "--device", "cpu", "--cache", "cache")
    assert main([*common, "--fast-lora", str(lora), "--vae", str(tiny)]) == 0
    config = seen.pop()
    assert (config.steps, config.guidance, config.scheduler) == (6, 1.5, "lcm")
    assert main([*common, "--fast-lora", str(lora), "--steps", "2", "--scheduler", "euler"]) == 0
    config = seen.pop()
    assert (config.steps, config.guidance, config.scheduler) == (2, 1.5, "euler")
    files = capsys.readouterr().out.split()
    assert all(Image.open(file).size == (128, 128) for file in files) and len(files) == 2
    assert main([*common, "--fast-lora", "none.safetensors"]) == 1
    assert re.search("error: The LoRA none.safetensors is not there", capsys.readouterr().err)
