"""Textual-inversion files of other tools, out and in."""

import io
import logging
from dataclasses import dataclass, replace
from itertools import chain, count
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor

from celeb_core.basis import compose, person_embeddings, project
from celeb_core.errors import (
    BadName,
    EmbeddingUnusable,
    IdentityNotFound,
    IdentityUnreadable,
    quote,
)
from celeb_core.files import write_atomically
from celeb_core.formats.embedding_file import LEARNED, LEARNED_2, SDXL_KEYS, read_embeddings
from celeb_core.formats.tensor_file import MAX_BYTES, read_tensor_file
from celeb_core.identity import SUFFIX, check_name, file_name, is_identity_file, load_identity
from celeb_core.models import Models
from celeb_core.types import CelebBasis, Identity

FORMATS = {  # name of an export format -> what is written
    "safetensors": "TOKEN.safetensors for A1111, Forge, ComfyUI, InvokeAI, kohya and diffusers",
    "a1111": "TOKEN.pt for A1111",
    "diffusers": "TOKEN/learned_embeds.safetensors, which brings its token along",
}
FAMILIES = {768: "SD 1.x", 1024: "SD 2.x", 1280: "SDXL's second encoder alone", 2048: "SDXL"}
READERS = {SUFFIX: "safetensors.torch import load_file", ".pt": "torch import load"}

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Imported:
    """A person from another tool's file, without what lies outside of the celebrities' span."""

    identity: Identity
    explained: float  # share of the squared distance from the mean, 0 to 1; least of the encoders


def export_identity(
    identity: Identity,
    basis: CelebBasis,
    models: Models,
    folder: Path,
    format: str = "safetensors",
    token: str | None = None,
) -> Path:
    """Write the token embeddings of an identity of the basis as a textual-inversion file.

    `format` is one of FORMATS. `token`, trigger word and file name, is by default the identity's
    name, made safe, and “-person” where that is a token of the model. Returns the file, 6 KB
    (SDXL's 16 KB); of diffusers' two for SDXL the first.

    Raises:
        BasisMismatch, BadName: The identity is of another basis; some tool would misread the token.
        SaveFailed, ValueError: The file cannot be written; there is no such format.
    """
    if format not in FORMATS:
        raise ValueError(f"format {format!r} is none of {', '.join(FORMATS)}")
    embeddings = person_embeddings(identity, basis, models).split(basis.widths, dim=-1)
    keys = SDXL_KEYS if len(embeddings) > 1 else ("emb_params",)
    tensors = {key: part.contiguous() for key, part in zip(keys, embeddings, strict=True)}
    if token and file_name(token) != token + SUFFIX:
        raise BadName(
            f"“{token}” is no trigger word for all tools. Use up to 40 of a-z, 0-9, single hyphens."
        )
    if token and _is_known(token, models):
        log.warning(
            "“%s” is a token of the model already: kohya sd-scripts refuses such a file, SD.Next "
            "leaves it out. Another --token is read by all tools.", token
        )  # fmt: skip
    token = token or _free_token(file_name(identity.name).removesuffix(SUFFIX), models)
    about = {"format": "pt", "name": identity.name, "basis_id": basis.id}
    about["base_model"] = identity.base_model
    parts = zip((LEARNED, LEARNED_2), tensors.values(), strict=False)
    files = {
        "safetensors": {f"{token}.safetensors": save(tensors, about)},
        "diffusers": {f"{token}/{name}": save({f"<{token}>": part}, about) for name, part in parts},
        "a1111": {f"{token}.pt": _as_a1111(tensors, token, identity)},
    }
    return [write_atomically(folder / name, file) for name, file in files[format].items()][0]


def _free_token(slug: str, models: Models) -> str:
    """Return a trigger word, made of a name, that is no token of the model."""
    words = chain([slug, f"{slug}-person"], (f"{slug}-person-{number}" for number in count(2)))
    return next(word for word in words if not _is_known(word, models))


def _is_known(token: str, models: Models) -> bool:
    """Return whether the model has such a token, alone or with what tools add for the second."""
    words = {f"{token}{second}{end}" for second in ("", "1", "_1") for end in ("", "</w>")}
    return any(words & encoder.tokenizer.get_vocab().keys() for encoder in models.encoders)


def _as_a1111(tensors: dict[str, Tensor], token: str, identity: Identity) -> bytes:
    """Serialise for A1111, diffusers (`name`, key `*`) and InvokeAI (`string_to_token`)."""
    trained = identity.settings.get("trained")
    content = {
        "string_to_token": {"*": 265},  # the id of “*” in CLIP's vocabulary
        "string_to_param": {"*": next(iter(tensors.values()))},
        "name": token,
        "step": trained if isinstance(trained, int) else 0,
        "sd_checkpoint": None,
        "sd_checkpoint_name": identity.base_model or None,
    }
    buffer = io.BytesIO()
    # SDXL's are bare tensors. In a zip, torch.save writes members that A1111 takes for an attack.
    whole = content if len(tensors) == 1 else tensors
    torch.save(whole, buffer, _use_new_zipfile_serialization=False)
    return buffer.getvalue()


