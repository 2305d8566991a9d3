"""Images that are to be generated, and which of them one call can serve."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from celeb_core import Identity, Prompt, SampleConfig
from celeb_core.layout import people_of
from ui.progress import joined


@dataclass(frozen=True, eq=False)
class ImageRequest:
    """One image to be generated."""

    prompt: Prompt
    config: SampleConfig  # with its seed; num_images plays no part
    label: str  # what its caption begins with
    settings: Mapping[str, Any] = field(default_factory=dict)  # more to be written into the file
    people: Mapping[str, Identity] = field(default_factory=dict)  # who are scored
    attempts: int = 1  # at most, until everybody is right

    def with_seed(self, seed: int) -> ImageRequest:
        """Return the same request with another seed, in its label too."""
        label = self.label.removesuffix(f"seed {self.config.seed}") + f"seed {seed}"
        return replace(self, config=replace(self.config, seed=seed), label=label)


def batches(requests: Sequence[ImageRequest], alone: bool) -> list[list[ImageRequest]]:
    """Group requests that one call can serve: image i of a call is generated from seed + i.

    Args:
        requests: In the order in which they are wanted.
        alone: One per group, for devices where a batch would only make its first image late.
    """
    groups: list[list[ImageRequest]] = []
    for request in requests:
        last = groups[-1] if groups else []
        follows = bool(last) and request.config.seed == last[-1].config.seed + 1
        if alone or not follows or len(last) >= request.config.batch_size:
            groups.append([])
        groups[-1].append(request)
    return groups


def with_seeds(request: ImageRequest, count: int) -> list[ImageRequest]:
    """Repeat a request with `count` seeds, one after the other."""
    seeds = range(request.config.seed, request.config.seed + count)
    labelled = replace(request, label=joined(request.label, f"seed {request.config.seed}"))
    return [labelled.with_seed(seed) for seed in seeds]


def with_attempts(
    requests: Sequence[ImageRequest], attempts: int, names: Sequence[str]
) -> list[ImageRequest]:
    """Allow so many attempts at each image of two or more people; `names` are the celebrities."""
    return [
        replace(one, attempts=attempts) if len(people_of(one.prompt, names)) > 1 else one
        for one in requests
    ]
