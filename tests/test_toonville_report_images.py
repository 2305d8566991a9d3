"""The report's numbers of images: generated ones, sharpness, several people, expressions."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from celeb_core.scoring import AttributeReader
from toonville import image_report
from toonville.dataset import celebrities
from toonville.generated import Array, FaceEmbedder, ImageGenerator
from toonville.group_report import (
    TABLES,
    group_prompts,
    groups_right,
    in_place,
    mixed_forms,
    written_orders,
)
from toonville.image_report import (
    laplacian_variance,
    sharpness,
    sketch_rank1,
    vae_expression,
)
from toonville.world import EXPRESSIONS, SIZES

GALLERY = np.eye(len(celebrities()[0].known), dtype=np.float32)


class NumberingGenerator(ImageGenerator):
    """Returns images that have the number of their prompt, which it keeps."""

    def __init__(self) -> None:
        self.prompts: list[str] = []
        self.sizes: set[tuple[int, int]] = set()

    def __call__(
        self,
        prompts: Sequence[str],
        seed: int,
        size: tuple[int, int] = SIZES[1],
        negative_prompt: str = "",
    ) -> list[Image.Image]:
        first = len(self.prompts)
        self.prompts += prompts
        self.sizes.add(size)
        return [Image.new("I", (1, 1), first + i) for i in range(len(prompts))]

    def prompt(self, image: Image.Image) -> str:
        """Return the prompt of an image."""
        number = image.getpixel((0, 0))
        assert isinstance(number, int)
        return self.prompts[number]


class NameReadingEmbedder(FaceEmbedder):
    """Finds in an image the people whom its prompt names, in that order."""

    def __init__(self, generator: NumberingGenerator) -> None:
        self.generator = generator

    def judged(self, image: Image.Image) -> Array:
        prompt = self.generator.prompt(image)
        names = celebrities()[0].known
        found = [i for i, name in enumerate(names) if name in prompt]
        longest = [
            i for i in found if not any(names[i] in names[j] and i != j for j in found)
        ]  # "Ann" is in "Joanna"
        return GALLERY[sorted(longest, key=lambda i: prompt.index(names[i]))]


class RecordingPipeline:
    """Keeps the arguments of each batch."""

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []

    def __call__(self, prompts: list[str], **options: Any) -> SimpleNamespace:
        self.calls.append({"prompts": prompts, **options})
        return SimpleNamespace(images=[Image.new("RGB", (1, 1))] * len(prompts))


class PipelineGenerator(ImageGenerator):
    """Has a pipeline that generates nothing."""

    def __init__(self) -> None:
        self.pipe = RecordingPipeline()


@pytest.mark.parametrize(("people", "batch"), [(1, 16), (2, 8), (3, 8)])
def test_each_image_has_its_own_seed_and_the_negative_prompt(people: int, batch: int) -> None:
    generator = PipelineGenerator()
    prompts = [str(i) for i in range(20)]
    assert len(generator(prompts, 50, SIZES[people], negative_prompt="blurry")) == 20
    seeds = []
    for call in generator.pipe.calls:
        assert len(call["prompts"]) <= batch
        assert call["negative_prompt"] == ["blurry"] * len(call["prompts"])
        assert (call["width"], call["height"]) == SIZES[people]
        seeds += [one.initial_seed() for one in call["generator"]]
    assert seeds == list(range(50, 70))
    assert len(generator.pipe.calls[0]["prompts"]) == batch


class RedVae:
    """An autoencoder that turns all images red."""

    def encode(self, pixels: torch.Tensor) -> SimpleNamespace:
        return SimpleNamespace(latent_dist=SimpleNamespace(mode=lambda: pixels))

    def decode(self, latents: torch.Tensor) -> SimpleNamespace:
        latents[:, 1:] = -1
        return SimpleNamespace(sample=latents)


def test_images_are_reconstructed() -> None:
    def postprocess(x: torch.Tensor) -> list[Image.Image]:
        pixels = x.add(1).mul(127.5).round().byte().permute(0, 2, 3, 1).numpy()
        return [Image.fromarray(one) for one in pixels]

    generator = PipelineGenerator()
    generator.pipe.vae = RedVae()
    generator.pipe.image_processor = SimpleNamespace(postprocess=postprocess)
    images = [Image.new("RGB", (8, 8), (shade, 9, 9)) for shade in range(20)]
    decoded = generator.reconstructed(images)
    assert [image.getpixel((3, 3)) for image in decoded] == [(i, 0, 0) for i in range(20)]


def test_sharpness_of_known_images() -> None:
    pixels = np.zeros((8, 8), np.uint8)
    assert laplacian_variance(Image.fromarray(pixels)) == 0
    pixels[4, 4] = 100  # Laplacian: -400 there, 100 at four neighbours
    assert laplacian_variance(Image.fromarray(pixels)) == pytest.approx((160_000 + 40_000) / 64)


def test_sharpness_is_relative_to_renderings(monkeypatch: pytest.MonkeyPatch) -> None:
    def variance(image: Image.Image) -> float:
        return 2.0 if image.size == (1, 1) else 8.0

    monkeypatch.setattr(image_report, "laplacian_variance", variance)
    generator = NumberingGenerator()
    assert sharpness(generator, seed=0, n=4) == 0.25
    assert len(set(generator.prompts)) == 4
    assert not any("pencil" in p or "pixel" in p for p in generator.prompts)


def test_written_orders_do_not_go_from_left_to_right() -> None:
    assert "{1} on the right and {0} on the left" in written_orders(2)
    assert "{2} on the right, {1} in the middle and {0} on the left" in written_orders(3)
    for num_people, (plain, written) in TABLES.items():
        orders = written_orders(num_people)
        assert "{0} on the left, {1} on the right" not in orders
        assert set(orders) < {form for options in written.values() for form in options}
        forms = mixed_forms(num_people, 10)
        assert [form in orders for form in forms] == [False, True] * 5
        phrases = {phrase for options in plain.values() for phrase in options}
        assert set(forms[::2]) <= phrases


def test_the_gallery_of_a_prompt_begins_with_its_people_from_left_to_right() -> None:
    forms = ["{1} on the right and {0} on the left", "{} and {}"]
    prompts, rows = group_prompts(forms, 2, np.random.default_rng(0))
    (left, right), (first, second) = (
        [celebrities()[0].known[row] for row in gallery[:2]] for gallery in rows
    )
    assert prompts == [
        f"a photo of {right} on the right and {left} on the left",
        f"a photo of {first} and {second}",
    ]
    assert [len(set(gallery)) for gallery in rows] == [100, 100]


@pytest.mark.parametrize("num_people", [2, 3])
def test_people_in_the_order_of_the_prompt_are_wrong_in_written_orders(num_people: int) -> None:
    generator = NumberingGenerator()
    embedder = NameReadingEmbedder(generator)
    assert groups_right(generator, embedder, GALLERY, num_people, 8, seed=0) == 0.5
    assert generator.sizes == {SIZES[num_people]}


def test_a_missing_face_makes_all_places_wrong() -> None:
    generator = NumberingGenerator()
    embedder = NameReadingEmbedder(generator)
    forms = ["{0} and {1}", "{0} alone {1:.0}"]  # the second is left out
    rng = np.random.default_rng(0)
    complete, right = in_place(generator, embedder, GALLERY, forms, 2, rng, 0)
    assert complete.tolist() == [True, False]
    assert right.tolist() == [[True, True], [False, False]]


def test_sketches_of_the_right_people_are_recognised() -> None:
    generator = NumberingGenerator()
    assert sketch_rank1(generator, NameReadingEmbedder(generator), GALLERY, seed=0) == 1
    assert len(set(generator.prompts)) == 100
    assert generator.prompts[0].startswith("a pencil sketch of ")


class SmilingReader(AttributeReader):
    """Finds everybody smiling."""

    def __init__(self) -> None:
        pass

    def read(self, image: Image.Image) -> dict[str, str]:
        return {"expression": "smiling"}


class Copier(ImageGenerator):
    """Reconstructs images as they are."""

    def __init__(self) -> None:
        pass

    def reconstructed(self, images: Sequence[Image.Image]) -> list[Image.Image]:
        return list(images)


def test_all_expressions_are_as_frequent_in_reconstructions() -> None:
    numbers = vae_expression(Copier(), SmilingReader(), seed=0, n=2 * len(EXPRESSIONS))
    share = 1 / len(EXPRESSIONS)
    assert numbers == pytest.approx({"vae_expression": share, "rendered_expression": share})
