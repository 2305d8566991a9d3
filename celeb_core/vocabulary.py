"""Which words of a prompt a model never saw in training, where its folder says what it did see.

Key "vocabulary" of a model's `studio.json`: "words" are those of its captions, "groups" phrases by
what they are about, "requests" what people ask for in vain -> the group that is nearest, or "".
"""

import difflib
import functools
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from celeb_core.errors import FeatureMissing

WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
POSSESSIVE = re.compile(r"['’]s?$")
LEAST = 3  # letters of what an ending is taken off
ALIKE = 0.8  # ratio of difflib: one wrong letter of five, one that is missing of three
PHRASE = 3  # most words of a request
NAMED, SHOWN = 5, 12  # unknown words, phrases of a group in a message
FILLER = frozenset(
    """a about above after again all also am an and another any are around as at away back be been
    before behind being below beside between both but by can could do does doing down during each
    else ever every few for from front had has have having he her here herself him himself his how i
    if in inside into is it its itself just left like made many me middle more most much my near
    next no not nothing of off on one only onto or other our out outside over own right same she so
    some something such than that the their them themselves then there these they this those three
    through to together too toward towards two under until up upon us very via was we were what when
    where which while who whom whose why will with within without would you your""".split()
)
"""Words that say little about an image, in any model."""


@dataclass(frozen=True)
class Vocabulary:
    """What a model was trained on, in small letters."""

    words: frozenset[str]
    groups: Mapping[str, tuple[str, ...]]  # "styles" -> "a pencil sketch", ...
    requests: Mapping[str, str]  # "oil painting" -> "styles"; "horse" -> ""

    @functools.cached_property
    def forms(self) -> frozenset[str]:
        """All that the words may be forms of."""
        return frozenset().union(*map(forms, self.words))

    @functools.cached_property
    def request_forms(self) -> Mapping[str, str]:
        """The requests in all forms of their last words."""
        found = dict[str, str]()
        for phrase, group in self.requests.items():
            *before, last = phrase.split(" ")
            found |= {" ".join([*before, form]): group for form in forms(last)}
        return {**found, **self.requests}

    def knows(self, word: str) -> bool:
        """Return whether a word is one of these, or a form of one."""
        return word in self.words or not forms(word).isdisjoint(self.forms)

    def request(self, phrase: str) -> str | None:
        """Return the group that is nearest to a request in any form; None if it is none."""
        *before, last = phrase.split(" ")
        if not before and self.knows(last):
            return None
        asked = (" ".join([*before, form]) for form in (last, *sorted(forms(last))))
        return next((self.request_forms[one] for one in asked if one in self.request_forms), None)


def parse_vocabulary(value: Any, where: str) -> Vocabulary | None:
    """Check what a model's folder says about its words.

    Args:
        value: Of the key in `studio.json`; None: there is none.
        where: Names the file in messages.

    Raises:
        FeatureMissing: It is something else.
    """
    if value is None:
        return None
    parts: dict[str, Any] = value if isinstance(value, dict) else {}
    words: Any = parts.get("words")
    groups: Any = parts.get("groups")
    requests: Any = parts.get("requests")
    good = (
        _are_texts(words)
        and isinstance(groups, dict)
        and all(map(_are_texts, groups.values()))
        and isinstance(requests, dict)
        and all(group == "" or group in groups for group in requests.values())
    )
    if not good:
        raise FeatureMissing(
            f"“vocabulary” in {where} should have words (a list), groups (lists by name) and "
            "requests (group names by phrase). Correct it, or remove it."
        )
    return Vocabulary(
        frozenset(word.casefold() for word in words),
        {name: tuple(phrases) for name, phrases in groups.items()},
        {phrase.casefold(): group for phrase, group in requests.items()},
    )


