"""Training data of the UNet: a store's images as latents, its captions as hidden states."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from numpy.typing import NDArray
from transformers import CLIPModel, CLIPTokenizer

from celeb_core.basis import K
from celeb_core.text_encoder import TextEncoder, encode_texts
from toonville.clip import WIDTH, text_tower
from toonville.dataset import CaptionRow, load_store
from toonville.tokenizer import CONTEXT_LENGTH
from toonville.unnamed_people import (
    PEOPLE_FILE,
    load_unnamed_people,
    placeholder_embeddings,
    text_encoder,
)
from toonville.vae import LATENT_CHANNELS, LATENTS_FILE, to_tensor

STATES_FILE = "text_states.npy"
BATCH = 64


@dataclass(frozen=True, eq=False)
class Encoded:
    """A store of training data as the UNet takes it, or some rows of it."""

    latents: NDArray[np.float16]  # (N, C, h, w)
    faces: NDArray[np.uint8]  # (N, h, w), share of face, 0 to 255
    hidden_states: NDArray[np.float16]  # (N, CONTEXT_LENGTH, WIDTH), of the captions
    traits: NDArray[np.float32]  # (N, P, NUM_TRAITS)
    landmarks: NDArray[np.float32]  # (N, P, 5, 2), pixels
    labels: NDArray[np.int8]  # (N, len(GROUPS)): see world.labels_of

    def __len__(self) -> int:
        return len(self.latents)

    def __getitem__(self, index: NDArray[np.int64]) -> Encoded:
        return Encoded(**{f.name: getattr(self, f.name)[index] for f in fields(self)})


@torch.no_grad()
def encode_captions(data: Path, folder: Path, out: Path, n: int) -> None:
    """Write the hidden states of the first n captions of a store, and of the empty caption."""
    captions = load_store(data).captions[:n]
    encoder = load_text_encoder(folder)
    people = load_unnamed_people(data.parent / PEOPLE_FILE)

    def encode(rows: list[CaptionRow]) -> NDArray[np.float16]:
        embeddings = [placeholder_embeddings(row, people) for row in rows]
        encoded = encode_texts([row["text"] for row in rows], embeddings, K, (encoder,))
        return encoded.hidden_states.half().numpy()

    shape = (n, CONTEXT_LENGTH, WIDTH)
    states = np.lib.format.open_memmap(out / STATES_FILE, "w+", np.float16, shape)
    for start in range(0, n, BATCH):
        rows = captions[start : start + BATCH]
        states[start : start + len(rows)] = encode(rows)
    np.save(out / "empty.npy", encode([{"text": "", "names": [], "who": []}])[0])


def load_text_encoder(folder: Path) -> TextEncoder:
    """Load the text tower of a training folder."""
    clip = CLIPModel.from_pretrained(folder / "clip")
    return text_encoder(text_tower(clip), CLIPTokenizer.from_pretrained(folder / "tokenizer"))


@torch.no_grad()
def encode_images(data: Path, folder: Path, out: Path, n: int) -> None:
    """Write the latents of the first n images of a store."""
    images = load_store(data).images[:n]
    vae = AutoencoderKL.from_pretrained(folder / "vae")
    shape = (n, LATENT_CHANNELS, images.shape[1] // 8, images.shape[2] // 8)
    latents = np.lib.format.open_memmap(out / LATENTS_FILE, "w+", np.float16, shape)
    for start in range(0, n, BATCH):
        batch = to_tensor(images[start : start + BATCH])
        latents[start : start + len(batch)] = vae.encode(batch).latent_dist.mean.half().numpy()


def encode_store(data: Path, folder: Path, out: Path, n: int) -> None:
    """Encode the first n images and captions of a store; a complete result is left as it is.

    Args:
        data: Of the store; unnamed people are beside it.
        folder: Of the models.
        out: For `load_encoded`.
        n: Number of examples.
    """
    if (out / "done.json").exists():
        return
    out.mkdir(parents=True, exist_ok=True)
    encode_captions(data, folder, out, n)
    encode_images(data, folder, out, n)
    (out / "done.json").write_text(json.dumps({"n": n}))


def load_encoded(data: Path, out: Path) -> Encoded:
    """Map a store and its `encode_store` into memory."""
    latents = np.load(out / LATENTS_FILE, mmap_mode="r")
    store, n = load_store(data), len(latents)
    return Encoded(
        latents,
        store.masks[:n],
        np.load(out / STATES_FILE, mmap_mode="r"),
        store.traits[:n],
        store.landmarks[:n],
        store.labels[:n],
    )
