"""Everything put together: models, face pack, basis, calibration and scorers."""

from dataclasses import dataclass, replace
from pathlib import Path

from celeb_core.basis import find_basis
from celeb_core.faces import FaceModel, load_face_model
from celeb_core.loading import is_tiny_vae
from celeb_core.mapper import load_calibration
from celeb_core.models import Models, load_models
from celeb_core.sampling import load_tiny_vae
from celeb_core.scoring import Scorers, load_scorers
from celeb_core.types import Calibration, CelebBasis, Framing


@dataclass(frozen=True, eq=False)
class Studio:
    """Everything loaded that an app or a command needs."""

    models: Models
    faces: FaceModel
    basis: CelebBasis
    calibration: Calibration | None
    scorers: Scorers


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
    vae: str | None = None,
    allow_pickle: bool = False,
) -> Studio:
    """Load a model as `load_models` does, with its face pack, basis, calibration and scorers.

    `face_pack` is an insightface pack's name or folder; None is the model's own, else buffalo_l.
    `names` is a text file, None the model's list; `cache` is a folder for bases and calibrations.
    `vae` takes the place of the model's; an AutoencoderTiny, or "tiny", decodes images only.

    Raises:
        ModelError: What `load_models`, `load_face_model` and `find_basis` raise.
    """
    tiny = vae is not None and is_tiny_vae(vae)
    own_vae = None if tiny else vae
    models = load_models(model, device, dtype, memory, compiled, own_vae, allow_pickle)
    if vae and tiny:
        models = replace(models, tiny_vae=load_tiny_vae(models, vae))
    folder, options = models.folder, models.face_options
    own = folder / "faces" if folder and (folder / "faces").is_dir() else None
    pack, device = face_pack or own or "buffalo_l", str(models.device)
    framing = Framing(**options["framing"]) if "framing" in options else None
    size, score = options.get("det_size") or None, options.get("det_thresh", 0.5)
    faces = load_face_model(pack, models.face_note, None, framing, size, score, device)
    basis = find_basis(models, names, cache)
    paths = [calibration_path(models, faces, cache)] if cache else []
    paths += [folder / "calibration.safetensors"] if folder else []
    calibration = load_calibration(paths, faces.id, basis.id)
    if calibration is not None and "framing" not in options:
        faces.framing = calibration.framing  # photos are cropped as the model frames portraits
    return Studio(models, faces, basis, calibration, load_scorers(models, faces))


def calibration_path(models: Models, faces: FaceModel, cache: Path) -> Path:
    """Return where the calibration of this model and recogniser is kept."""
    return cache / f"calibration-{models.id.replace('/', '--')}-{faces.id}.safetensors"
