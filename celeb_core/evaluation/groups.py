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
from PIL import Image
from torch import Tensor

from celeb_core.evaluation.data import EvaluationSet
from celeb_core.evaluation.images import SEED, Block, score_block, score_edit
from celeb_core.evaluation.run import Record, Run
from celeb_core.evaluation.single import edit_means, mean_of
from celeb_core.layout import layout
from celeb_core.prompt import PORTRAIT, parse_prompt
from celeb_core.scoring import match_faces
from celeb_core.studio import Studio
from celeb_core.types import Box, Identity, Prompt, RegionConfig
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
    groups: Sequence[Group],
    regions: str,
    trained: Mapping[str, Identity],
    run: Run,
    who: str,
    square: bool = False,
) -> dict[str, Any]:
    """Generate and score all images of groups of one size.

    Returns:
        Shares of the wanted people: found, place. Shares of the images by their verdict: right,
        swapped, blended, twice, missing. The judge's cosine: identity over portraits,
        identity_edits over edits; prompt and clip as of `score_people`.
    """
    size = len(groups[0].members)
    edits = [data.group_prompts[i % len(data.group_prompts)] for i in range(len(groups))]
    prompts: list[Prompt] = []
    for group, edit in zip(groups, edits, strict=True):
        for template in (PORTRAIT, edit.prompt):
            prompt = parse_prompt(template.format(group.text), trained)
            boxes = group.reversed_boxes if regions == "reversed" else {}
            prompts.append(replace(prompt, boxes=boxes))

    def score(i: int, image: Image.Image) -> Record:
        group = groups[i // IMAGES]
        record = score_members(image, group, studio, data, prompts[i])
        is_edit = i % IMAGES
        return record | (
            score_edit(image, edits[i // IMAGES], data.reader, data.clip) if is_edit else {}
        )

    config = None if regions == "off" else RegionConfig()
    run.begin(f"{size} {who}, regions {regions}")
    block = Block(f"{size}/{who}/{regions}", prompts, SEED + SEEDS * size, config, square)
    records = score_block(block, studio, run, score)
    portraits, edited = records[::IMAGES], records[1::IMAGES]
    kinds = [record["verdict"] for record in records]
    return {
        "people": size, "who": who, "regions": regions, "images": len(records),
        "found": mean_of(records, "found"), "place": mean_of(records, "place"),
        **{kind: kinds.count(kind) / len(kinds) for kind in get_args(Kind)},
        "identity": mean_of(portraits, "identity"),
        "identity_edits": mean_of(edited, "identity"),
        **edit_means(edited),
    }  # fmt: skip


def score_members(
    image: Image.Image, group: Group, studio: Studio, data: EvaluationSet, prompt: Prompt
) -> Record:
    """Match the faces of an image to the members of its group by the judge, and score them."""
    faces, n = studio.faces.find(image), len(group.members)
    embeddings = data.judge.embed(image, faces)
    matched = match_faces(list(embeddings), list(group.references))
    cosines = [float(embeddings[at] @ group.references[i]) for i, at in matched.items()]
    judged = [replace(face, embedding=one) for face, one in zip(faces, embeddings, strict=True)]
    places = layout(prompt, studio.basis.names)
    references = dict(zip(group.names, group.references, strict=True))
    verdict = verdict_of(judged, references, places, image.size, group.others)
    return {
        "found": len(matched) / n,
        "place": sum(person.in_place for person in verdict.people) / n,
        "identity": sum(cosines) / n,
        "verdict": verdict.kind,
    }
