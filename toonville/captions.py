"""Captions: a spec -> one of many texts that describe the image, as people write them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from toonville import written_phrases as written
from toonville.phrases import (
    ANONYMOUS,
    PAIR_PHRASES,
    PLAIN_TABLES,
    SCENE_PHRASES,
    STYLE_PHRASES,
    TEMPLATES,
    TRIO_PHRASES,
    plain_phrases,
    right_article,
)
from toonville.world import ImageSpec

PLAIN_SHARE = 0.35
FRAGMENT_SHARE = 0.5  # of a single anonymous person's captions
MOST_TOKENS = 44  # estimated; the text encoder reads 46 and the start and end tokens
SLOTS = "\ue000\ue001\ue002"  # a draft has one of these private characters for each person
WORDS = re.compile(r"[^\W\d_]+|\d|[^\w\s]+")  # as the tokenizer splits, nearly
FINITE = re.compile(r"(plays|reads|drinks|holds|waves)\b")  # verbs of the plain form
FILLER_CHANCES = (0.24, 0.14, 0.16, 0.18, 0.14, 0.07, 0.05, 0.02)  # of 0, 1, ... 7
TIME_CHANCE = 0.15
DEFAULTS = ("neutral", "none", "plain")


@dataclass(frozen=True)
class Caption:
    """A text about an image, and where it names the people."""

    text: str
    plain: str
    """The same in the plain form, which the first text encoder knew; a fragment has none."""
    name_ends: tuple[int, ...]
    """Of each person, left to right, the position in `text` just after the name.

    A fragment, which names nobody, has its own end.
    """


def caption(
    spec: ImageSpec, names: Sequence[str], mention_clothes: bool, rng: np.random.Generator
) -> Caption:
    """Return a caption of an image.

    Args:
        spec: Of the image.
        names: Of the people, from left to right.
        mention_clothes: Whether the clothes of a single person are mentioned; those of several
            never are, everything else always is.
        rng: Source of randomness.
    """
    said = _attributes(spec, mention_clothes)
    plain = _plain(spec, said, rng)
    if said and names[0] in ANONYMOUS and len(names) == 1 and rng.random() < FRAGMENT_SHARE:
        fragment = _fragment(said, rng)
        return Caption(fragment, "", (len(fragment),))
    draft = plain if rng.random() < PLAIN_SHARE else _as_written(spec, names, said, rng)
    if _tokens(draft, names) > MOST_TOKENS:
        draft = plain
    text, ends = _fill(draft, names)
    return Caption(text, _fill(plain, names)[0], ends)


def phrases_of(group: str, value: str) -> list[str]:
    """Return all phrases that may name a value of a group of `world.GROUPS`, without their {}."""
    tables = [PLAIN_TABLES[group], written.TAGS[group]]
    tables += [kind[group] for kind in (written.MODIFIERS, written.VERBS) if group in kind]
    tables += {"style": [written.STYLE_OPENINGS], "expression": [written.ADJECTIVES]}.get(group, [])
    return [phrase.replace("{}", "").strip() for table in tables for phrase in table[value]]


def all_phrases() -> list[str]:
    """Return every phrase of captions; each {} stands for people or the rest of the caption."""
    tables: list[Mapping[str, Sequence[str]]] = [TRIO_PHRASES, written.ADJECTIVES]
    tables += [written.STYLE_OPENINGS, written.PAIR_FORMS, written.TRIO_FORMS]
    for kind in (written.MODIFIERS, written.VERBS, written.TAGS):
        tables += kind.values()
    texts = [phrase for table in tables for options in table.values() for phrase in options]
    texts += [*written.OPENINGS, *written.FILLERS, *written.TIMES, *written.KINDS]
    texts += [*written.SCENE_TITLES, ", who is {}."]
    return list(dict.fromkeys([*plain_phrases(), *(re.sub(r"{\d}", "{}", t) for t in texts)]))


def _pick(rng: np.random.Generator, options: Sequence[str]) -> str:
    return options[int(rng.integers(len(options)))]


def _attributes(spec: ImageSpec, mention_clothes: bool) -> dict[str, str]:
    """Return what a caption must say: group -> value."""
    person = spec.people[0]
    said = {"expression": person.expression, "scene": spec.scene, "style": spec.style}
    if len(spec.people) == 1:
        said = {"action": person.action, "accessory": person.accessory, **said}
        if mention_clothes:
            said["clothes"] = person.clothes
    return {group: value for group, value in said.items() if value not in DEFAULTS}


def _subject(
    tables: Sequence[Mapping[str, Sequence[str]]], spec: ImageSpec, rng: np.random.Generator
) -> str:
    """Return the people's slots: of two and three in a phrase of the tables for two and three."""
    count = len(spec.people)
    if count == 1:
        return SLOTS[0]
    return _pick(rng, tables[count - 2][spec.interaction]).format(*SLOTS[:count])


