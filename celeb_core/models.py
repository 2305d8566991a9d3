"""Every load: the diffusion model and its optional companions; device, dtype, caches.

A model folder is a diffusers pipeline folder. Files that may lie beside `model_index.json`, each
turning a feature on: `studio.json` (title, note for people without a detected face, defaults),
`faces/` (insightface pack), `clip/`, `judge.onnx`, `reader.onnx` + `reader.json`, `names.txt`,
`calibration.safetensors`, `evaluation/`.
"""

from __future__ import annotations

import inspect
import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from celeb_core.basis import basis_id, build_basis, load_basis, save_basis
from celeb_core.calibration import load_calibration
from celeb_core.devices import MIXED, best_device, best_dtype, checked_device, dtype_of
from celeb_core.encoders import TextEncoder, text_encoders
from celeb_core.errors import FeatureMissing
from celeb_core.faces import FaceModel, load_face_model
from celeb_core.halves import rest_in_half
from celeb_core.memory import Memory, best_mode, checked_mode
from celeb_core.pipelines import load_pipeline, unet_size
from celeb_core.places import ASSETS, resolve
from celeb_core.scoring import Examiners, load_examiners
from celeb_core.types import Calibration, CelebBasis, Framing

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Models:
    """A diffusion model with all weights frozen, and what its folder says about it."""

    id: str  # what identities are labelled with: a hub id or a folder's name
    title: str
    note: str  # why it was chosen, where it runs
    folder: Path | None
    pipeline: Any  # diffusers.StableDiffusionPipeline or StableDiffusionXLPipeline
    names: tuple[str, ...]  # celebrities known to the model; may be empty
    width: int  # pixels of a picture of one person
    height: int
    steps: int  # what SampleConfig's None means
    guidance: float
    scheduler_name: str | None  # a key of sampling.SCHEDULERS; None: its default
    face_note: str  # what to say when no face is found
    face_options: dict[str, Any]  # for load_face_model
    memory: Memory  # how lean it runs; gets leaner when memory runs out

    @property
    def encoders(self) -> tuple[TextEncoder, ...]:
        """The text encoders with their tokenizers: one, or SDXL's two."""
        return text_encoders(self.pipeline)

    @property
    def tokenizer(self) -> Any:
        """transformers.CLIPTokenizer of the first encoder."""
        return self.pipeline.tokenizer

    @property
    def text_encoder(self) -> Any:
        """transformers.CLIPTextModel, the first encoder."""
        return self.pipeline.text_encoder

    @property
    def unet(self) -> Any:
        """diffusers.UNet2DConditionModel."""
        return self.pipeline.unet

    @property
    def vae(self) -> Any:
        """diffusers.AutoencoderKL."""
        return self.pipeline.vae

    @property
    def scheduler(self) -> Any:
        """The scheduler as the model's folder configures it."""
        return self.pipeline.scheduler

    @property
    def networks(self) -> tuple[Any, ...]:
        """All that has weights."""
        return (self.unet, self.vae, *(encoder.model for encoder in self.encoders))

    @property
    def device(self) -> torch.device:
        """Where the UNet is."""
        return torch.device(self.unet.device)


@dataclass(frozen=True, eq=False)
class Studio:
    """Everything loaded that an app or a command needs."""

    models: Models
    faces: FaceModel
    basis: CelebBasis
    calibration: Calibration | None
    examiners: Examiners


def load_models(
    model: str | Path = "auto",
    device: str | None = None,
    dtype: str | None = None,
    memory: str | None = None,
    compiled: bool = False,
) -> Models:
    """Load "auto", "toonville", a diffusers folder, a .safetensors checkpoint, or a hub id.

    `device` None takes CUDA, then Apple's MPS, then the CPU. `dtype` (one of DTYPES) is the UNet's
    and the VAE's; None is `best_dtype`. Text encoders stay in float32: their embeddings make the
    basis, which must be the same everywhere. `memory` is one of MODES; None is `best_mode`.
    `compiled` compiles the UNet's blocks when they are first used.
    Raises ModelNotFound, ModelUnsupported, ModelError (unknown device, dtype or mode).
    """
    place, note = resolve(str(model))
    device = checked_device(device or best_device())
    memory = memory and checked_mode(memory)
    precision = dtype or best_dtype(device, unet_size(place))
    loaded = torch.bfloat16 if precision == MIXED else dtype_of(precision)
    pipeline = load_pipeline(place, loaded)
    return models_of(pipeline, place, note, device, precision, memory, compiled)


