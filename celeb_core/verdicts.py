"""Which of the names that were drawn are worth keeping; no step needs to know the truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from celeb_core.filter_names import Candidate, Sighting

SEEN = 0.75  # of a name's pictures that must show a face
NAMESAKE = 0.7  # likeness of two names' faces, as a share of each one's with itself: one face
SURVIVES = 0.9  # share of the other names whose face is less like any in the picture for two
BEST = 0.9  # quantile of the names' consistency that stands for a name that is known well


@dataclass(frozen=True)
class Verdict:
    """One name; cosines are between faces less the mean person's."""

    name: str
    kept: bool
    why: str  # what spoke against it; empty if it is kept
    seen: float  # share of its pictures with a face
    consistency: float  # mean cosine over pairs of its pictures
    beside: float  # share of the other names that are less like anybody in its pictures for two


def judge_names(
    people: Sequence[Candidate], sightings: Sequence[Sighting]
) -> tuple[list[Verdict], float]:
    """Verdicts of the real names, the most consistent first, and the consistency asked for.

    Asked for is halfway from what made-up names reach (their median) to what the best tenth of
    the list does: both are the model's own.
    """
    faces = torch.stack([sighting.faces for sighting in sightings])
    shown = faces.norm(dim=-1) > 0.5
    places = [i for i, who in enumerate(people) if not who.made_up]
    real = torch.tensor([not who.made_up for who in people])
    mean = faces[real].sum(0) / shown[real].sum(0).clamp_min(1)[:, None]
    centred = functional.normalize(faces - mean, dim=-1) * shown[..., None]
    likeness = _likeness(centred, shown)
    consistency = likeness.diagonal()
    low, high = consistency[~real].median(), consistency[real].quantile(BEST)
    threshold = float(low + high) / 2
    directions = functional.normalize(centred.sum(1), dim=-1)
    own = [
        _own(sighting.own, mean, direction)
        for sighting, direction in zip(sightings, directions, strict=True)
    ]
    verdicts = []
    for i, (who, sighting) in enumerate(zip(people, sightings, strict=True)):
        if who.made_up:
            continue
        seen, itself = float(shown[i].float().mean()), float(consistency[i])
        namesakes = _namesakes(i, people)
        others = [j for j in places if j not in (i, *namesakes) and people[j].name != who.partner]
        beside = _beside(sighting.beside - mean.mean(0), directions[others], directions[i])
        rivals = [j for j in namesakes if consistency[j] >= threshold]
        better = [
            j
            for j in rivals
            if likeness[i, j] >= NAMESAKE * (consistency[i] * consistency[j]).clamp_min(0).sqrt()
            and own[j] + float(consistency[j]) > own[i] + itself
        ]
        why = ""
        if seen < SEEN:
            why = "no face in too many pictures"
        elif itself < threshold:
            why = "another face each time"
        elif better:
            best = max(better, key=lambda j: float(likeness[i, j]))
            why = f"the face of {people[best].name}"
        elif beside < SURVIVES:
            why = f"lost beside {who.partner}"
        verdicts.append(Verdict(who.name, not why, why, seen, itself, beside))
    return sorted(verdicts, key=lambda v: (-v.kept, -v.consistency)), threshold


def _likeness(centred: Tensor, shown: Tensor) -> Tensor:
    """(n, n) mean cosine over all pairs of different seeds of faces (n, s, 512)."""
    seen, total = shown.float(), centred.sum(1)
    same_seed = centred.flatten(1) @ centred.flatten(1).T
    pairs = seen.sum(1)[:, None] * seen.sum(1)[None] - seen @ seen.T
    return (total @ total.T - same_seed) / pairs.clamp_min(1)


def _own(faces: Tensor, mean: Tensor, direction: Tensor) -> float:
    """How like the person its own words alone are; 0 without a face or such words."""
    shown = faces.norm(dim=-1) > 0.5
    if not shown.any():
        return 0.0
    centred = functional.normalize(faces - mean[: len(faces)], dim=-1)[shown]
    return float((centred @ direction).mean())


def _beside(faces: Tensor, others: Tensor, direction: Tensor) -> float:
    """The share of the others that no face (f, 512) is as like as one is to the direction."""
    if not len(faces):
        return 0.0
    centred = functional.normalize(faces, dim=-1)
    nearest = (centred @ others.T).amax(0)
    return float((nearest < (centred @ direction).max()).float().mean())


def _namesakes(i: int, people: Sequence[Candidate]) -> list[int]:
    words = set(people[i].name.split())
    return [
        j
        for j, other in enumerate(people)
        if j != i and not other.made_up and words & set(other.name.split())
    ]
