"""Generate images of people: an identity, a prompt and seeds -> images, record."""

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from celeb_core.basis import check_identity
from celeb_core.errors import CelebError, IdentityError, PromptError, UsageError
from celeb_core.identity import SUFFIX, parse_identity
from celeb_core.many.records import DONE, FAILED, Outcome, Record, key_of
from celeb_core.many.store import Store
from celeb_core.many.work import StudioOptions, labels_of
from celeb_core.marks.provenance import Marker
from celeb_core.prompt import encode_prompt, parse_prompt
from celeb_core.sampling import generate_each
from celeb_core.studio import Studio, arranged
from celeb_core.types import Prompt, SampleConfig

IMAGES = "images"  # folder
GPU_IMAGES = 16  # that a GPU generates together


@dataclass(frozen=True)
class GenerateItem:
    """A person, a prompt with {} for them, and the seeds of the images."""

    name: str
    identity: bytes  # the content of their file
    prompt: str
    seeds: tuple[int, ...]

    @property
    def key(self) -> str:
        """Of the record."""
        return key_of("generate", self.name, self.prompt, " ".join(map(str, self.seeds)))


@dataclass(frozen=True)
class GenerateWork:
    """How all images are generated."""

    studio: StudioOptions
    marker: Marker
    config: SampleConfig = SampleConfig()  # without seed and number of images
    batch_size: int | None = None  # images that pass the UNet together; None: the device's

    def load(self, device: str | None) -> "GenerateWorker":
        """Load the studio."""
        return GenerateWorker(self, self.studio.load(device, require_faces=False))

    def lost(self, item: GenerateItem, reason: str) -> Outcome:
        """Return the record of images whose workers died."""
        return _failed(item, reason)


@dataclass(frozen=True, eq=False)
class GenerateWorker:
    """A loaded `GenerateWork`."""

    work: GenerateWork
    studio: Studio

    @property
    def made_by(self) -> dict[str, Any]:
        """What decides the images besides people, prompts and seeds."""
        config = {name: str(value) for name, value in vars(self.work.config).items()}
        return {**labels_of(self.studio), "config": config}

    @property
    def batch_size(self) -> int:
        """Images that pass the UNet together."""
        on_cpu = self.studio.models.device.type == "cpu"
        return self.work.batch_size or (1 if on_cpu else GPU_IMAGES)

    @property
    def at_once(self) -> int:
        """Items in a batch."""
        return self.batch_size

    def do(self, items: Sequence[GenerateItem]) -> list[Outcome]:
        """Generate the images of all items together; what is wrong with one stops no other."""
        began = time.perf_counter()
        prompts = [self._prompt(item) for item in items]
        good = [
            (one, item) for one, item in zip(prompts, items, strict=True) if isinstance(one, Prompt)
        ]
        every = [prompt for prompt, item in good for _ in item.seeds]
        seeds = [seed for _, item in good for seed in item.seeds]
        config = replace(self.work.config, batch_size=self.batch_size)
        models, basis = self.studio.models, self.studio.basis
        images = iter(generate_each(every, models, basis, config, seeds=seeds))
        seconds = (time.perf_counter() - began) / max(1, len(every))
        outcomes = []
        for prompt, item in zip(prompts, items, strict=True):
            if isinstance(prompt, CelebError):
                outcomes.append(_failed(item, str(prompt)))
                continue
            paths = [_path(item, seed) for seed in item.seeds]
            files = {path: self.work.marker.png(next(images), None) for path in paths}
            record = _record(item, DONE, "") | {"seconds": round(seconds, 3), "files": paths}
            outcomes.append(Outcome(record, files))
        return outcomes

    def _prompt(self, item: GenerateItem) -> Prompt | CelebError:
        """Bind a prompt to its person, and encode it once, to see whether it fits."""
        try:
            identity = parse_identity(item.identity, item.name)
            check_identity(identity, self.studio.basis)
            text = item.prompt.replace("{}", f"<{identity.name}>")
            prompt = arranged(parse_prompt(text, {identity.name: identity}), self.studio)
            encode_prompt(prompt, self.studio.basis, self.studio.models)
            return prompt
        except (PromptError, IdentityError) as error:
            return error


def items_of(people: Store, prompts: Sequence[str], seeds: Sequence[int]) -> list[GenerateItem]:
    """Return all people of a folder of identity files with all prompts.

    Raises:
        UsageError: There is nobody, or no prompt.
    """
    names = [name for name in people.names("") if name.endswith(SUFFIX)]
    contents: Mapping[str, bytes] = people.read_all("", names)
    if not contents or not prompts:
        what = "no prompt is given" if contents else f"there is no identity file in {people.url}"
        raise UsageError(f"Nothing is to be generated: {what}.")
    return [
        GenerateItem(name.removesuffix(SUFFIX), contents[name], prompt, tuple(seeds))
        for name in sorted(contents)
        for prompt in dict.fromkeys(prompts)
    ]


def image_rows(record: Record) -> list[Record]:
    """Return the rows of a record in the table, one for each image."""
    files = record.get("files") or [""] * len(record["seeds"])
    return [
        {**record, "seed": seed, "file": file}
        for seed, file in zip(record["seeds"], files, strict=False)
    ]


def _path(item: GenerateItem, seed: int) -> str:
    slug = re.sub(r"[^a-z0-9]+", "-", item.prompt.lower()).strip("-")[:40] or "image"
    return f"{IMAGES}/{item.name}/{slug}-{key_of(item.prompt)[:6]}-{seed}.png"


def _record(item: GenerateItem, status: str, error: str) -> Record:
    return {
        "key": item.key, "name": item.name, "prompt": item.prompt, "seeds": list(item.seeds),
        "status": status, "error": error, "seconds": None, "files": [],
    }  # fmt: skip


def _failed(item: GenerateItem, reason: str) -> Outcome:
    return Outcome(_record(item, FAILED, reason))
