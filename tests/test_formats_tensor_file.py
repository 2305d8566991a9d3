from __future__ import annotations

import base64
import io
import json
import pickle
import struct
import zipfile
import zlib
from collections import OrderedDict

import pytest
import torch
from safetensors.torch import save
from torch import nn

from celeb_core.formats import tensor_file as module
from celeb_core.formats.tensor_file import map_pickle, parse_safetensors, read_tensor_file

ROWS = torch.arange(12.0).reshape(2, 6)


def saved(content, zipped: bool = True) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, _use_new_zipfile_serialization=zipped)
    return buffer.getvalue()


def rezipped(content: bytes, changes: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    """A zip of torch.save's with other members, by the end of their names."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(buffer, "w", method) as new:
        for name in old.namelist():
            tail = name.partition("/")[2]
            new.writestr(name, changes.get(tail, old.read(name)))
    return buffer.getvalue()


def png_of(text: bytes) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + check

    begin = chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + begin + chunk(b"tEXt", text) + chunk(b"IEND", b"")


@pytest.fixture
def read(tmp_path):
    """Reads bytes as the file of a person, and as that of a model."""

    def read(content: bytes, how=read_tensor_file):
        (tmp_path / "file").write_bytes(content)
        return how(tmp_path / "file")

    return read


@pytest.mark.parametrize("how", [read_tensor_file, map_pickle])
@pytest.mark.parametrize("zipped", [True, False])
def test_what_torch_save_writes(zipped, how, read):
    base = torch.arange(100.0)
    content = {
        "rows": ROWS,
        "views": [base[3:9], base.view(10, 10)[2:5].T, ROWS.half()],
        "numbers": OrderedDict(step=3, name="ada", none=None, size=torch.Size([1, 2])),
        "others": {dtype: torch.ones(2, dtype=dtype) for dtype in module.DTYPES.values()},
        "none": torch.zeros(0, 6),
        "parameter": nn.Parameter(ROWS),
        "dict": nn.ParameterDict({"*": nn.Parameter(ROWS)}),
    }
    found = read(saved(content, zipped), how)
    assert list(found) == list(content) and found["numbers"] == content["numbers"]
    assert torch.equal(found["rows"], ROWS) and torch.equal(found["parameter"], ROWS)
    assert list(found["dict"]) == ["*"] and torch.equal(found["dict"]["*"], ROWS)
    assert found["none"].shape == (0, 6)
    for ours, theirs in zip(found["views"], content["views"], strict=True):
        assert torch.equal(ours, theirs)
    for dtype, ones in found["others"].items():
        assert torch.equal(ones, torch.ones(2, dtype=dtype))


def test_a_parameter_dict_of_old_versions(read):
    """PyTorch 1.10 kept the parameters in `_parameters` and nothing else about its keys."""

    old = nn.ParameterDict.__new__(nn.ParameterDict)
    parameters = OrderedDict({"*": nn.Parameter(ROWS)})
    vars(old).update(training=True, _parameters=parameters)
    found = read(saved({"string_to_param": old}))
    assert torch.equal(found["string_to_param"]["*"], ROWS)


def test_safetensors_and_png_by_content(read):
    assert torch.equal(read(save({"a": ROWS}))["a"], ROWS)
    tensors, metadata = parse_safetensors(save({"a": ROWS}, {"format": "x"}))
    assert torch.equal(tensors["a"], ROWS) and metadata == {"format": "x"}
    content = {"name": "ada", "string_to_param": {"*": {"TORCHTENSOR": ROWS.tolist()}}}
    text = base64.b64encode(json.dumps(content).encode())
    found = read(png_of(b"sd-ti-embedding\0" + text))
    assert found["name"] == "ada" and torch.equal(found["string_to_param"]["*"], ROWS)
    with pytest.raises(ValueError, match=r"without the text sd-ti-embedding: use the \.pt"):
        read(png_of(b"parameters\0a hat"))
    with pytest.raises(ValueError, match="it begins with b'hello'"):
        read(b"hello")


class Call:
    def __init__(self, function, *arguments) -> None:
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("how", [read_tensor_file, map_pickle])
@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize(
    "function",
    [exec, bytearray, torch.empty, torch.sparse_coo_tensor, getattr, zipfile.ZipFile, nn.Linear],
)
def test_nothing_is_called(function, zipped, how, read):
    """PyTorch allows `bytearray`, which takes as many gigabytes as it is told."""
    with pytest.raises(ValueError, match="only tensors and containers are read") as caught:
        read(saved({"a": Call(function, 10**11)}, zipped), how)
    assert "weights_only" not in str(caught.value) and "safe_globals" not in str(caught.value)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("size", [(30_000, 20_000), (2**40,), (2,) * 12])
def test_tensors_that_expand(size, zipped, read):
    with pytest.raises(ValueError, match="made of 1 numbers|of no shape"):
        read(saved({"a": torch.zeros(1).expand(size)}, zipped))


def test_zips_that_expand(read):
    small = saved({"a": ROWS})
    big = rezipped(small, {"data/0": b"\0" * (module.MAX_BYTES + 1)}, zipfile.ZIP_DEFLATED)
    assert len(big) < 100_000
    with pytest.raises(ValueError, match="bytes inflated; at most 50,000,000"):
        read(big)
    assert torch.equal(read(rezipped(small, {}, zipfile.ZIP_DEFLATED))["a"], ROWS)
    lying, name = bytearray(big), b"archive/data/0"  # about its size, in both places
    for at in (big.index(name) - 8, big.rindex(name) - 22):
        lying[at : at + 4] = struct.pack("<I", 48)
    with pytest.raises(ValueError, match="Bad CRC"):
        read(bytes(lying))
    with pytest.raises(ValueError, match="no single data.pkl"):
        read(rezipped(small, {"data.pkl": b""}).replace(b"data.pkl", b"data.pkk"))
    with pytest.raises(ValueError, match="big-endian"):
        read(rezipped(small, {"byteorder": b"big"}))


def test_pickles_that_take_long(read):
    many = {"id_embeddings": [ROWS] * 20_000}  # of 8 KB, deflated
    with pytest.raises(ValueError, match="more than 20,000 operations"):
        read(rezipped(saved(many), {}, zipfile.ZIP_DEFLATED))
    for far in (b"r" + b"\xff" * 4, b"p4000000000\n"):  # Python's unpickler would allocate as many
        with pytest.raises(ValueError, match="operations"):
            read(rezipped(saved({}), {"data.pkl": b"\x80\x02}" + far + b"."}))
    nested: list = []
    for _ in range(40):
        nested = [nested, nested]
    with pytest.raises(ValueError, match="nested too deeply"):
        read(saved(nested))
    nested.append(nested)
    with pytest.raises(ValueError, match="nested too deeply"):
        read(saved(nested))


@pytest.mark.parametrize("zipped", [True, False])
def test_views_beyond_their_storage(zipped, read):
    """PyTorch reads what lies behind it in memory."""
    whole = saved({"a": torch.zeros(1000)}, zipped)
    if zipped:
        whole = rezipped(whole, {"data/0": b"\0" * 16})
    else:
        whole = whole[:-3996]
    with pytest.raises(ValueError, match="made of|damaged"):
        read(whole)
    with pytest.raises(ValueError, match="made of|damaged"):
        read(whole, map_pickle)


def test_a_plain_pickle_is_not_torchs(read):
    with pytest.raises(ValueError):
        read(pickle.dumps({"a": 1}, protocol=2))
    with pytest.raises(ValueError, match="no safetensors file"):
        parse_safetensors(b"")
