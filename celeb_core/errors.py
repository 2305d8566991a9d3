"""All errors that the user can put right: every message says what was wrong and what to do."""

from typing import Any, Self

from celeb_core.types import Face

QUOTED = 200  # characters of the input, at most, in a message


def quote(text: str) -> str:
    """Return what a message quotes of a text that may be long: at most QUOTED characters."""
    return text if len(text) <= QUOTED else f"{text[: QUOTED - 1].rstrip()}…"


class CelebError(Exception):
    """Base of all errors whose message is meant for the user.

    A page shows `message`. On the command line `option` helps besides, and `str` says it, too.
    """

    def __init__(self, message: str = "", option: str = "") -> None:
        self.message = message
        super().__init__(f"{message} On the command line: {option}." if option else message)

    def within(self, part: str) -> Self:
        """Say before the message which part of the input it is about."""
        self.message = f"{part}: {self.message}"
        self.args = (f"{part}: {self}",)
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (type(self), self.args, vars(self))


def _restored(kind: type[CelebError], args: tuple[Any, ...], state: dict[str, Any]) -> CelebError:
    """Unpickle an error of another process, whatever the arguments of its constructor."""
    error = kind.__new__(kind, *args)
    vars(error).update(state)
    return error


class SettingsError(CelebError):
    """A number, a text or a choice that is not among those that are taken."""


class PhotoError(CelebError):
    """Something is wrong with a photo."""


class PhotoUnreadable(PhotoError):
    """The file is no image, or only a part of one."""


class PhotoTooLarge(PhotoError):
    """The image has more pixels than are decoded."""


class NoFaceFound(PhotoError):
    """The detector found no face in the photo."""


class SeveralFaces(PhotoError):
    """The photo shows several people and none was chosen; `faces` is left to right."""

    def __init__(self, faces: list[Face]) -> None:
        self.faces, n = tuple(faces), len(faces)
        super().__init__(f"Found {n} faces. Choose 1 to {n} from left to right, or crop the photo.")


class PromptError(CelebError):
    """Something is wrong with a prompt."""


class PromptUnreadable(PromptError):
    """A bracket, or what is between two, is no person's."""


class PromptTooLong(PromptError):
    """There are `limit` tokens (or other units) at most; `overflow` is what does not fit."""

    def __init__(self, tokens: int, limit: int, overflow: str, unit: str = "tokens") -> None:
        self.tokens, self.overflow = tokens, overflow
        super().__init__(
            f"The words “{quote(overflow)}” do not fit: {tokens:,} {unit} of {limit:,}. "
            "Shorten the prompt."
        )


class UnknownName(PromptError):
    """No identity, or no celebrity, has this name; `nearest` are similar names that exist."""

    def __init__(self, name: str, nearest: list[str] | tuple[()] = (), known: int = 0) -> None:
        self.nearest = tuple(nearest)
        hint = f"Did you mean {' or '.join(f'<{near}>' for near in nearest)}?"
        if not nearest:
            pick = "Pick one of the people in your library, or train this one first."
            hint = pick if known else "The library is empty: train a person first."
        super().__init__(f"Nobody here is called <{quote(name)}>. {hint}")


class IdentityError(CelebError):
    """Something is wrong with an identity."""


class BadName(IdentityError):
    """A name that cannot stand between < and > in a prompt."""


class IdentityNotFound(IdentityError):
    """There is no identity of this name in the folder."""


class IdentityUnreadable(IdentityError):
    """The file is no identity file, or a damaged one."""


class BasisMismatch(IdentityError):
    """The coefficients belong to the basis `got`, the loaded one is `expected`."""

    def __init__(self, name: str, expected: str, got: str, made_for: str = "") -> None:
        self.expected, self.got = expected, got
        model = f" (made for the model “{made_for}”)" if made_for else ""
        super().__init__(
            f"<{name}> belongs to another celeb basis{model}: {got}, this model's is {expected}. "
            "Load the model it was made for, or train the person again on this one."
        )


class EmbeddingUnusable(IdentityError):
    """Another tool's embedding that has no coefficients in this basis."""


class ModelError(CelebError):
    """Something is wrong with a model or its files."""


class ModelNotFound(ModelError):
    """The model is missing, incomplete or out of reach."""


class ModelUnsupported(ModelError):
    """A model of an architecture that the method does not cover."""


class FacePackMissing(ModelError):
    """The face pack (detector and recogniser) is missing or damaged."""


class CalibrationUnusable(ModelError):
    """A calibration that is damaged, or was made for something else than what is loaded."""


class FeatureMissing(ModelError):
    """The loaded model lacks an optional file that this command needs."""


class MemoryShort(ModelError):
    """Memory ran out in the leanest mode."""

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"There is not enough memory, even in the leanest mode ({quote(reason)}). Close other "
            "programs on the device, choose smaller images or a smaller model, or use the CPU.",
            option="--device cpu",
        )


class TrainingDiverged(CelebError):
    """The loss is no longer a finite number."""


class ResumeMismatch(CelebError):
    """The checkpoint was written with other settings, people or models."""


class SaveFailed(CelebError):
    """A file could not be written; what was there before is intact."""


class UsageError(CelebError):
    """An option or argument that cannot be used as it was given; exit code 2."""
