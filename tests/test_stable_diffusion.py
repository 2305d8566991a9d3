"""Stable Diffusion's real architectures and file layouts, tiny, from names to other tools."""

from __future__ import annotations

import gzip
import importlib.util
import json
import shutil
from dataclasses import replace
from pathlib import Path

import httpx
import instant_clip_tokenizer
import numpy as np
import pytest
import torch
from conftest import celebrity_names
from diffusers import AutoencoderKL, DiffusionPipeline, UNet2DConditionModel
from huggingface_hub import errors
from PIL import Image
from safetensors.torch import save_file
from stable_diffusion import (
    SD1,
    SD2,
    SDXL,
    settled,
    write_checkpoint,
    write_configs,
    write_folder,
)
from transformers import AutoConfig, CLIPTextModel, CLIPTextModelWithProjection

from celeb_core import (
    PRESETS,
    SampleConfig,
    export_identity,
    fit,
    generate,
    load_identity,
    load_models,
    load_studio,
    parse_prompt,
    pipelines,
    save_identity,
)
from celeb_core.__main__ import main
from celeb_core.denoising import Denoising
from celeb_core.devices import best_dtype
from celeb_core.errors import ModelError, ModelNotFound, ModelUnsupported
from celeb_core.interop import usage
from celeb_core.memory import MODES
from celeb_core.models import ASSETS, find_basis
from celeb_core.pipelines import CONFIGS
from celeb_core.prompt import encode_prompt
from celeb_core.sampling import SCHEDULERS, make_scheduler

BRIEF = replace(PRESETS["fast"], steps=2, views=2, batch_size=2)
TEXT = "a photo of <ada>, smiling! on the beach"


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("sd")
    (root / "names.txt").write_text("\n".join(celebrity_names()))
    families = {"sd1": SD1, "sd2": SD2, "sdxl": SDXL}
    made = {kind: write_folder(root / kind, family) for kind, family in families.items()}
    for kind in ("sd1", "sdxl"):
        made[f"{kind} file"] = write_checkpoint(made[kind], root / f"{kind}-tuned.safetensors")
        write_configs(made[kind], root / "configs" / kind)
    return {"root": root, **made}


@pytest.fixture
def offline_files(folders, monkeypatch, tmp_path) -> dict[str, Path]:
    """Single checkpoints with CLIP's tokenizer beside them, and configs of their tiny size."""
    monkeypatch.setattr(pipelines, "CONFIGS", folders["root"] / "configs")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    files = {}
    for kind in ("sd1", "sdxl"):
        beside = tmp_path / "files" / kind
        shutil.copytree(folders[kind] / "tokenizer", beside / "tokenizer")
        files[f"{kind} file"] = Path(shutil.copy(folders[f"{kind} file"], beside))
    return files


@pytest.fixture
def offline_file(offline_files) -> Path:
    return offline_files["sd1 file"]


def plain(place: Path) -> DiffusionPipeline:
    """The model as diffusers alone loads it."""
    index = json.loads((place / "model_index.json").read_text())
    left_out = pipelines.SUPPORTED[index["_class_name"]]
    pipe = DiffusionPipeline.from_pretrained(place, **left_out)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def levels_apart(a: Image.Image, b: Image.Image) -> int:
    """The largest difference of two pictures, of 255 levels."""
    return int(abs(np.asarray(a).astype(int) - np.asarray(b).astype(int)).max())


def mean_levels_apart(a: Image.Image, b: Image.Image) -> float:
    """The mean difference of two pictures, of 255 levels."""
    return float(abs(np.asarray(a).astype(int) - np.asarray(b).astype(int)).mean())