def usage_notes(path: Path) -> dict[str, str]:
    """Return how to use an exported file: tool -> what to do, and what to write in the prompt."""
    file, second = path.name, path.with_name(LEARNED_2)
    token = path.parent.name if file == LEARNED else path.stem
    calls, sources = [], [f'"{path}"']
    if file == LEARNED and second.is_file():
        sources.append(f'"{second}"')
    elif SDXL_KEYS[1] in read_tensor_file(path):
        calls.append(f"from {READERS[path.suffix]} as read")
        sources = [f'read("{path}")["{key}"]' for key in SDXL_KEYS]
    for source, suffix in zip(sources, ("", "_2"), strict=False):
        to = f", text_encoder=pipe.text_encoder{suffix}, tokenizer=pipe.tokenizer{suffix}"
        # Always with `token`: without it diffusers takes "emb_params" for the trigger word.
        arguments = f'{source}, token="<{token}>"{to if len(sources) > 1 else ""}'
        calls.append(f"pipe.load_textual_inversion({arguments})")
    if len(sources) > 1:
        # Configs of SDXL take the highest token for a prompt's end, which a new one would be.
        calls.append("pipe.text_encoder_2.text_model.eos_token_id = pipe.tokenizer_2.eos_token_id")
    notes = {"diffusers": f"{'; '.join(calls)}, then prompt <{token}>"}
    if file == LEARNED:
        return notes
    return notes | {
        "A1111, Forge": f"copy {file} to embeddings/, then prompt {token}",
        "ComfyUI": f"copy {file} to models/embeddings/, then prompt embedding:{token}",
        "InvokeAI": f"import {file} in the model manager, then prompt <{token}>",
        "kohya sd-scripts": f"--textual_inversion_embeddings {file}, then prompt {token}",
    }


def import_identities(
    path: Path, basis: CelebBasis, name: str | None = None, min_explained: float = 0.9
) -> list[Imported]:
    """Read the people of an identity file, another tool's embedding, or an official `.pt`.

    Token embeddings are projected on the basis, which must be of the model that they were made
    for; a single one is taken for the first, with the mean second one. `path` may be diffusers'
    folder. `name` None is the file's own; several people are numbered. `min_explained` is the least
    `Imported.explained`, 0 to 1.

    Raises:
        IdentityNotFound, IdentityUnreadable: It is not there; it is damaged or of an unknown kind.
        BasisMismatch, BadName: The identity is of another basis; the name is not allowed.
        EmbeddingUnusable: The embeddings are too wide, too many or too far from the basis.
    """
    if is_identity_file(path):
        identity = load_identity(path, basis)
        return [Imported(replace(identity, name=check_name(name or identity.name)), 1.0)]
    try:
        if path.is_file() and (size := path.stat().st_size) > MAX_BYTES:
            raise EmbeddingUnusable(
                f"{path} has {size / 1e6:.0f} MB: a model, no embedding. Start with it as a model.",
                option="--model FILE",
            )
        own, people = read_embeddings(path, basis.widths)
    except FileNotFoundError as error:
        what = f"There is no {LEARNED} in" if path.is_dir() else "There is no file"
        raise IdentityNotFound(f"{what} {path}. Name an embedding file.") from error
    except (OSError, ValueError) as error:
        raise IdentityUnreadable(
            f"{path} is no embedding file of a known kind, or a damaged one ({quote(str(error))}). "
            "Known are textual-inversion files (.safetensors, .pt, .bin, .png), diffusers’ folders "
            "and the official Celeb Basis .pt."
        ) from error
    name, several = (name or own).strip("<>"), len(people) > 1
    named = [(f"{name}-{i}" if several else name, rows) for i, rows in enumerate(people, 1)]
    return [_project(check_name(name), rows, basis, min_explained) for name, rows in named]


def _project(name: str, vectors: Tensor, basis: CelebBasis, min_explained: float) -> Imported:
    """Project token embeddings (n, d) on the basis."""
    (k, d), (count, width) = basis.mean.shape, vectors.shape
    if width != d:
        raise EmbeddingUnusable(
            f"“{name}” is {width} wide ({FAMILIES.get(width, 'another model')}), embeddings of "
            f"“{basis.base_model}” are {d}. Load the model that it was made for."
        )
    if count > k:
        raise EmbeddingUnusable(
            f"“{name}” has {count} vectors, a person here has {k}. Use it in the tool that made it."
        )
    embeddings = basis.mean.clone()
    embeddings[:count] = vectors
    coefficients = project(basis, embeddings)
    if not coefficients.half().isfinite().all():
        raise EmbeddingUnusable(
            f"“{name}” is no person: its numbers, up to {vectors.abs().max():.0e}, are far beyond "
            f"those of the celebrities of “{basis.base_model}”."
        )
    away, lost = (
        torch.stack([part.double().square().sum() for part in difference.split(basis.widths, -1)])
        for difference in (embeddings - basis.mean, embeddings - compose(basis, coefficients))
    )
    explained = 1 - float((lost / away.clamp_min(torch.finfo(away.dtype).tiny)).max())
    if not explained >= min_explained:
        raise EmbeddingUnusable(
            f"Only {explained:.0%} of “{name}” lies among the celebrities of “{basis.base_model}”, "
            f"{min_explained:.0%} are asked for: the person would be lost. Train on a photo, or "
            "use it in the tool that made it.",
            option=f"--min-explained {max(0.0, explained - 0.01):.2f}",
        )
    about = (basis.id, basis.base_model, "", {"imported": round(explained, 4)})
    return Imported(Identity(name, coefficients, *about), explained)