def unknown_words(text: str, vocabulary: Vocabulary, names: Sequence[str] = ()) -> list[str]:
    """Return what a text has that the model was not trained on, in its order, each once.

    Args:
        text: A prompt without its people.
        vocabulary: Of the model.
        names: Of celebrities, whose parts count as known.
    """
    known = _parts(tuple(names))
    found: list[str] = []
    for part in re.split(r"[,.;:!?()\[\]{}<>|\n]", text.casefold()):
        words = [match[0] for match in WORD.finditer(part)]
        at = 0
        while at < len(words):
            size = _request(words[at:], vocabulary)
            phrase = " ".join(words[at : at + (size or 1)])
            name = POSSESSIVE.sub("", phrase) in known
            if size or not (name or _counts_little(phrase) or vocabulary.knows(phrase)):
                found.append(phrase)
            at += size or 1
    return list(dict.fromkeys(found))


def vocabulary_hint(text: str, vocabulary: Vocabulary, names: Sequence[str] = ()) -> str:
    """Say what of a prompt the model does not know, and what it knows instead; "" if it knows all.

    The arguments are those of `unknown_words`.
    """
    unknown = unknown_words(text, vocabulary, names)
    if not unknown:
        return ""
    shown = [f"“{word}”" for word in unknown[:NAMED]]
    if len(unknown) > NAMED:
        shown.append(f"{len(unknown) - NAMED} words more")
    sentences = [f"This model does not know {_listed(shown)}."]
    for group in dict.fromkeys(vocabulary.request(word) for word in unknown):
        if group:
            phrases = vocabulary.groups[group]
            more = ", and others" if len(phrases) > SHOWN else ""
            sentences.append(f"It knows these {group}: {', '.join(phrases[:SHOWN])}{more}.")
    meant = [(word, near) for word in unknown if (near := _nearest(word, vocabulary))]
    for word, near in meant[:NAMED]:
        sentences.append(
            f"Did you mean “{near}”?" if len(unknown) == 1 else f"“{word}”: did you mean “{near}”?"
        )
    return " ".join(sentences)


def forms(word: str) -> set[str]:
    """Return a word and what it may be a form of: plays, playing and played are of “play”."""
    word = POSSESSIVE.sub("", word)
    found = {word}
    for ending in ("s", "es", "ing", "ed", "d", "ly"):
        stem = word.removesuffix(ending)
        if stem == word or len(stem) < LEAST or word.endswith("ss"):
            continue
        found.add(stem)
        if ending in ("ing", "ed"):
            found.add(f"{stem}e")
            if stem[-1] == stem[-2]:  # hugging
                found.add(stem[:-1])
        if ending in ("es", "ed", "ly") and stem.endswith("i"):  # parties
            found.add(f"{stem[:-1]}y")
    return found


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


@functools.lru_cache(maxsize=8)
def _parts(names: Collection[str]) -> frozenset[str]:
    """Return the single words of names: who is being written is nobody yet."""
    return frozenset(word for name in names for word in WORD.findall(name.casefold()))


def _counts_little(word: str) -> bool:
    return len(word) < 2 or word in FILLER or any(letter.isdigit() for letter in word)


def _request(words: Sequence[str], vocabulary: Vocabulary) -> int:
    """Return how many words from the first on are what people ask for in vain; 0 if none."""
    for size in range(min(PHRASE, len(words)), 0, -1):
        if vocabulary.request(" ".join(words[:size])) is not None:
            return size
    return 0


def _nearest(word: str, vocabulary: Vocabulary) -> str:
    """Return the known word that is spelled nearly like this one, or nothing."""
    if vocabulary.request(word) is not None:  # spelled right
        return ""
    known = sorted(other for other in vocabulary.words - FILLER if other[0] == word[0])
    return next(iter(difflib.get_close_matches(word, known, 1, ALIKE)), "")


def _listed(parts: Sequence[str]) -> str:
    """Join with commas and “and”."""
    *before, last = parts
    return f"{', '.join(before)} and {last}" if before else last
