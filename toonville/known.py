"""The name filter against the truth: in Toonville it is known who is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from celeb_core import load_studio
from celeb_core.filter_names import FilterConfig, candidates, look, sightings
from celeb_core.verdicts import judge_names
from toonville.names import Names, make_names


def sample_names(names: Names, n: int, seed: int) -> list[str]:
    """Return n names that are not known and n that are, mixed.

    The known namesakes of the others come first: a list that is filtered has both.
    """
    rng = np.random.default_rng((seed, 6))
    unknown = [str(name) for name in rng.permutation(names.unknown)[:n]]
    words = {word for name in unknown for word in name.split()}
    known = [str(name) for name in rng.permutation(names.known)]
    known.sort(key=lambda name: words.isdisjoint(name.split()))
    return [str(name) for name in rng.permutation([*unknown, *known[:n]])]


def precision_and_recall(kept: set[str], known: set[str]) -> tuple[float, float]:
    """Return the share of the kept names that are known, and of the known ones that are kept."""
    right = len(kept & known)
    return right / max(1, len(kept)), right / max(1, len(known))


def run_filter(assets: Path, work: Path, n: int, seed: int, steps: int | None) -> None:
    """Filter n known and n unknown names and print how right it is; drawings stay in work."""
    studio = load_studio(assets)
    listed = sample_names(make_names(), n, seed)
    people, config = candidates(listed), FilterConfig(seed=seed, steps=steps)
    for done, count in look(people, studio, work / "filter", config):
        print(f"\r{done} of {count} names drawn", end="", flush=True)
    seen = [sight for sight in sightings(people, studio, work / "filter", config) if sight]
    verdicts, threshold = judge_names(people, seen)
    known = set(make_names().known)
    for verdict in verdicts:
        if verdict.kept != (verdict.name in known):
            truth = "known" if verdict.name in known else "unknown"
            why = verdict.why or "kept"
            print(f"\n{verdict.name} ({truth}): {why}, {verdict.consistency:.3f}", end="")
    kept = {verdict.name for verdict in verdicts if verdict.kept}
    precision, recall = precision_and_recall(kept, known & set(listed))
    print(f"\nconsistency asked for {threshold:.3f}, {len(kept)} of {len(listed)} names kept")
    print(f"precision {precision:.3f}, recall {recall:.3f} (both should be 0.95 or more)")
