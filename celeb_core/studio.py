"""Everything put together: models, face pack, basis, calibration and scorers."""

import copy
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from huggingface_hub import hf_hub_download

from celeb_core.adapters import load_tiny_vae
from celeb_core.basis import find_basis
from celeb_core.device import best_device, checked_device
from celeb_core.errors import CalibrationUnusable, FacePackMissing
from celeb_core.face_packs import usual_pack
from celeb_core.faces import FaceModel, load_face_model
from celeb_core.formats.calibration_file import load_calibration, read_calibration
from celeb_core.loading import is_tiny_vae, resolve
from celeb_core.models import Models, load_models, read_about
from celeb_core.person_positions import position_hints, rearranged
from celeb_core.prompt import hints, readable, strip_people
from celeb_core.safety import SafetyChecker
from celeb_core.scoring import Scorers, load_scorers
from celeb_core.types import Calibration, CelebBasis, Framing, Prompt
from celeb_core.vocabulary import vocabulary_hint

CALIBRATION = "calibration.safetensors"  # in a model's folder, or in a repository of the hub


@dataclass(frozen=True, eq=False)
class Studio:
    """Everything loaded that an app or a command needs."""

    models: Models
    faces: FaceModel
    basis: CelebBasis
    calibration: Calibration | None
    scorers: Scorers
    cache: Path | None = None  # folder for bases and calibrations
    named: str | Path | None = None  # calibration that was asked for
    safety: SafetyChecker | None = None  # of generated images, before they are saved or shown


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
    calibration: str | Path | None = None,
    require_faces: bool = True,
    vae: str | None = None,
    allow_pickle: bool = False,
) -> Studio:
    """Load a model as `load_models` does, with its face pack, basis, calibration and scorers.

    `face_pack` is an insightface pack's name or folder; None is the model's own, else `usual_pack`.
    It is loaded before a model is downloaded. If none is named, none is there and `require_faces`
    is False, `Studio.faces` is not `ready`; see `with_faces`. `names` is a text file, None the
    model's list; `cache` is a folder for bases and calibrations. `calibration` is a file or a hub
    id; None is the first that fits, of the cache and the model's folder. `vae` takes the place of
    the model's; an AutoencoderTiny, or "tiny", decodes images only.

    Raises:
        ModelError: What `load_models`, `load_face_model` and `find_basis` raise, and
            CalibrationUnusable for a named calibration.
    """
    source, _ = resolve(str(model))
    folder = source if isinstance(source, Path) and source.is_dir() else None
    device = checked_device(device or best_device())
    try:
        faces = _load_faces(face_pack, folder, device)
    except FacePackMissing as error:
        if require_faces or face_pack is not None:
            raise
        faces = FaceModel(None, "", str(error), Framing())
    if calibration is not None:
        _find_calibration(calibration)  # before a model is downloaded
    tiny = vae is not None and is_tiny_vae(vae)
    own_vae = None if tiny else vae
    models = load_models(model, device, dtype, memory, compiled, own_vae, allow_pickle)
    if vae and tiny:
        models = replace(models, tiny_vae=load_tiny_vae(models, vae))
    basis, scorers = find_basis(models, names, cache), load_scorers(models, faces)
    return _calibrated(Studio(models, faces, basis, None, scorers, cache, calibration))


def with_faces(studio: Studio, face_pack: str | Path) -> Studio:
    """Return the studio with another face pack and its calibration; raises as `load_studio`."""
    faces = _load_faces(face_pack, studio.models.folder, str(studio.models.device))
    scorers = replace(studio.scorers, faces=faces)
    return _calibrated(replace(studio, faces=faces, scorers=scorers, calibration=None))


def with_calibration(studio: Studio, calibration: Calibration) -> Studio:
    """Return the studio with a calibration, as whose portraits photos are cropped from now on."""
    faces, options = studio.faces, read_about(studio.models.folder).get("faces", {})
    if "framing" not in options and faces.framing != calibration.framing:
        faces = replace(faces, framing=calibration.framing)
    scorers = replace(studio.scorers, faces=faces)
    return replace(studio, faces=faces, scorers=scorers, calibration=calibration)


