"""CLIP's training: images, the heads on attributes, and a step on a tiny store."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from small_clip import small_clip
from transformers import CLIPModel, CLIPTokenizer

from toonville.clip import AttributeHead, square_images, text_tower, train_clip
from toonville.dataset import FILES, CaptionRow, Store, load_store
from toonville.identity import NUM_TRAITS
from toonville.plain_captions import TokenisedCaptions, plain_loss, tokenise_captions
from toonville.tokenizer import CONTEXT_LENGTH
from toonville.world import GROUPS, UNKNOWN

ASSETS = Path(__file__).parent.parent / "assets" / "toonville"
WIDTH = 64
NAMES = (ASSETS / "names.txt").read_text().splitlines()[:3]


def caption(text: str, plain: str, who: list[int], names: list[str]) -> CaptionRow:
    """Return a row whose names are in the text in their order."""
    ends, cursor = [], 0
    for name in names if plain else ():
        cursor = text.index(name, cursor) + len(name)
        ends.append(cursor)
    ends = ends or [len(text)]
    return {"text": text, "plain": plain, "name_ends": ends, "who": who, "names": names}


def write_store(folder: Path, captions: list[CaptionRow], people: int) -> Store:
    """Write noise images with captions."""
    folder.mkdir(parents=True)
    n, width = len(captions), {1: 128, 2: 192, 3: 288}[people]
    rng = np.random.default_rng(0)
    arrays = {
        "images": rng.integers(0, 256, (n, 128, width, 3), np.uint8),
        "masks": np.zeros((n, 16, width // 8), np.uint8),
        "traits": rng.uniform(-1, 1, (n, people, NUM_TRAITS)).astype(np.float32),
        "landmarks": np.zeros((n, people, 5, 2), np.float32),
        "labels": np.zeros((n, len(GROUPS)), np.int8),
    }
    for field, array in arrays.items():
        np.save(folder / FILES[field], array)
    (folder / "captions.json").write_text(json.dumps(captions))
    return load_store(folder)


@pytest.fixture(scope="module")
def shipped() -> CLIPTokenizer:
    return CLIPTokenizer.from_pretrained(ASSETS / "tokenizer")


@pytest.fixture(scope="module")
def start(shipped: CLIPTokenizer) -> CLIPModel:
    return small_clip(shipped)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stores of one, two and three people."""
    folder = tmp_path_factory.mktemp("data")
    x, y, z = NAMES
    one, two, three = f"a photo of {x}", f"{x} and {y}", f"{x}, {y} and {z}"
    captions = {
        "single": [
            caption(one, one, [0], [x]),
            caption(f"my old friend {x}, on holiday", f"{x} on the beach", [0], [x]),
            caption("portrait, smiling", "", [-1], ["somebody"]),
        ],
        "pair": [
            caption(two, two, [0, 1], [x, y]),
            caption(f"here are {x} & {y}", two, [0, 1], [x, y]),
            caption(f"here are {x} & somebody", f"{x} and somebody", [0, -1], [x, "somebody"]),
            caption("two friends", "", [-1, -1], ["somebody", "someone"]),
        ],
        "triple": [caption(three, three, [0, 1, 2], [x, y, z])] * 2,
    }
    for people, (kind, rows) in enumerate(captions.items(), start=1):
        write_store(folder / kind, rows, people)
    return folder


@pytest.fixture(scope="module")
def pairs(data: Path, shipped: CLIPTokenizer) -> TokenisedCaptions:
    return tokenise_captions(load_store(data / "pair"), shipped, shipped)


def test_names_are_where_their_tokens_are(
    data: Path, shipped: CLIPTokenizer, pairs: TokenisedCaptions
) -> None:
    rows = load_store(data / "pair").captions
    for texts in (pairs.text, pairs.plain):
        for i, row in enumerate(rows[:3]):
            for name, first, last in zip(
                row["names"], texts.name_starts[i], texts.name_ends[i], strict=True
            ):
                tokens = texts.input_ids[i, first : last + 1]
                assert shipped.decode(tokens).strip() == name.lower()
    assert pairs.taught.tolist() == [True, True, True, False]
    assert pairs.same.tolist() == [True, False, False, False]
    assert pairs.known.tolist() == [[True, True], [True, True], [True, False], [False, False]]
    assert (pairs.text.name_ends[3] == pairs.text.lengths[3] - 2).all()


