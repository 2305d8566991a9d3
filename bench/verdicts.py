"""How often are verdicts on images of several people right, by a judge who sees who was generated?

python -m bench.verdicts [--images 300] [--seed N]   prints a table of truth and verdict

People are held-out ones (preset instant; their photos are the references) and celebrities. Two of
three images are as they should be, as far as the model goes; in the others something is wrong on
purpose. Of three people, whom the bundled model does not generate at once, an image is joined from
one of two and one of one.

The truth is the judge's, another network, by another image of each person. A face shows whom it is
nearest to, of the wanted people and of those who were generated, if it is more similar to them than
a share ACCEPTED of everybody else; there the judge errs equally often in both directions, by the
faces of other images. Faces of a mixture of two people show both, unless they are nearer to one of
them than to the middle of both, and similar enough to be theirs.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional

from celeb_core.basis import mix
from celeb_core.cli.option_values import whole
from celeb_core.errors import CelebError, FeatureMissing
from celeb_core.evaluation.data import EvaluationSet, load_evaluation_set
from celeb_core.prompt import PORTRAIT, parse_prompt
from celeb_core.sampling import generate_each
from celeb_core.studio import Studio, load_studio
from celeb_core.training import fit
from celeb_core.types import Face, Identity, Prompt, SampleConfig, recipe
from celeb_core.verdicts import other_people, verdict_of

Mistake: TypeAlias = Literal["none", "swapped", "twice", "alone", "stranger", "blended"]
MISTAKES: tuple[Mistake, ...] = ("swapped", "twice", "alone", "stranger", "blended")
KINDS = ("right", "swapped", "blended", "twice", "missing")
PEOPLE = 100  # held-out, who may be in images
SEED = 50_000  # of images; far from a calibration's
BATCH, AT_ONCE = 8, 30  # images that are generated together, and between two lines of progress
STEPS = 10  # of sampling: half of the model's
TRIPLES = 5  # one image of so many is of three people
ACCEPTED = 0.98  # share of everybody to whom a face must be less similar, for the judge


@dataclass(frozen=True)
class Case:
    """An image to be generated: who is wanted, and who is generated from left to right instead."""

    wanted: tuple[str, ...]
    generated: tuple[tuple[str, ...], ...]  # of each face; two names are a mixture
    mistake: Mistake


def make_cases(
    people: Sequence[str], celebrities: Sequence[str], seed: int, count: int
) -> list[Case]:
    """Make random cases, every third one with a mistake; each person is a celebrity or not."""
    rng, cases = random.Random(seed), []
    for number in range(count):
        n = 3 if number % TRIPLES == TRIPLES - 1 else 2
        chosen: list[str] = []
        while len(chosen) < n + 1:
            one = rng.choice(people if rng.random() < 0.5 else celebrities)
            chosen += [one] if one not in chosen else []
        *wanted, stranger = chosen
        mistake = rng.choice(MISTAKES) if number % 3 == 2 else "none"
        shown: list[tuple[str, ...]] = [(name,) for name in wanted]
        a, b = rng.sample(range(n), 2)
        cases.append(Case(tuple(wanted), tuple(_mistaken(shown, mistake, a, b, stranger)), mistake))
    return cases


def _mistaken(
    shown: list[tuple[str, ...]], mistake: Mistake, a: int, b: int, stranger: str
) -> list[tuple[str, ...]]:
    """Put a mistake into who is shown; `a` and `b` are two of the people."""
    first, second = shown[a], shown[b]
    if mistake == "swapped":
        shown[a], shown[b] = second, first
    elif mistake == "twice":
        shown[a] = second
    elif mistake == "alone":
        del shown[a]
    elif mistake == "stranger":
        shown[a] = (stranger,)
    elif mistake == "blended":
        shown[a] = shown[b] = first + second
    return shown


@dataclass(frozen=True, eq=False)
class World:
    """Everybody who can be in an image."""

    studio: Studio
    data: EvaluationSet
    identities: Mapping[str, Identity]  # of the held-out people
    references: Mapping[str, Tensor]  # name -> (512,) of the recogniser, celebrities too
    judged: Mapping[str, Tensor]  # name -> (128,) of the judge, from another image


def load_world(studio: Studio, people: int = PEOPLE) -> World:
    """Train held-out people by the closed form, and look up what they are compared with.

    Raises:
        FeatureMissing: The model has no evaluation set, or no calibration.
    """
    data, calibration = load_evaluation_set(studio, 0, people), studio.calibration
    if calibration is None or studio.models.folder is None:
        raise FeatureMissing("Verdicts are measured with a calibration. Use --model toonville.")
    instant = recipe("instant", calibration)
    identities: dict[str, Identity] = {}
    for person in data.people:
        identities |= fit([person], studio.models, studio.basis, instant, calibration=calibration)
    references = {person.name: person.faces[0].embedding for person in data.people}
    judged = {one.name: data.gallery[i] for one, i in zip(data.people, data.index, strict=True)}
    file = studio.models.folder / "evaluation" / "people.safetensors"
    of_celebrities = load_file(file)["celebrity_judge_embedding"].float()
    for row, name in enumerate(studio.models.names):
        face = calibration.face_embeddings[calibration.names.index(name)]
        if face.any():
            references[name], judged[name] = face, of_celebrities[row]
    return World(studio, data, identities, references, judged)


def generate_cases(world: World, cases: Sequence[Case], seed: int) -> list[Image.Image]:
    """Generate the images of cases; `seed` is the first image's."""
    parts = [part for case in cases for part in _parts(case.generated)]
    prompts = [_prompt(part, world) for part in parts]
    order = sorted(range(len(parts)), key=lambda i: len(parts[i]))  # equal sizes side by side
    studio, config = world.studio, SampleConfig(seed=seed, steps=STEPS, batch_size=BATCH)
    made = generate_each([prompts[i] for i in order], studio.models, studio.basis, config)
    images = dict(zip(order, made, strict=True))
    left = iter(images[i] for i in range(len(parts)))
    return [_joined([next(left) for _ in _parts(case.generated)]) for case in cases]