@pytest.mark.parametrize("kind", ["sd1", "sd2", "sdxl", "sd1 file", "sdxl file"])
def test_from_names_to_plain_diffusers(kind, folders, offline_files, world, person, tmp_path):
    place = offline_files.get(kind, folders[kind])
    family = {"sd1": SD1, "sd2": SD2, "sdxl": SDXL}[kind.split()[0]]
    studio = load_studio(
        place,
        device="cpu",
        face_pack=world / "faces",
        names=folders["root"] / "names.txt",
        cache=tmp_path / "cache",
    )
    models, basis = studio.models, studio.basis
    settled(models.pipeline)
    assert models.id == place.stem
    assert (models.width, models.height) == (64, 64)
    assert models.guidance == (5.0 if family is SDXL else 7.5)
    wanted = "v_prediction" if family is SD2 else "epsilon"
    assert models.scheduler.config.prediction_type == wanted
    assert basis.mean.shape == (2, family.width)

    weights = [weight.clone() for part in models.networks for weight in part.parameters()]
    trained = fit([person], models, basis, PRESETS["fast"])["ada"]
    after = [weight for part in models.networks for weight in part.parameters()]
    assert all(torch.equal(a, b) and b.grad is None for a, b in zip(weights, after, strict=True))
    ada = load_identity(save_identity(trained, tmp_path), basis)
    assert ada.settings["trained"] == 20 and ada.coefficients.shape == (2, basis.p)
    prompt = parse_prompt(TEXT, {"ada": ada})
    ours = generate(prompt, models, basis, SampleConfig(seed=3, steps=3))[0]

    pipe = plain(folders[kind.split()[0]])
    file = export_identity(ada, basis, models, tmp_path / "embeddings")
    exec(usage(file)["diffusers"].split(", then prompt")[0], {"pipe": pipe})
    settled(pipe)
    theirs = pipe.encode_prompt(
        prompt=TEXT, device="cpu", num_images_per_prompt=1, do_classifier_free_guidance=False
    )
    said = encode_prompt(prompt, basis, models)
    assert torch.equal(theirs[0], said.states)
    if family is SDXL:
        assert torch.equal(theirs[2], said.pooled)
    pipe.scheduler = make_scheduler(models)
    seed = torch.Generator().manual_seed(3)
    drawn = pipe(TEXT, num_inference_steps=3, generator=seed).images[0]
    assert levels_apart(ours, drawn) == 0


@pytest.mark.parametrize(
    ("kind", "parameters", "side"),
    [
        ("sd1", (859_520_964, 83_653_863, 123_060_480), 512),
        ("sdxl", (2_567_463_684, 83_653_863, 123_060_480, 694_659_840), 1024),
    ],
)
def test_the_shipped_configs_are_those_of_the_real_models(kind, parameters, side):
    configs = CONFIGS / kind
    with torch.device("meta"):
        unet = UNet2DConditionModel.from_config(UNet2DConditionModel.load_config(configs / "unet"))
        vae = AutoencoderKL.from_config(AutoencoderKL.load_config(configs / "vae"))
        parts = [unet, vae, CLIPTextModel(AutoConfig.from_pretrained(configs / "text_encoder"))]
        if kind == "sdxl":
            second = AutoConfig.from_pretrained(configs / "text_encoder_2")
            parts.append(CLIPTextModelWithProjection(second))
    sizes = [sum(weight.numel() for weight in part.parameters()) for part in parts]
    assert tuple(sizes) == parameters
    assert unet.config.sample_size * 8 == vae.config.sample_size == side
    if kind == "sdxl":  # what the encoders say and six sizes fit the UNet
        texts = [part.config for part in parts[2:]]
        assert unet.config.cross_attention_dim == sum(text.hidden_size for text in texts)
        sizes = 6 * unet.config.addition_time_embed_dim
        pooled = unet.config.projection_class_embeddings_input_dim - sizes
        assert pooled == texts[1].projection_dim


@pytest.mark.parametrize("dtype", ["bfloat16", "mixed"])
@pytest.mark.parametrize("kind", ["sd1", "sdxl"])
def test_half_precision_leaves_the_basis_alone(kind, dtype, folders, world, person):
    names = folders["root"] / "names.txt"
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
    config = SampleConfig(steps=2, guidance=3.0)
    pictures = [generate(prompt, s.models, s.basis, config)[0] for s in (full, half)]
    assert levels_apart(*pictures) < 40


@pytest.mark.parametrize("kind", ["sd2", "sdxl"])
def test_memory_modes_change_no_number(kind, folders, world, person):
    """But for rounding: gradients and pictures, which show it less than steps of Adam do."""
    names, seen = folders["root"] / "names.txt", []
    for mode in MODES:
        studio = load_studio(
            folders[kind], device="cpu", memory=mode, face_pack=world / "faces", names=names
        )
        lean = mode in ("recompute", "offload")
        assert studio.models.unet.is_gradient_checkpointing is lean
        words = studio.basis.mean[None].clone().requires_grad_()
        denoising = Denoising([person], studio.models, BRIEF)
        denoising.losses(words, *denoising.batches(0)).mean().backward()
        prompt = parse_prompt(TEXT, {"ada": words[0].detach()})
        config = SampleConfig(num_images=2, steps=2)
        seen.append((words.grad, generate(prompt, studio.models, studio.basis, config)))
    (first_gradient, first_pictures), *others = seen
    assert mean_levels_apart(*first_pictures) > 5
    for gradient, pictures in others:
        assert torch.dist(gradient, first_gradient) < 1e-3 * first_gradient.norm()
        assert mean_levels_apart(pictures[1], first_pictures[1]) < 0.5


