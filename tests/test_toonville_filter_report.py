"""The names that the name filter is measured on."""

from __future__ import annotations

from toonville.filter_report import precision_and_recall, sample_names
from toonville.names import make_names


def test_half_of_the_names_are_known_and_share_words_with_the_others() -> None:
    names = make_names()
    listed = sample_names(names, 20, seed=0)
    known = [name for name in listed if name in names.known]
    unknown = [name for name in listed if name in names.unknown]
    assert len(set(known)) == len(set(unknown)) == 20
    words = {word for name in unknown for word in name.split()}
    assert sum(not words.isdisjoint(name.split()) for name in known) >= 10
    assert sample_names(names, 20, seed=0) == listed
    assert sample_names(names, 20, seed=1) != listed


def test_precision_and_recall() -> None:
    assert precision_and_recall({"a", "b", "c", "d"}, {"a", "b", "e"}) == (0.5, 2 / 3)
    assert precision_and_recall(set(), {"a"}) == (0, 0)
