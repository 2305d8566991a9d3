"""Identities <-> textual-inversion files: what other tools read and write (docs/interop.md)."""

from __future__ import annotations

import io
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from celeb_core.basis import compose, project, words_of
from celeb_core.errors import BadName, EmbeddingUnusable, IdentityNotFound, IdentityUnreadable
from celeb_core.files import write_atomically
from celeb_core.identity import SUFFIX, check_name, file_name
from celeb_core.types import CelebBasis, Identity

if TYPE_CHECKING:
    from celeb_core.models import Models

FORMATS: Mapping[str, str] = {
    "safetensors": "TOKEN.safetensors for A1111, Forge, ComfyUI, InvokeAI, kohya and diffusers",
    "a1111": "TOKEN.pt for A1111",
    "diffusers": "TOKEN/learned_embeds.safetensors, which brings its token along",
}
"""Name of an export format -> what is written."""

SDXL_KEYS = ("clip_l", "clip_g")
"""The words of SDXL's two text encoders."""
GENERIC_KEYS = ("emb_params", *SDXL_KEYS, "*")
"""Keys that name no person: the file's name does."""
FAMILIES = {768: "SD 1.x", 1024: "SD 2.x", 1280: "SDXL's second encoder alone", 2048: "SDXL"}
LEARNED = "learned_embeds.safetensors"
LEARNED_2 = "learned_embeds_2.safetensors"
"""diffusers' own names, the second one for SDXL's second encoder."""
MOST_BYTES = 50_000_000
LEAST_KEPT = 0.9


@dataclass(frozen=True, eq=False)
class Imported:
    """A person from another tool's file.

    `kept` is the share of the words' squared distance from the basis' mean that lies within the
    celebrities' span, 0 to 1; the rest cannot be said in coefficients and is lost. Of several
    text encoders it is the least share.
    """

    identity: Identity
    kept: float


def export_identity(
    identity: Identity,
    basis: CelebBasis,
    models: Models,
    folder: Path,
    format: str = "safetensors",
    token: str | None = None,
) -> Path:
    """Write the identity's words as a textual-inversion file, float32 (6 KB, SDXL's 16 KB).

    The file is named after `token`, because most tools take their trigger word from there; None
    is a form of the identity's name that is safe in file names. diffusers' format is one file
    per text encoder, the first one of which is returned. Raises BasisMismatch, BadName,
    SaveFailed; ValueError for a format that is not among FORMATS.
    """
    words = words_of(identity, basis, models).split(basis.widths, dim=-1)
    keys = SDXL_KEYS if len(words) > 1 else ("emb_params",)
    tensors = {key: part.contiguous() for key, part in zip(keys, words, strict=True)}
    token = _check_token(token) if token else default_token(identity)
    labels = {"format": "pt", "name": identity.name, "basis_id": basis.id}
    labels["base_model"] = identity.base_model
    if format == "safetensors":
        files = {folder / f"{token}.safetensors": save(tensors, labels)}
    elif format == "diffusers":
        places = (folder / token / name for name in (LEARNED, LEARNED_2))
        parts = tensors.values()
        files = {p: save({f"<{token}>": t}, labels) for p, t in zip(places, parts, strict=False)}
    elif format == "a1111":
        files = {folder / f"{token}.pt": _as_a1111(tensors, token, identity)}
    else:
        raise ValueError(f"format {format!r} is none of {', '.join(FORMATS)}")
    for path, content in files.items():
        write_atomically(path, content)
    return next(iter(files))


def default_token(identity: Identity) -> str:
    """The trigger word of an identity: lower-case ASCII letters, digits and hyphens."""
    return file_name(identity.name).removesuffix(SUFFIX)