@pytest.mark.parametrize("kind", ["sd1", "sdxl"])
def test_a_checkpoint_equals_its_folder(kind, folders, offline_files):
    ours = load_models(offline_files[f"{kind} file"], device="cpu")
    folder = load_models(folders[kind], device="cpu")
    for mine, theirs in zip(ours.networks, folder.networks, strict=True):
        weights = theirs.state_dict()
        for name, value in mine.state_dict().items():
            assert torch.equal(value, weights[name]), name
    for mine, theirs in zip(ours.encoders, folder.encoders, strict=True):
        assert mine.tokenizer("hi there!").input_ids == theirs.tokenizer("hi there!").input_ids
        assert mine.tokenizer.pad_token_id == theirs.tokenizer.pad_token_id


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"cond_stage_model.model.positional_embedding": 1}, "Stable Diffusion 2.x checkpoint"),
        ({"conditioner.embedders.0.transformer.x": 1, pipelines.UNET_IN: 4}, "second text encoder"),
        ({"conditioner.embedders.0.model.x": 1, pipelines.UNET_IN: 4}, "SDXL's refiner"),
        ({"conditioner.embedders.1.model.x": 1, "v_pred": 1}, "SDXL .* velocity; its diffusers"),
        ({"conditioner.embedders.1.model.x": 1, "edm_mean": 1}, "another noise schedule"),
        ({"model.diffusion_model.joint_blocks.0.x": 1}, "Stable Diffusion 3"),
        ({"double_blocks.0.img_attn.x": 1}, "Flux"),
        ({"lora_unet_down_blocks_0.lora_up.weight": 1}, "LoRA"),
        ({pipelines.UNET_IN: 9}, "inpainting or editing .9 channels"),
        ({"emb_params": 1}, "import"),
        ({"something": 1}, "unknown kind"),
    ],
)
def test_single_files_of_other_kinds_say_what_they_are(keys, message, tmp_path):
    path = tmp_path / "model.safetensors"
    save_file({key: torch.zeros(1, channels) for key, channels in keys.items()}, path)
    with pytest.raises(ModelUnsupported, match=message) as caught:
        load_models(path, device="cpu")
    assert "Supported are Stable Diffusion 1.x, 2.x, SDXL" in str(caught.value)


def test_pickles_are_not_loaded(tmp_path):
    (tmp_path / "model.ckpt").write_bytes(b"anything")
    with pytest.raises(ModelUnsupported, match="as .safetensors"):
        load_models(tmp_path / "model.ckpt", device="cpu")


def test_half_a_download(folders, offline_file, tmp_path):
    content = offline_file.read_bytes()
    for size in (0, 5, 1000, len(content) // 2):
        offline_file.write_bytes(content[:size])
        with pytest.raises(ModelNotFound, match="in part .* get it again"):
            load_models(offline_file, device="cpu")
    folder = tmp_path / "sd1"
    shutil.copytree(folders["sd1"], folder)
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000])
    with pytest.raises(ModelNotFound, match="in part"):
        load_models(folder, device="cpu")
    weights.unlink()
    with pytest.raises(ModelNotFound, match="incomplete: .*diffusion_pytorch_model"):
        load_models(folder, device="cpu")
    (folder / "model_index.json").write_text("{")
    with pytest.raises(ModelNotFound, match="model_index.json cannot be read"):
        load_models(folder, device="cpu")


@pytest.mark.parametrize(
    ("kind", "part"),
    [
        *(("sd1", part) for part in ("tokenizer", "text_encoder", "vae", "scheduler")),
        *(("sdxl", part) for part in ("tokenizer_2", "text_encoder_2")),
    ],
)
def test_a_part_is_missing(kind, part, folders, tmp_path):
    folder = tmp_path / kind
    shutil.copytree(folders[kind], folder)
    shutil.rmtree(folder / part)
    with pytest.raises(ModelNotFound, match="incomplete"):
        load_models(folder, device="cpu")


