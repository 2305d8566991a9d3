from __future__ import annotations

import json
import logging
import re
import shutil
import threading
from collections import namedtuple
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline, UNet2DConditionModel
from safetensors.torch import save_file
from stable_diffusion import write_models
from transformers import AutoConfig, CLIPTextModel, CLIPTextModelWithProjection

from celeb_core import loading
from celeb_core.errors import ModelNotFound, ModelUnsupported
from celeb_core.loading import (
    ASSETS,
    CONFIGS,
    KNOWN,
    STABLE_DIFFUSION,
    UNET_IN,
    clip_tokenizer,
    load_pipeline,
    resolve,
    unet_size,
)

SDXL = "stabilityai/stable-diffusion-xl-base-1.0"
COMMIT = "0123456789" * 4
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
        ([], None, "no Stable Diffusion here yet"),
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


def test_pickles_are_not_loaded(tmp_path):
    (tmp_path / "model.ckpt").write_bytes(b"anything")
    with pytest.raises(ModelUnsupported, match="as .safetensors"):
        load_pipeline(tmp_path / "model.ckpt")


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
    with pytest.raises(ModelNotFound, match="incomplete: .*diffusion_pytorch_model"):
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


class Hub(ThreadingHTTPServer):
    """A hub on this machine; every name is the model's that it has."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.files = {"model_index.json": 100}  # their sizes; of the index alone there is content
        self.kind = "StableDiffusionPipeline"
        self.error = ""  # in the words of the real hub
        self.asked: list[str] = []  # for files


class Answer(BaseHTTPRequestHandler):
    server: Hub

    def do_GET(self) -> None:
        name = self.path.partition("/resolve/")[2].partition("/")[2]
        if name:
            self.server.asked.append(self.path)
        content, size = b"", self.server.files.get(name)
        if "/tree/" in self.path:
            files = self.server.files.items()
            entries = [{"type": "file", "path": f, "size": n, "oid": f} for f, n in files]
            content = json.dumps(entries).encode()
        elif self.path.startswith("/api/"):
            content = json.dumps({"id": "owner/name", "sha": COMMIT}).encode()
        elif name == "model_index.json":
            content = json.dumps({"_class_name": self.server.kind}).ljust(size).encode()
        self.send_response(403 if self.server.error else 200)
        if self.server.error:
            self.send_header("X-Error-Code", self.server.error)
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", name.replace("/", "-") or "none")
        self.send_header("Content-Length", str(size if size is not None else len(content)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    do_HEAD = do_GET

    def log_message(self, *_) -> None:
        pass


def use_hub(address: str, cache: Path, monkeypatch) -> None:
    monkeypatch.setattr(OFFLINE, False)
    constants = "huggingface_hub.constants."
    monkeypatch.setattr(constants + "ENDPOINT", address)
    resolve = "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants + "HUGGINGFACE_CO_URL_TEMPLATE", address + resolve)
    monkeypatch.setattr(constants + "HF_HUB_CACHE", str(cache))


@pytest.fixture
def hub(monkeypatch, tmp_path) -> Iterator[Hub]:
    with Hub() as hub:
        thread = threading.Thread(target=hub.serve_forever, args=(0.01,))
        thread.start()
        use_hub(f"http://127.0.0.1:{hub.server_port}", tmp_path, monkeypatch)
        yield hub
        hub.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("StableDiffusionXLImg2ImgPipeline", "refiner"),
        ("StableDiffusion3Pipeline", "sd3"),
        ("FluxPipeline", "flux"),
    ],
)
def test_hub_models_of_other_kinds_are_refused_before_the_download(kind, name, hub):
    hub.kind = kind
    for load in (unet_size, load_pipeline):
        with pytest.raises(ModelUnsupported, match=f"owner/{name} is a {kind}. Supported are"):
            load(f"owner/{name}")
    assert set(hub.asked) == {f"/owner/{name}/resolve/main/model_index.json"}


@pytest.mark.parametrize(
    ("answer", "error", "message"),
    [
        ("GatedRepo", ModelNotFound, "accept its licence"),
        ("RepoNotFound", ModelNotFound, "no model owner/name, or it is private"),
        ("EntryNotFound", ModelUnsupported, "no diffusers pipeline"),
    ],
)
def test_what_the_hub_answers_is_explained(answer, error, message, hub):
    hub.error = answer
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
    hub.kind = "FluxPipeline"
    with pytest.raises(ModelUnsupported):
        unet_size(STABLE_DIFFUSION)
    commit = "451f4fe16113bff5a5d2269ed5ad43b0592e9a14"
    assert set(hub.asked) == {f"/{STABLE_DIFFUSION}/resolve/{commit}/model_index.json"}


@pytest.fixture
def large(hub, monkeypatch) -> Hub:
    """A model of 3.3 GB for diffusers, beside other files, and 3.5 GB of disk."""
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda folder: usage(9, 9, 3_500_000_000))
    hub.files |= {
        "unet/diffusion_pytorch_model.safetensors": 3_000_000_000,
        "unet/diffusion_pytorch_model.fp16.safetensors": 1_500_000_000,
        "unet/diffusion_pytorch_model.bin": 3_000_000_000,
        "safety_checker/model.safetensors": 1_200_000_000,
        "v1-5-pruned.safetensors": 7_000_000_000,
        "vae/diffusion_pytorch_model.safetensors": 300_000_000,
    }
    return hub


@pytest.fixture
def loads(monkeypatch) -> list[bool]:
    """For each call of from_pretrained, which fails, whether it was to use the cache only."""
    loads: list[bool] = []

    def load(source, local_files_only, **options):
        loads.append(local_files_only)
        raise OSError("stopped here")

    monkeypatch.setattr(StableDiffusionPipeline, "from_pretrained", load)
    return loads


def test_too_little_disk_is_found_before_the_download(large, loads):
    with pytest.raises(ModelNotFound, match="needs 3.3 GB of disk, .* has 3.5 GB left.*HF_HOME"):
        load_pipeline("owner/name")
    assert loads == []


@pytest.mark.parametrize(
    ("cached", "log"), [(["unet"], ["downloading owner/name: 0.3 GB"]), (["unet", "vae"], [])]
)
def test_only_what_is_not_cached_is_downloaded(cached, log, large, loads, tmp_path, caplog, capsys):
    for part in cached:
        path = tmp_path / "models--owner--name" / "snapshots" / COMMIT / part
        path.mkdir(parents=True)
        (path / "diffusion_pytorch_model.safetensors").touch()
    with caplog.at_level(logging.INFO), pytest.raises(ModelNotFound, match="stopped here"):
        load_pipeline("owner/name")
    assert [r.getMessage() for r in caplog.records if r.name == loading.__name__] == log
    assert loads == [False]
    assert capsys.readouterr().err == ""  # no progress of what is no download


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
