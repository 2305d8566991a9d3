"""Will it work here? Checks of this machine and of a model, without loading a large one."""

import math
import platform
import re
import shutil
import time
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import onnxruntime
import psutil
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from huggingface_hub import constants, snapshot_download
from packaging.requirements import Requirement
from safetensors import SafetensorError, safe_open
from transformers import AutoConfig, CLIPTextModel

from celeb_core import device, face_packs, loading
from celeb_core.basis import find_basis, load_basis
from celeb_core.errors import CelebError
from celeb_core.faces import load_face_model
from celeb_core.mapper import load_calibration
from celeb_core.models import Models, load_models, read_names
from celeb_core.prompt import parse_prompt
from celeb_core.sampling import generate
from celeb_core.studio import calibration_path
from celeb_core.types import PRESETS, SampleConfig

SELF, ON_CPU, ON_GPU = "celeb-basis-studio", "onnxruntime", "onnxruntime-gpu"
SHOWN = ("torch", "diffusers", "transformers", "gradio", "huggingface-hub", "insightface", ON_CPU)
START = "https://pytorch.org/get-started/locally"
SPACE = 0.5e9  # bytes of disk for other things than downloads

# A latent of a training step costs about as much as so many of a sampling step, by gradients.
COST = {"exact": 2.0, "truncated": 1.5}
LATENTS = 2  # per sampling step: with and without the prompt
STEPS = 30  # of sampling, where the model's folder names none
# Latents per second of SD 1.5's UNet at 64 x 64 in half precision: assumed, not measured.
CARDS = {"A100": 62.0, "T4": 15.0, "RTX 4090": 75.0}
SD_SIZE = 860e6 * 64 * 64  # parameters x pixels of such a latent
# Operations of matrix products in its time, by bytes per number. Measured on a CPU: 0.9, and 2.3 to
# 2.9 in bfloat16. By the assumption on the A100, at 250e12 a second: 4.
PRODUCTS = {4: 0.9e12, 2: 3e12}


class Check(NamedTuple):
    """One line of the report; `status` is "ok", "warning" or "error"."""

    name: str
    status: str
    facts: str
    remedy: str = ""


def examine(
    model: str = "auto",
    device: str | None = None,
    dtype: str | None = None,
    memory: str | None = None,
    face_pack: str | None = None,
    names: Path | None = None,
    cache: Path = Path(),
) -> Iterator[Check]:
    """Make all checks, with the options of `load_studio`; one that fails does not stop the others.

    Of a hub model only configs are downloaded; a small model on the disk is loaded and timed.
    """
    groups = {
        "versions": _versions(),
        "device": _devices(device),
        "disk": _disk(cache),
        "model": _model(model),
        "faces": _faces(model, device, face_pack, names, cache),
        "speed": _speed(model, device, dtype, memory),
    }
    said: set[str] = set()
    for name, checks in groups.items():
        try:
            yield from checks
        except (CelebError, OSError, ImportError, RuntimeError, SafetensorError) as error:
            if str(error) not in said:  # by a group before
                yield Check(name, "error", str(error) or type(error).__name__)
            said.add(str(error))


def _versions() -> Iterator[Check]:
    yield Check("python", "ok", f"{platform.python_version()} on {platform.platform()}")
    yield Check("celeb-basis", "ok", metadata.version(SELF))
    found = {one.name.lower().replace("_", "-"): one.version for one in metadata.distributions()}
    for wanted in map(Requirement, metadata.requires(SELF) or ()):
        name = ON_GPU if wanted.name == ON_CPU and ON_GPU in found else wanted.name
        version, install = found.get(name), f'pip install "{name}{wanted.specifier}"'
        if version is None:
            yield Check(name, "error", "not installed", install)
        elif not wanted.specifier.contains(version, prereleases=True):
            yield Check(name, "warning", f"{version} is not of {wanted.specifier}", install)
        elif wanted.name in SHOWN:
            yield Check(name, "ok", version)
    cuda = torch.cuda.is_available()
    remedy = f"pip uninstall -y {ON_CPU} {ON_GPU}; pip install {ON_GPU if cuda else ON_CPU}"
    if {ON_CPU, ON_GPU} <= found.keys():
        what = f"{ON_CPU} and {ON_GPU} are both installed and overwrite each other's files"
        yield Check(ON_CPU, "error", what, remedy)
    elif cuda and ON_GPU not in found:
        yield Check(ON_CPU, "warning", "without CUDA, so faces are found on the CPU", remedy)