def test_sdxl_without_its_first_text_encoder(folders, tmp_path):
    folder = tmp_path / "sdxl"
    shutil.copytree(folders["sdxl"], folder)
    index = json.loads((folder / "model_index.json").read_text())
    nothing = {"text_encoder": [None, None], "tokenizer": [None, None]}
    (folder / "model_index.json").write_text(json.dumps(index | nothing))
    with pytest.raises(ModelUnsupported, match="has no text_encoder and no tokenizer"):
        load_models(folder, device="cpu")


def test_an_inpainting_model(folders, tmp_path):
    folder = tmp_path / "inpainting"
    shutil.copytree(folders["sd1"], folder)
    about = UNet2DConditionModel.load_config(folder / "unet")
    UNet2DConditionModel.from_config(about, in_channels=9).save_pretrained(folder / "unet")
    with pytest.raises(ModelUnsupported, match="9 channels"):
        load_models(folder, device="cpu")


def test_weights_of_another_architecture(folders, tmp_path):
    folder = tmp_path / "mixed"
    shutil.copytree(folders["sd1"], folder)
    shutil.copy(folders["sd2"] / "unet" / "config.json", folder / "unet" / "config.json")
    with pytest.raises(ModelUnsupported, match="do not fit"):
        load_models(folder, device="cpu")


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("StableDiffusionXLImg2ImgPipeline", "refiner"),
        ("StableDiffusion3Pipeline", "sd3"),
        ("FluxPipeline", "flux"),
    ],
)
def test_hub_models_of_other_kinds_are_refused_before_the_download(kind, name, hub):
    hub.index = {"_class_name": kind}
    with pytest.raises(ModelUnsupported, match=f"owner/{name} is a {kind}. Supported are"):
        load_models(f"owner/{name}", device="cpu")
    assert hub.asked == [f"owner/{name}"]


def test_what_the_hub_says_is_passed_on(hub):
    request = httpx.Request("GET", "https://hub.example/model_index.json")
    for kind, error, message in (
        (errors.GatedRepoError, ModelNotFound, "accept its licence"),
        (errors.RepositoryNotFoundError, ModelNotFound, "no model owner/name, or it is private"),
        (errors.RemoteEntryNotFoundError, ModelUnsupported, "no diffusers pipeline"),
    ):
        hub.error = kind("no", response=httpx.Response(403, request=request))
        with pytest.raises(error, match=message):
            load_models("owner/name", device="cpu")
    hub.error = ConnectionError("no route\nto anywhere.")
    with pytest.raises(ModelNotFound, match="cannot be reached .no route.*--model toonville"):
        load_models("owner/name", device="cpu")


