"""Files of people, embeddings and checkpoints, and mutations of them: bytes, headers, pickles."""

from __future__ import annotations

import base64
import io
import json
import pickletools
import random
import zipfile
from collections.abc import Callable

import torch
from safetensors.torch import save
from test_formats_tensor_file import png_of
from torch import nn

DTYPES = "F64 F32 F16 BF16 I64 I32 I8 U8 BOOL F8_E4M3 F8_E5M2 C64 U16 U64 F4 X".split()
SHAPES = [[], [0], [2], [0, 48], [2, 2**31], [-1], [2**62, 4], "x", [[2]], [1.5], None, [1] * 70]
TEXTS = ["", "[", "[1]", "{}", "null", "-Infinity", "NaN", "9" * 5000, "[" * 5000, '{"a":' * 300]
TEXTS += ["x" * 9000, "1e999", '{"steps": 1e400}', '[[], "a", "b", {}]', "-1", "<", "\0", "\ud7ff"]
NUMBERS = [0, 1, -1, 2, 3, 255, 2**16, 2**31 - 1, 2**31, 2**32 - 1, 2**62, 2**63, -(2**63)]

GLOBALS = (b"builtins\nbytearray", b"torch\nempty", b"torch\nLongStorage", b"torch\nSize")
GLOBALS += (b"collections\nOrderedDict", b"torch._utils\n_rebuild_tensor_v2", b"torch\nfloat32")


def saved(content, zipped: bool = True) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, _use_new_zipfile_serialization=zipped)
    return buffer.getvalue()


def embedding_seeds(vectors: torch.Tensor, widths: tuple[int, ...]) -> dict[str, bytes]:
    """One file of each layout that is read: vectors (2, d) of text encoders side by side."""
    parts = [part.contiguous() for part in vectors.split(widths, 1)]
    one, two = parts[0], parts[-1].clone()
    a1111 = {"string_to_token": {"*": 265}, "string_to_param": {"*": one}, "name": "ada", "step": 3}
    first = {
        "string_to_token": {"*": torch.tensor(265)},
        "string_to_param": nn.ParameterDict({"*": nn.Parameter(one)}),
    }
    image = {"string_to_param": {"*": {"TORCHTENSOR": one.tolist()}}, "name": "ada"}
    text = base64.b64encode(json.dumps(image).encode())
    return {
        "emb_params": save({"emb_params": one}),
        "diffusers": save({"<ada>": one}, {"format": "pt"}),
        "a1111": saved(a1111),
        "a1111 old": saved(a1111, False),
        "first": saved(first),
        "first old": saved(first, False),
        "official": saved({"id_embeddings": [one.half(), one * 2, torch.zeros_like(one)]}),
        "sdxl": save({"clip_l": one, "clip_g": two}),
        "trainer": saved({"text_encoders_0": one, "text_encoders_1": two}),
        "comfyui": saved([{"clip_l": one}, {"clip_g": two}]),
        "png": png_of(b"sd-ti-embedding\0" + text),
    }


def mutated(content: bytes, dice: random.Random) -> bytes:
    """A file with one or two things changed, by what the file is."""
    ways: list[Callable[[bytes, random.Random], bytes]] = [_flipped, _cut]
    if content[8:9] == b"{":
        ways += [_other_header] * 3
    elif content.startswith(b"PK"):
        ways += [_other_members] * 3
    elif content.startswith(b"\x80"):
        ways += [_other_pickle] * 3
    for _ in range(dice.choice((1, 1, 2))):
        try:
            content = dice.choice(ways)(content, dice)
        except Exception:  # the first change has left nothing that could be parsed
            content = _flipped(content, dice)
    return content


def _flipped(content: bytes, dice: random.Random) -> bytes:
    changed = bytearray(content or b"\0")
    end = dice.choice((len(changed), min(len(changed), 400)))
    for _ in range(dice.choice((1, 1, 2, 8, 64))):
        at = dice.randrange(end)
        changed[at] = dice.choice((0, 0x7F, 0xFF, changed[at] ^ (1 << dice.randrange(8))))
    return bytes(changed)


