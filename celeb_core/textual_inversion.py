"""Textual-inversion files of other tools, out and in."""

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save
from torch import Tensor, nn

from celeb_core.basis import compose, person_embeddings, project
from celeb_core.errors import BadName, EmbeddingUnusable, IdentityNotFound, IdentityUnreadable
from celeb_core.files import write_atomically
from celeb_core.identity import SUFFIX, check_name, file_name
from celeb_core.models import Models
from celeb_core.types import CelebBasis, Identity

FORMATS = {  # name of an export format -> what is written
    "safetensors": "TOKEN.safetensors for A1111, Forge, ComfyUI, InvokeAI, kohya and diffusers",
    "a1111": "TOKEN.pt for A1111",
    "diffusers": "TOKEN/learned_embeds.safetensors, which brings its token along",
}
SDXL_KEYS = ("clip_l", "clip_g")  # its two text encoders
GENERIC_KEYS = ("emb_params", *SDXL_KEYS, "*")  # they name no person: the file's name does
FAMILIES = {768: "SD 1.x", 1024: "SD 2.x", 1280: "SDXL's second encoder alone", 2048: "SDXL"}
READERS = {SUFFIX: "safetensors.torch import load_file", ".pt": "torch import load"}
LEARNED, LEARNED_2 = "learned_embeds.safetensors", "learned_embeds_2.safetensors"  # diffusers'
MAX_BYTES = 50_000_000


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
    name, made safe. Returns the file, 6 KB (SDXL's 16 KB); of diffusers' two for SDXL the first.

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
    token = token or file_name(identity.name).removesuffix(SUFFIX)
    about = {"format": "pt", "name": identity.name, "basis_id": basis.id}
    about["base_model"] = identity.base_model
    parts = zip((LEARNED, LEARNED_2), tensors.values(), strict=False)
    files = {
        "safetensors": {f"{token}.safetensors": save(tensors, about)},
        "diffusers": {f"{token}/{name}": save({f"<{token}>": part}, about) for name, part in parts},
        "a1111": {f"{token}.pt": _as_a1111(tensors, token, identity)},
    }
    return [write_atomically(folder / name, file) for name, file in files[format].items()][0]


def _as_a1111(tensors: dict[str, Tensor], token: str, identity: Identity) -> bytes:
    """Serialise for A1111, diffusers (`name`, key `*`) and InvokeAI (`string_to_token`)."""
    content = {
        "string_to_token": {"*": 265},  # the id of “*” in CLIP's vocabulary
        "string_to_param": {"*": next(iter(tensors.values()))},
        "name": token,
        "step": int(identity.settings.get("trained", 0)),
        "sd_checkpoint": None,
        "sd_checkpoint_name": identity.base_model or None,
    }
    buffer = io.BytesIO()
    torch.save(content if len(tensors) == 1 else tensors, buffer)  # SDXL's are bare tensors
    return buffer.getvalue()


def usage_notes(path: Path) -> dict[str, str]:
    """Return how to use an exported file: tool -> what to do, and what to write in the prompt."""
    file, second = path.name, path.with_name(LEARNED_2)
    token = path.parent.name if file == LEARNED else path.stem
    calls, sources = [], [f'"{path}"']
    if file == LEARNED and second.is_file():
        sources.append(f'"{second}"')
    elif SDXL_KEYS[1] in _content(path):
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
    """Read the person of a textual-inversion file, or all people of an official Celeb Basis `.pt`.

    Token embeddings are projected on the basis, which must be of the model that they were made
    for; a single one is taken for the first, with the mean second one. `name` None is the file's
    own; several people are numbered. `min_explained` is the least `Imported.explained`, 0 to 1.

    Raises:
        IdentityNotFound, IdentityUnreadable: It is not there; it is damaged or of an unknown kind.
        BadName: The name is not allowed.
        EmbeddingUnusable: The embeddings are too wide, too many or too far from the basis.
    """
    if not path.is_file():
        raise IdentityNotFound(f"There is no file {path}. Name an embedding file.")
    if (size := path.stat().st_size) > MAX_BYTES:
        raise EmbeddingUnusable(
            f"{path} has {size / 1e6:.0f} MB: a model, no embedding. Start with it as the model.",
            option="--model FILE",
        )
    try:
        own, found = _layout(_content(path), path.stem)
        people = [torch.atleast_2d(rows.detach().float()) for rows in found]
        if not all(rows.ndim == 2 and rows.isfinite().all() for rows in people):
            raise ValueError("vectors that are not finite, or not in a table")
    except EmbeddingUnusable:
        raise
    except Exception as error:  # a parser of foreign files may raise anything
        reason = f"{type(error).__name__}: {error}".partition("\n")[0]
        raise IdentityUnreadable(
            f"{path} is no embedding file of a known kind, or a damaged one ({reason}). Known are "
            "textual-inversion files (.safetensors, .pt, .bin) and the official Celeb Basis .pt."
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
    away, lost = (
        torch.stack([part.square().sum() for part in difference.split(basis.widths, -1)])
        for difference in (embeddings - basis.mean, embeddings - compose(basis, coefficients))
    )
    explained = 1 - float((lost / away.clamp_min(torch.finfo(away.dtype).tiny)).max())
    if explained < min_explained:
        raise EmbeddingUnusable(
            f"Only {explained:.0%} of “{name}” lies among the celebrities of “{basis.base_model}”, "
            f"{min_explained:.0%} are asked for: the person would be lost. Train on a photo, or "
            "use it in the tool that made it.",
            option=f"--min-explained {max(0.0, explained - 0.01):.2f}",
        )
    about = (basis.id, basis.base_model, "", {"imported": round(explained, 4)})
    return Imported(Identity(name, coefficients, *about), explained)


def _content(path: Path) -> Any:
    """Read a file, or diffusers' two of a person for SDXL: tensors and plain containers only."""
    if path.suffix != ".safetensors":
        with torch.serialization.safe_globals([nn.ParameterDict]):  # the first textual inversion's
            return torch.load(path, map_location="cpu", weights_only=True)
    content, second = load_file(path), path.with_name(LEARNED_2)
    if path.name == LEARNED and second.is_file():
        other = load_file(second)
        return {key: torch.cat([part, other[key]], -1) for key, part in content.items()}
    return content


def _layout(content: Any, stem: str) -> tuple[str, list[Tensor]]:
    """Tell the layouts of docs/textual_inversion.md apart: a name, and the embeddings of each."""
    if isinstance(content, Tensor):
        return stem, [content]
    if "string_to_param" in content:  # A1111; the first textual inversion's has no name
        return content.get("name") or stem, [*dict(content["string_to_param"]).values()][:1]
    if "id_embeddings" in content:  # the official code: one entry per person, zeros unused
        return stem, [rows.flatten(0, -2) for rows in content["id_embeddings"] if rows.any()]
    if "id_coefficients" in content or "meta_id_net" in content:
        raise EmbeddingUnusable(
            f"{stem} holds {', '.join(content)}, useless without the official code's basis. Write "
            "it there again with test_mode “embedding”, or train the person from the photo."
        )
    if all(key in content for key in SDXL_KEYS):
        return stem, [torch.cat([content[key] for key in SDXL_KEYS], -1)]
    if len(content) != 1:
        raise ValueError(f"keys {list(content)[:5]}")
    key, vectors = next(iter(content.items()))
    return stem if key in GENERIC_KEYS else key, [vectors]
