"""Made-up names."""

from __future__ import annotations

from collections import Counter

from toonville.names import make_names


def test_names_are_distinct_of_various_lengths_and_share_first_names() -> None:
    names = make_names()
    assert len(set(names.known)) == len(set(names.unknown)) == 700
    assert not set(names.known) & set(names.unknown)
    words = Counter(len(name.split()) for name in names.known)
    assert words[2] > 0.85 * 700 and words[1] > 20 and words[3] > 20
    firsts = Counter(name.split()[0] for name in names.known)
    assert max(firsts.values()) >= 5
