"""Precision and recall of the name filter: in Toonville it is known which names are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from celeb_core import load_studio
from celeb_core.prepare.names import (
    candidates,
    generate_name_images,
    load_name_images,
    rank_names,
)
from celeb_core.types import SampleConfig
from toonville.names import Names, make_names


def sample_names(names: Names, n: int, seed: int) -> list[str]:
    """Return n unknown and n known names, shuffled.

    Known names that share a word with one of the unknown names come first: a list that is to be
    filtered has both.
    """
    rng = np.random.default_rng((seed, 6))
    unknown = [str(name) for name in rng.permutation(names.unknown)[:n]]
    words = {word for name in unknown for word in name.split()}
    known = [str(name) for name in rng.permutation(names.known)]
    known.sort(key=lambda name: words.isdisjoint(name.split()))
    return [str(name) for name in rng.permutation([*unknown, *known[:n]])]


def precision_and_recall(found: set[str], known: set[str]) -> tuple[float, float]:
    """Return the share of the found names that are known, and of the known ones that are found."""
    right = len(found & known)
    return right / max(1, len(found)), right / max(1, len(known))


def run_filter(assets: Path, work: Path, n: int, seed: int, steps: int | None) -> None:
    """Filter n known and n unknown names, and print precision and recall.

    Args:
        assets: The model.
        work: Gets the images of the names, which are not generated again.
        n: Number of names of either kind.
        seed: Of names and images.
        steps: Per image; None: the model's own.
    """
    studio = load_studio(assets)
    names = make_names()
    listed = sample_names(names, n, seed)
    people, config = candidates(listed), SampleConfig(4, seed, steps)
    folder = work / "filter"
    for done in generate_name_images(people, studio, folder, config):
        print(f"\rimages of {done} of {len(people)} names", end="", flush=True)
    images = [one for one in load_name_images(people, studio, folder, config) if one]
    verdicts, threshold = rank_names(people, images)
    known = set(names.known)
    for verdict in verdicts:
        if verdict.known != (verdict.name in known):
            truth = "known" if verdict.name in known else "unknown"
            reason = verdict.reason or "known"
            print(f"\n{verdict.name} ({truth}): {reason}, {verdict.consistency:.3f}", end="")
    found = {verdict.name for verdict in verdicts if verdict.known}
    precision, recall = precision_and_recall(found, known & set(listed))
    print(f"\nconsistency needed {threshold:.3f}, {len(found)} of {len(listed)} names are known")
    print(f"precision {precision:.3f}, recall {recall:.3f} (both should be 0.95 or more)")