def test_the_default_model_is_pinned(hub, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    hub.index = {"_class_name": "FluxPipeline"}
    with pytest.raises(ModelUnsupported):
        load_models(pipelines.STABLE_DIFFUSION)
    assert hub.revisions == ["451f4fe16113bff5a5d2269ed5ad43b0592e9a14"]


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A hub that gives one index, or fails."""

    class Hub:
        index: dict = {}
        error: Exception | None = None
        asked: list[str] = []
        revisions: list[str | None] = []

    hub = Hub()
    hub.asked, hub.revisions = [], []

    def download(hub_id, file, revision=None):
        hub.asked.append(hub_id)
        hub.revisions.append(revision)
        if hub.error:
            raise hub.error
        (tmp_path / file).write_text(json.dumps(hub.index))
        return str(tmp_path / file)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    return hub


def test_devices_and_dtypes_by_name(folders):
    with pytest.raises(ModelError, match="no device “tpu” here, only cpu"):
        load_models(folders["sd1"], device="tpu")
    with pytest.raises(ModelError, match="float32, bfloat16, float16, mixed"):
        load_models(folders["sd1"], device="cpu", dtype="int8")
    if not torch.cuda.is_available():
        with pytest.raises(ModelError, match="PyTorch with CUDA"):
            load_models(folders["sd1"], device="cuda")


def test_large_models_take_half_the_memory_where_the_device_computes_in_it(monkeypatch):
    assert best_dtype("mps", 10**9) == best_dtype("cpu", 10**6) == "float32"
    for has in ({"avx512_bf16": True}, {"bf16": True}, {"avx2": True, "amx_bf16": False}):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda has=has: has)
        assert best_dtype("cpu", 10**9) == ("mixed" if "avx2" in has else "bfloat16")
    for native in (True, False):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda *_, native=native, **__: native)
        assert best_dtype("cuda", 10**9) == ("bfloat16" if native else "float16")
        assert best_dtype("cuda:1", 10**6) == "float32"


def test_the_tokenizer_of_a_checkpoint(folders, tmp_path, monkeypatch):
    beside = pipelines.clip_tokenizer(folders["sd1"])
    text = "a photo of Skaba Vendol!"
    merges = (folders["sd1"] / "tokenizer" / "merges.txt").read_text()
    package = tmp_path / "open_clip"
    package.mkdir()
    (package / "__init__.py").write_text("raise ImportError('must not be imported')")
    (package / pipelines.BPE_FILE).write_bytes(gzip.compress(merges.encode()))
    monkeypatch.syspath_prepend(tmp_path)
    installed = pipelines.clip_tokenizer(tmp_path)
    assert installed.tokenize(text) == beside.tokenize(text)
    assert installed.model_max_length == 77 and installed.eos_token_id == len(installed) - 1
    (package / pipelines.BPE_FILE).unlink()
    monkeypatch.setattr(pipelines, "BPE_PACKAGES", ("open_clip",))
    monkeypatch.setattr("transformers.CLIPTokenizer.from_pretrained", _offline)
    with pytest.raises(ModelNotFound, match="pip install open_clip_torch"):
        pipelines.clip_tokenizer(tmp_path)


def _offline(*_, **__):
    raise OSError("offline")


@pytest.mark.skipif(
    not any(importlib.util.find_spec(package) for package in pipelines.BPE_PACKAGES),
    reason="needs CLIP's vocabulary: pip install open_clip_torch",
)
def test_the_tokenizer_is_clips(tmp_path):
    tokenizer, clip = pipelines.clip_tokenizer(tmp_path), instant_clip_tokenizer.Tokenizer()
    names = (ASSETS / "celeb_names.txt").read_text(encoding="utf-8").splitlines()
    for text in [*names, "a photo of Zoë's café, 3 o'clock, smiling!"]:
        assert tokenizer(text, add_special_tokens=False).input_ids == clip.encode(text)
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id) == (49406, 49407)


def test_offline_from_the_hubs_cache(folders, tmp_path, monkeypatch, capsys):
    """A download of yesterday is enough, and what it lacks is said."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    cache = tmp_path / "models--owner--tiny"
    shutil.copytree(folders["sd1"], cache / "snapshots" / "0123")
    (cache / "refs").mkdir()
    (cache / "refs" / "main").write_text("0123")

    def basis(model: str) -> int:
        names = ("--names", str(folders["root"] / "names.txt"), "--cache", str(tmp_path))
        return main(["basis", "--model", model, *names, "--device", "cpu"])

    assert basis("owner/tiny") == 0 and "40 names" in capsys.readouterr().out
    (cache / "snapshots" / "0123" / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    for model, message in (("owner/tiny", "incomplete"), ("owner/other", "HF_HUB_OFFLINE")):
        assert basis(model) == 1 and message in capsys.readouterr().err


def test_precision_and_memory_from_the_command_line(folders, tmp_path, capsys):
    names = ("--names", str(folders["root"] / "names.txt"), "--cache", str(tmp_path))
    common = ("basis", "--model", str(folders["sd2"]), "--device", "cpu", *names)
    assert main([*common, "--dtype", "bfloat16", "--memory", "offload"]) == 0
    low = capsys.readouterr().out
    assert main([*common, "--dtype", "mixed"]) == 0 and capsys.readouterr().out == low
    with pytest.raises(SystemExit) as caught:
        main([*common, "--dtype", "int8"])
    assert caught.value.code == 2


@pytest.fixture(scope="module")
def loaded(folders):
    """Models and basis of each family."""
    each = [load_models(folders[kind], device="cpu") for kind in ("sd1", "sd2", "sdxl")]
    return [(models, find_basis(models, folders["root"] / "names.txt")) for models in each]


@pytest.mark.parametrize("name", SCHEDULERS)
def test_every_scheduler_on_noise_and_on_v_prediction(name, loaded):
    for models, basis in loaded:
        scheduler = make_scheduler(models, name)
        assert type(scheduler).__name__ == SCHEDULERS[name][0]
        for key in ("prediction_type", "beta_schedule", "beta_start", "beta_end", "steps_offset"):
            wanted = models.scheduler.config.get(key)
            assert scheduler.config.get(key, wanted) == wanted, key
        config = SampleConfig(steps=2, scheduler=name)
        picture = generate(parse_prompt("a photo of a hat", {}), models, basis, config)[0]
        assert np.asarray(picture).std() > 0