def _parts(shown: Sequence[tuple[str, ...]]) -> list[Sequence[tuple[str, ...]]]:
    """Split people into as many as the model generates at once."""
    return [shown[:2], shown[2:]] if len(shown) > 2 else [shown]


def _prompt(part: Sequence[tuple[str, ...]], world: World) -> Prompt:
    """“a photo of <x> and <y>”; who is a mixture, or there twice, by their token embeddings."""
    bound: dict[str, Identity | Tensor] = dict(world.identities)
    written = []
    for number, who in enumerate(part):
        people = [world.identities.get(name, name) for name in who]
        if len(who) > 1 or part.count(who) > 1:
            weights = [1 / len(who)] * len(who)
            name = f"x{number}"
            bound[name] = mix(people, weights, world.studio.basis, world.studio.models)
        else:
            name = who[0]
        written.append(f"<{name}>" if name in bound else name)
    return parse_prompt(PORTRAIT.format(" and ".join(written)), bound)


def _joined(images: Sequence[Image.Image]) -> Image.Image:
    """Put images of one height side by side."""
    whole, left = Image.new("RGB", (sum(one.width for one in images), images[0].height)), 0
    for one in images:
        whole.paste(one, (left, 0))
        left += one.width
    return whole


def true_kind(world: World, case: Case, image: Image.Image, faces: Sequence[Face]) -> str:
    """Return the kind of an image by the judge, and by what was generated."""
    judge, wanted = world.data.judge, case.wanted
    involved = list(dict.fromkeys([*wanted, *(name for who in case.generated for name in who)]))
    known = torch.stack([world.judged[name] for name in involved])
    everybody = torch.stack([one for name, one in world.judged.items() if name not in involved])
    limits = (everybody @ known.T).quantile(ACCEPTED, dim=0)
    mixture: tuple[str, ...] = next((who for who in case.generated if len(who) > 1), ())
    embedded = list(judge.embed(image, faces))
    blended = _of_mixture(embedded, known, [involved.index(name) for name in mixture])
    if blended:  # they are generated from the same token embeddings: judged together
        pooled = functional.normalize(torch.stack([embedded[i] for i in blended]).sum(0), dim=0)
        embedded = [pooled if i in blended else one for i, one in enumerate(embedded)]
    middle = _middle(known, [involved.index(name) for name in mixture]) if mixture else None
    shown: list[tuple[str, ...]] = []
    for number, embedding in enumerate(embedded):
        similar = known @ embedding
        nearest = int(similar.argmax())
        who: tuple[str, ...] = ()
        if similar[nearest] > limits[nearest]:
            who = (involved[nearest],)
        if number in blended and middle is not None:
            who = who if who and middle @ embedding <= similar[nearest] else mixture
        shown.append(who)
    return _kind([who for who in shown if set(who) <= set(wanted)], wanted)


