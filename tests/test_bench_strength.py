from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import torch

from bench import strength as module
from bench.strength import Point, measure, plot
from celeb_core import Identity, load_studio

SVG = "{http://www.w3.org/2000/svg}"


def test_the_plot_shows_each_score_over_the_strength():
    points = [Point(0.0, 0.0, 1.0, 0.6), Point(1.0, 0.5, 0.9, 0.5), Point(1.5, 1.0, 0.8, 0.55)]
    root = ElementTree.fromstring(plot(points))
    identity, prompt, clip = (
        [tuple(map(float, place.split(","))) for place in line.get("points").split()]
        for line in root.iter(f"{SVG}polyline")
    )
    assert [x for x, _ in identity] == [x for x, _ in prompt] == sorted(x for x, _ in clip)
    assert [y for _, y in identity] == sorted((y for _, y in identity), reverse=True)  # it rises
    assert [y for _, y in prompt] == sorted(y for _, y in prompt)
    words = " ".join(text.text for text in root.iter(f"{SVG}text"))
    assert "1.5" in words and "identity score" in words and "CLIP" in words


def test_people_are_generated_at_every_strength(measured_world, monkeypatch):
    studio = load_studio(measured_world, device="cpu")
    seen = []

    def fit_each(studio, people, config):
        coefficients = torch.zeros(studio.basis.k, studio.basis.p)
        made = {p.name: Identity(p.name, coefficients, studio.basis.id) for p in people}
        return made, 0.0

    def generate_each(prompts, *rest):
        seen.extend(strength for prompt in prompts for strength in prompt.strengths.values())
        return module_generate(prompts, *rest)

    module_generate = module.generate_each
    monkeypatch.setattr(module, "fit_each", fit_each)
    monkeypatch.setattr(module, "generate_each", generate_each)
    monkeypatch.setattr(module, "STRENGTHS", (0.0, 1.0))
    points = list(measure(studio, people=1, steps=1))
    assert [point.strength for point in points] == [0.0, 1.0]
    assert set(seen) == {0.0, 1.0}
    assert all(0 <= point.prompt <= 1 and -1 <= point.clip <= 1 for point in points)
    first, second = points  # the mean celebrity, whatever the strength
    assert (first.identity, first.prompt) == (second.identity, second.prompt)
