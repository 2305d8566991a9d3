"""Untrusted tensor files -> tensors and plain containers, within bounds.

`torch.load` has no bounds, even with `weights_only`: a tensor with strides of zero takes gigabytes
in a file of 1 KB. So pickles are read here: their operations are counted before they run, no global
is looked up but the few that make tensors, and a tensor is made only of bytes that are there.
"""

import base64
import io
import math
import mmap
import pickle
import pickletools
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import torch
from safetensors.torch import load
from torch import Tensor

from celeb_core.errors import CelebError, quote
from celeb_core.files import MAX_DEPTH, parse_json, read_bytes
from celeb_core.formats.image_file import png_text

MAX_BYTES = 50_000_000  # of a file, and of what a zip holds
MAX_OPERATIONS = 20_000  # of the pickle of such a file
MAX_LARGE = 1_000_000  # operations of a model's pickle; those of Stable Diffusion have some 60,000
MAX_MEMBERS = 50_000  # of a zip
MAX_DIMENSIONS = 8
EMBEDDING_KEY = "sd-ti-embedding"  # of the text in A1111's PNG embeddings
PNG, ZIP, PICKLE = b"\x89PNG", b"PK\x03\x04", b"\x80"  # how a file begins
MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001  # the first pickles of torch.save's older format
DTYPES = {
    "DoubleStorage": torch.float64, "FloatStorage": torch.float32, "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16, "LongStorage": torch.int64, "IntStorage": torch.int32,
    "ShortStorage": torch.int16, "CharStorage": torch.int8, "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}  # fmt: skip


def read_tensor_file(path: Path, most: int = MAX_BYTES) -> Any:
    """Read safetensors, what torch.save wrote, or a PNG embedding: known by content, not suffix.

    Returns:
        Tensors in dicts, lists and tuples as the file has them; a ParameterDict becomes a dict.

    Raises:
        ValueError: It is of another kind, damaged, or has more than `most` bytes, also inflated.
        OSError: It is not there, or cannot be read.
    """
    content = read_bytes(path, most)
    with parsing():
        if content[8:9] == b"{":
            return parse_safetensors(content)[0]
        if content.startswith(PNG):
            return _parse_png(content)
        if content.startswith(ZIP):
            return _parse_zip(io.BytesIO(content), memoryview(content), most)
        if content.startswith(PICKLE):
            return _parse_old(io.BytesIO(content), memoryview(content), MAX_OPERATIONS)
        raise ValueError(f"it begins with {content[:12]!r}" if content else "it is empty")


def map_pickle(path: Path) -> Any:
    """Map what torch.save wrote into memory, as `read_tensor_file` returns it; of any size.

    Raises:
        ValueError: It is damaged, or holds more than tensors and plain containers.
        OSError: It is not there, or cannot be read.
    """
    with open(path, "rb") as file, parsing():
        content = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY))
        if content[:4] == ZIP:
            return _parse_zip(file, content, most=None)
        return _parse_old(file, content, MAX_LARGE)


