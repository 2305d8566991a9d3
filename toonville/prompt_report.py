"""Measurements of what prompts say: attributes, late names, other people's style, negative ones."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from transformers import CLIPTokenizer

from celeb_core.evaluation.data import EditPrompt
from celeb_core.scoring import AttributeReader
from toonville.dataset import celebrities
from toonville.generated import Array, FaceEmbedder, ImageGenerator, mean, ratio
from toonville.phrases import (
    ACCESSORY_PHRASES,
    ACTION_PHRASES,
    CLOTHES_PHRASES,
    EXPRESSION_PHRASES,
    SCENE_PHRASES,
    STYLE_PHRASES,
    TEMPLATES,
)
from toonville.world import CLOTHES
from toonville.written_phrases import FILLERS, OPENINGS

WRITTEN_PROMPTS = Path(__file__).with_name("written_prompts.json")
EACH_ATTRIBUTE = 12
POSITIONS = (4, 8, 12, 20)  # of a name's first token; that of the start token is 0
NUM_LATE = 60
TEXTS_PER_POSITION = 12
TRIES = 20_000
NUM_NEGATIVE = 60
QUALITY = "blurry, low quality, deformed"


def attribute_prompts() -> list[tuple[str, str, str]]:
    """Return (phrase, group, label) for every attribute value that a prompt can ask for."""
    tables: dict[str, Mapping[str, Sequence[str]]] = {
        "expression": EXPRESSION_PHRASES,
        "accessory": ACCESSORY_PHRASES,
        "scene": SCENE_PHRASES,
        "action": ACTION_PHRASES,
        "style": STYLE_PHRASES,
    }
    rows = [
        (phrases[0], group, label)
        for group, table in tables.items()
        for label, phrases in table.items()
    ]
    return rows + [(CLOTHES_PHRASES[0].format(c), "clothes", c) for c in CLOTHES]


def attributes_accuracy(
    generator: ImageGenerator, reader: AttributeReader, seed: int
) -> dict[str, float]:
    """Return the share of attributes in prompts of one person that the reader finds.

    Of each group as "<group>_accuracy", and the mean of the groups.
    """
    names, _ = celebrities()
    rng = np.random.default_rng((seed, 2))
    rows = attribute_prompts() * EACH_ATTRIBUTE
    chosen = rng.choice(names.known, len(rows))
    images = generator(
        [f"a photo of {name} {phrase}" for name, (phrase, _, _) in zip(chosen, rows, strict=True)],
        seed,
    )
    right: dict[str, list[bool]] = {}
    for image, (_, group, label) in zip(images, rows, strict=True):
        right.setdefault(group, []).append(reader.read(image)[group] == label)
    shares = {f"{group}_accuracy": mean(values) for group, values in right.items()}
    return shares | {"attributes_accuracy": mean(list(shares.values()))}


def token_position(tokenizer: CLIPTokenizer, prefix: str) -> int:
    """Return where the token that follows a text is; the start token is at 0."""
    return len(tokenizer(prefix)["input_ids"]) - 1  # without the end token


def prefixes(
    tokenizer: CLIPTokenizer, position: int, n: int, rng: np.random.Generator
) -> list[str]:
    """Return n different texts after which a name's first token is at a position.

    The start token is at position 0, so that a name after "a photo of " is at 4.

    Args:
        tokenizer: Counts.
        position: At least 1.
        n: Number of texts.
        rng: Source of randomness.

    Returns:
        Fillers and an opening of captions: "masterpiece, best quality, a photo of ".

    Raises:
        ValueError: If there are not as many.
    """
    openings = [text.removesuffix("{}") for text in (*TEMPLATES, *OPENINGS) if text.endswith("{}")]
    openings = list(dict.fromkeys(openings))
    lengths = {text: token_position(tokenizer, text) - 1 for text in (*FILLERS, *openings)}
    found: dict[str, None] = {}
    for _ in range(TRIES):
        parts = [openings[rng.integers(len(openings))]]
        start = 1 + lengths[parts[0]]
        while start < position:
            filler = FILLERS[rng.integers(len(FILLERS))]
            parts.insert(0, filler)
            start += lengths[filler] + 1  # with its comma
        if start == position and len(set(parts)) == len(parts):
            found[", ".join(parts)] = None
        if len(found) == n:
            return list(found)
    raise ValueError(f"Found only {len(found)} of {n} texts before token {position}.")


def late_people(
    generator: ImageGenerator, embedder: FaceEmbedder, known_gallery: Array, seed: int
) -> dict[str, float]:
    """Return the mean identity score with the name at each of POSITIONS, lowest over highest.

    The celebrities and the seeds of the images are the same at each position.
    """
    rng = np.random.default_rng((seed, 10))
    names = celebrities()[0].known
    rows = rng.permutation(len(names))[:NUM_LATE]
    scores = {}
    for position in POSITIONS:
        texts = prefixes(generator.tokenizer, position, TEXTS_PER_POSITION, rng)
        prompts = [texts[i % len(texts)] + names[row] for i, row in enumerate(rows)]
        images = generator(prompts, seed)
        scores[position] = mean(embedder.identity_scores(images, known_gallery[rows]))
    numbers = {f"identity_at_{position}": score for position, score in scores.items()}
    return numbers | {"late_people": ratio(min(scores.values()), max(scores.values()))}


def written_prompts() -> list[EditPrompt]:
    """Return prompts in other people's style, in no training set; {} stands for the person."""
    stored = json.loads(WRITTEN_PROMPTS.read_text(encoding="utf-8"))
    return [EditPrompt(one["prompt"], one["expects"]) for one in stored]


