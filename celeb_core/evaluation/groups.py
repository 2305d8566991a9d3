"""Several people per image, with and without regions: is each of them there, where, and themselves?

A group is two or more people in the order of the prompt. Each group is generated as a portrait and
with one of the edit prompts, from the same seeds with and without regions.
"""

import itertools
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, get_args

import torch
from torch import Tensor

from celeb_core.evaluation.data import EditPrompt, EvaluationSet
from celeb_core.evaluation.images import SEED, Block, Seen, score_blocks
from celeb_core.evaluation.run import Record, Run
from celeb_core.evaluation.single import edit_means, mean_of
from celeb_core.evaluation.work import Executor, here
from celeb_core.layout import layout
from celeb_core.prompt import PORTRAIT, parse_prompt
from celeb_core.scoring import match_faces
from celeb_core.studio import Studio
from celeb_core.types import Box, CelebBasis, Identity, Prompt, RegionConfig
from celeb_core.verdicts import MIN_OTHERS, Kind, verdict_of

MOST_PEOPLE = 8  # in one image
WHO = ("people", "celebrities", "mixed")
REGIONS = ("off", "on", "reversed")  # reversed: boxes from right to left, against the prompt
IMAGES = 2  # of each group: a portrait and an edit
SEEDS = 10_000  # between groups of n and of n + 1


@dataclass(frozen=True, eq=False)
class Group:
    """Who is in an image, in the order of the prompt."""

    members: tuple[str, ...]  # as they are written: <name>, or a celebrity's name
    references: Tensor  # (n, d) the judge's embeddings of them
    others: Tensor | None  # (m, d) of other people; None: of too few

    @property
    def names(self) -> list[str]:
        """The members' names without brackets."""
        return [member.strip("<>") for member in self.members]

    @property
    def text(self) -> str:
        """The members as a prompt names them: “<ada>, <bob> and <eve>”."""
        return " and ".join([", ".join(self.members[:-1]), self.members[-1]])

    @property
    def reversed_boxes(self) -> dict[str, Box]:
        """A column for each member, the first one on the right; as shares of width and height."""
        n = len(self.members)
        columns = [((n - 1 - i) / n, 0.0, (n - i) / n, 1.0) for i in range(n)]
        return dict(zip(self.names, columns, strict=True))


@dataclass(frozen=True, eq=False)
class GroupRow:
    """A row of the table: groups of one size and kind, with or without regions."""

    who: str  # of WHO
    regions: str  # of REGIONS
    groups: Sequence[Group]

    @property
    def size(self) -> int:
        """How many are in a group."""
        return len(self.groups[0].members)


def choose_groups(people: int, size: int, count: int, seed: int) -> list[tuple[int, ...]]:
    """Choose different ordered groups of `size` of that many people: `count`, or all there are."""
    rng, most = random.Random(f"{seed} {size}"), math.perm(people, size)
    if most <= 2 * count:
        return rng.sample([*itertools.permutations(range(people), size)], min(count, most))
    chosen = dict[tuple[int, ...], None]()
    while len(chosen) < count:
        chosen[tuple(rng.sample(range(people), size))] = None
    return [*chosen]


def build_groups(data: EvaluationSet, who: str, chosen: Sequence[tuple[int, ...]]) -> list[Group]:
    """Build the groups of one kind: people, celebrities, or people and one celebrity.

    The celebrity comes last in the first group, first in the second one, and so on.
    """
    people = [
        (f"<{one.name}>", data.gallery[at]) for one, at in zip(data.people, data.index, strict=True)
    ]
    famous = [*zip(data.celebrities, data.celebrity_embeddings, strict=True)]
    everybody, groups = torch.cat([data.gallery, data.celebrity_embeddings]), []
    for number, members in enumerate(chosen):
        pairs = [(famous if who == "celebrities" else people)[i] for i in members]
        if who == "mixed":
            at = 0 if number % 2 else -1
            pairs[at] = famous[members[at]]
        names, references = zip(*pairs, strict=True)
        known = torch.stack(references)
        absent = everybody.any(1) & ~(everybody[:, None] == known).all(2).any(1)
        others = everybody[absent] if int(absent.sum()) >= MIN_OTHERS else None
        groups.append(Group(names, known, others))
    return groups


def score_groups(
    studio: Studio,
    data: EvaluationSet,
    rows: Sequence[GroupRow],
    trained: Mapping[str, Identity],
    run: Run,
    square: bool = False,
    executor: Executor | None = None,
) -> list[dict[str, Any]]:
    """Generate and score all images of the groups of some rows.

    Returns:
        Of each row: shares of the wanted people: found, place. Shares of the images by their
        verdict: right, swapped, blended, twice, missing. The judge's cosine: identity over
        portraits, identity_edits over edits; prompt and clip as of `score_people`.
    """
    blocks = [_block(row, studio, data, trained, square) for row in rows]
    scored = score_blocks(blocks, executor or here(studio, data), run)
    return [_means(row, records) for row, records in zip(rows, scored, strict=True)]


def _block(
    row: GroupRow,
    studio: Studio,
    data: EvaluationSet,
    trained: Mapping[str, Identity],
    square: bool,
) -> Block:
    """Return the images of a row: a portrait and an edit of each group."""
    prompts, edits = list[Prompt](), list[EditPrompt | None]()
    for number, group in enumerate(row.groups):
        edit = data.group_prompts[number % len(data.group_prompts)]
        for template in (PORTRAIT, edit.prompt):
            prompt = parse_prompt(template.format(group.text), trained)
            boxes = group.reversed_boxes if row.regions == "reversed" else {}
            prompts.append(replace(prompt, boxes=boxes))
        edits += [None, edit]

    def score(i: int, seen: Seen) -> Record:
        return score_members(seen, row.groups[i // IMAGES], studio.basis, prompts[i])

    return Block(
        f"{row.size}/{row.who}/{row.regions}",
        f"{row.size} {row.who}, regions {row.regions}",
        prompts,
        SEED + SEEDS * row.size,
        score,
        edits,
        regions=None if row.regions == "off" else RegionConfig(),
        width=studio.models.width if square else None,
    )


def _means(row: GroupRow, records: Sequence[Record]) -> dict[str, Any]:
    """Return the numbers of a row of the table."""
    portraits, edited = records[::IMAGES], records[1::IMAGES]
    kinds = [record["verdict"] for record in records]
    return {
        "people": row.size, "who": row.who, "regions": row.regions, "images": len(records),
        "found": mean_of(records, "found"), "place": mean_of(records, "place"),
        **{kind: kinds.count(kind) / len(kinds) for kind in get_args(Kind)},
        "identity": mean_of(portraits, "identity"),
        "identity_edits": mean_of(edited, "identity"),
        **edit_means(edited),
    }  # fmt: skip


def score_members(seen: Seen, group: Group, basis: CelebBasis, prompt: Prompt) -> Record:
    """Match the faces of an image to the members of its group by the judge, and score them."""
    embeddings, n = seen.embeddings, len(group.members)
    matched = match_faces(list(embeddings), list(group.references))
    cosines = [float(embeddings[at] @ group.references[i]) for i, at in matched.items()]
    places = layout(prompt, basis.names)
    references = dict(zip(group.names, group.references, strict=True))
    verdict = verdict_of(seen.faces, references, places, seen.size, group.others)
    return {
        "found": len(matched) / n,
        "place": sum(person.in_place for person in verdict.people) / n,
        "identity": sum(cosines) / n,
        "verdict": verdict.kind,
    }
