from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from PIL import Image

from celeb_core.evaluation import images as images_module
from celeb_core.evaluation.data import EditPrompt, EvaluationSet
from celeb_core.evaluation.groups import GroupRow, build_groups, choose_groups, score_groups
from celeb_core.evaluation.judges import PackJudge
from celeb_core.evaluation.run import Run
from celeb_core.types import Face, Identity, Person


@pytest.mark.parametrize(("people", "size", "count"), [(20, 2, 20), (4, 3, 20), (5, 2, 200)])
def test_groups_are_different_and_nobody_is_in_one_twice(people, size, count):
    groups = choose_groups(people, size, count, 0)
    assert len(groups) == len(set(groups)) == min(count, {5: 20, 4: 24}.get(people, count))
    assert all(len(set(group)) == size and max(group) < people for group in groups)
    assert groups == choose_groups(people, size, count, 0) != choose_groups(people, size, count, 1)


CELEBRITIES = ["Balo Ven", "Nelo Ska", "Grezin"]


class Finder:
    """Finds what an image says that it shows: (embedding, x and y of the centre)."""

    def find(self, image):
        return [
            Face(image, None, shown, (x - 5, y - 5, x + 5, y + 5), (0, 0, 0, 0), None, 1.0)
            for shown, x, y in image.info["faces"]
        ]


@pytest.fixture
def seen():
    return SimpleNamespace(
        faces=Finder(),
        models=SimpleNamespace(width=100),
        basis=SimpleNamespace(names=CELEBRITIES),
    )


@pytest.fixture
def data():
    embeddings, edit = torch.eye(8, 128), EditPrompt("{} on the beach", {})
    people = [Person(name, ()) for name in ("ada", "bob", "cy")]
    of_celebrities = embeddings[3:6]
    return EvaluationSet(
        people, [0, 1, 2], embeddings, CELEBRITIES, of_celebrities, [edit], [edit], PackJudge()
    )


@pytest.fixture
def trained():
    return {name: Identity(name, torch.zeros(2, 4), "basis") for name in ("ada", "bob", "cy")}


def test_who_is_in_a_group(data):
    chosen = [(0, 1), (1, 2), (2, 0)]
    people = build_groups(data, "people", chosen)
    assert people[0].members == tuple(f"<{person.name}>" for person in data.people[:2])
    assert people[0].text == f"<{data.people[0].name}> and <{data.people[1].name}>"
    famous = build_groups(data, "celebrities", chosen)
    assert famous[2].members == (data.celebrities[2], data.celebrities[0])
    mixed = build_groups(data, "mixed", chosen)
    assert mixed[0].members == (f"<{data.people[0].name}>", data.celebrities[1])
    assert mixed[1].members == (data.celebrities[1], f"<{data.people[2].name}>")
    assert (mixed[1].references[0] == data.celebrity_embeddings[1]).all()
    (three,) = build_groups(data, "people", [(0, 1, 2)])
    assert three.text.count(",") == 1 and three.text.count(" and ") == 1


def test_reversed_boxes_are_columns_from_right_to_left(data):
    (group,) = build_groups(data, "mixed", [(0, 1)])
    first, second = group.reversed_boxes.items()
    assert first == (data.people[0].name, (0.5, 0, 1, 1))
    assert second == (data.celebrities[1], (0, 0, 0.5, 1))


def painter(data, order, blank):
    """A generator of what a prompt of two asks for, but for their order and who is missing."""
    asked = []

    def generate(prompts, models, basis, config, on_step):
        made = []
        for prompt in prompts:
            asked.append((config.regions is not None, dict(prompt.boxes), config.seed))
            image, names = Image.new("RGB", (150, 100)), list(prompt.identities)
            which = [[one.name for one in data.people].index(name) for name in names]
            image.info["faces"] = [
                (data.gallery[which[at]], x, 50)
                for x, at in zip((40, 110), order, strict=True)
                if at not in blank
            ]
            made.append(image)
        return made

    return generate, asked


