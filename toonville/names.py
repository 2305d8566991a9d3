"""Made-up names: celebrities that the model is trained on, and as many that it is not.

Most names are a first and a last name of one token each; some are one word, three words, or split
by the tokenizer into several tokens, and first names are shared, as with real names.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

NUM_KNOWN = 700
NUM_UNKNOWN = 700

_ONSETS = (
    "b",
    "br",
    "c",
    "d",
    "dr",
    "f",
    "g",
    "gr",
    "h",
    "j",
    "k",
    "l",
    "m",
    "n",
    "p",
    "r",
    "s",
    "sh",
    "t",
    "th",
    "tr",
    "v",
    "w",
    "y",
    "z",
)
_VOWELS = ("a", "e", "i", "o", "u")
_CONSONANTS = ("b", "d", "g", "l", "m", "n", "r", "s", "t", "v", "z", "ll", "nd", "rr", "ss")
_FIRST_ENDS = (
    "a",
    "an",
    "as",
    "el",
    "en",
    "ia",
    "ie",
    "in",
    "io",
    "is",
    "o",
    "on",
    "or",
    "ra",
    "us",
    "y",
)
_LAST_ENDS = (
    "ack",
    "berg",
    "by",
    "dale",
    "den",
    "er",
    "ero",
    "ford",
    "ham",
    "ich",
    "ins",
    "ley",
    "man",
    "moor",
    "ner",
    "ov",
    "son",
    "stein",
    "ton",
    "well",
    "wick",
    "worth",
)

# Ordinary words of captions that a name must not be.
_RESERVED = frozenset(("a", "the", "guitar", "mountain", "sad", "red", "hat", "cup", "sea"))


@dataclass(frozen=True)
class Names:
    """Two disjoint lists; `known[i]` is celebrity i."""

    known: tuple[str, ...]
    unknown: tuple[str, ...]


def _syllables(rng: np.random.Generator, endings: tuple[str, ...]) -> str:
    def pick(parts: tuple[str, ...]) -> str:
        return parts[rng.integers(len(parts))]

    start = pick(_ONSETS) + pick(_VOWELS) + pick(_CONSONANTS)
    return (
        start + pick(endings)
        if rng.random() < 0.7
        else start + pick(_VOWELS) + pick(_CONSONANTS) + pick(endings)
    )


def _distinct_words(
    rng: np.random.Generator, n: int, endings: tuple[str, ...], taken: set[str]
) -> list[str]:
    words: list[str] = []
    while len(words) < n:
        word = _syllables(rng, endings)
        if 4 <= len(word) <= 11 and word not in taken and word not in _RESERVED:
            taken.add(word)
            words.append(word)
    return words


def make_names(seed: int = 7) -> Names:
    """Return the names of Toonville; the same seed gives the same names.

    Of each hundred known names about 88 are first + last, 5 are one word, 7 three words.
    560 first names are shared by 700 celebrities (some by up to eight); unknown people take half
    of their first names from the same ones, and have last names of their own.
    """
    rng = np.random.default_rng(seed)
    taken: set[str] = set()
    firsts = _distinct_words(rng, 560, _FIRST_ENDS, taken)
    lasts = _distinct_words(rng, 640, _LAST_ENDS, taken)
    other_firsts = _distinct_words(rng, 200, _FIRST_ENDS, taken)
    other_lasts = _distinct_words(rng, 560, _LAST_ENDS, taken)
    singles = _distinct_words(rng, 70, _FIRST_ENDS, taken)
    known = _people(rng, NUM_KNOWN, firsts, lasts, singles[:35])
    shared = [firsts[i] for i in rng.permutation(len(firsts))[:200]]
    unknown = _people(rng, NUM_UNKNOWN, shared + other_firsts, other_lasts, singles[35:])
    return Names(tuple(known), tuple(unknown))


def _people(
    rng: np.random.Generator, n: int, firsts: list[str], lasts: list[str], singles: list[str]
) -> list[str]:
    """Combine words into n distinct names; every word is used, a few first names often."""
    count = n - len(singles)
    popular = rng.choice(firsts[:40], max(0, count - len(firsts)))
    first = [*firsts, *popular][:count]
    last = [*lasts, *rng.choice(lasts, max(0, count - len(lasts)))][:count]
    first = [first[i] for i in rng.permutation(count)]
    pairs: dict[tuple[str, str], None] = {}
    for a, b in zip(first, last, strict=True):
        while (a, b) in pairs:
            b = lasts[rng.integers(len(lasts))]
        pairs[a, b] = None
    people = [f"{a.capitalize()} {b.capitalize()}" for a, b in pairs]
    for i in rng.permutation(count)[: round(0.07 * n)]:
        a, b = people[i].split(" ")
        people[i] = f"{a} {lasts[rng.integers(len(lasts))].capitalize()} {b}"
    names = [*people, *(s.capitalize() for s in singles)]
    return [names[i] for i in rng.permutation(n)]
