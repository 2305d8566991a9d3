"""One face photo becomes a person that a text-to-image model knows, as 1,024 numbers.

from celeb_core import Person, fit, find_face, generate, load_studio, parse_prompt

studio = load_studio("auto")
ada = Person("ada", (find_face("ada.jpg", studio.faces),))
people = fit([ada], studio.models, studio.basis, calibration=studio.calibration)
prompt = parse_prompt("<ada> plays the guitar", people)
generate(prompt, studio.models, studio.basis)[0].save("ada.png")
"""

from celeb_core.atlas import CelebMap, Mixture, build_map, locate, move, nearest_mixture
from celeb_core.basis import (
    bilinear,
    build_basis,
    compose,
    interpolate,
    load_basis,
    mix,
    project,
    save_basis,
    words_of,
)
from celeb_core.calibration import (
    calibration_of,
    load_calibration,
    look_at_people,
    save_calibration,
)
from celeb_core.checkpoints import save_checkpoint
from celeb_core.errors import CelebError
from celeb_core.evaluation import evaluate_quick
from celeb_core.faces import FaceModel, find_face, find_faces, load_face_model, open_photo
from celeb_core.identity import (
    delete_identity,
    find_identity,
    list_identities,
    load_identity,
    rename_identity,
    save_identity,
)
from celeb_core.interop import export_identity, import_identities
from celeb_core.mapper import CoefficientMapper
from celeb_core.models import Models, Studio, load_models, load_studio
from celeb_core.presets import PRESETS
from celeb_core.prompt import encode_prompt, parse_prompt, placeholders
from celeb_core.sampling import SCHEDULERS, generate, generate_each
from celeb_core.scoring import reference_faces, score_picture
from celeb_core.start import start_coefficients
from celeb_core.training import fit, fit_identities
from celeb_core.types import (
    Calibration,
    CelebBasis,
    Face,
    FaceScore,
    Identity,
    Person,
    Prompt,
    PromptEmbeds,
    SampleConfig,
    Scores,
    TrainConfig,
    TrainStep,
)

__all__ = [
    "PRESETS",
    "SCHEDULERS",
    "Calibration",
    "CelebBasis",
    "CelebError",
    "CelebMap",
    "CoefficientMapper",
    "Face",
    "FaceModel",
    "FaceScore",
    "Identity",
    "Mixture",
    "Models",
    "Person",
    "Prompt",
    "PromptEmbeds",
    "SampleConfig",
    "Scores",
    "Studio",
    "TrainConfig",
    "TrainStep",
    "bilinear",
    "build_basis",
    "build_map",
    "calibration_of",
    "compose",
    "delete_identity",
    "encode_prompt",
    "evaluate_quick",
    "export_identity",
    "find_face",
    "find_faces",
    "find_identity",
    "fit",
    "fit_identities",
    "generate",
    "generate_each",
    "import_identities",
    "interpolate",
    "list_identities",
    "load_basis",
    "load_calibration",
    "look_at_people",
    "load_face_model",
    "load_identity",
    "load_models",
    "load_studio",
    "locate",
    "mix",
    "move",
    "nearest_mixture",
    "open_photo",
    "parse_prompt",
    "placeholders",
    "project",
    "reference_faces",
    "rename_identity",
    "save_basis",
    "save_calibration",
    "save_checkpoint",
    "save_identity",
    "score_picture",
    "start_coefficients",
    "words_of",
]
