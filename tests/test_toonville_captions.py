"""Captions describe the whole image and nothing else."""

from __future__ import annotations

from toonville.captions import (
    ACCESSORY_PHRASES,
    ACTION_PHRASES,
    EXPRESSION_PHRASES,
    SCENE_PHRASES,
)
from toonville.dataset import captioned


def test_captions_mention_all_attributes_and_names() -> None:
    tables = {
        "expression": EXPRESSION_PHRASES,
        "accessory": ACCESSORY_PHRASES,
        "action": ACTION_PHRASES,
    }
    for example in [captioned(1 + seed % 2, seed) for seed in range(200)]:
        person = example.spec.people[0]
        for group, table in tables.items():
            value = getattr(person, group)
            if value in table:
                assert any(phrase in example.text for phrase in table[value])
        if example.spec.scene != "plain":
            assert any(phrase in example.text for phrase in SCENE_PHRASES[example.spec.scene])
        assert all(name in example.text for name in example.names)


def test_captions_mention_no_other_scene_or_accessory() -> None:
    for example in [captioned(1, seed) for seed in range(100)]:
        for table, shown in (
            (SCENE_PHRASES, example.spec.scene),
            (ACCESSORY_PHRASES, example.spec.people[0].accessory),
        ):
            others = [p for value, phrases in table.items() if value != shown for p in phrases]
            assert not any(f" {phrase} " in f" {example.text} " for phrase in others)
