"""Every layout of docs/textual_inversion.md, and what is refused."""

from __future__ import annotations

import base64
import json
import shutil

import pytest
import torch
from safetensors.torch import save, save_file
from test_formats_tensor_file import png_of
from torch import nn

from celeb_core.errors import EmbeddingUnusable
from celeb_core.formats.embedding_file import MAX_NUMBERS, MAX_PEOPLE, read_embeddings

WIDE, WIDER = 6, 10  # of two text encoders
FIRST = torch.randn(2, WIDE, generator=torch.Generator().manual_seed(0))
SECOND = torch.randn(2, WIDER, generator=torch.Generator().manual_seed(1))
BOTH = torch.cat([FIRST, SECOND], 1)


@pytest.fixture
def read(tmp_path):
    def read(content, widths=(WIDE,), name: str = "file.pt"):
        if isinstance(content, bytes):
            (tmp_path / name).write_bytes(content)
        else:
            torch.save(content, tmp_path / name)
        return read_embeddings(tmp_path / name, widths)

    return read


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (FIRST, "file"),
        (FIRST.half().double(), "file"),
        ({"<ada>": FIRST}, "<ada>"),
        ({"emb_params": FIRST}, "file"),
        ({"clip_l": FIRST}, "file"),
        ({"text_encoders_0": FIRST}, "file"),
        ({"string_to_param": {"*": FIRST}, "name": "ada", "step": 3}, "ada"),
        ({"string_to_param": {"*": FIRST}, "name": None}, "file"),
        ({"string_to_param": {"*": FIRST}, "name": FIRST}, "file"),
        ({"string_to_param": nn.ParameterDict({"*": nn.Parameter(FIRST)})}, "file"),
        ([{"clip_l": FIRST}, {"clip_g": SECOND}], "file"),
        ([FIRST[:1], FIRST[1], SECOND], "file"),
        ({"ada": [FIRST, SECOND]}, "ada"),
    ],
)
def test_one_text_encoder(content, name, read):
    own, (vectors,) = read(content)
    assert own == name and vectors.dtype == torch.float32
    assert torch.allclose(vectors, FIRST, atol=2e-3)


@pytest.mark.parametrize(
    ("content", "name"),
    [
        ({"clip_l": FIRST, "clip_g": SECOND}, "file"),
        ({"text_encoders_0": FIRST, "text_encoders_1": SECOND}, "file"),
        ({"text_encoders_1": SECOND, "text_encoders_0": FIRST}, "file"),
        ([{"clip_g": SECOND}, {"clip_l": FIRST}], "file"),
        ({"ada": [FIRST, SECOND]}, "ada"),
    ],
)
def test_two_text_encoders(content, name, read):
    own, (vectors,) = read(content, (WIDE, WIDER))
    assert own == name and torch.equal(vectors, BOTH)


@pytest.mark.parametrize("name", ["a.safetensors", "a.pt", "a.PT", "a.SafeTensors", "a.bin", "a"])
def test_content_counts_and_not_the_suffix(name, read):
    for content in (save({"emb_params": FIRST}), {"emb_params": FIRST}):
        assert torch.equal(read(content, name=name)[1][0], FIRST)


def test_a_png_embedding(read):
    content = {"name": "ada", "string_to_param": {"*": {"TORCHTENSOR": FIRST.tolist()}}}
    text = base64.b64encode(json.dumps(content).encode())
    own, (vectors,) = read(png_of(b"sd-ti-embedding\0" + text), name="ada.png")
    assert own == "ada" and torch.equal(vectors, FIRST)


@pytest.mark.parametrize("suffix", ["safetensors", "bin"])
def test_folders_of_diffusers(suffix, tmp_path):
    folder = tmp_path / "trained"
    folder.mkdir()
    with pytest.raises(FileNotFoundError, match="learned_embeds"):
        read_embeddings(folder, (WIDE,))
    write = save_file if suffix == "safetensors" else torch.save
    write({"<ada>": FIRST}, folder / f"learned_embeds.{suffix}")
    name, (vectors,) = read_embeddings(folder, (WIDE,))
    assert name == "<ada>" and torch.equal(vectors, FIRST)
    write({"<ada>": SECOND}, folder / f"learned_embeds_2.{suffix}")
    for path in (folder, folder / f"learned_embeds.{suffix}"):
        name, (vectors,) = read_embeddings(path, (WIDE, WIDER))
        assert name == "<ada>" and torch.equal(vectors, BOTH)
    write({"<bob>": SECOND}, folder / f"learned_embeds_2.{suffix}")
    with pytest.raises(ValueError, match="NoneType where vectors are expected"):
        read_embeddings(folder, (WIDE, WIDER))
    shutil.copy(folder / f"learned_embeds.{suffix}", folder / "other")
    assert torch.equal(read_embeddings(folder / "other", (WIDE,))[1][0], FIRST)