def _of_mixture(embedded: Sequence[Tensor], known: Tensor, mixture: Sequence[int]) -> list[int]:
    """Return the faces that are nearest to a mixture or to one of its people."""
    if not mixture:
        return []
    candidates = torch.cat([known, _middle(known, mixture)[None]])
    nearest = [int((candidates @ one).argmax()) for one in embedded]
    return [i for i, index in enumerate(nearest) if index in (*mixture, len(known))]


def _middle(known: Tensor, people: Sequence[int]) -> Tensor:
    return functional.normalize(known[list(people)].sum(0), dim=0)


def _kind(shown: Sequence[tuple[str, ...]], wanted: Sequence[str]) -> str:
    """Return the kind of an image in which these people, of whom all are wanted, are shown."""
    if any(len(who) > 1 for who in shown):
        return "blended"
    order = [who[0] for who in shown if who]
    if len(set(order)) < len(order):
        return "twice"
    if len(order) < len(wanted):
        return "missing"
    return "right" if order == list(wanted) else "swapped"


@dataclass(frozen=True)
class Result:
    """One image."""

    case: Case
    truth: str
    verdict: str


def measure(world: World, seed: int, count: int) -> Iterator[Result]:
    """Generate, judge and give verdicts, some images at a time."""
    calibration, names = world.studio.calibration, world.studio.models.names
    celebrities = [name for name in names if name in world.references]
    cases = make_cases(list(world.identities), celebrities, seed, count)
    for first in range(0, count, AT_ONCE):
        part = cases[first : first + AT_ONCE]
        images = generate_cases(world, part, SEED + 10_000 * seed + 2 * first)
        for case, image in zip(part, images, strict=True):
            faces = world.studio.faces.find(image)
            references = {name: world.references[name] for name in case.wanted}
            n = len(case.wanted)
            places = {name: (i / n, 0.0, (i + 1) / n, 1.0) for i, name in enumerate(case.wanted)}
            others = other_people(calibration, references)
            found = verdict_of(faces, references, places, image.size, others)
            yield Result(case, true_kind(world, case, image, faces), found.kind)


def report(results: Sequence[Result]) -> str:
    """Lay out how often each verdict was given to each truth, and how often both agree."""
    pairs = Counter((one.truth, one.verdict) for one in results)
    lines = ["truth \\ verdict" + "".join(f"{kind:>9}" for kind in KINDS)]
    for truth in KINDS:
        lines.append(f"{truth:15}" + "".join(f"{pairs[truth, kind]:9}" for kind in KINDS))
    agreed = sum(one.truth == one.verdict for one in results)
    wrong = [one for one in results if one.truth != "right"]
    noticed = sum(one.verdict != "right" for one in wrong)
    lines.append(f"accuracy {agreed / len(results):.3f} on {len(results)} images")
    lines.append(f"of {len(wrong)} wrong ones {noticed} are noticed as wrong")
    for mistake in ("none", *MISTAKES):
        part = [one for one in results if one.case.mistake == mistake]
        if part:
            agreed = sum(one.truth == one.verdict for one in part)
            lines.append(f"  {mistake:9} on purpose: {agreed} of {len(part)}")
    return "\n".join(lines)


def main() -> int:
    """Measure and print; return the exit code."""
    options = _parser().parse_args()
    results: list[Result] = []
    try:
        world = load_world(load_studio(options.model, device=options.device))
        for result in measure(world, options.seed, options.images):
            results.append(result)
            if len(results) % AT_ONCE == 0:
                print(f"{len(results)} of {options.images}", file=sys.stderr, flush=True)
    except CelebError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(report(results))
    return 0


def _parser() -> argparse.ArgumentParser:
    about = (__doc__ or "").splitlines()[0]
    parser = argparse.ArgumentParser(prog="python -m bench.verdicts", description=about)
    parser.add_argument("--model", default="toonville")
    parser.add_argument("--device")
    parser.add_argument("--images", type=whole(1, 100_000), default=300)
    parser.add_argument("--seed", type=int, default=0, help="of people, mistakes and images")
    return parser


if __name__ == "__main__":
    sys.exit(main())