def usage(path: Path) -> dict[str, str]:
    """How to use an exported file: tool -> what to do and to write there."""
    if path.name == LEARNED:
        token = path.parent.name
        sdxl = path.with_name(LEARNED_2).is_file()
        load = f'pipe.load_textual_inversion("{path.parent}")'
        if sdxl:
            load = _into_both([f'"{path}"', f'"{path.with_name(LEARNED_2)}"'], token)
        return {"diffusers": f"{load}, then prompt <{token}>"}
    token, file = path.stem, path.name
    # Always with `token`: without it diffusers takes "emb_params" for the trigger word.
    load = f'pipe.load_textual_inversion("{path}", token="<{token}>")'
    if SDXL_KEYS[1] in _content(path):
        read = "safetensors.torch.load_file" if path.suffix == ".safetensors" else "torch.load"
        words = f'words = {read}("{path}")'
        parts = [f'words["{key}"]' for key in SDXL_KEYS]
        load = f"import {read.rpartition('.')[0]}; {words}; {_into_both(parts, token)}"
    return {
        "diffusers": f"{load}, then prompt <{token}>",
        "A1111, Forge": f"copy {file} to embeddings/, then prompt {token}",
        "ComfyUI": f"copy {file} to models/embeddings/, then prompt embedding:{token}",
        "InvokeAI": f"import {file} in the model manager, then prompt <{token}>",
        "kohya sd-scripts": f"--textual_inversion_embeddings {file}, then prompt {token}",
    }


def _into_both(parts: Sequence[str], token: str) -> str:
    """diffusers' two calls for SDXL's encoders, with Python for the words of each.

    The last line keeps the end of a prompt where it is: configs of SDXL say that it is the token
    with the highest number, which the words of a new token would be.
    """
    calls = [
        f'pipe.load_textual_inversion({words}, token="<{token}>", '
        f"text_encoder=pipe.text_encoder{suffix}, tokenizer=pipe.tokenizer{suffix})"
        for words, suffix in zip(parts, ("", "_2"), strict=True)
    ]
    end = "pipe.text_encoder_2.text_model.eos_token_id = pipe.tokenizer_2.eos_token_id"
    return "; ".join([*calls, end])


def import_identities(
    path: Path,
    basis: CelebBasis,
    name: str | None = None,
    least: float = LEAST_KEPT,
) -> list[Imported]:
    """The person of a textual-inversion file, or all people of an official Celeb Basis `.pt`.

    Words are projected on the basis; a single vector is taken for a first word, with the mean
    second one. `name` None takes the file's own; several people are numbered. The file is never
    unpickled beyond tensors and plain containers. Raises IdentityNotFound, IdentityUnreadable,
    BadName, and EmbeddingUnusable if a vector's width or number is not the basis' or if less
    than `least` of the words lies within the basis.
    """
    found = _read(path)
    names = _numbered(name, len(found)) if name else list(found)
    return [
        _within(check_name(who.strip("<>")), words, basis, least)
        for who, words in zip(names, found.values(), strict=True)
    ]


def _within(name: str, vectors: Tensor, basis: CelebBasis, least: float) -> Imported:
    """Project (n, d) vectors on the basis."""
    k, d = basis.mean.shape
    count, width = vectors.shape
    if width != d:
        family = FAMILIES.get(width, "another model")
        raise EmbeddingUnusable(
            f"The embedding “{name}” is {width} wide ({family}), the words of "
            f"“{basis.base_model}” are {d} ({FAMILIES.get(d, 'a model of its own')}). "
            "Load the model that it was made for."
        )
    if count > k:
        raise EmbeddingUnusable(
            f"The embedding “{name}” has {count} vectors, a person here has {k} words. Use it in "
            "the tool that it was made with, or train the person from a photo."
        )
    words = basis.mean.clone()
    words[:count] = vectors
    coefficients = project(basis, words)
    away = (words - basis.mean).split(basis.widths, -1)
    lost = (words - compose(basis, coefficients)).split(basis.widths, -1)
    kept = min(_kept(part, rest) for part, rest in zip(away, lost, strict=True))
    if kept < least:
        raise EmbeddingUnusable(
            f"Only {kept:.0%} of the embedding “{name}” lies among the celebrities of "
            f"“{basis.base_model}”, {least:.0%} are asked for: what is left would be somebody "
            "else. Train the person from a photo, or accept a likeness: --least "
            f"{max(0.0, kept - 0.01):.2f}."
        )
    identity = Identity(
        name, coefficients, basis.id, basis.base_model, settings={"imported": round(kept, 4)}
    )
    return Imported(identity, kept)


def _kept(away: Tensor, lost: Tensor) -> float:
    total = away.square().sum()
    return 1.0 - float(lost.square().sum() / total) if total > 0 else 1.0


