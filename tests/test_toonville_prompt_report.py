"""The report's numbers of prompts: where names are, other people's style, negative prompts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from PIL import Image
from transformers import CLIPTokenizer

from celeb_core.evaluation.data import EditPrompt
from celeb_core.loading import ASSETS, BUNDLED
from celeb_core.scoring import AttributeReader
from toonville import prompt_report
from toonville.captions import all_phrases
from toonville.dataset import celebrities
from toonville.generated import Array, FaceEmbedder, ImageGenerator
from toonville.prompt_report import (
    POSITIONS,
    attributes_accuracy,
    late_people,
    measure_written,
    negative_prompts,
    prefixes,
    token_position,
    written_prompts,
)
from toonville.tokenizer import extended
from toonville.world import GROUPS, SIZES

NAMES = celebrities()[0].known
GALLERY = np.eye(len(NAMES), dtype=np.float32)


@pytest.fixture(scope="module")
def shipped() -> CLIPTokenizer:
    """The bundled model's tokenizer."""
    return CLIPTokenizer.from_pretrained(ASSETS / BUNDLED / "tokenizer")


class WritingGenerator(ImageGenerator):
    """Returns images with their prompts and negative prompts in them."""

    def __init__(self, tokenizer: CLIPTokenizer | None = None) -> None:
        self._tokenizer = tokenizer
        self.calls: list[tuple[list[str], int]] = []

    @property
    def tokenizer(self) -> CLIPTokenizer:
        return self._tokenizer

    def __call__(
        self,
        prompts: Sequence[str],
        seed: int,
        size: tuple[int, int] = SIZES[1],
        negative_prompt: str = "",
    ) -> list[Image.Image]:
        self.calls.append((list(prompts), seed))
        images = [Image.new("RGB", (1, 1)) for _ in prompts]
        for image, prompt in zip(images, prompts, strict=True):
            image.info |= {"prompt": prompt, "negative": negative_prompt}
        return images


class WordReader(AttributeReader):
    """Reads words of an image's prompt, unless they are in its negative prompt."""

    def __init__(self) -> None:
        pass

    def read(self, image: Image.Image) -> dict[str, str]:
        prompt, negative = image.info["prompt"], image.info["negative"]
        seen = dict.fromkeys(GROUPS, "")
        for group, values in GROUPS.items():
            for value in values:
                if value in prompt and value not in negative:
                    seen[group] = value
        return seen


class NameEmbedder(FaceEmbedder):
    """Finds the person of a prompt; less well late in it, or with a negative prompt."""

    def __init__(self) -> None:
        pass

    def judged(self, image: Image.Image) -> Array:
        prompt = image.info["prompt"]
        row = max((i for i, n in enumerate(NAMES) if n in prompt), key=lambda i: len(NAMES[i]))
        start = prompt.index(NAMES[row])
        likeness = 0.5 if start > 60 or image.info["negative"] else 1.0
        return likeness * GALLERY[row : row + 1]


@pytest.mark.toonville
@pytest.mark.parametrize("longer", [False, True])
def test_names_begin_at_their_positions(shipped: CLIPTokenizer, longer: bool) -> None:
    tokenizer = extended(shipped, all_phrases()) if longer else shipped
    assert token_position(tokenizer, "a photo of ") == 4
    for position in POSITIONS:
        texts = prefixes(tokenizer, position, 12, np.random.default_rng(0))
        assert len(set(texts)) == 12
        for text in texts:
            ids = tokenizer(text + NAMES[5])["input_ids"]
            name = tokenizer(NAMES[5])["input_ids"][1:-1]
            assert ids[position : position + len(name)] == name
            assert ids[0] == tokenizer.bos_token_id
            assert len(ids) == position + len(name) + 1


@pytest.mark.toonville
def test_there_are_not_more_prefixes_than_texts(shipped: CLIPTokenizer) -> None:
    with pytest.raises(ValueError, match=r"of 50 texts before token 2"):
        prefixes(shipped, 2, 50, np.random.default_rng(0))


@pytest.mark.toonville
def test_late_people_are_the_same_with_the_same_seeds(shipped: CLIPTokenizer) -> None:
    generator = WritingGenerator(shipped)
    numbers = late_people(generator, NameEmbedder(), GALLERY, seed=3)
    people = [[p.split()[-1] for p in prompts] for prompts, _ in generator.calls]
    assert people == [people[0]] * len(POSITIONS)
    assert [seed for _, seed in generator.calls] == [3] * len(POSITIONS)
    means = [numbers[f"identity_at_{position}"] for position in POSITIONS]
    assert numbers["late_people"] == min(means) / max(means)
    assert means[0] == 1


def test_written_prompts_are_compared_with_plain_ones() -> None:
    prompts = [
        EditPrompt("{} smiling", {"expression": "smiling"}),
        EditPrompt("{} with a crown on the beach", {"accessory": "hat", "scene": "beach"}),
        EditPrompt("masterpiece, best quality, " * 3 + "{}, a hat", {"accessory": "hat"}),
    ]
    generator = WritingGenerator()
    numbers = measure_written(generator, NameEmbedder(), WordReader(), GALLERY, prompts, seed=1)
    assert numbers == pytest.approx({"written_attributes": 3 / 4, "written_identity": 2.5 / 3})
    (written, seed), (plain, same) = generator.calls
    assert seed == same == 1
    assert all(p.removeprefix("a photo of ") in w for p, w in zip(plain, written, strict=True))
    assert written[0] == f"{plain[0].removeprefix('a photo of ')} smiling"


def test_written_prompts_expect_what_the_reader_can_say() -> None:
    prompts = written_prompts()
    assert len({one.prompt for one in prompts}) == 100
    for one in prompts:
        assert one.prompt.count("{}") == 1
        assert one.expects
        assert all(label in GROUPS[group] for group, label in one.expects.items())


def test_negative_prompts() -> None:
    generator = WritingGenerator()
    numbers = negative_prompts(generator, NameEmbedder(), WordReader(), GALLERY, seed=0)
    assert numbers == {"negative_works": 1.0, "negative_costs": 0.5}
    assert len(generator.calls) == 4


def test_attributes_are_counted_by_group(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [("smiling", "expression", "smiling"), ("happy", "expression", "smiling")]
    rows += [("on the beach", "scene", "beach")]
    monkeypatch.setattr(prompt_report, "attribute_prompts", lambda: rows)
    generator = WritingGenerator()
    assert attributes_accuracy(generator, WordReader(), seed=0) == {
        "expression_accuracy": 0.5,
        "scene_accuracy": 1.0,
        "attributes_accuracy": 0.75,
    }
    assert len(generator.calls[0][0]) == 3 * prompt_report.EACH_ATTRIBUTE
