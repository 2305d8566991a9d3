"""Stable Diffusion 1.5 at full size, random weights: `pytest -m full_size -s` shows the log.

Of SDXL only the shapes, without weights.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import portrait
from diffusers import UNet2DConditionModel
from transformers import AutoConfig, CLIPTextModel, CLIPTextModelWithProjection

from bench.full_size import random_pipeline
from celeb_core import (
    PRESETS,
    Person,
    SampleConfig,
    find_face,
    fit,
    generate,
    load_face_model,
    load_models,
    parse_prompt,
)
from celeb_core.basis import find_basis
from celeb_core.errors import ModelNotFound
from celeb_core.loading import CONFIGS, clip_tokenizer
from celeb_core.text_encoder import text_encoders

pytestmark = [pytest.mark.full_size, pytest.mark.timeout(3600)]

SDXL = CONFIGS / "sdxl"


def peak_memory() -> int:
    """The most bytes of memory that this process has had so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak * (1 if sys.platform == "darwin" else 1024)


@contextmanager
def timed(what: str) -> Iterator[None]:
    began = time.perf_counter()
    yield
    seconds = time.perf_counter() - began
    print(f"{what}: {seconds:.1f} s, peak so far {peak_memory() / 2**30:.1f} GiB")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    try:
        tokenizer = clip_tokenizer(Path("nowhere"))
    except ModelNotFound as error:
        pytest.skip(str(error))
    pipeline = random_pipeline(torch.float16)
    pipeline.register_modules(tokenizer=tokenizer)
    pipeline.text_encoder.half()
    folder = tmp_path_factory.mktemp("full") / "random-sd15"
    pipeline.save_pretrained(folder)
    return folder


def test_basis_training_and_an_image_within_8_gb(folder, world):
    device = "cuda" if torch.cuda.is_available() else "cpu"
    with timed("\nload"):
        models = load_models(folder, device)
    faces = load_face_model(world / "faces", det_size=(128, 128))
    with timed("basis of the shipped names"):
        basis = find_basis(models)
    print(f"  {len(basis.names)} names, ranks {basis.ranks}, mean {tuple(basis.mean.shape)}")
    assert basis.ranks == (512, 512) and basis.mean.shape == (2, 768)
    config = PRESETS["fast"].changed(steps=3, batch_size=1, views=1)
    person = Person("ada", (find_face(portrait(side=512), faces, 1),))
    with timed("training, 3 steps of batch 1 and one view"):
        people = fit([person], models, basis, config)
    assert people["ada"].coefficients.shape == (2, 512)
    assert people["ada"].coefficients.isfinite().all()
    with timed("an image in 2 steps, 512 x 512"):
        prompt = parse_prompt("a photo of <ada> on the beach", people)
        image = generate(prompt, models, basis, SampleConfig(steps=2))[0]
    assert image.size == (512, 512) and np.asarray(image).std() > 0
    assert peak_memory() < 8 * 2**30


def test_the_output_of_sdxls_encoders_fits_its_unet():
    with torch.device("meta"), torch.no_grad():
        unet = UNet2DConditionModel.from_config(UNet2DConditionModel.load_config(SDXL / "unet"))
        second = AutoConfig.from_pretrained(SDXL / "text_encoder_2")
        pipeline = SimpleNamespace(
            tokenizer=None,
            tokenizer_2=None,
            text_encoder=CLIPTextModel(AutoConfig.from_pretrained(SDXL / "text_encoder")),
            text_encoder_2=CLIPTextModelWithProjection(second),
        )
        ids = torch.zeros(2, 77).long()
        parts = [encoder.encode_ids(ids) for encoder in text_encoders(pipeline)]
        states, pooled = torch.cat([part.hidden_states for part in parts], -1), parts[-1].pooled
        assert states.shape == (2, 77, 2048) and pooled.shape == (2, 1280)
        added = {"text_embeds": pooled, "time_ids": torch.zeros(2, 6)}
        latents = torch.zeros(2, 4, 128, 128)
        noise_pred = unet(latents, torch.zeros(2), states, added_cond_kwargs=added).sample
    assert noise_pred.shape == latents.shape
