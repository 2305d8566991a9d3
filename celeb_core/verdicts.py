"""Verdicts on images of several people: is everybody there once, as themselves, in their place?

The faces of an image are matched one to one to the references, and the similarity matrix of the
generated faces and the references is compared with the references' own (MultiBind, arXiv
2603.21937). All rules are relative: to the similarity of the references to one another, of the
faces to one another, and of other people to the references. No number of a model or of a
recogniser is among them.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, Literal, Protocol, TypeAlias

import torch
from scipy.optimize import linear_sum_assignment
from scipy.sparse.csgraph import connected_components
from torch import Tensor
from torch.nn import functional

from celeb_core.scoring import match_faces
from celeb_core.types import Box, Calibration

Kind: TypeAlias = Literal["right", "swapped", "blended", "twice", "missing"]

STRANGERS = 0.99  # share of strangers who are less similar to somebody than a face of them is
MIN_OTHERS = 100  # faces of which such a share can be taken


class FoundFace(Protocol):
    """What a verdict needs of a face, such as a `Face`."""

    @property
    def embedding(self) -> Tensor:
        """Return (512,) or as many numbers as the references have, of unit norm."""

    @property
    def box(self) -> Box:
        """Pixels."""


@dataclass(frozen=True)
class PersonVerdict:
    """One wanted person in one image."""

    name: str
    found: bool  # with a face of their own
    identity: float  # recogniser cosine of their face and the reference; 0 if not found
    box: Box | None  # of their face, pixels
    in_place: bool  # found, and nobody else's place is meant


@dataclass(frozen=True)
class Verdict:
    """What became of the people of an image."""

    kind: Kind
    sentence: str  # in English, about who is not right
    people: tuple[PersonVerdict, ...]  # in the order of the references
    faces: int  # found in the image
    # Of the face that is matched to person i, and reference j: their cosine less that of the
    # references i and j. NaN without a face for i.
    excess: tuple[tuple[float, ...], ...]

    @property
    def rank(self) -> tuple[int, float]:
        """Greater is better, among images of the same people: how many are right, how similar."""
        right = sum(person.in_place for person in self.people) + (self.kind == "right")
        return right, sum(person.identity for person in self.people)

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        people = [
            {
                "name": person.name,
                "found": person.found,
                "identity": round(person.identity, 4),
                "box": person.box and [round(side, 1) for side in person.box],
                "in_place": person.in_place,
            }
            for person in self.people
        ]
        excess = [[None if math.isnan(x) else round(x, 4) for x in row] for row in self.excess]
        return {
            "kind": self.kind,
            "sentence": self.sentence,
            "people": people,
            "faces": self.faces,
            "excess": excess,
        }


def verdict_of(
    faces: Sequence[FoundFace],
    references: Mapping[str, Tensor],
    places: Mapping[str, Box],
    size: tuple[int, int],
    others: Tensor | None = None,
) -> Verdict:
    """Judge who is where in an image.

    Args:
        faces: All faces of the image.
        references: Name -> face embedding (512,) of each wanted person, two or more.
        places: Name -> where they are to be, as shares of width and height (`layout.layout`).
        size: Of the image, pixels.
        others: (m, 512) face embeddings of other people, see `other_people`; None: there are none.
    """
    names, known = list(references), torch.stack(list(references.values())).float()
    found = torch.stack([face.embedding for face in faces]) if faces else known[:0]
    shown = who_is_shown(found, known, others)
    matched = match_faces(list(found), list(known))
    own = {}  # person -> their face
    for person in range(len(names)):
        alone = [face for face, people in enumerate(shown) if people == (person,)]
        if alone:
            own[person] = max(alone, key=lambda face: float(found[face] @ known[person]))
    placed = _in_place(own, [faces[own[i]].box for i in own], [places[n] for n in names], size)
    people = tuple(
        PersonVerdict(
            name,
            i in own,
            float(found[own[i]] @ known[i]) if i in own else 0.0,
            faces[own[i]].box if i in own else None,
            i in placed,
        )
        for i, name in enumerate(names)
    )
    cosines, true = found @ known.T, known @ known.T
    excess = tuple(
        tuple((cosines[matched[i]] - true[i]).tolist())
        if i in matched
        else (math.nan,) * len(names)
        for i in range(len(names))
    )
    kind, sentence = _describe(people, shown)
    return Verdict(kind, sentence, people, len(faces), excess)


def other_people(calibration: Calibration | None, names: Iterable[str] = ()) -> Tensor | None:
    """Return (m, 512) the faces of a calibration's celebrities but for `names`; None without any.

    They say how similar faces of different people are to this recogniser.
    """
    if calibration is None:
        return None
    left_out = set(names)
    used = [name not in left_out for name in calibration.names]
    faces = calibration.face_embeddings[torch.tensor(used)]
    faces = faces[faces.any(dim=1)]
    return faces if len(faces) >= MIN_OTHERS else None


def who_is_shown(
    found: Tensor, known: Tensor, others: Tensor | None = None
) -> list[tuple[int, ...]]:
    """Return whom each face shows: nobody (), one person (i,), or a mixture of several (i, j, ...).

    A face shows the nearest person if it is more similar to them than strangers are, and their
    mixture with another one if it is nearer to the middle of both. Faces that are more similar to
    one another than to anybody wanted are one face, and a mixture unless they show one person.

    Args:
        found: (m, 512) faces of unit norm.
        known: (n, 512) the references.
        others: (c, 512) other people, as of `other_people`.
    """
    limits, true = _limits(known, others), known @ known.T
    shown: list[tuple[int, ...]] = [()] * len(found)
    for group in _same_faces(found, known):
        similar = known @ functional.normalize(found[group].sum(0), dim=0)
        near = similar > limits
        nearest, second = similar.topk(2).indices.tolist()
        if len(group) == 1:
            nearest = int(similar.where(near, -2.0).argmax())
        # The cosine with the middle of the nearest person and another one is above the nearest's.
        mixed = similar + similar[nearest] > similar[nearest] * (2 + 2 * true[nearest]).sqrt()
        people = [i for i in range(len(known)) if i == nearest or (mixed[i] and near[i])]
        if len(group) > 1 and (mixed[second] or not near[nearest]):
            people = sorted([nearest, second])
        elif not near[nearest]:
            people = []
        for face in group:
            shown[face] = tuple(people)
    return shown


def _same_faces(found: Tensor, known: Tensor) -> list[list[int]]:
    """Group faces that are more similar to one another than either is to a reference."""
    nearest, between = (found @ known.T).amax(1), found @ found.T
    alike = between > torch.maximum(nearest[:, None], nearest[None])
    count, labels = connected_components(alike.numpy(), directed=False)
    return [[i for i, one in enumerate(labels) if one == label] for label in range(count)]


def _limits(known: Tensor, others: Tensor | None) -> Tensor:
    """Return the cosine with each reference (n,) above which a face shows them, not a stranger.

    All but 1 - STRANGERS of the others are below it. Without others the references themselves are
    strangers to one another, and independent directions of this width.
    """
    if others is not None:
        return (others @ known.T).quantile(STRANGERS, dim=0)
    between = (known @ known.T).fill_diagonal_(-1.0).amax(1)
    chance = NormalDist().inv_cdf(STRANGERS) / known.shape[1] ** 0.5
    return between.clamp_min(chance)


def _in_place(
    own: Mapping[int, int], boxes: Sequence[Box], places: Sequence[Box], size: tuple[int, int]
) -> set[int]:
    """Return the people whose faces are nearest to their own places, assigned one to one.

    With the least total of squared distances, so that only the order of the faces counts where
    places are columns.
    """
    if not own:
        return set()
    width, height = size
    faces, centres = _centres(boxes) / torch.tensor([width, height]), _centres(places)
    squared = (faces[:, None] - centres[None]).square().sum(-1)
    rows, columns = linear_sum_assignment(squared.numpy())
    people = list(own)
    return {people[row] for row, column in zip(rows, columns, strict=True) if people[row] == column}


def _centres(boxes: Sequence[Box]) -> Tensor:
    corners = torch.tensor(boxes)
    return (corners[:, :2] + corners[:, 2:]) / 2


def _describe(
    people: Sequence[PersonVerdict], shown: Sequence[tuple[int, ...]]
) -> tuple[Kind, str]:
    """Return the kind of an image, the gravest one, and the sentence that says who it is about."""
    names = [person.name for person in people]
    mixtures = [group for group in shown if len(group) > 1]
    if mixtures and not all(person.found for person in people):
        mixed = [name for i, name in enumerate(names) if any(i in group for group in mixtures)]
        faces = "a face mixes" if len(mixtures) == 1 else f"{len(mixtures)} faces mix"
        return "blended", f"{faces} {_listed(mixed)}"
    absent = [person.name for person in people if not person.found]
    several = [name for i, name in enumerate(names) if list(shown).count((i,)) > 1]
    if several:
        verb = "is" if len(several) == 1 else "are"
        twice = f"{_listed(several)} {verb} there twice"
        return "twice", f"{twice}, {_listed(absent)} {_be(absent)} not" if absent else twice
    if absent:
        return "missing", f"{_listed(absent)} {_be(absent)} missing"
    displaced = [person.name for person in people if not person.in_place]
    if displaced:
        how = "swapped" if len(displaced) == 2 else "in each other's place"
        return "swapped", f"{_listed(displaced)} are {how}"
    return "right", f"{_listed(names)} are each in their place"


def _be(names: Sequence[str]) -> str:
    return "is" if len(names) == 1 else "are"


def _listed(names: Sequence[str]) -> str:
    """Return “ada”, “ada and bob”, “ada, bob and cy”."""
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