@pytest.mark.parametrize(
    ("order", "blank", "regions", "found", "place"),
    [
        ((0, 1), (), "off", 1, 1),
        ((1, 0), (), "on", 1, 0),
        ((1, 0), (), "reversed", 1, 1),
        ((0, 1), (), "reversed", 1, 0),
        ((0, 1), (1,), "off", 0.5, 0.5),
        ((0, 1), (0, 1), "off", 0, 0),
    ],
)
def test_scores_of_images_that_are_known(
    order, blank, regions, found, place, seen, data, trained, monkeypatch
):
    generate, asked = painter(data, order, blank)
    monkeypatch.setattr(images_module, "generate_each", generate)
    groups = build_groups(data, "people", [(0, 1), (1, 2)])
    (row,) = score_groups(seen, data, [GroupRow("people", regions, groups)], trained, Run())
    assert (row["found"], row["place"], row["images"]) == (found, place, 4)
    assert row["identity"] == row["identity_edits"] == found
    assert all(with_regions == (regions != "off") for with_regions, _, _ in asked)
    assert all(bool(boxes) == (regions == "reversed") for _, boxes, _ in asked)


@pytest.mark.parametrize("square", [True, False])
def test_groups_on_a_square_canvas(square, seen, data, trained, monkeypatch):
    widths = []

    def generate(prompts, models, basis, config, on_step):
        widths.append(config.width)
        image = Image.new("RGB", (100, 100))
        image.info["faces"] = []
        return [image] * len(prompts)

    monkeypatch.setattr(images_module, "generate_each", generate)
    groups = build_groups(data, "people", [(0, 1)])
    score_groups(seen, data, [GroupRow("people", "on", groups)], trained, Run(), square)
    assert set(widths) == {seen.models.width if square else None}


@pytest.mark.parametrize(
    ("shown", "kind", "place"),
    [
        ("ab", "right", 1),
        ("ba", "swapped", 0),
        ("aa", "twice", 0.5),
        ("ac", "missing", 0.5),
        ("am", "blended", 0.5),
        ("a", "missing", 0.5),
        ("", "missing", 0),
    ],
)
def test_verdicts_are_the_judges(shown, kind, place, seen, data, trained, monkeypatch):
    middle = torch.nn.functional.normalize(data.gallery[0] + data.gallery[1], dim=0)
    people = dict(zip("abcm", [*data.gallery[:3], middle], strict=True))
    (group,) = build_groups(data, "people", [(0, 1)])

    def generate(prompts, models, basis, config, on_step):
        image = Image.new("RGB", (150, 100))
        image.info["faces"] = [(people[one], 40 + 70 * at, 50) for at, one in enumerate(shown)]
        return [image for _ in prompts]

    monkeypatch.setattr(images_module, "generate_each", generate)
    (row,) = score_groups(seen, data, [GroupRow("people", "off", [group])], trained, Run())
    shares = {name: row[name] for name in ("right", "swapped", "blended", "twice", "missing")}
    assert shares == {name: float(name == kind) for name in shares}
    assert (row["place"], row["found"]) == (place, len(shown) / 2)


def test_who_is_not_in_a_group_is_a_stranger(data):
    many = torch.nn.functional.normalize(torch.randn(150, 128), dim=1)
    crowded = replace(data, gallery=torch.cat([data.gallery, many]))
    (group,) = build_groups(crowded, "mixed", [(0, 1)])
    assert len(group.others) == 8 + 150 + 3 - 3  # of Nelo Ska there are two embeddings
    assert not any(torch.equal(one, known) for one in group.others for known in group.references)
    (few,) = build_groups(data, "mixed", [(0, 1)])
    assert few.others is None


def test_regions_or_not_the_seeds_are_the_same(seen, data, trained, monkeypatch):
    generate, asked = painter(data, (0, 1), ())
    monkeypatch.setattr(images_module, "generate_each", generate)
    groups = build_groups(data, "people", [(0, 1), (1, 2)])
    rows = [GroupRow("people", regions, groups) for regions in ("off", "on")]
    score_groups(seen, data, rows, trained, Run())
    seeds = [seed for _, _, seed in asked]
    assert seeds[:4] == seeds[4:]
