"""Stable Diffusion's real architectures and file layouts, tiny, from names to other tools."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import celebrity_names
from diffusers import DiffusionPipeline
from PIL import Image
from stable_diffusion import SD1, SD2, SDXL, settled, write_models

from celeb_core import (
    PRESETS,
    SampleConfig,
    export_identity,
    fit,
    generate,
    load_identity,
    load_models,
    load_studio,
    loading,
    parse_prompt,
    save_identity,
)
from celeb_core.__main__ import main
from celeb_core.augmentation import AugmentedLatents
from celeb_core.basis import find_basis
from celeb_core.denoising_loss import DenoisingLoss
from celeb_core.device import MODES
from celeb_core.prompt import encode_prompt
from celeb_core.sampling import SCHEDULERS, make_scheduler
from celeb_core.textual_inversion import usage_notes

BRIEF = PRESETS["fast"].changed(steps=2, views=2, batch_size=2)
TEXT = "a photo of <ada>, smiling! on the beach"


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    return write_models(tmp_path_factory.mktemp("sd"))


@pytest.fixture(scope="module")
def names(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("names") / "names.txt"
    path.write_text("\n".join(celebrity_names()))
    return path


@pytest.fixture
def files(folders, monkeypatch, tmp_path) -> dict[str, Path]:
    """Single checkpoints with CLIP's tokenizer beside them, and configs of their tiny size."""
    monkeypatch.setattr(loading, "CONFIGS", folders["configs"])
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    files = {}
    for kind in ("sd1", "sdxl"):
        folder = tmp_path / "files" / kind
        shutil.copytree(folders[kind] / "tokenizer", folder / "tokenizer")
        files[f"{kind} file"] = Path(shutil.copy(folders[f"{kind} file"], folder))
    return files


def plain_diffusers(folder: Path, kind: str) -> DiffusionPipeline:
    """The model as diffusers alone loads it."""
    options = {} if kind == "sdxl" else loading.NO_CHECKER
    pipe = DiffusionPipeline.from_pretrained(folder, **options)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def levels_apart(a: Image.Image, b: Image.Image) -> np.ndarray:
    """The differences of two images, of 255 levels."""
    return abs(np.asarray(a).astype(int) - np.asarray(b).astype(int))


@pytest.mark.parametrize("model", ["sd1", "sd2", "sdxl", "sd1 file", "sdxl file"])
def test_from_names_to_plain_diffusers(model, folders, files, names, world, person, tmp_path):
    source, kind = files.get(model, folders[model]), model.split()[0]
    family = {"sd1": SD1, "sd2": SD2, "sdxl": SDXL}[kind]
    studio = load_studio(
        source, device="cpu", face_pack=world / "faces", names=names, cache=tmp_path / "cache"
    )
    models, basis = studio.models, studio.basis
    settled(models.pipeline)
    assert models.id == source.stem
    assert (models.width, models.height) == (64, 64)
    assert models.guidance_scale == (5.0 if family is SDXL else 7.5)
    wanted = "v_prediction" if family is SD2 else "epsilon"
    assert models.scheduler.config.prediction_type == wanted
    assert basis.mean.shape == (2, family.width)

    before = [weight.clone() for part in models.networks for weight in part.parameters()]
    trained = fit([person], models, basis, BRIEF.changed(steps=5))["ada"]
    after = [weight for part in models.networks for weight in part.parameters()]
    assert all(torch.equal(a, b) and b.grad is None for a, b in zip(before, after, strict=True))
    ada = load_identity(save_identity(trained, tmp_path), basis)
    assert ada.settings["trained"] == 5 and ada.coefficients.shape == (2, basis.p)
    prompt = parse_prompt(TEXT, {"ada": ada})
    ours = generate(prompt, models, basis, SampleConfig(seed=3, steps=3))[0]

    pipe = plain_diffusers(folders[kind], kind)
    exported = export_identity(ada, basis, models, tmp_path / "embeddings")
    exec(usage_notes(exported)["diffusers"].split(", then prompt")[0], {"pipe": pipe})
    settled(pipe)
    theirs = pipe.encode_prompt(
        prompt=TEXT, device="cpu", num_images_per_prompt=1, do_classifier_free_guidance=False
    )
    prompt_embeds = encode_prompt(prompt, basis, models)
    assert torch.equal(theirs[0], prompt_embeds.hidden_states)
    if family is SDXL:
        assert torch.equal(theirs[2], prompt_embeds.pooled)
    pipe.scheduler = make_scheduler(models)
    seed = torch.Generator().manual_seed(3)
    image = pipe(TEXT, num_inference_steps=3, generator=seed).images[0]
    assert levels_apart(ours, image).max() == 0