def _devices(wanted: str | None) -> Iterator[Check]:
    ram, cuda = psutil.virtual_memory(), torch.version.cuda
    free = f"{_gb(ram.available)} of {_gb(ram.total)} free"
    yield Check("cpu", "ok", f"{psutil.cpu_count(logical=False)} cores, {free}")
    for index in range(torch.cuda.device_count()):
        free = " of ".join(map(_gb, torch.cuda.mem_get_info(index)))
        able = ".".join(map(str, torch.cuda.get_device_capability(index)))
        build = f"CUDA {cuda}, cuDNN {torch.backends.cudnn.version()}"
        card = f"{torch.cuda.get_device_name(index)}, {free} free, compute capability {able}"
        yield Check(f"cuda:{index}", "ok", f"{card}, {build}")
    if cuda and not torch.cuda.is_available():
        what, reason = f"PyTorch is built for CUDA {cuda} and finds no device", ""
        try:
            torch.cuda.init()  # says why
        except RuntimeError as error:
            reason = str(error).partition("\n")[0]
        remedy = f"Install a driver for CUDA {cuda}, or the PyTorch for your driver: {START}"
        yield Check("cuda", "warning", f"{what}: {reason}", remedy)
    elif not cuda and shutil.which("nvidia-smi"):
        what = "there is an NVIDIA driver, and this PyTorch is built without CUDA"
        yield Check("cuda", "warning", what, f"Install the PyTorch for your driver: {START}")
    chosen = device.checked_device(wanted or device.best_device())
    torch.ones(1, device=chosen).sum().item()  # fails on a card too old for this PyTorch
    yield Check("device", "ok", chosen)
    asked = face_packs.execution_providers(chosen)
    small = loading.ASSETS / loading.BUNDLED / "judge.onnx"
    got = onnxruntime.InferenceSession(str(small), providers=asked).get_providers()
    status, remedy = "ok", ""
    if got[0] != asked[0]:
        status, remedy = (
            "warning",
            f"pip install {ON_GPU} that is built for CUDA {cuda} and cuDNN 9",
        )
    yield Check("face models", status, f"asked for {asked[0]}, runs on {got[0]}", remedy)


def _disk(cache: Path) -> Iterator[Check]:
    for folder in (Path(constants.HF_HUB_CACHE), cache, Path()):
        folder = folder.absolute()
        free = _free_disk(folder)
        low = free < SPACE
        remedy = "Free some space." if low else ""
        yield Check("disk", "warning" if low else "ok", f"{_gb(free)} free for {folder}", remedy)


def _model(model: str) -> Iterator[Check]:
    source, why = loading.resolve(model)
    yield Check("model", "ok", f"{source}: {why}")
    loading.unet_size(source)  # refuses what is not supported or out of reach
    if isinstance(source, str):
        options = {"revision": loading.REVISIONS.get(source), **loading.FILES}
        try:
            files = snapshot_download(source, dry_run=True, **options)
            yield Check("hub", "ok", "answers")
        except OSError as error:
            remedy = "What is downloaded works. For more, check the connection (HF_HUB_OFFLINE)."
            yield Check("hub", "warning", f"no answer: {error}", remedy)
            files = []
        if needed := sum(file.file_size or 0 for file in files if file.will_download):
            short = _free_disk(Path(constants.HF_HUB_CACHE)) < needed + SPACE
            remedy = "Free some space, or set HF_HOME to another disk." if short else ""
            text = f"{_gb(needed)} will be downloaded"
            yield Check("files", "error" if short else "ok", text, remedy)
            return
        source = Path(snapshot_download(source, local_files_only=True, **options))
    weights = [path for path in source.glob("*/*") if path.suffix in (".safetensors", ".bin")]
    networks = {path.parent.name for path in source.glob("*/config.json")} - {"safety_checker"}
    for path in weights:
        if path.suffix == ".safetensors":
            safe_open(path, framework="pt")  # compares the size with the header
    if lacking := networks - {path.parent.name for path in weights}:
        remedy = "Copy or download it again."
        yield Check("files", "error", f"no weights of {' and '.join(sorted(lacking))}", remedy)
    else:
        yield Check("files", "ok", f"all in {source}")


def _faces(
    model: str, wanted: str | None, pack: str | None, names: Path | None, cache: Path
) -> Iterator[Check]:
    source, _ = loading.resolve(model)
    folder, about = Path(source), SimpleNamespace(id=Path(source).name.removesuffix(".safetensors"))
    about.id = source if isinstance(source, str) else about.id  # as `Models` has it
    listed = read_names(names) if names else None
    paths = [loading.ASSETS / "basis.pt", folder / "basis.pt", *cache.glob("basis-*.pt")]
    bases = (load_basis(path) for path in paths if path.is_file())
    ours = (one for one in bases if one.base_model == about.id and listed in (None, one.names))
    basis = next(ours, None)
    yield Check("basis", "ok", f"{len(basis.names)} names" if basis else "built at the first use")
    own = folder / "faces"
    faces = load_face_model(pack or (own if own.is_dir() else "buffalo_l"))
    known = face_packs.PACKS.get(faces.id.rpartition("-")[0])
    yield Check("face pack", "ok", f"{faces.id}; {known.licence if known else 'not a known pack'}")
    paths = [calibration_path(about, faces, cache), folder / "calibration.safetensors"]
    if basis and (found := load_calibration(paths, faces.id, basis.id)):
        yield Check("calibration", "ok", f"{len(found.names)} names")
    else:
        remedy = f"Make it once: celeb-basis calibrate --model {model}"
        yield Check("calibration", "warning", "none: no instant, and people are less alike", remedy)