def test_who_is_in_an_official_file(read):
    """Slots are made as rows of the initialiser's word; without one, as numbers from 0 to 1."""
    word = torch.randn(WIDE)
    people = [FIRST.half(), FIRST[:, None] * 2]
    unused = [word.repeat(2, 1), torch.zeros(2, WIDE), torch.rand(2, WIDE)]
    name, found = read({"id_embeddings": [unused[0], people[0], *unused, people[1], unused[0]]})
    assert name == "file" and len(found) == 2
    assert torch.allclose(found[0], FIRST, atol=2e-3) and torch.equal(found[1], FIRST * 2)
    rows = [word[None], FIRST[:1], word[None], word[None]]  # of one vector for each person
    assert torch.equal(read({"id_embeddings": rows})[1][0], FIRST[:1])
    for nobody in ([], unused, [word.repeat(2, 1)] * 10, [FIRST] * 3):
        with pytest.raises(ValueError, match="holds nobody"):
            read({"id_embeddings": nobody})
    for key in ("id_coefficients", "meta_id_net"):
        with pytest.raises(EmbeddingUnusable, match=key):
            read({key: [torch.ones(2, 1, 512)]})


@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        (torch.zeros(0, WIDE), r"no vector, but a tensor of shape \(0, 6\)"),
        (torch.zeros(2, 0), "no vector"),
        (FIRST[None], r"shape \(1, 2, 6\) of torch.float32; expected are one or two vectors"),
        (torch.tensor(1.0), r"shape \(\)"),
        (torch.ones(2, WIDE, dtype=torch.int64), "torch.int64; expected"),
        (torch.ones(2, WIDE, dtype=torch.bool), "torch.bool; expected"),
        (FIRST / 0, "NaN or infinite"),
        (FIRST * torch.nan, "NaN or infinite"),
        (FIRST.double() * 1e300, "NaN or infinite"),
        (torch.zeros(MAX_NUMBERS // WIDE + 1, WIDE), "expected are one or two vectors"),
        ("text", "str where vectors are expected"),
        (None, "NoneType where"),
        ({"a": FIRST}, "dict where"),
        ([], r"vectors are \[\] wide, those of the model \(6,\)"),
        ([SECOND], r"vectors are \[10\] wide"),
        ([[[FIRST]]], "list where"),
    ],
)
def test_what_is_no_vector(vectors, message, read):
    for content in ({"ada": vectors}, {"string_to_param": {"*": vectors}}):
        if isinstance(vectors, list) and "string_to_param" in content:
            message = "list where"
        with pytest.raises(ValueError, match=message):
            read(content)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "has the keys"),
        ("text", "holds a str"),
        ({"a": FIRST, "b": FIRST}, "has the keys a, b, not those of an embedding"),
        ({"string_to_param": {}}, "holds nobody"),
        ({"string_to_param": 3}, "holds a int where"),
        ({"id_embeddings": FIRST}, "holds a Tensor where"),
        (
            {"string_to_param": dict.fromkeys(range(MAX_PEOPLE + 1), FIRST)},
            "65 people .* at most 64",
        ),
        ({"id_embeddings": [FIRST] * (MAX_PEOPLE + 1)}, "65 people .* at most 64"),
        ([FIRST] * (MAX_PEOPLE + 1), "65 people or parts; at most 64"),
        ({"clip_l": FIRST, "clip_g": SECOND[:1]}, r"text encoders have \[2, 1\] vectors"),
    ],
)
def test_what_is_no_embedding_file(content, message, read):
    with pytest.raises(ValueError, match=message):
        read(content)


def test_several_concepts_are_several_people(read):
    _, found = read({"string_to_param": {"a": FIRST, "b": FIRST * 2}})
    assert torch.equal(found[0], FIRST) and torch.equal(found[1], FIRST * 2)