def parse_safetensors(content: bytes) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors and the metadata of a safetensors file.

    Raises:
        ValueError: It is no such file, or damaged.
    """
    with parsing():
        length = int.from_bytes(content[:8], "little")
        if content[8:9] != b"{" or length > len(content) - 8:
            raise ValueError("no safetensors file, or a part of one")
        metadata: dict[str, str] = parse_json(content[8 : 8 + length]).get("__metadata__") or {}
        return load(content), metadata


@contextmanager
def parsing() -> Iterator[None]:
    """Within the block, whatever a parser of a damaged file throws becomes a ValueError."""
    try:
        yield
    except Exception as error:
        reason = quote(str(error).partition("\n")[0])
        named = isinstance(error, CelebError) or type(error) is ValueError
        what = reason if named else f"it is damaged: {type(error).__name__}: {reason}"
        raise ValueError(what) from error


def _parse_png(content: bytes) -> Any:
    if (text := png_text(content, EMBEDDING_KEY)) is None:
        raise ValueError(f"a PNG without the text {EMBEDDING_KEY}: use the .pt that it was made of")
    return _from_json(parse_json(base64.b64decode(text)))


def _from_json(value: Any) -> Any:
    """Return JSON with the tensors that A1111 writes as nested lists."""
    if isinstance(value, list):
        return [_from_json(inner) for inner in value]
    if not isinstance(value, dict):
        return value
    if "TORCHTENSOR" in value:
        return torch.tensor(value["TORCHTENSOR"], dtype=torch.float32)
    return {key: _from_json(inner) for key, inner in value.items()}


def _parse_zip(file: BinaryIO, content: memoryview, most: int | None) -> Any:
    """Parse a zip that has at most `most` bytes inflated; None: of any size, without copying."""
    # The directory, which zipfile reads as a whole, is at the end and has a mark for each member.
    if bytes(content[-MAX_BYTES:]).count(b"PK\x01\x02") > MAX_MEMBERS:
        raise ValueError(f"a zip of more than {MAX_MEMBERS:,} members")
    with zipfile.ZipFile(file) as archive:
        members = {info.filename: info for info in archive.infolist()}
        inflated = sum(info.file_size for info in members.values())
        if most is not None and inflated > most:
            raise ValueError(f"a zip of {inflated:,} bytes inflated; at most {most:,} are read")
        roots = [name.removesuffix("data.pkl") for name in members if name.endswith("data.pkl")]
        if len(roots) != 1 or members[f"{roots[0]}data.pkl"].file_size > MAX_BYTES:
            raise ValueError("a zip that torch.save did not write: it has no single data.pkl")
        (root,) = roots
        order = members.get(f"{root}byteorder")
        if order and archive.read(order) != b"little":
            raise ValueError("its numbers are in big-endian order")
        pickled = io.BytesIO(archive.read(members[f"{root}data.pkl"]))
        value, dtypes = _unpickle(pickled, MAX_LARGE if most is None else MAX_OPERATIONS)

        def storage(key: str) -> bytes | memoryview:
            member = members[f"{root}data/{key}"]
            return _stored(content, member) if most is None else archive.read(member)

        return _Tensors(dtypes, storage).within(value)


def _stored(content: memoryview, member: zipfile.ZipInfo) -> memoryview:
    """Return the bytes of a member of a zip as they lie there."""
    start = member.header_offset
    sizes = content[start + 26 : start + 28], content[start + 28 : start + 30]
    start += 30 + sum(int.from_bytes(size, "little") for size in sizes)
    if member.compress_type or start + member.file_size > len(content):
        raise ValueError(f"{member.filename} in it is compressed, or cut off")
    return content[start : start + member.file_size]


def _parse_old(file: BinaryIO, content: memoryview, operations: int) -> Any:
    """Parse the older format: pickles of marks, the content and keys, then the storages."""
    marks = [_unpickle(file, operations)[0] for _ in range(3)]
    if marks[:2] != [MAGIC, PROTOCOL] or not marks[2]["little_endian"]:
        raise ValueError("a pickle that torch.save did not write, or in big-endian order")
    value, dtypes = _unpickle(file, operations)
    keys, storages = _unpickle(file, operations)[0], {}
    start = file.tell()
    for key in keys:
        count = int.from_bytes(content[start : start + 8], "little")
        end = start + 8 + count * dtypes[key].itemsize
        storages[key], start = content[start + 8 : end], end
    return _Tensors(dtypes, storages.__getitem__).within(value)


class _View(NamedTuple):
    """A tensor whose storage is still to be read."""

    storage: Any
    offset: Any
    size: Any
    stride: Any


class _ParameterDict:
    """What a pickle says of one; PyTorch keeps the parameters in `_parameters` of its state."""

    parameters: Any = None

    def __setstate__(self, state: Any) -> None:
        self.parameters = state["_parameters"]


def _unpickle(file: BinaryIO, operations: int) -> tuple[Any, dict[str, torch.dtype]]:
    """Unpickle one object; tensors become views of storages, whose dtypes are returned too."""
    start = file.tell()
    argument: Any
    for count, (operation, argument, _) in enumerate(pickletools.genops(file)):
        # Python's unpickler allocates as many places as the highest index says.
        if max(count, argument if "PUT" in operation.name else 0) > operations:
            raise ValueError(f"a pickle of more than {operations:,} operations")
    file.seek(start)
    unpickler = _Unpickler(file)
    return unpickler.load(), unpickler.dtypes


class _Unpickler(pickle.Unpickler):
    """Knows no global but those of tensors and plain containers."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file, encoding="utf-8")
        self.dtypes: dict[str, torch.dtype] = {}

    def find_class(self, module: str, name: str) -> Any:
        """Return what stands for a global; functions are made anew, as a pickle can alter them."""
        known: dict[str, Any] = {
            "collections.OrderedDict": OrderedDict,
            "builtins.set": set,
            "__builtin__.set": set,
            "torch.Size": tuple,
            "torch.nn.modules.container.ParameterDict": _ParameterDict,
            "torch._utils._rebuild_parameter": lambda data, *_: data,
            "torch._utils._rebuild_tensor": lambda *view: _View(*view),
            "torch._utils._rebuild_tensor_v2": lambda *view: _View(*view[:4]),
            **{f"torch.{storage}": dtype for storage, dtype in DTYPES.items()},
            **{str(dtype): dtype for dtype in DTYPES.values()},
        }
        if f"{module}.{name}" not in known:
            raise ValueError(f"it holds {module}.{name}: only tensors and containers are read")
        return known[f"{module}.{name}"]

    def persistent_load(self, saved: Any) -> Any:
        """Note the dtype of a storage and return its key; of a module, return its class."""
        match saved:
            case ("module", found, _, _):  # the older format adds the source
                return found
            case ("storage", torch.dtype() as dtype, str() as key, _, _, *view) if not any(view):
                self.dtypes[key] = dtype
                return key
        raise ValueError("a storage that torch.save does not write")