def models_of(
    pipeline: Any,
    place: Path | str,
    note: str,
    device: str,
    precision: str,
    memory: str | None = None,
    compiled: bool = False,
) -> Models:
    """The Models of a pipeline that is loaded already; the other arguments as in `load_models`.

    `precision` is a name of DTYPES, in which the pipeline's UNet and VAE are (bfloat16 if MIXED).
    """
    for part in (pipeline.unet, pipeline.vae, *(e.model for e in text_encoders(pipeline))):
        part.requires_grad_(False).eval()
    if precision == MIXED:
        rest_in_half(pipeline.unet)
        rest_in_half(pipeline.vae)
    mode = memory or best_mode(pipeline, torch.device(device), dtype_of(precision))
    pipeline.unet.to(device)
    if mode != "offload":
        pipeline.to(device)
    if compiled:
        pipeline.unet.compile_repeated_blocks()
    folder = place if isinstance(place, Path) and place.is_dir() else None
    about = _read_json(folder / "studio.json") if folder else {}
    defaults = about.get("defaults", {})
    side = _native_side(pipeline)
    name = str(place) if isinstance(place, str) else place.stem if place.is_file() else place.name
    title = about.get("title") or name
    return Models(
        id=name,
        title=title,
        note=f"{title} on {device}: {note}",
        folder=folder,
        pipeline=pipeline,
        names=_read_names(folder / "names.txt") if folder else (),
        width=int(defaults.get("width", side)),
        height=int(defaults.get("height", side)),
        steps=int(defaults.get("steps", 30)),
        guidance=float(defaults.get("guidance", _usual_guidance(pipeline))),
        scheduler_name=defaults.get("scheduler"),
        face_note=about.get("domain_note", ""),
        face_options=about.get("faces", {}),
        memory=Memory(pipeline, torch.device(device), mode),
    )


def load_studio(
    model: str | Path = "auto",
    *,
    device: str | None = None,
    dtype: str | None = None,
    memory: str | None = None,
    compiled: bool = False,
    face_pack: str | Path | None = None,
    names: Path | None = None,
    cache: Path | None = None,
) -> Studio:
    """Models, face pack, basis (built on first use and kept under `cache`) and calibration.

    Raises what `load_models`, `load_face_model` and `find_basis` raise.
    """
    models = load_models(model, device, dtype, memory, compiled)
    folder = models.folder
    bundled_faces = folder / "faces" if folder else None
    pack = face_pack or (bundled_faces if bundled_faces and bundled_faces.is_dir() else "buffalo_l")
    options = models.face_options
    faces = load_face_model(
        pack,
        models.face_note,
        framing=Framing(**options["framing"]) if "framing" in options else None,
        det_size=tuple(options["det_size"]) if options.get("det_size") else None,
        det_thresh=options.get("det_thresh", 0.5),
        device=str(models.device),
    )
    basis = find_basis(models, names, cache)
    places = [calibration_path(models, faces, cache)] if cache else []
    places += [folder / "calibration.safetensors"] if folder else []
    calibration = load_calibration(places, faces.id, basis.id)
    examiners = load_examiners(folder, photographs=pack is not bundled_faces)
    if calibration is not None and "framing" not in options:
        faces.framing = calibration.framing  # photos are cut as the model draws portraits
    return Studio(models, faces, basis, calibration, examiners)


def find_basis(
    models: Models, names: Path | None = None, cache: Path | None = None, p: int = 512
) -> CelebBasis:
    """The model's basis: shipped with it, kept from an earlier run, or built now.

    It is looked up by the hash of the names' word embeddings, so that a stored one of another
    model or list is never used. Raises FeatureMissing without a list of names.
    """
    listed = _names_for(models, names)
    wanted = basis_id(listed, models, p)
    places = [ASSETS / "basis.pt"]
    places += [models.folder / "basis.pt"] if models.folder else []
    places += [cache / f"basis-{wanted}.pt"] if cache else []
    for place in places:
        if place.is_file() and (basis := load_basis(place)).id == wanted:
            return basis
    log.info("building the celeb basis of %d names", len(listed))
    basis = build_basis(listed, models, p)
    if cache:
        save_basis(basis, cache / f"basis-{wanted}.pt")
    return basis


def calibration_path(models: Models, faces: FaceModel, cache: Path) -> Path:
    """Where `calibrate` keeps the calibration of this model and recogniser."""
    return cache / f"calibration-{models.id.replace('/', '--')}-{faces.id}.safetensors"


def _native_side(pipeline: Any) -> int:
    size = pipeline.unet.config.sample_size
    return int(size if isinstance(size, int) else max(size)) * int(pipeline.vae_scale_factor)


def _usual_guidance(pipeline: Any) -> float:
    """What diffusers draws with if nothing is said: 7.5, and 5 for SDXL."""
    return float(inspect.signature(type(pipeline).__call__).parameters["guidance_scale"].default)


def _names_for(models: Models, names: Path | None) -> tuple[str, ...]:
    if names is None and models.names:
        return models.names
    path = names or ASSETS / "celeb_names.txt"
    if not path.is_file():
        raise FeatureMissing(
            f"A celeb basis needs a list of names, and there is none at {path}. "
            "Name a text file with one celebrity per line: --names FILE."
        )
    return _read_names(path)


def _read_names(path: Path) -> tuple[str, ...]:
    if not path.is_file():
        return ()
    try:
        text = path.read_text(encoding="utf-8-sig")  # Windows' editor writes a mark in front
    except UnicodeDecodeError as error:
        raise FeatureMissing(f"{path} is no UTF-8 text ({error}). Save it as UTF-8.") from error
    lines = (line.strip() for line in text.splitlines())
    return tuple(dict.fromkeys(line for line in lines if line))


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content