@pytest.mark.parametrize("kind", ["sd1", "sdxl"])
def test_a_checkpoint_equals_its_folder(kind, folders, files):
    file = load_models(files[f"{kind} file"], device="cpu")
    folder = load_models(folders[kind], device="cpu")
    for ours, theirs in zip(file.networks, folder.networks, strict=True):
        weights = theirs.state_dict()
        for name, value in ours.state_dict().items():
            assert torch.equal(value, weights[name]), name
    for ours, theirs in zip(file.encoders, folder.encoders, strict=True):
        assert ours.token_ids("hi there!") == theirs.token_ids("hi there!")
        assert ours.tokenizer.pad_token_id == theirs.tokenizer.pad_token_id


@pytest.mark.parametrize("dtype", ["bfloat16", "mixed"])
@pytest.mark.parametrize("kind", ["sd1", "sdxl"])
def test_half_precision_leaves_the_basis_alone(kind, dtype, folders, names, world, person):
    full, half = (
        load_studio(
            folders[kind], device="cpu", dtype=dtype, face_pack=world / "faces", names=names
        )
        for dtype in ("float32", dtype)
    )
    wanted = torch.float32 if dtype == "mixed" else torch.bfloat16
    assert half.models.unet.dtype == half.models.vae.dtype == wanted
    sizes = [sum(w.nbytes for w in s.models.unet.parameters()) for s in (full, half)]
    assert sizes[1] < 0.55 * sizes[0]
    assert half.basis.id == full.basis.id
    ada = fit([person], half.models, half.basis, BRIEF)["ada"]
    assert ada.coefficients.isfinite().all() and ada.coefficients.any()
    prompt = parse_prompt(TEXT, {"ada": ada})
    config = SampleConfig(steps=2, guidance_scale=3.0)
    images = [generate(prompt, s.models, s.basis, config)[0] for s in (full, half)]
    assert levels_apart(*images).max() < 40


@pytest.mark.parametrize("kind", ["sd2", "sdxl"])
def test_memory_modes_change_no_number(kind, folders, names, person):
    """But for rounding: gradients and images, which show it less than steps of Adam do."""
    results = []
    for mode in MODES:
        models = load_models(folders[kind], device="cpu", memory=mode)
        basis = find_basis(models, names)
        checkpointing = mode in ("checkpointing", "offload")
        assert models.unet.is_gradient_checkpointing is checkpointing
        embeddings = basis.mean[None].clone().requires_grad_()
        generator = torch.Generator().manual_seed(0)
        latents, masks = AugmentedLatents([person], models, BRIEF, generator).batch(0)
        DenoisingLoss(models, BRIEF.loss, generator).backward(embeddings, latents, masks)
        prompt = parse_prompt(TEXT, {"ada": embeddings[0].detach()})
        images = generate(prompt, models, basis, SampleConfig(num_images=2, steps=2))
        results.append((embeddings.grad, images))
    (full_gradient, full_images), *others = results
    assert levels_apart(*full_images).mean() > 5
    for gradient, images in others:
        assert torch.dist(gradient, full_gradient) < 1e-3 * full_gradient.norm()
        assert levels_apart(images[1], full_images[1]).mean() < 0.5


def test_precision_and_memory_from_the_command_line(folders, names, tmp_path, capsys):
    common = ["basis", "--model", str(folders["sd2"]), "--device", "cpu"]
    common += ["--names", str(names), "--cache", str(tmp_path)]
    assert main([*common, "--dtype", "bfloat16", "--memory", "offload"]) == 0
    low = capsys.readouterr().out
    assert main([*common, "--dtype", "mixed"]) == 0 and capsys.readouterr().out == low
    with pytest.raises(SystemExit) as caught:
        main([*common, "--dtype", "int8"])
    assert caught.value.code == 2


@pytest.fixture(scope="module")
def loaded(folders, names):
    """Models and basis of each family."""
    each = [load_models(folders[kind], device="cpu") for kind in ("sd1", "sd2", "sdxl")]
    return [(models, find_basis(models, names)) for models in each]


@pytest.mark.parametrize("name", SCHEDULERS)
def test_every_scheduler_on_noise_and_on_v_prediction(name, loaded):
    for models, basis in loaded:
        scheduler = make_scheduler(models, name)
        assert type(scheduler).__name__ == SCHEDULERS[name][0]
        for key in ("prediction_type", "beta_schedule", "beta_start", "beta_end", "steps_offset"):
            wanted = models.scheduler.config.get(key)
            assert scheduler.config.get(key, wanted) == wanted, key
        config = SampleConfig(steps=2, scheduler=name)
        image = generate(parse_prompt("a photo of a hat", {}), models, basis, config)[0]
        assert np.asarray(image).std() > 0