def test_three_people_have_no_plain_caption(data: Path, shipped: CLIPTokenizer) -> None:
    captions = tokenise_captions(load_store(data / "triple"), shipped, shipped)
    assert not captions.taught.any() and captions.text.name_ends.shape == (2, 3)


def test_names_inside_of_words_are_refused(tmp_path: Path, shipped: CLIPTokenizer) -> None:
    row = caption("a photo of nobody", "a photo of nobody", [0], ["nobod"])
    store = write_store(tmp_path / "store", [row], 1)
    with pytest.raises(ValueError, match="No token of 'a photo of nobody' begins or ends"):
        tokenise_captions(store, shipped, shipped)


def test_captions_that_are_too_long_are_refused(tmp_path: Path, shipped: CLIPTokenizer) -> None:
    row = caption(NAMES[0] + " !?" * 3 + " a person" * 30, NAMES[0], [0], [NAMES[0]])
    store = write_store(tmp_path / "store", [row], 1)
    with pytest.raises(ValueError, match=f"the text tower reads {CONTEXT_LENGTH}"):
        tokenise_captions(store, shipped, shipped)


@torch.no_grad()
def test_plain_captions_have_no_loss_before_training(
    pairs: TokenisedCaptions, start: CLIPModel
) -> None:
    teacher = text_tower(start)
    states = teacher(input_ids=pairs.text.input_ids).last_hidden_state
    plain = torch.tensor([0, 3])  # the text is its plain form, and nobody is named
    assert plain_loss(states[plain], pairs[plain], teacher) == 0
    other = torch.tensor([1, 2])
    assert plain_loss(states[other], pairs[other], teacher) > 0.1
    states[0, pairs.text.name_ends[0, 1]] += 1
    assert plain_loss(states[plain], pairs[plain], teacher) > 0.1


def test_a_step_writes_the_models(data: Path, start: CLIPModel, tmp_path: Path) -> None:
    start.save_pretrained(tmp_path / "start" / "clip")
    shutil.copytree(ASSETS / "tokenizer", tmp_path / "start" / "tokenizer")
    train_clip(data, tmp_path, 1e-6, False, name_weight=1.0, attribute_weight=3.0)
    clip = CLIPModel.from_pretrained(tmp_path / "clip")
    tokenizer = CLIPTokenizer.from_pretrained(tmp_path / "tokenizer")
    assert (
        clip.config.text_config.vocab_size == len(tokenizer) >= start.config.text_config.vocab_size
    )
    assert clip.text_model.eos_token_id == tokenizer.eos_token_id == len(tokenizer) - 1
    before, after = (model.text_model.get_input_embeddings().weight for model in (start, clip))
    known = start.config.text_config.vocab_size - 2
    assert torch.equal(before[:known], after[:known])  # a basis of the shipped ones stays valid


def test_wide_images_are_letterboxed(data: Path) -> None:
    squares = square_images(load_store(data / "pair"), np.arange(2))
    assert squares.shape == (2, 3, 128, 128)
    assert (squares[:, :, :18] < -0.9).all() and (squares[:, :, -18:] < -0.9).all()
    assert (squares[:, :, 30:-30] > -0.9).any()
    assert square_images(load_store(data / "triple"), np.arange(2), 32).shape == (2, 3, 32, 32)


def test_certainty_needs_large_states_not_large_weights() -> None:
    torch.manual_seed(0)
    head = AttributeHead(WIDTH)
    states, labels = torch.randn(5, WIDTH), torch.zeros(5, len(GROUPS), dtype=torch.long)
    before = head(states, labels)
    with torch.no_grad():
        head.rows.mul_(100)
    torch.testing.assert_close(head(states, labels), before)
    rows = torch.nn.functional.normalize(head.rows.detach(), dim=-1)
    firsts = torch.tensor([0, *torch.tensor([len(v) for v in GROUPS.values()]).cumsum(0)[:-1]])
    right = rows[firsts].sum(0).expand(5, WIDTH)
    assert head(40 * right, labels) < 0.5 * head(4 * right, labels) < before


def test_unknown_labels_have_no_loss() -> None:
    labels = torch.full((3, len(GROUPS)), UNKNOWN)
    assert AttributeHead(WIDTH)(torch.randn(3, WIDTH), labels) == 0