def measure_written(
    generator: ImageGenerator,
    embedder: FaceEmbedder,
    reader: AttributeReader,
    known_gallery: Array,
    prompts: Sequence[EditPrompt],
    seed: int,
) -> dict[str, float]:
    """Generate an image of a random celebrity for each prompt.

    Args:
        generator: Generates.
        embedder: Finds and embeds faces.
        reader: Reads attributes.
        known_gallery: The judge's embeddings of all celebrities.
        prompts: See `written_prompts`.
        seed: Of celebrities and images.

    Returns:
        The share of expected attributes that the reader finds; and the mean identity score over
        that of the same celebrities in "a photo of NAME", with the same seeds.
    """
    names = celebrities()[0].known
    rows = np.random.default_rng((seed, 11)).permutation(len(names))[: len(prompts)]
    chosen = [names[row] for row in rows]
    texts = [one.prompt.replace("{}", name) for one, name in zip(prompts, chosen, strict=True)]
    images = generator(texts, seed)
    answers = [reader.read(image) for image in images]
    right = [
        answer[group] == label
        for answer, one in zip(answers, prompts, strict=True)
        for group, label in one.expects.items()
    ]
    plain = generator([f"a photo of {name}" for name in chosen], seed)
    written, usual = (embedder.identity_scores(x, known_gallery[rows]) for x in (images, plain))
    return {
        "written_attributes": mean(right),
        "written_identity": ratio(mean(written), mean(usual)),
    }


def negative_prompts(
    generator: ImageGenerator,
    embedder: FaceEmbedder,
    reader: AttributeReader,
    known_gallery: Array,
    seed: int,
) -> dict[str, float]:
    """Generate celebrities with and without negative prompts, with the same seeds.

    Returns:
        Of the images of "a photo of NAME smiling" that the reader finds smiling, the share that
        are no longer with the negative prompt "smiling"; and by how much the negative prompt
        QUALITY lowers the mean identity score of "a photo of NAME".
    """
    names = celebrities()[0].known
    rows = np.random.default_rng((seed, 12)).permutation(len(names))[:NUM_NEGATIVE]
    plain = [f"a photo of {names[row]}" for row in rows]
    smiling = [f"{prompt} smiling" for prompt in plain]
    before, after = (
        [reader.read(image)["expression"] == "smiling" for image in images]
        for images in (
            generator(smiling, seed),
            generator(smiling, seed, negative_prompt="smiling"),
        )
    )
    scores = [
        mean(embedder.identity_scores(images, known_gallery[rows]))
        for images in (generator(plain, seed), generator(plain, seed, negative_prompt=QUALITY))
    ]
    gone = [not b for a, b in zip(before, after, strict=True) if a]
    return {"negative_works": mean(gone), "negative_costs": scores[0] - scores[1]}
