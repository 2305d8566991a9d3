"""Will it work here? Checks of this machine and of a model, without loading a large one."""

import platform
import shutil
import time
from collections.abc import Iterator
from importlib import metadata
from itertools import chain
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

from celeb_core import basis, device, face_packs, faces, loading, models, prompt, sampling
from celeb_core.downloads import NO_BAR, REVISIONS
from celeb_core.errors import CelebError, ModelNotFound
from celeb_core.formats import calibration_file
from celeb_core.name_regression import NAMES
from celeb_core.studio import calibration_path
from celeb_core.types import SampleConfig, TrainConfig, recipe

SELF, CPU, GPU = "celeb-basis-studio", "onnxruntime", "onnxruntime-gpu"
SHOWN = ("torch", "diffusers", "transformers", "gradio", "huggingface-hub", "insightface", CPU)
START = "https://pytorch.org/get-started/locally"
ONNX = "https://onnxruntime.ai/docs/install"
SPACE = 0.5e9  # bytes of disk for other things than downloads

# A latent of a training step costs about as much as so many of a sampling step, by gradients.
COST = {"exact": 2.0, "truncated": 1.5}
LATENTS = 2  # per sampling step: with and without the prompt
STEPS = 30  # of sampling, where the model's folder names none
# Latents per second of SD 1.5's UNet at 64 x 64 in half precision: assumed, not measured.
CARDS = {"A100": 62.0, "T4": 15.0, "RTX 4090": 75.0}
SD_SIZE = 860e6 * 64**2  # parameters x pixels of such a latent
# Operations of matrix products in its time, by bytes per number. Measured on a CPU: 0.9, and 2.3 to
# 2.9 in bfloat16. By the assumption on the A100, at 250e12 a second: 4.
PRODUCTS = {4: 0.9e12, 2: 3e12}


class Check(NamedTuple):
    """One line of the report; `status` is "ok", "warning" or "error"."""

    name: str
    facts: str
    status: str = "ok"
    remedy: str = ""


def _check(name: str, facts: str, wrong: bool, status: str, remedy: str) -> Check:
    return Check(name, facts, status, remedy) if wrong else Check(name, facts)


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
        "faces": _faces(model, face_pack, names, cache),
        "model": chain(_model(model), _speed(model, device, dtype, memory)),
    }
    said = set()
    for name, checks in groups.items():
        try:
            yield from checks
        except (CelebError, OSError, ImportError, RuntimeError, SafetensorError) as error:
            text = " ".join(str(error).split())
            if text not in said:  # by a group before
                yield Check(name, text, "error")
            said.add(text)


def _versions() -> Iterator[Check]:
    yield Check("python", f"{platform.python_version()} on {platform.platform()}")
    yield Check("celeb-basis", metadata.version(SELF))
    # The first of a name on the path is the one that is imported.
    every = [(one.name or "", one.version) for one in metadata.distributions()]
    found = {name.lower().replace("_", "-"): version for name, version in reversed(every)}
    for wanted in map(Requirement, metadata.requires(SELF) or ()):
        if wanted.marker and not wanted.marker.evaluate({"extra": ""}):
            continue  # of an extra, or of another platform
        name = GPU if wanted.name == CPU and GPU in found else wanted.name
        version, install = found.get(name), f'pip install "{name}{wanted.specifier}"'
        if version is None:
            yield Check(name, "not installed", "error", install)
        elif not wanted.specifier.contains(version, prereleases=True):
            yield Check(name, f"{version} is not {wanted.specifier}", "warning", install)
        elif wanted.name in SHOWN:
            yield Check(name, version)
    cuda = torch.cuda.is_available()
    remedy = f"pip uninstall -y {CPU} {GPU}; pip install {GPU if cuda else CPU}"
    if {CPU, GPU} <= found.keys():
        yield Check(CPU, f"{GPU} is there too: they overwrite each other's files", "error", remedy)
    elif cuda and GPU not in found:
        yield Check(CPU, "without CUDA, so faces are found on the CPU", "warning", remedy)


