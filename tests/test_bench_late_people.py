from __future__ import annotations

import torch

from bench import late_people as module
from bench.late_people import PROMPTS, compare
from celeb_core import Identity, load_studio
from celeb_core.types import PersonPositions, PositionCurve


def test_forty_prompts_with_one_person_each():
    texts = [text for group in PROMPTS.values() for text, _ in group]
    assert len(set(texts)) == 40 and all(text.count("{}") == 1 for text in texts)


def test_prompts_are_scored_as_written_and_rearranged(measured_world, monkeypatch):
    studio = load_studio(measured_world, device="cpu")
    curve, generated = PositionCurve((1, 9), (1.0, 0.1), 4), []
    asked = {"expression": "smiling"}

    def fit_each(studio, people, config):
        coefficients = torch.zeros(studio.basis.k, studio.basis.p)
        made = {p.name: Identity(p.name, coefficients, studio.basis.id) for p in people}
        return made, 0.0

    def generate_each(prompts, *rest):
        generated.extend(prompt.text for prompt in prompts)
        return module_generate(prompts, *rest)

    module_generate = module.generate_each
    monkeypatch.setattr(module, "fit_each", fit_each)
    monkeypatch.setattr(module, "generate_each", generate_each)
    monkeypatch.setattr(
        module, "PROMPTS", {"some": (("{} smiling", asked), ("red, blue, hat, {}", asked))}
    )
    some, whole = compare(studio, PersonPositions(curve, curve), people=1, steps=1)
    assert (some.late, some.changed) == (1, 1) == (whole.late, whole.changed)
    assert (some.group, whole.group) == ("some", "all")
    assert len(generated) == 3 and "red, blue, hat" in generated[-1][3:]  # only one of them again
    assert [len(scores) for scores in (*some.identity, *some.prompt)] == [2] * 4
    assert some.identity[0][0] == some.identity[1][0]
