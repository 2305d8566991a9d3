"""Everything that can go wrong in a way the user can put right.

    CelebError
    ├── PhotoError          PhotoUnreadable, PhotoTooLarge, NoFaceFound, SeveralFaces
    ├── PromptError         PromptTooLong, UnknownName
    ├── IdentityError       BadName, IdentityNotFound, IdentityUnreadable, BasisMismatch,
    │                       EmbeddingUnusable
    ├── ModelError          ModelNotFound, ModelUnsupported, FacePackMissing, FeatureMissing,
    │                       MemoryShort
    ├── TrainingError       TrainingDiverged, ResumeMismatch
    └── SaveFailed

Every message says what happened and what to do next; the data behind it is on the exception.
Bugs are not wrapped: whatever is not a `CelebError` is ours to fix.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from celeb_core.types import Face


class CelebError(Exception):
    """Base of all errors whose message is meant for the user."""


class PhotoError(CelebError):
    """Something is wrong with a photo."""


class PhotoUnreadable(PhotoError):
    """The file is no picture, or only a part of one."""


class PhotoTooLarge(PhotoError):
    """The picture has more pixels than we are willing to decode."""


class NoFaceFound(PhotoError):
    """The detector saw no face in the photo."""

    def __init__(self, note: str = "") -> None:
        self.note = note
        advice = "Try a photo where the face fills more of the frame, looks at the camera, is lit."
        super().__init__(" ".join(part for part in ("No face found.", advice, note) if part))


class SeveralFaces(PhotoError):
    """The photo shows several people and nobody chose one; `faces` is left to right."""

    def __init__(self, faces: Sequence[Face]) -> None:
        self.faces = tuple(faces)
        super().__init__(
            f"Found {len(self.faces)} faces. Choose one by its number, 1 to {len(self.faces)} "
            "from left to right, or crop the photo to one person."
        )


class PromptError(CelebError):
    """Something is wrong with a prompt."""


class PromptTooLong(PromptError):
    """The text encoder takes `limit` tokens; `overflow` is the text that no longer fits."""

    def __init__(self, tokens: int, limit: int, overflow: str) -> None:
        self.tokens, self.limit, self.overflow = tokens, limit, overflow
        super().__init__(
            f"The prompt has {tokens} tokens, the model reads {limit}. These words do not fit: "
            f"“{overflow}”. Shorten the prompt."
        )


class UnknownName(PromptError):
    """A placeholder `<name>` (or a celebrity name) that nobody has; `nearest` are look-alikes."""

    def __init__(self, name: str, nearest: Sequence[str] = (), known: int = 0) -> None:
        self.name, self.nearest = name, tuple(nearest)
        if self.nearest:
            hint = "Did you mean " + " or ".join(f"<{near}>" for near in self.nearest) + "?"
        elif known:
            hint = "Pick one of the people in your library, or train this one first."
        else:
            hint = "The library is empty: train a person first."
        super().__init__(f"Nobody here is called <{name}>. {hint}")


class IdentityError(CelebError):
    """Something is wrong with an identity."""


class BadName(IdentityError):
    """A name that cannot stand between < and > in a prompt."""


class IdentityNotFound(IdentityError):
    """There is no identity of this name in the folder."""


class IdentityUnreadable(IdentityError):
    """The file is no identity file, or a damaged one."""


class BasisMismatch(IdentityError):
    """The identity's numbers belong to another celeb basis than the one loaded."""

    def __init__(self, name: str, expected: str, got: str, made_for: str = "") -> None:
        self.name, self.expected, self.got = name, expected, got
        maker = f" (made for the model “{made_for}”)" if made_for else ""
        super().__init__(
            f"<{name}> belongs to another celeb basis{maker}: it says {got}, this model's is "
            f"{expected}. Load the model it was made for, or train the person again on this one."
        )


class EmbeddingUnusable(IdentityError):
    """Another tool's embedding that cannot be said in this basis' coefficients."""


class ModelError(CelebError):
    """Something is wrong with a model or its files."""


class ModelNotFound(ModelError):
    """There is no model at that place."""


class ModelUnsupported(ModelError):
    """A model of an architecture that the method does not cover yet."""


class FacePackMissing(ModelError):
    """The face pack (detector and recogniser) is not where it should be."""


class FeatureMissing(ModelError):
    """The loaded model lacks an optional file that this command needs."""


class MemoryShort(ModelError):
    """Memory ran out in the leanest mode too."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(
            f"There is not enough memory, even in the leanest mode ({reason}). Close other "
            "programs that use the device, choose smaller pictures or a smaller model, or use "
            "--device cpu."
        )


class TrainingError(CelebError):
    """Training cannot go on."""


class TrainingDiverged(TrainingError):
    """The loss is no longer a finite number."""


class ResumeMismatch(TrainingError):
    """The checkpoint was written with other settings, people or models."""


class SaveFailed(CelebError):
    """A file could not be written; what was there before is intact."""