def _devices(wanted: str | None) -> Iterator[Check]:
    ram, cuda, cudnn = psutil.virtual_memory(), torch.version.cuda, torch.backends.cudnn.version()
    free = f"{_gb(ram.available)} of {_gb(ram.total)} free"
    yield Check("cpu", f"{psutil.cpu_count(logical=False)} cores, {free}")
    for index in range(torch.cuda.device_count()):
        free = " of ".join(map(_gb, torch.cuda.mem_get_info(index)))
        about = "compute capability {}.{}".format(*torch.cuda.get_device_capability(index))
        card = f"{torch.cuda.get_device_name(index)}, {free} free, {about}"
        yield Check(f"cuda:{index}", f"{card}, CUDA {cuda}, cuDNN {cudnn}")
    if cuda and not torch.cuda.is_available():
        what = f"PyTorch is built for CUDA {cuda} and finds no device"
        try:
            torch.cuda.init()
        except RuntimeError as error:  # says why
            what += f": {error}".partition("\n")[0]
        remedy = f"Install a driver for CUDA {cuda}, or PyTorch for your driver: {START}"
        yield Check("cuda", what, "warning", remedy)
    elif not cuda and shutil.which("nvidia-smi"):
        what = "there is an NVIDIA driver, and this PyTorch is built without CUDA"
        yield Check("cuda", what, "warning", f"Install PyTorch for your driver: {START}")
    chosen = device.checked_device(wanted or device.best_device())
    device.probe(chosen)
    yield Check("device", chosen)
    asked, judge = face_packs.execution_providers(chosen), loading.ASSETS / "toonville/judge.onnx"
    got = onnxruntime.InferenceSession(str(judge), providers=asked).get_providers()
    what, remedy = f"asked for {asked[0]}, got {got[0]}", f"{GPU} for CUDA {cuda}: {ONNX}"
    yield _check("onnx models", what, got[0] != asked[0], "warning", remedy)


def _disk(cache: Path) -> Iterator[Check]:
    for folder in (Path(constants.HF_HUB_CACHE), cache, Path()):
        free, what = _free_disk(folder), f"free for {folder.absolute()}"
        yield _check("disk", f"{_gb(free)} {what}", free < SPACE, "warning", "Free some space.")


def _model(model: str) -> Iterator[Check]:
    source, why = loading.resolve(model)
    yield Check("model", f"{source}: {why}")
    loading.unet_size(source)  # refuses what is not supported or out of reach
    if isinstance(source, str):
        half = torch.cuda.is_available()
        try:
            needed = loading.plan_model(source, half).size
        except ModelNotFound as error:
            remedy = "What is downloaded works. For more, check the connection (HF_HUB_OFFLINE)."
            yield Check("hub", f"no answer: {error}", "warning", remedy)
        else:
            yield Check("hub", "answers")
            if needed:
                short = _free_disk(Path(constants.HF_HUB_CACHE)) < needed + SPACE
                remedy = "Free some space, or set HF_HOME to another disk."
                yield _check("files", f"{_gb(needed)} to download", short, "error", remedy)
                return
        local: Any = {"revision": REVISIONS.get(source), "local_files_only": True}
        source = Path(snapshot_download(source, allow_patterns=[], **local))
    weights = [path for path in source.glob("*/*") if path.suffix in (".safetensors", ".bin")]
    for path in weights:
        if path.suffix == ".safetensors":
            safe_open(path, framework="pt")  # compares the size with the header
    networks = {path.parent.name for path in source.glob("*/config.json")} - {"safety_checker"}
    lacking = networks - {path.parent.name for path in weights}
    what = f"no weights in {', '.join(sorted(lacking))}" if lacking else f"all in {source}"
    yield _check("files", what, bool(lacking), "error", "Copy or download the model again.")


def _faces(model: str, pack: str | None, names: Path | None, cache: Path) -> Iterator[Check]:
    source, _ = loading.resolve(model)
    folder, listed = Path(source), models.read_names(names) if names else None
    name = source if isinstance(source, str) else source.name.removesuffix(".safetensors")
    paths = [loading.ASSETS / "basis.pt", folder / "basis.pt", *cache.glob("basis-*.pt")]
    every = (basis.load_basis(path) for path in paths if path.is_file())
    ours = (one for one in every if one.base_model == name and listed in (None, one.names))
    built = next(ours, None)
    yield Check("basis", f"{len(built.names)} names" if built else "built at the first use")
    own = folder / "faces"
    found = faces.load_face_model(pack or (own if own.is_dir() else face_packs.usual_pack()))
    known = face_packs.PACKS.get(found.id.rpartition("-")[0])
    yield Check(
        "face pack", f"{found.id}: {known.licence if known else 'under a licence of its own'}"
    )
    about: Any = SimpleNamespace(id=name)
    paths = [calibration_path(about, found, cache), folder / "calibration.safetensors"]
    made = calibration_file.load_calibration(paths, found.id, built.id) if built else None
    what, remedy = "none: people are less alike", f"Once: celeb-basis prepare --model {model}"
    what = f"{len(made.names)} names" if made else what
    yield _check("calibration", what, not made, "warning", remedy)


