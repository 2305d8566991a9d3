"""One face photo becomes a person that a text-to-image model knows, as 1,024 numbers.

from celeb_core import Person, fit, find_face, generate, load_studio, parse_prompt

studio = load_studio("auto")
ada = Person("ada", (find_face("ada.jpg", studio.faces),))
people = fit([ada], studio.models, studio.basis, calibration=studio.calibration)
prompt = parse_prompt("<ada> plays the guitar", people)
generate(prompt, studio.models, studio.basis)[0].save("ada.png")
"""

from celeb_core.basis import (
    build_basis,
    compose,
    find_basis,
    interpolate,
    load_basis,
    mix,
    person_embeddings,
    project,
    save_basis,
)
from celeb_core.errors import CelebError
from celeb_core.faces import FaceModel, find_face, find_faces, load_face_model
from celeb_core.formats.calibration_file import load_calibration, save_calibration
from celeb_core.formats.image_file import load_photo
from celeb_core.identity import (
    find_identity,
    list_identities,
    load_identity,
    rename_identity,
    save_identity,
)
from celeb_core.models import Models, load_models
from celeb_core.prompt import encode_prompt, parse_prompt, placeholders
from celeb_core.sampling import SCHEDULERS, generate, generate_each
from celeb_core.scoring import FaceScore, Scores, reference_embeddings, score_image
from celeb_core.studio import Studio, load_studio
from celeb_core.textual_inversion import export_identity, import_identities
from celeb_core.training import fit, fit_identities, save_checkpoint
from celeb_core.types import (
    PRESETS,
    Calibration,
    CelebBasis,
    Face,
    Identity,
    Person,
    Prompt,
    PromptEmbeds,
    RegionConfig,
    SampleConfig,
    TrainConfig,
    TrainStep,
    recipe,
)

__version__ = "0.1.0"

__all__ = [
    "PRESETS", "SCHEDULERS", "Calibration", "CelebBasis", "CelebError", "Face", "FaceModel",
    "FaceScore", "Identity", "Models", "Person", "Prompt", "PromptEmbeds", "RegionConfig",
    "SampleConfig", "Scores", "Studio", "TrainConfig", "TrainStep", "build_basis", "compose",
    "encode_prompt", "export_identity", "find_basis", "find_face", "find_faces", "find_identity",
    "fit", "fit_identities", "generate", "generate_each", "import_identities", "interpolate",
    "list_identities", "load_basis", "load_calibration", "load_face_model", "load_identity",
    "load_models", "load_photo", "load_studio", "mix", "parse_prompt", "person_embeddings",
    "placeholders", "project", "recipe", "reference_embeddings", "rename_identity", "save_basis",
    "save_calibration", "save_checkpoint", "save_identity", "score_image",
]  # fmt: skip
