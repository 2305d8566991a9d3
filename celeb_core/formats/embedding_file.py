"""Embedding file of another tool -> the vectors of each person, whatever its layout."""

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from celeb_core.errors import EmbeddingUnusable, quote
from celeb_core.formats.tensor_file import read_tensor_file

SDXL_KEYS = ("clip_l", "clip_g")  # its two text encoders
TRAINER_KEYS = ("text_encoders_0", "text_encoders_1")  # the same, of trainers for SDXL
GENERIC_KEYS = ("emb_params", *SDXL_KEYS, *TRAINER_KEYS, "*")  # they name no person: the file does
LEARNED, LEARNED_2 = "learned_embeds.safetensors", "learned_embeds_2.safetensors"  # diffusers'
MAX_PEOPLE = 64  # of one file
MAX_NUMBERS = 200_000  # of one person: far more than two vectors have
MAX_NAME = 200  # characters of a name: far more than are allowed


def read_embeddings(path: Path, widths: Sequence[int]) -> tuple[str, list[Tensor]]:
    """Read a file, or a folder of diffusers, in a layout of docs/textual_inversion.md.

    Args:
        path: Of the file or folder.
        widths: Of the model's text encoders, for files that have vectors for several models.

    Returns:
        The name that it gives its person, and the vectors (n, width) of one or several people,
        finite and float32; those of two text encoders side by side.

    Raises:
        ValueError: It is damaged, of an unknown kind, or beyond MAX_PEOPLE or MAX_NUMBERS.
        EmbeddingUnusable: It holds coefficients of another basis.
        OSError: It is not there, or cannot be read.
    """
    name, found = _layout(_content(path), path.name if path.is_dir() else path.stem, widths)
    if not found:
        raise ValueError("it holds nobody: there are no vectors, or only unused ones")
    return name[:MAX_NAME], [_vectors(one) for one in found]


def _content(path: Path) -> Any:
    """Read a file, or diffusers' folder; the two files that it writes for SDXL are joined."""
    if path.is_dir():
        files = path / LEARNED, (path / LEARNED).with_suffix(".bin")
        path = next(filter(Path.is_file, files), files[0])
    content, second = read_tensor_file(path), (path.parent / LEARNED_2).with_suffix(path.suffix)
    if path.stem == Path(LEARNED).stem and second.is_file():
        other = read_tensor_file(second)
        if not isinstance(content, dict) or not isinstance(other, dict) or len(content) != 1:
            raise ValueError(f"{path.name} and {second.name} do not hold one embedding each")
        return {key: _side_by_side([part, other.get(key)]) for key, part in content.items()}
    return content


def _layout(content: Any, stem: str, widths: Sequence[int]) -> tuple[str, list[Any]]:
    """Tell the layouts of docs/textual_inversion.md apart: a name, and the embeddings of each."""
    if isinstance(content, Tensor):
        return stem, [content]
    if isinstance(content, list):
        return stem, [_by_width(content, widths)]
    if not isinstance(content, dict):
        raise ValueError(f"it holds a {type(content).__name__}, not vectors")
    if "string_to_param" in content:  # A1111; the first textual inversion's has no name
        own, found = content.get("name"), content["string_to_param"]
        return own if isinstance(own, str) and own else stem, [*_values(found)]
    if "id_embeddings" in content:
        return stem, _used(content["id_embeddings"])
    if "id_coefficients" in content or "meta_id_net" in content:
        raise EmbeddingUnusable(
            f"{stem} holds {_some(content)}, useless without the official code's basis. Write "
            "it there again with test_mode “embedding”, or train the person from the photo."
        )
    for keys in (SDXL_KEYS, TRAINER_KEYS):
        if all(key in content for key in keys):
            return stem, [_side_by_side([content[key] for key in keys])]
    if len(content) != 1:
        raise ValueError(f"it has the keys {_some(content)}, not those of an embedding")
    key, vectors = next(iter(content.items()))
    if isinstance(vectors, list):
        vectors = _by_width(vectors, widths)
    return stem if key in GENERIC_KEYS else str(key), [vectors]


def _used(slots: Any) -> list[Tensor]:
    """Return the embeddings of the people in an official file, which has a slot for each.

    Slots that were not used are as they were made: zeros, numbers from 0 to 1, or the embedding of
    the initialiser's word, the same in all rows and slots.
    """
    tables = [
        slot.flatten(0, -2) if isinstance(slot, Tensor) and slot.ndim > 2 else slot
        for slot in _values(slots)
    ]
    people = [_vectors(table) for table in tables]
    times = Counter(rows.numpy().tobytes() for rows in people)
    return [
        rows
        for rows in people
        if times[rows.numpy().tobytes()] == 1
        and bool((rows < 0).any())
        and (len(rows) == 1 or bool((rows != rows[0]).any()))
    ]


def _values(found: Any) -> list[Any]:
    """Return what is in a container of tensors; a few, as a few people are read."""
    if not isinstance(found, dict | list | tuple):
        raise ValueError(f"it holds a {type(found).__name__} where vectors are expected")
    if len(found) > MAX_PEOPLE:
        raise ValueError(f"it holds {len(found):,} people or parts; at most {MAX_PEOPLE} are read")
    return [*(found.values() if isinstance(found, dict) else found)]


def _by_width(parts: Sequence[Any], widths: Sequence[int]) -> Tensor:
    """Join vectors as ComfyUI does: a list of tensors, or of dicts of them, told apart by width."""
    dicts = [part for part in _values(parts) if isinstance(part, dict)]
    parts = [part for part in parts if not isinstance(part, dict)]
    rows = [_vectors(one) for one in (*parts, *(one for part in dicts for one in _values(part)))]
    fitting = [[part for part in rows if part.shape[1] == width] for width in widths]
    if not all(fitting):
        raise ValueError(
            f"its vectors are {[part.shape[1] for part in rows]} wide, those of the model {widths}"
        )
    return _side_by_side([torch.cat(part) for part in fitting])


def _side_by_side(parts: Sequence[Any]) -> Tensor:
    """Join the vectors (n, width) of several text encoders."""
    rows = [_vectors(part) for part in parts]
    if len({len(part) for part in rows}) > 1:
        raise ValueError(f"its text encoders have {[len(part) for part in rows]} vectors")
    return torch.cat(rows, -1)


def _vectors(value: Any) -> Tensor:
    """Return vectors (n, width) in float32, or raise ValueError: something is wrong with them."""
    if not isinstance(value, Tensor):
        raise ValueError(f"it holds a {type(value).__name__} where vectors are expected")
    shape = tuple(value.shape)
    if not value.numel():
        raise ValueError(f"it holds no vector, but a tensor of shape {shape}")
    if len(shape) not in (1, 2) or value.numel() > MAX_NUMBERS or not value.is_floating_point():
        raise ValueError(
            f"it holds a tensor of shape {shape} of {value.dtype}; expected are one or two vectors "
            "of floats, (1, width) or (2, width)"
        )
    rows = value.detach().float()
    if not rows.isfinite().all():
        raise ValueError(f"its vectors of shape {shape} have NaN or infinite numbers")
    return rows.reshape(-1, shape[-1])


def _some(content: Iterable[Any]) -> str:
    return quote(", ".join(str(key) for key in islice(content, 5)))