def _speed(
    model: str, wanted: str | None, dtype: str | None, memory: str | None
) -> Iterator[Check]:
    source, _ = loading.resolve(model)
    where = torch.device(device.checked_device(wanted or device.best_device()))
    pipeline, free = _weightless(source), device.free_memory(where)
    size, side = pipeline.unet.num_parameters(), pipeline.unet.config.sample_size
    precision = dtype or device.best_dtype(str(where), size)
    computed = device.dtype_of(precision)
    for part in (pipeline.unet, pipeline.vae):
        part.to(torch.bfloat16 if precision == device.MIXED else computed)
    yield Check("precision", f"{precision}, for a UNet of {size / 1e6:,.0f} million parameters")
    mode = memory or device.best_mode(pipeline, where, computed)
    parts = [pipeline.unet] if mode == "offload" else filter(None, vars(pipeline).values())
    needed = device.RESERVE + sum(part.get_memory_footprint() for part in parts)
    what = f"mode {mode}, {_gb(needed)} or more of {_gb(free)} free"
    remedy = "Close other programs, or choose a smaller model or --device cpu."
    yield _check("memory", what, needed > free, "error", remedy)
    if size <= device.LARGE_UNET and isinstance(source, Path):
        loaded, took, how = models.load_models(model, wanted, dtype, memory), [], "measured"
        built, photo = basis.find_basis(loaded), prompt.parse_prompt("a photo", {})
        for count in (1, 1, 3):  # the first one warms up
            began = time.perf_counter()
            sampling.generate(photo, loaded, built, SampleConfig(steps=count))
            took.append(time.perf_counter() - began)
        # On a busy machine the difference may be anything.
        rate, steps = 2 * LATENTS / max(took[2] - took[1], took[2] / 3), loaded.steps
    else:
        rate, how = _assumed_rate(where, computed)
        pixels = side**2 if isinstance(side, int) else side[0] * side[1]
        rate, steps = rate * SD_SIZE / (size * pixels), STEPS
    person = person_latents(recipe("best", None)) / rate
    image = LATENTS * steps / rate
    texts = [f"{took:,.{int(took < 10)}f}" for took in (person, image)]
    yield Check(
        "seconds", "{} for a person (best, not prepared), {} for an image: {}".format(*texts, how)
    )


def person_latents(config: TrainConfig) -> float:
    """Return what the training of a person costs, in latents of sampling."""
    trained = config.steps * config.batch_size * COST[config.loss.gradients]
    return trained + config.mapper.regression_batch * NAMES


def _weightless(source: Path | str) -> Any:
    """Return the networks that a pipeline of these configs has, on the device "meta"."""
    configs = Path(source)
    if isinstance(source, str):
        wanted: Any = {"allow_patterns": "*/config.json", "tqdm_class": NO_BAR}
        configs = Path(snapshot_download(source, revision=REVISIONS.get(source), **wanted))
    elif source.is_file():  # those that ship, of a UNet of the same size
        size = loading.unet_size(source)
        configs = next(one for one in loading.CONFIGS.iterdir() if loading.unet_size(one) == size)
    parts: dict[str, Any] = {"tokenizer": None, "tokenizer_2": None}
    with torch.device("meta"):
        for name, kind in {"unet": UNet2DConditionModel, "vae": AutoencoderKL}.items():
            parts[name] = kind.from_config(kind.load_config(configs / name))
        for path in configs.glob("text_encoder*"):
            parts[path.name] = CLIPTextModel(AutoConfig.from_pretrained(path))
    return SimpleNamespace(**parts)


def _assumed_rate(where: torch.device, dtype: torch.dtype) -> tuple[float, str]:
    """Return latents of SD 1.5 per second, and how that is known."""
    card = torch.cuda.get_device_name(where) if where.type == "cuda" else ""
    for name, rate in CARDS.items():
        if dtype.itemsize == 2 and f" {name} " in f" {card} ".replace("-", " "):
            return rate, f"assumed of an {name}, not measured"
    side = 1024 if where.type == "cpu" else 4096
    matrix, count = torch.randn(side, side, device=where, dtype=dtype), 0
    (matrix @ matrix)[0, 0].item()  # warms up
    began = time.perf_counter()
    while (took := time.perf_counter() - began) < 0.5:
        (matrix @ matrix)[0, 0].item()  # waits for the device
        count += 1
    operations = 2 * side**3 * count / took
    return operations / PRODUCTS[dtype.itemsize], "rough, by the speed of matrix products"


def _free_disk(folder: Path) -> int:
    folder = folder.absolute()
    there = next(path for path in (folder, *folder.parents) if path.is_dir())
    return shutil.disk_usage(there).free


def _gb(size: float) -> str:
    return f"{size / 1e9:.1f} GB"