class _Tensors:
    """Puts tensors in the place of views.

    Args:
        dtypes: Of the storages.
        storage: Returns the bytes of one by its key.
    """

    def __init__(
        self, dtypes: dict[str, torch.dtype], storage: Callable[[str], bytes | memoryview]
    ) -> None:
        self.dtypes, self.storage = dtypes, storage
        self.whole: dict[str, Tensor] = {}  # storages that were read
        self.done: dict[int, Any] = {}  # containers, which may be shared, by their id

    def within(self, value: Any, left: int = MAX_DEPTH) -> Any:
        """Return a value with tensors, within containers that are nested at most `left` times."""
        if isinstance(value, _View):
            return self._tensor(value)
        if isinstance(value, _ParameterDict):
            value = value.parameters
        if not isinstance(value, dict | list | tuple):
            return value
        if not left:
            raise ValueError("containers that are nested too deeply")
        if id(value) not in self.done:
            if isinstance(value, dict):
                made: Any = {key: self.within(inner, left - 1) for key, inner in value.items()}
            else:
                made = type(value)(self.within(inner, left - 1) for inner in value)
            self.done[id(value)] = made
        return self.done[id(value)]

    def _tensor(self, view: _View) -> Tensor:
        key, offset, size, stride = view
        if len(size) > MAX_DIMENSIONS or not all(isinstance(length, int) for length in size):
            raise ValueError("a tensor of no shape")
        if not (count := math.prod(size)):
            return torch.empty(size, dtype=self.dtypes[key])
        if key not in self.whole:
            buffer = memoryview(self.storage(key))
            writable = bytearray(buffer) if buffer.readonly else buffer
            self.whole[key] = torch.frombuffer(writable, dtype=self.dtypes[key])
        whole = self.whole[key]
        if count > len(whole):  # strides of zero repeat them
            raise ValueError(f"a tensor of shape {size} that is made of {len(whole)} numbers")
        return whole.as_strided(size, stride, offset)