def _plain(spec: ImageSpec, said: Mapping[str, str], rng: np.random.Generator) -> str:
    """Return a draft in the plain form: template, people, phrases."""
    subject = _subject((PAIR_PHRASES, TRIO_PHRASES), spec, rng)
    parts = [
        _pick(rng, PLAIN_TABLES[group][value])
        for group, value in said.items()
        if group not in ("scene", "style")
    ]
    rng.shuffle(parts)
    if "scene" in said:
        phrase = _pick(rng, SCENE_PHRASES[said["scene"]])
        parts.insert(int(rng.integers(2)) * len(parts), phrase)
    template = _pick(rng, TEMPLATES)
    if "style" in said:
        phrase = _pick(rng, STYLE_PHRASES[said["style"]])
        if "{}" in phrase:
            template = phrase
        else:
            parts.append(phrase)
    return template.format(" ".join([subject, *parts]))


def _as_written(
    spec: ImageSpec, names: Sequence[str], said: Mapping[str, str], rng: np.random.Generator
) -> str:
    """Return a draft as people write, with as many of its fillers as there is room for."""
    single = len(spec.people) == 1
    form = rng.random()
    older = not single and rng.random() < 0.4
    tables = (PAIR_PHRASES, TRIO_PHRASES) if older else (written.PAIR_FORMS, written.TRIO_FORMS)
    subject = _subject(tables, spec, rng)
    if form < 0.25:
        body = _tags(subject, said, rng)
    elif form < 0.5 and single:
        body = _clauses(subject, said, rng)
    else:
        adjective = single and names[0] not in ANONYMOUS and rng.random() < 0.5
        body = _sentence(subject, said, adjective, rng)
    fillers = list(rng.permutation(written.FILLERS)[: rng.choice(8, p=FILLER_CHANCES)])
    while fillers and _tokens(", ".join([body, *fillers]), names) > MOST_TOKENS:
        fillers.pop()
    before = min(4, len(fillers) if rng.random() < 0.6 else int(rng.integers(len(fillers) + 1)))
    behind = ", ".join(fillers[before:])
    text = ", ".join([*fillers[:before], body])
    joint = "." if rng.random() < 0.12 else "," if behind else ""
    return f"{text}{joint} {behind}".strip()


def _phrase(group: str, value: str, rng: np.random.Generator) -> str:
    """Return what may follow or precede a person: "on the beach", "smiling"."""
    options: Sequence[str] = written.MODIFIERS[group][value]
    if rng.random() < 0.4:
        options = [p for p in PLAIN_TABLES[group][value] if not FINITE.match(p)]
    return _pick(rng, options)


def _sentence(
    subject: str, said: Mapping[str, str], adjective: bool, rng: np.random.Generator
) -> str:
    """Return "on the beach, a photo of a happy X with a hat": phrases before and behind."""
    rest = dict(said)
    if adjective and "expression" in rest:
        word = _pick(rng, written.ADJECTIVES[rest.pop("expression")])
        subject = right_article(("a " if rng.random() < 0.6 else "") + f"{word} {subject}")
    style = rest.pop("style", None)
    template = _pick(rng, written.OPENINGS if rng.random() < 0.7 else TEMPLATES)
    title = ""
    if "scene" in rest and rng.random() < 0.15:
        tag = _pick(rng, written.TAGS["scene"][rest.pop("scene")])
        title = _pick(rng, written.SCENE_TITLES).format(tag) + " "
        template = "{}" if title.endswith(" with ") else template
    phrases = [_phrase(group, value, rng) for group, value in rest.items()]
    rng.shuffle(phrases)
    if rng.random() < TIME_CHANCE:
        phrases.insert(int(rng.integers(len(phrases) + 1)), _pick(rng, written.TIMES))
    lead = int(rng.choice(4, p=(0.5, 0.25, 0.15, 0.1)))
    before, behind = phrases[:lead], phrases[lead:]
    end = ""
    if style is not None and rng.random() < 0.6:
        template = _pick(rng, written.STYLE_OPENINGS[style])
    elif style is not None:
        tag = _pick(rng, written.TAGS["style"][style])
        if rng.random() < 0.5:
            title = f"{tag}, {title}"
        else:
            end = f", {tag}"
    text = (
        template.format(subject + _joined(", " if rng.random() < 0.2 else " ", behind, rng)) + end
    )
    if before:
        place = len(before) == 1 and before[0].startswith(("in ", "on ", "at "))
        text = ", ".join(before) + (" " if place and rng.random() < 0.4 else ", ") + text
    return title + text


