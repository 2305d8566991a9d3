"""What commands write: checked before the work, and never in the place of something else."""

import sys
from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load
from tqdm import tqdm

from celeb_core.errors import SaveFailed, UsageError
from celeb_core.files import check_writable, read_bytes, write_atomically, write_new
from celeb_core.identity import file_name
from celeb_core.library import bin_folder, save_people
from celeb_core.marks.provenance import Marker
from celeb_core.types import Identity


def check_free(names: Sequence[str], options: Namespace) -> None:
    """Raise UsageError if a name is taken in the library --out, and there is no --replace."""
    taken = _taken(names, options.out)
    if taken and not options.replace:
        raise UsageError(
            f"“{taken[0]}” is taken in {options.out}. Give another --name, or --replace that "
            "person, who is kept for a week where the page's Undo finds them."
        )
    check_writable(options.out)


def check_checkpoint(options: Namespace) -> None:
    """Raise UsageError if a training would write over the state of another one."""
    if (path := options.checkpoint) is None:
        return
    if path.exists() and path != options.resume and not options.replace:
        raise UsageError(
            f"{path} is there already. Go on from it with --resume {path}, write over it with "
            "--replace, or give another --checkpoint."
        )
    check_writable(path.parent)


def save_new_people(people: Sequence[Identity], options: Namespace) -> list[Path]:
    """Save people in the library --out as `save_people` does, and say where earlier ones are."""
    replaced = _taken([person.name for person in people], options.out)
    try:
        saved = save_people(people, options.out)
    except SaveFailed as error:
        checkpoint = vars(options).get("checkpoint")
        if checkpoint is None or not checkpoint.is_file():
            raise
        raise SaveFailed(f"{error} Or go on from {checkpoint} with --resume.") from error
    for name in replaced:
        print(f"The earlier <{name}> is in {bin_folder(options.out)}.", file=sys.stderr)
    return saved


def save_image(image: Image.Image, path: Path, marker: Marker) -> None:
    """Save a generated image under a name that no other file has, and print that."""
    tqdm.write(str(write_new(path, marker.png(image, None))))  # beside a bar


def save_files(contents: Mapping[Path, bytes], replace: bool) -> None:
    """Write files; UsageError if one of them holds something else, unless it may be replaced."""
    for path, content in contents.items():
        if path.exists() and not replace and not _holds(path, content):
            raise UsageError(
                f"{path} is there already, and holds something else. Give another --token or "
                "--out, or write over it with --replace."
            )
    for path, content in contents.items():
        write_atomically(path, content)


def advance(bar: Any, done: int, total: int, *losses: float) -> None:
    """Show in a bar how much is done, and the mean of losses."""
    bar.total = total
    bar.update(done - bar.n)
    if losses:
        bar.set_postfix(loss=f"{sum(losses) / len(losses):.4f}")


def _taken(names: Sequence[str], library: Path) -> list[str]:
    return [name for name in names if (library / file_name(name)).exists()]


def _holds(path: Path, content: bytes) -> bool:
    """Return whether a file has this content; safetensors writes metadata in any order."""
    try:
        there = read_bytes(path, 2 * len(content))
        if there == content:
            return True
        ours, theirs = load(content), load(there)
    except (OSError, ValueError, SafetensorError):
        return False
    return ours.keys() == theirs.keys() and all(x.equal(theirs[key]) for key, x in ours.items())