def arranged(prompt: Prompt, studio: Studio) -> Prompt:
    """Return the prompt, `rearranged` where the model is known not to know its people so late."""
    if studio.calibration is None or (limits := studio.calibration.person_positions) is None:
        return prompt
    return rearranged(prompt, limits, studio.models.encoders[0], studio.basis.names)


def prompt_hints(prompt: Prompt, studio: Studio) -> list[str]:
    """Return all hints about a prompt: `hints` and, where known, positions and unknown words."""
    names, found = studio.basis.names, list[str]()
    if studio.calibration and (limits := studio.calibration.person_positions):
        found = position_hints(prompt, limits, studio.models.encoders[0], names)
    unknown = word_hint(prompt.text, studio)
    return [*found, *hints(prompt, names), *([unknown] if unknown else [])]


def word_hint(text: str, studio: Studio) -> str:
    """Say which words of a prompt, people apart, the model does not know; "" if that is unknown."""
    vocabulary, names = studio.models.vocabulary, studio.basis.names
    if vocabulary is None:
        return ""
    return vocabulary_hint(strip_people(readable(text), names), vocabulary, names)


def without_gpu(studio: Studio) -> Studio:
    """Return the studio for a process that must not use the GPU: its own text encoders on the CPU.

    So prompts, people without training steps and mixtures are computed there; UNet and VAE stay
    where they are, described but not to be run.
    """
    models = studio.models
    encoders = tuple(
        replace(encoder, model=copy.deepcopy(encoder.model).to("cpu"))
        for encoder in models.encoders
    )
    models = replace(models, encoders=encoders, device=torch.device("cpu"))
    return replace(studio, models=models)


def calibration_path(models: Models, faces: FaceModel, cache: Path) -> Path:
    """Return where the calibration of this model and recogniser is kept."""
    return cache / f"calibration-{models.id.replace('/', '--')}-{faces.id}.safetensors"


def _load_faces(face_pack: str | Path | None, folder: Path | None, device: str) -> FaceModel:
    """Load a face pack, with what the model's folder says about faces."""
    about, own = read_about(folder), folder / "faces" if folder else None
    options = about.get("faces", {})
    framing = Framing(**options["framing"]) if "framing" in options else None
    size, score = options.get("det_size") or None, options.get("det_thresh", 0.5)
    pack = face_pack or (own if own and own.is_dir() else usual_pack())
    note, drawn = about.get("domain_note", ""), options.get("drawn", False)
    return load_face_model(pack, note, None, framing, size, score, device, drawn)


def _find_calibration(named: str | Path) -> Path:
    """Return the file of a calibration; that of a hub id is downloaded."""
    if (path := Path(named).expanduser()).is_file():
        return path
    try:
        return Path(hf_hub_download(str(named), CALIBRATION))
    except (OSError, ValueError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise CalibrationUnusable(
            f"There is no file {named}, and no {CALIBRATION} in a hub repository of that name "
            f"({reason}). Name another file or hub id, or none.",
            option="leave out --calibration",
        ) from error


def _calibrated(studio: Studio) -> Studio:
    """Return the studio with the named calibration, or the first that fits."""
    models, faces, basis = studio.models, studio.faces, studio.basis
    if not faces.ready:  # a calibration is of a recogniser
        return studio
    found: Calibration | None
    if studio.named is not None:
        found = read_calibration(_find_calibration(studio.named), faces.id, basis.id)
    else:
        paths = [calibration_path(models, faces, studio.cache)] if studio.cache else []
        paths += [models.folder / CALIBRATION] if models.folder else []
        found = load_calibration(paths, faces.id, basis.id)
    return with_calibration(studio, found) if found else studio