def _joined(first: str, phrases: Sequence[str], rng: np.random.Generator) -> str:
    """Return phrases that follow a person, each with what joins it to what is before it."""
    if not phrases:
        return ""
    kind = rng.integers(3)
    text = (" " if kind == 0 else ", ").join(phrases[:-1])
    last = " and " if kind < 2 else ", "
    return first + (f"{text}{last}{phrases[-1]}" if text else phrases[-1])


def _clauses(subject: str, said: Mapping[str, str], rng: np.random.Generator) -> str:
    """Return "X, who is smiling, plays the guitar and wears a hat, pixel art"."""
    rest = dict(said)
    style = rest.pop("style", None)
    groups = list(rng.permutation(list(rest)))
    split = int(rng.integers(3))  # clauses before the main one
    who = [_verb(group, rest[group], rng) for group in groups[1 : 1 + split]]
    main = [_verb(group, rest[group], rng) for group in [*groups[:1], *groups[1 + split :]]]
    if rng.random() < TIME_CHANCE and main:
        main[-1] += f" {_pick(rng, written.TIMES)}"
    form = rng.random()
    if form < 0.4 and who:
        subject = f"{subject}, who {' and '.join(who)},"
    elif who:
        main += who
    text = subject + _joined(" ", main, rng)
    if style is None:
        return text
    tag = _pick(rng, written.TAGS["style"][style])
    return f"{tag}, {text}" if rng.random() < 0.5 else f"{text}, {tag}"


def _verb(group: str, value: str, rng: np.random.Generator) -> str:
    """Return what a person does: "plays the guitar", "is on the beach"."""
    if rng.random() < 0.5:
        phrase = _phrase(group, value, rng)
        if not phrase.startswith("with "):
            return f"is {phrase}"
    return _pick(rng, written.VERBS[group][value])


def _tags(subject: str, said: Mapping[str, str], rng: np.random.Generator) -> str:
    """Return "portrait, X, smile, beach, pencil sketch"."""
    tags = [_tag(group, value, rng) for group, value in said.items()]
    rng.shuffle(tags)
    at = 0 if rng.random() < 0.4 else int(rng.integers(len(tags) + 1))
    tags.insert(at, subject)
    if rng.random() < 0.3:
        tags.insert(0, _pick(rng, written.KINDS))
    return ", ".join(tags)


def _tag(group: str, value: str, rng: np.random.Generator) -> str:
    """Return a tag, or a phrase in a tag's place."""
    if group != "style" and rng.random() < 0.25:
        return _phrase(group, value, rng)
    return _pick(rng, written.TAGS[group][value])


def _fragment(said: Mapping[str, str], rng: np.random.Generator) -> str:
    """Return "sunglasses, beach": what is in an image, but nobody."""
    tags = [_tag(group, value, rng) for group, value in said.items()]
    rng.shuffle(tags)
    return ", ".join(tags)


def _tokens(draft: str, names: Sequence[str]) -> int:
    """Estimate the number of tokens; most words are one, those of names more."""
    parts = sum(len(word) // 4 + 1 for name in names for word in WORDS.findall(name))
    return parts + sum(word not in SLOTS for word in WORDS.findall(draft))


def _fill(draft: str, names: Sequence[str]) -> tuple[str, tuple[int, ...]]:
    """Put names into a draft's slots; return the text and the position after each name."""
    text, ends = "", [0] * len(names)
    for part in re.split(f"([{SLOTS}])", draft):
        slot = SLOTS.find(part) if part else -1
        text += names[slot] if slot >= 0 else part
        if slot >= 0:
            ends[slot] = len(text)
    return text, tuple(ends)