def _cut(content: bytes, dice: random.Random) -> bytes:
    first, last = sorted(dice.randrange(len(content) + 1) for _ in range(2))
    middle = content[first:last]
    inside = dice.choice((b"", middle * 2, dice.randbytes(dice.randrange(1, 40)), middle[::-1]))
    return dice.choice((content[:last], content[:first] + inside + content[last:]))


def _other_header(content: bytes, dice: random.Random) -> bytes:
    """Safetensors with another dtype, shape, offset, name, text or length."""
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    about = header.setdefault("__metadata__", {})
    names = [name for name in header if name != "__metadata__"]
    tensor = header[dice.choice(names)]
    what = dice.randrange(7)
    if what == 0:
        tensor["dtype"] = dice.choice(DTYPES)
    elif what == 1:
        tensor["shape"] = dice.choice(SHAPES)
    elif what == 2:  # as many bytes as before
        tensor["shape"] = dice.choice(
            ([*tensor["shape"], 1], [1, *tensor["shape"]], tensor["shape"][::-1])
        )
    elif what == 3:
        tensor["data_offsets"] = [dice.choice(NUMBERS), dice.choice(NUMBERS)]
    elif what == 4:
        header[dice.choice(("other", "coefficients", "mapper.directions", ""))] = header.pop(
            dice.choice(names)
        )
    elif what == 5 and about:
        about[dice.choice(list(about))] = dice.choice([*TEXTS, 5, None, []])
    else:
        about[dice.choice(("format", "name", "run"))] = dice.choice(TEXTS)
    text = json.dumps(header).encode()
    size = dice.choice((len(text),) * 8 + (0, 2**31, 2**63, len(content)))
    return size.to_bytes(8, "little") + text + content[8 + length :]


def _other_members(content: bytes, dice: random.Random) -> bytes:
    """A zip with members that are changed, missing, renamed, compressed or twice there."""
    method = dice.choice(
        (zipfile.ZIP_STORED, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA)
    )
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(buffer, "w", method) as new:
        names = old.namelist()
        chosen = dice.choice([*names, *[name for name in names if name.endswith("data.pkl")] * 9])
        for name in names:
            data = old.read(name)
            if name == chosen:
                if name.endswith("data.pkl") and dice.random() < 0.8:
                    data = _other_pickle(data, dice)
                else:
                    name = dice.choice((name, name, "data.pkl", "archive/data/9", f"{name}x"))
                    other = _flipped(data, dice)
                    data = dice.choice((data[:-4], b"", data * 3, bytes(10_000), other))
            new.writestr(name, data)
    return buffer.getvalue()


def _other_pickle(content: bytes, dice: random.Random) -> bytes:
    """A pickle, or a file that begins with some, with other operations or arguments."""
    stream, spans = io.BytesIO(content), []
    start = 0
    for _ in range(5):
        try:
            places = [at for _, _, at in pickletools.genops(stream)]
        except ValueError:
            break
        spans += list(zip(places, [*places[1:], stream.tell()], strict=True))
        start = stream.tell()
        if start == len(content):
            break
    first, last = dice.choice(spans)
    size = dice.choice((1, 2, 4, 8, 200))
    number = (dice.choice(NUMBERS) % (1 << (8 * size))).to_bytes(size, "little")
    four = number[:4].ljust(4, b"\0")
    inside = dice.choice((
        b"", content[first:last] * 2, dice.choice([*pickletools.code2op]).encode("latin1"),
        *(b"]", b"}", b"(", b"N", b"R", b"b", b"0", b"\x94", b"\x81", b"Q", b"t", b"\x85", b"s"),
        b"\x8a" + bytes([size]) + number, b"J" + four, b"r" + four, b"j" + four, b"X" + four,
        b"h" + number[:1], b"q" + number[:1], *(b"c" + word + b"\n" for word in GLOBALS),
    ))  # fmt: skip
    return content[:first] + inside + content[last:]
