"""The UNet's training data: rendered and encoded in one pass, and continued after a kill."""

from __future__ import annotations

import os
import shutil
import signal
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL
from transformers import CLIPConfig, CLIPModel, CLIPTokenizer

from celeb_core.basis import K
from celeb_core.loading import ASSETS, BUNDLED
from celeb_core.text_encoder import encode_texts
from toonville import encoded
from toonville.clip import WIDTH
from toonville.dataset import Captioned
from toonville.encoded import (
    EMPTY_FILE,
    FILES,
    Encoded,
    encode_examples,
    encode_store,
    face_shares,
    load_encoded,
    load_text_encoder,
)
from toonville.identity import sample_traits
from toonville.render import render
from toonville.tokenizer import CONTEXT_LENGTH
from toonville.unnamed_people import UnnamedPeople
from toonville.world import CELL, GROUPS, SIZES, ImageSpec, PersonSpec, labels_of

pytestmark = pytest.mark.toonville  # its tokenizer

CHANNELS = 5
N, FIRST_SEED = 5, 70


def example(num_people: int, seed: int) -> Captioned:
    """Return an example with a placeholder for each person."""
    traits = sample_traits(np.random.default_rng(seed), num_people)
    spec = ImageSpec(tuple(PersonSpec(row, "sad") for row in traits), scene="beach", seed=seed)
    names = ("<x>", "<y>", "<z>")[:num_people]
    text = "a photo of " + " and ".join(names)
    ends = tuple(text.index(name) + len(name) for name in names)
    return Captioned(spec, text, text, ends, tuple(range(num_people)), names)


def logged(log: Path, killed_at: int, seed: int) -> Captioned:
    """Return a pair, and note the seed; kill the process at one of them."""
    with log.open("a") as file:
        file.write(f"{seed}\n")
    if seed == killed_at:
        os.kill(os.getpid(), signal.SIGKILL)
    return example(2, seed)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small random models."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("models")
    AutoencoderKL(
        block_out_channels=(4,) * 5,
        down_block_types=("DownEncoderBlock2D",) * 5,
        up_block_types=("UpDecoderBlock2D",) * 5,
        latent_channels=CHANNELS,
        norm_num_groups=1,
        mid_block_add_attention=False,
    ).save_pretrained(folder / "vae")
    tokenizer = ASSETS / BUNDLED / "tokenizer"
    shutil.copytree(tokenizer, folder / "tokenizer")
    text = {
        "hidden_size": WIDTH,
        "intermediate_size": 8,
        "num_hidden_layers": 1,
        "max_position_embeddings": CONTEXT_LENGTH,
        "vocab_size": len(CLIPTokenizer.from_pretrained(tokenizer)),
    }
    vision = {
        "hidden_size": 16,
        "intermediate_size": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
    }
    config = CLIPConfig(text_config=text, vision_config=vision)
    CLIPModel(config).save_pretrained(folder / "clip")
    return folder


@pytest.fixture(scope="module")
def people() -> UnnamedPeople:
    rng = np.random.default_rng(0)
    embeddings = rng.normal(0, 0.02, (3, K, WIDTH)).astype(np.float16)
    return UnnamedPeople(embeddings, sample_traits(rng, 3))


def encode(num_people: int, seeds: range, models: Path, people: UnnamedPeople) -> Encoded:
    vae = AutoencoderKL.from_pretrained(models / "vae")
    one = partial(example, num_people)
    return encode_examples(one, seeds, vae, load_text_encoder(models), people)


@pytest.mark.parametrize("num_people", [1, 2, 3])
def test_examples_are_at_full_size(num_people: int, models: Path, people: UnnamedPeople) -> None:
    examples = [example(num_people, seed) for seed in range(2)]
    rows = encode(num_people, range(2), models, people)
    width, height = (side // CELL for side in SIZES[num_people])
    assert rows.latents.shape == (2, CHANNELS, height, width)
    assert rows.faces.shape == (2, height, width)
    assert rows.hidden_states.shape == (2, CONTEXT_LENGTH, WIDTH)
    assert rows.labels.tolist() == [labels_of(one.spec) for one in examples]
    assert rows.labels.shape[1] == len(GROUPS)
    for i, one in enumerate(examples):
        rendering = render(one.spec)
        assert np.array_equal(rows.landmarks[i], [p.landmarks for p in rendering.people])
        assert np.array_equal(rows.traits[i], [p.traits for p in one.spec.people])
        assert np.array_equal(rows.faces[i], face_shares(rendering))


def test_faces_are_where_the_mask_is() -> None:
    rendering = render(example(2, 3).spec)
    shares = face_shares(rendering)
    assert shares.mean() == pytest.approx(rendering.face_mask().mean(), abs=1)
    nose = rendering.people[1].landmarks[2] / CELL
    assert shares[int(nose[1]), int(nose[0])] == 255 and shares[0, 0] == 0


def test_placeholders_have_their_peoples_embeddings(models: Path, people: UnnamedPeople) -> None:
    one = example(2, 4)
    rows = encode(2, range(4, 5), models, people)
    embeddings = {
        name: torch.from_numpy(people.embeddings[i]).float() for i, name in enumerate(("x", "y"))
    }
    with torch.no_grad():
        expected = encode_texts([one.text], [embeddings], K, (load_text_encoder(models),))
    np.testing.assert_allclose(
        rows.hidden_states, expected.hidden_states.numpy(), rtol=1e-3, atol=1e-3
    )


def test_a_killed_store_is_continued(
    models: Path, people: UnnamedPeople, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoded, "CHUNK", 2)

    def store(name: str, killed_at: int = 0, first_seed: int = FIRST_SEED) -> list[int]:
        """Return the seeds that were rendered."""
        log = tmp_path / f"{name}.log"
        log.write_text("")
        one = partial(logged, log, killed_at)
        try:
            encode_store(tmp_path / name, N, 2, first_seed, one, models, people, workers=1)
        finally:
            seeds = [int(line) for line in log.read_text().split()]
        return seeds

    assert store("whole") == list(range(FIRST_SEED, FIRST_SEED + N))
    with pytest.raises(BrokenProcessPool):
        store("killed", killed_at=FIRST_SEED + 3)
    assert store("killed") == [FIRST_SEED + 2, FIRST_SEED + 3, FIRST_SEED + 4]
    for file in [*FILES.values(), EMPTY_FILE]:
        assert (tmp_path / "killed" / file).read_bytes() == (tmp_path / "whole" / file).read_bytes()
    assert store("killed") == [], "a complete store is left as it is"
    assert {p.name for p in (tmp_path / "killed").iterdir()} == {
        *FILES.values(),
        EMPTY_FILE,
        "done.json",
    }

    rows = load_encoded(tmp_path / "whole")
    assert len(rows) == N and rows.seeds.tolist() == list(range(FIRST_SEED, FIRST_SEED + N))
    for row, seed in enumerate(rows.seeds):
        assert np.array_equal(rows.traits[row], [p.traits for p in example(2, seed).spec.people])
    some = rows[np.array([3, 1])]
    assert some.seeds.tolist() == [FIRST_SEED + 3, FIRST_SEED + 1]
    assert np.array_equal(some.latents, rows.latents[[3, 1]])
    assert np.isfinite(rows.latents).all() and (rows.latents.std((1, 2, 3)) > 0).all()
    assert np.load(tmp_path / "whole" / EMPTY_FILE).shape == (CONTEXT_LENGTH, WIDTH)
