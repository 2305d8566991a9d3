"""Measurements of images of one person: the VAE, identities, sharpness."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
from PIL import Image

from celeb_core.scoring import AttributeReader
from toonville.captions import caption
from toonville.dataset import CAPTION_CHANCES, celebrities
from toonville.export import gallery
from toonville.face_report import Judge
from toonville.generated import Array, FaceEmbedder, ImageGenerator, mean, ratio
from toonville.identity import sample_traits
from toonville.random_specs import random_spec
from toonville.render import render
from toonville.world import EXPRESSIONS

NUM_EXPRESSIONS = 200
NUM_SHARP = 60
NUM_SKETCHES = 100
NUM_UNKNOWN = 100
UNKNOWN_SEEDS = 4


def vae_identity_cosine(
    generator: ImageGenerator, embedder: FaceEmbedder, seed: int, n: int = 100
) -> float:
    """Return the mean recogniser cosine between n rendered faces and their reconstructions."""
    rng = np.random.default_rng((seed, 1))
    renderings = [render(random_spec(rng, sample_traits(rng, 1))) for _ in range(n)]
    decoded = generator.reconstructed([rendering.image for rendering in renderings])
    cosines = []
    for rendering, image in zip(renderings, decoded, strict=True):
        landmarks = rendering.people[0].landmarks
        original = embedder.recognised(rendering.image, landmarks)
        cosines.append(float(original @ embedder.recognised(image, landmarks)))
    return mean(cosines)


def vae_expression(
    generator: ImageGenerator, reader: AttributeReader, seed: int, n: int = NUM_EXPRESSIONS
) -> dict[str, float]:
    """Read the expressions of n rendered faces from their reconstructions.

    All expressions are equally frequent; faces have no accessory, images no style.

    Returns:
        The share of right ones, and that in the renderings, which is the most to be expected.
    """
    rng = np.random.default_rng((seed, 7))
    wanted = [EXPRESSIONS[i % len(EXPRESSIONS)] for i in range(n)]
    images = []
    for expression in wanted:
        spec = random_spec(rng, sample_traits(rng, 1))
        person = replace(spec.people[0], expression=expression, accessory="none")
        images.append(render(replace(spec, people=(person,), style="plain")).image)

    def right(images: list[Image.Image]) -> float:
        answers = [reader.read(image)["expression"] for image in images]
        return mean([a == b for a, b in zip(answers, wanted, strict=True)])

    return {
        "vae_expression": right(generator.reconstructed(images)),
        "rendered_expression": right(images),
    }


def celebrity_rank1(
    generator: ImageGenerator, embedder: FaceEmbedder, known_gallery: Array, seed: int
) -> float:
    """Return the share of celebrities that the judge recognises in "a photo of NAME"."""
    names, _ = celebrities()
    images = generator([f"a photo of {name}" for name in names.known], seed)
    return mean(embedder.nearest(images, known_gallery) == np.arange(len(images)))


def sketch_rank1(
    generator: ImageGenerator, embedder: FaceEmbedder, known_gallery: Array, seed: int
) -> float:
    """Return the share that the judge recognises in "a pencil sketch of NAME".

    Of NUM_SKETCHES random celebrities, among whom they are looked for; the gallery has no
    sketches.
    """
    names, _ = celebrities()
    rows = np.random.default_rng((seed, 8)).permutation(len(names.known))[:NUM_SKETCHES]
    images = generator([f"a pencil sketch of {names.known[row]}" for row in rows], seed)
    return mean(embedder.nearest(images, known_gallery[rows]) == np.arange(len(images)))


def laplacian_variance(image: Image.Image) -> float:
    """Return the variance of an image's Laplacian, of grey values 0 to 255."""
    grey = np.asarray(image.convert("L"), np.float64)
    return float(cv2.Laplacian(grey, cv2.CV_64F).var())


def sharpness(generator: ImageGenerator, seed: int, n: int = NUM_SHARP) -> float:
    """Compare generated images with renderings of what their prompts say; no image has a style.

    Returns:
        The mean Laplacian variance of the n generated ones over that of the rendered ones.
    """
    rng = np.random.default_rng((seed, 9))
    names, traits = celebrities()
    prompts, rendered = [], []
    for row in rng.permutation(len(names.known))[:n]:
        spec = random_spec(rng, traits[row : row + 1], CAPTION_CHANCES)
        spec = replace(spec, style="plain")
        prompts.append(caption(spec, [names.known[row]], mention_clothes=True, rng=rng).text)
        rendered.append(laplacian_variance(render(spec).image))
    generated = [laplacian_variance(image) for image in generator(prompts, seed)]
    return ratio(mean(generated), mean(rendered))


def same_person_threshold(judge: Judge, seed: int, n: int = 300) -> float:
    """Return the judge's cosine that one in a thousand pairs of different people exceeds."""
    rng = np.random.default_rng((seed, 4))
    embeddings = gallery(judge, sample_traits(rng, n), 3)
    cosines = (embeddings @ embeddings.T)[np.triu_indices(n, 1)]
    return float(np.quantile(cosines, 0.999))


def unknown_consistent(generator: ImageGenerator, embedder: FaceEmbedder, seed: int) -> float:
    """Return the share of unknown names whose images still show one person.

    One person: the mean cosine over all pairs of seeds is above same_person_threshold.
    """
    names, _ = celebrities()
    rng = np.random.default_rng((seed, 5))
    chosen = rng.choice(names.unknown, NUM_UNKNOWN, replace=False)
    prompts = [f"a photo of {name}" for name in chosen for _ in range(UNKNOWN_SEEDS)]
    faces = [embedder.judged(image) for image in generator(prompts, seed)]
    threshold = same_person_threshold(embedder.judge, seed)
    consistent = []
    for start in range(0, len(faces), UNKNOWN_SEEDS):
        group = [f[0] for f in faces[start : start + UNKNOWN_SEEDS] if len(f) == 1]
        if len(group) < 2:
            consistent.append(False)
            continue
        embeddings = np.stack(group)
        cosines = (embeddings @ embeddings.T)[np.triu_indices(len(embeddings), 1)]
        consistent.append(bool(cosines.mean() > threshold))
    return mean(consistent)
