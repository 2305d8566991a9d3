from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from diffusers import AutoencoderTiny
from safetensors.torch import save_file

from celeb_core import SampleConfig, generate, load_models, parse_prompt
from celeb_core.adapters import FAST, add_fast_lora, load_tiny_vae
from celeb_core.errors import ModelNotFound, ModelUnsupported
from celeb_core.sampling import make_scheduler


def array(image):
    return np.asarray(image).astype(int)


@pytest.fixture
def own(world):
    """Models that a test may change."""
    return load_models(world, device="cpu")


HAT = parse_prompt("a photo of a hat", {})


def test_a_lora_changes_the_images_and_nothing_can_be_trained(own, basis, lora):
    config = replace(FAST, steps=2)
    before = array(generate(HAT, own, basis, config)[0])
    add_fast_lora(own, lora)
    after = array(generate(HAT, own, basis, config)[0])
    assert abs(before - after).max() > 3
    assert not any(weight.requires_grad for weight in own.unet.parameters())
    assert type(make_scheduler(own, FAST.scheduler)).__name__ == "LCMScheduler"


def test_a_lora_on_weights_that_are_stored_in_bfloat16(world, basis, lora):
    models = load_models(world, device="cpu", dtype="mixed")
    add_fast_lora(models, lora)
    assert array(generate(HAT, models, basis, SampleConfig(steps=1))[0]).std() > 0


@pytest.mark.parametrize("model", ["models", "sdxl"])
def test_short_names_are_hub_ids_of_the_models_family(model, request, monkeypatch):
    loaded, models = [], request.getfixturevalue(model)

    def load(source, *_, **__):
        loaded.append(source)
        raise OSError("no connection")

    monkeypatch.setattr(models.pipeline, "load_lora_weights", load)
    monkeypatch.setattr(AutoencoderTiny, "from_pretrained", load)
    with pytest.raises(ModelNotFound, match=r"The LoRA latent-consistency/lcm-lora-\S+ is not"):
        add_fast_lora(models, "lcm")
    with pytest.raises(ModelNotFound, match=r"The VAE madebyollin/taesd\S* is not there"):
        load_tiny_vae(models, "tiny")
    first = ["latent-consistency/lcm-lora-sdv1-5", "madebyollin/taesd"]
    second = ["latent-consistency/lcm-lora-sdxl", "madebyollin/taesdxl"]
    assert loaded == (second if model == "sdxl" else first)


def test_a_short_name_loads_what_the_hub_has(own, lora, tiny_vae, basis, monkeypatch):
    pipeline, names = type(own.pipeline), []
    load_lora, load_vae = pipeline.load_lora_weights, AutoencoderTiny.from_pretrained

    def from_hub(self, source, **options):
        names.append((source, options["weight_name"]))
        load_lora(self, str(lora.parent), **options)

    monkeypatch.setattr(pipeline, "load_lora_weights", from_hub)
    monkeypatch.setattr(
        AutoencoderTiny, "from_pretrained", lambda _, **options: load_vae(tiny_vae, **options)
    )
    add_fast_lora(own, "lcm")
    own.pipeline.vae = load_tiny_vae(own)
    assert names == [("latent-consistency/lcm-lora-sdv1-5", "pytorch_lora_weights.safetensors")]
    assert generate(HAT, own, basis, replace(FAST, steps=1))[0].size == (128, 128)


def test_what_is_no_lora(own, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ModelNotFound, match="not there"):
        add_fast_lora(own, tmp_path / "none.safetensors")
    with pytest.raises(ModelNotFound, match="owner/lora is not there, or not whole"):
        add_fast_lora(own, "owner/lora")
    (tmp_path / "part.safetensors").write_bytes(b"123")
    with pytest.raises(ModelNotFound, match="not whole"):
        add_fast_lora(own, tmp_path / "part.safetensors")
    save_file({"emb_params": torch.zeros(2, 48)}, tmp_path / "other.safetensors")
    with pytest.raises(ModelUnsupported):
        add_fast_lora(own, tmp_path / "other.safetensors")


def test_a_tiny_vae_decodes(own, basis, tiny_vae):
    config = SampleConfig(steps=1)
    before = generate(HAT, own, basis, config)[0]
    own.pipeline.vae = load_tiny_vae(own, tiny_vae)
    image = generate(HAT, own, basis, config)[0]
    assert image.size == (128, 128) and not np.array_equal(image, before)


def test_a_vae_that_does_not_fit(own, tmp_path):
    with pytest.raises(ModelNotFound, match="not there"):
        load_tiny_vae(own, tmp_path)
    widths = {"encoder_block_out_channels": (8,) * 4, "decoder_block_out_channels": (8,) * 4}
    AutoencoderTiny(**widths, latent_channels=16).save_pretrained(tmp_path)
    with pytest.raises(ModelUnsupported, match="16 channels"):
        load_tiny_vae(own, tmp_path)