def _speed(
    model: str, wanted: str | None, dtype: str | None, memory: str | None
) -> Iterator[Check]:
    source, _ = loading.resolve(model)
    chosen = device.checked_device(wanted or device.best_device())
    pipeline, where = _weightless(source), torch.device(chosen)
    unet, size, side = (
        pipeline.unet,
        pipeline.unet.num_parameters(),
        pipeline.unet.config.sample_size,
    )
    precision = dtype or device.best_dtype(chosen, size)
    computed = device.dtype_of(precision)
    for part in (unet, pipeline.vae):
        part.to(torch.bfloat16 if precision == device.MIXED else computed)
    yield Check("precision", "ok", f"{precision}, for a UNet of {size / 1e6:,.0f} M parameters")
    mode, free = memory or device.best_mode(pipeline, where, computed), device.free_memory(where)
    parts = vars(pipeline).values() if mode != "offload" else [unet]
    needed = device.RESERVE + sum(part.get_memory_footprint() for part in parts if part)
    text, remedy = f"mode {mode}: {_gb(needed)} or more of {_gb(free)} free", ""
    if needed > free:
        remedy = "Close other programs, or choose a smaller model or --device cpu."
    yield Check("memory", "error" if remedy else "ok", text, remedy)
    if size <= device.LARGE_UNET and isinstance(source, Path):
        rate, steps = _measured_rate(load_models(model, wanted, dtype, memory))
        how = "measured"
    else:
        rate, how = _assumed_rate(where, computed)
        pixels = side**2 if isinstance(side, int) else math.prod(side)
        rate, steps = rate * SD_SIZE / (size * pixels), STEPS
    best = PRESETS["best"]
    person = best.steps * best.batch_size * COST[best.loss.gradients]
    for what, latents in {"a person, preset best": person, "an image": LATENTS * steps}.items():
        yield Check("seconds", "ok", f"{latents / rate:.3g} for {what} ({how})")


def _weightless(source: Path | str) -> Any:
    """Return the pipeline's networks without weights, made from its configs."""
    configs = source
    if isinstance(source, str):
        wanted: Any = {"allow_patterns": "*/config.json", "tqdm_class": loading.FILES["tqdm_class"]}
        revision = loading.REVISIONS.get(source)
        configs = Path(snapshot_download(source, revision=revision, **wanted))
    elif source.is_file():  # those that ship, of a UNet of the same size
        size = loading.unet_size(source)
        configs = next(one for one in loading.CONFIGS.iterdir() if loading.unet_size(one) == size)
    parts: dict[str, Any] = {"tokenizer": None}
    with torch.device("meta"):
        for name, kind in {"unet": UNet2DConditionModel, "vae": AutoencoderKL}.items():
            parts[name] = kind.from_config(kind.load_config(configs, subfolder=name))
        for suffix in ("", "_2"):
            if (path := Path(configs, f"text_encoder{suffix}")).is_dir():
                parts[path.name] = CLIPTextModel(AutoConfig.from_pretrained(path))
                parts[f"tokenizer{suffix}"] = None
    return SimpleNamespace(**parts)


def _measured_rate(models: Models) -> tuple[float, int]:
    """Generate a little; return latents per second, and the steps of an image."""
    basis, took = find_basis(models), []
    for steps in (1, 1, 3):  # the first one warms up
        began = time.perf_counter()
        generate(parse_prompt("a photo", {}), models, basis, SampleConfig(steps=steps))
        took.append(time.perf_counter() - began)
    two = max(took[2] - took[1], took[2] / 3)  # busy machines are no clocks
    return 2 * LATENTS / two, models.steps


def _assumed_rate(where: torch.device, dtype: torch.dtype) -> tuple[float, str]:
    """Return latents of SD 1.5 per second, and how that is known."""
    card = torch.cuda.get_device_name(where) if where.type == "cuda" else ""
    for name, rate in CARDS.items():
        if dtype.itemsize == 2 and re.search(rf"\b{name}\b", card):
            return rate, f"assumed of {name}, not measured"
    matrix, count = torch.randn(2048, 2048, device=where, dtype=dtype), 0
    began = time.perf_counter()
    while (took := time.perf_counter() - began) < 0.5:
        (matrix @ matrix)[0, 0].item()  # waits for the device
        count += 1
    operations = 2 * len(matrix) ** 3 * count / took
    return operations / PRODUCTS[dtype.itemsize], "rough, from the speed of matrix products"


def _free_disk(folder: Path) -> int:
    there = next(path for path in (folder, *folder.absolute().parents) if path.is_dir())
    return shutil.disk_usage(there).free


def _gb(size: float) -> str:
    return f"{size / 1e9:.1f} GB"