def _read(path: Path) -> dict[str, Tensor]:
    """Name -> vectors (n, d) float32 of any of the known layouts."""
    if not path.is_file():
        raise IdentityNotFound(f"There is no file {path}. Name an embedding file.")
    if path.stat().st_size > MOST_BYTES:
        raise EmbeddingUnusable(
            f"{path} has {path.stat().st_size / 1e6:.0f} MB: that is a model, no embedding. "
            "Name it with --model instead."
        )
    try:
        found = _layout(_content(path), path.stem)
        return {who: torch.atleast_2d(vectors.detach().float()) for who, vectors in found.items()}
    except (SafetensorError, pickle.UnpicklingError, OSError, RuntimeError, EOFError) as error:
        raise _unreadable(path, str(error).split("\n")[0]) from error
    except (KeyError, TypeError, AttributeError, ValueError, IndexError) as error:
        raise _unreadable(path, f"unexpected {error!r}") from error


def _unreadable(path: Path, why: str) -> IdentityUnreadable:
    return IdentityUnreadable(
        f"{path} is no embedding file of a known kind, or a damaged one ({why}). Known are "
        "textual-inversion files (.safetensors, .pt, .bin) and the official Celeb Basis .pt."
    )


def _content(path: Path) -> Any:
    """What is in a file, or in diffusers' two of a person for SDXL.

    Tensors and plain containers only; the first textual inversion wrote a ParameterDict.
    """
    if path.suffix == ".safetensors":
        content, second = load_file(path), path.with_name(LEARNED_2)
        if path.name == LEARNED and second.is_file():
            other = load_file(second)
            return {key: torch.cat([part, other[key]], -1) for key, part in content.items()}
        return content
    with torch.serialization.safe_globals([nn.ParameterDict]):
        return torch.load(path, map_location="cpu", weights_only=True)


def _layout(content: Any, stem: str) -> dict[str, Tensor]:
    """Tell the layouts of docs/interop.md apart."""
    if isinstance(content, Tensor):
        return {stem: content}
    if "string_to_param" in content:  # A1111; the first textual inversion's has no name
        vectors = dict(content["string_to_param"])
        return {content.get("name") or stem: next(iter(vectors.values()))}
    if "id_embeddings" in content:  # the official code: one entry per person, zeros unused
        people = [rows.flatten(0, -2) for rows in content["id_embeddings"] if rows.any()]
        return dict(zip(_numbered(stem, len(people)), people, strict=True))
    if "id_coefficients" in content or "meta_id_net" in content:
        raise EmbeddingUnusable(
            f"{stem} holds {', '.join(content)} of the official Celeb Basis code, which mean "
            "nothing without its own list of names and its basis. Write the file there again "
            "with test_mode “embedding”, or train the person from the photo."
        )
    if all(key in content for key in SDXL_KEYS):
        return {stem: torch.cat([content[key] for key in SDXL_KEYS], -1)}
    if len(content) != 1:
        raise ValueError(f"keys {list(content)[:5]}")
    key, vectors = next(iter(content.items()))
    return {stem if key in GENERIC_KEYS else key: vectors}


def _numbered(name: str, count: int) -> list[str]:
    return [name] if count == 1 else [f"{name}-{i + 1}" for i in range(count)]


def _as_a1111(tensors: dict[str, Tensor], token: str, identity: Identity) -> bytes:
    """What A1111's loader, diffusers (`name`, key `*`) and InvokeAI (`string_to_token`) want.

    Of SDXL they take the bare tensors.
    """
    buffer = io.BytesIO()
    if len(tensors) > 1:
        torch.save(tensors, buffer)
        return buffer.getvalue()
    (words,) = tensors.values()
    content = {
        "string_to_token": {"*": 265},  # the id of “*” in CLIP's vocabulary
        "string_to_param": {"*": words},
        "name": token,
        "step": int(identity.settings.get("trained", 0)),
        "sd_checkpoint": None,
        "sd_checkpoint_name": identity.base_model or None,
    }
    torch.save(content, buffer)
    return buffer.getvalue()


def _check_token(token: str) -> str:
    if file_name(token) != token + SUFFIX:
        raise BadName(
            f"“{token}” is no trigger word that every tool takes. Use up to 40 lower-case "
            "letters a-z, digits and single hyphens, for example “ada-2”."
        )
    return token
