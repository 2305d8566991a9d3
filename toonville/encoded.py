"""Training data of the UNet: random examples as latents, and their captions as hidden states.

An image is rendered, encoded and forgotten: a store has its seed, from which it can be rendered
again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from numpy.typing import DTypeLike, NDArray
from torch import Tensor
from transformers import CLIPModel, CLIPTokenizer

from celeb_core.basis import K
from celeb_core.text_encoder import TextEncoder, encode_texts
from toonville.clip import WIDTH, text_tower
from toonville.dataset import Captioned, CaptionRow
from toonville.identity import NUM_TRAITS
from toonville.layers import channels_last
from toonville.render import Rendering, render
from toonville.tokenizer import CONTEXT_LENGTH
from toonville.unnamed_people import UnnamedPeople, placeholder_embeddings, text_encoder
from toonville.vae import to_tensor
from toonville.world import CELL, GROUPS, SIZES, labels_of

# Field of Encoded -> its file.
FILES = {
    "latents": "latents.npy",
    "faces": "faces.npy",
    "hidden_states": "text_states.npy",
    "traits": "traits.npy",
    "landmarks": "landmarks.npy",
    "labels": "labels.npy",
    "seeds": "seeds.npy",
}
EMPTY_FILE = "empty.npy"  # hidden states (CONTEXT_LENGTH, WIDTH) of the empty caption
STARTED_FILE, DONE_FILE = "started.json", "done.json"  # numbers of a store, while and after
CHUNKS_FILE = "chunks.npy"  # of an unfinished store: which chunks it has
CHUNK = 256  # examples per job of a worker
BATCH = 4  # larger ones take longer for an example


@dataclass(frozen=True, eq=False)
class Encoded:
    """A store of training data as the UNet takes it, or some rows of it."""

    latents: NDArray[np.float16]  # (N, C, h, w)
    faces: NDArray[np.uint8]  # (N, h, w), share of face, 0 to 255
    hidden_states: NDArray[np.float16]  # (N, CONTEXT_LENGTH, WIDTH), of the captions
    traits: NDArray[np.float32]  # (N, P, NUM_TRAITS)
    landmarks: NDArray[np.float32]  # (N, P, 5, 2), pixels
    labels: NDArray[np.int8]  # (N, len(GROUPS)): see world.labels_of
    seeds: NDArray[np.int64]  # (N,), of the examples

    def __len__(self) -> int:
        return len(self.latents)

    def __getitem__(self, index: NDArray[np.int64]) -> Encoded:
        return Encoded(**{f.name: getattr(self, f.name)[index] for f in fields(self)})


def load_encoded(out: Path) -> Encoded:
    """Map a store of `encode_store` into memory."""
    return Encoded(**{field: np.load(out / file, mmap_mode="r") for field, file in FILES.items()})


def load_text_encoder(folder: Path) -> TextEncoder:
    """Load the text tower of a training folder."""
    clip = CLIPModel.from_pretrained(folder / "clip")
    return text_encoder(text_tower(clip), CLIPTokenizer.from_pretrained(folder / "tokenizer"))


@dataclass(frozen=True, eq=False)
class _Job:
    out: Path
    chunk: int
    rows: range
    first_seed: int
    example: Callable[[int], Captioned]
    models: Path
    people: UnnamedPeople | None


def encode_store(
    out: Path,
    n: int,
    num_people: int,
    first_seed: int,
    example: Callable[[int], Captioned],
    models: Path,
    people: UnnamedPeople | None,
    workers: int = 2,
) -> None:
    """Render and encode n examples.

    A complete store is left as it is, and what is missing is added to an unfinished one with the
    same numbers. After a training of the VAE or of CLIP the folder has to be deleted first.

    Args:
        out: Folder of the store, for `load_encoded`.
        n: Number of examples.
        num_people: In each image.
        first_seed: Example i has the seed `first_seed` + i.
        example: Seed -> example; picklable.
        models: Has `vae`, `clip` and `tokenizer`.
        people: Whom the placeholders of the captions stand for; None: captions have none.
        workers: Processes, of one thread each.
    """
    if (out / DONE_FILE).exists():
        return
    starts = range(0, n, CHUNK)
    numbers = {"n": n, "num_people": num_people, "first_seed": first_seed}
    started = out / STARTED_FILE
    if not started.exists() or json.loads(started.read_text()) != numbers:
        started.unlink(missing_ok=True)
        _create_files(out, n, num_people, models)
        np.save(out / CHUNKS_FILE, np.zeros(len(starts), bool))
        started.write_text(json.dumps(numbers))
    todo = np.flatnonzero(~np.load(out / CHUNKS_FILE))
    chunks = [(int(i), range(starts[i], min(starts[i] + CHUNK, n))) for i in todo]
    # One thread is also what makes a fork of a process that has computed safe.
    with ProcessPoolExecutor(workers, None, torch.set_num_threads, (1,)) as pool:
        jobs = [_Job(out, i, rows, first_seed, example, models, people) for i, rows in chunks]
        futures = [pool.submit(_encode_chunk, job) for job in jobs]
        try:
            for future in as_completed(futures):
                future.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    if not (out / EMPTY_FILE).exists():
        empty = encode_texts([""], [{}], K, (load_text_encoder(models),)).hidden_states
        np.save(out / EMPTY_FILE, empty[0].detach().half().numpy())
    started.replace(out / DONE_FILE)
    (out / CHUNKS_FILE).unlink()


def _create_files(out: Path, n: int, num_people: int, models: Path) -> None:
    """Create the store's arrays, full of zeros."""
    out.mkdir(parents=True, exist_ok=True)
    channels = AutoencoderKL.load_config(models / "vae")["latent_channels"]
    width, height = (side // CELL for side in SIZES[num_people])
    arrays: dict[str, tuple[tuple[int, ...], DTypeLike]] = {
        "latents": ((n, channels, height, width), np.float16),
        "faces": ((n, height, width), np.uint8),
        "hidden_states": ((n, CONTEXT_LENGTH, WIDTH), np.float16),
        "traits": ((n, num_people, NUM_TRAITS), np.float32),
        "landmarks": ((n, num_people, 5, 2), np.float32),
        "labels": ((n, len(GROUPS)), np.int8),
        "seeds": ((n,), np.int64),
    }
    for field, (shape, dtype) in arrays.items():
        np.lib.format.open_memmap(out / FILES[field], "w+", dtype, shape)
    (out / EMPTY_FILE).unlink(missing_ok=True)


@cache  # a worker lives as long as one call of encode_store
def _models(folder: Path) -> tuple[AutoencoderKL, TextEncoder]:
    vae = channels_last(AutoencoderKL.from_pretrained(folder / "vae"))
    return vae, load_text_encoder(folder)


def _encode_chunk(job: _Job) -> None:
    vae, encoder = _models(job.models)
    arrays = {field: np.load(job.out / file, mmap_mode="r+") for field, file in FILES.items()}
    for start in job.rows[::BATCH]:
        rows = slice(start, min(start + BATCH, job.rows.stop))
        seeds = range(job.first_seed + rows.start, job.first_seed + rows.stop)
        encoded = encode_examples(job.example, seeds, vae, encoder, job.people)
        for field, array in arrays.items():
            array[rows] = getattr(encoded, field)
    np.load(job.out / CHUNKS_FILE, mmap_mode="r+")[job.chunk] = True


@torch.no_grad()
def encode_examples(
    example: Callable[[int], Captioned],
    seeds: Sequence[int],
    vae: AutoencoderKL,
    encoder: TextEncoder,
    people: UnnamedPeople | None,
) -> Encoded:
    """Render and encode the examples of seeds, all with the same number of people.

    Args:
        example: Seed -> example.
        seeds: Of the examples.
        vae: Of the latents.
        encoder: Of the hidden states.
        people: See `encode_store`.
    """
    examples = [example(seed) for seed in seeds]
    renderings = [render(one.spec) for one in examples]
    images = to_tensor(np.stack([np.asarray(rendering.image) for rendering in renderings]))
    latents = vae.encode(images.contiguous(memory_format=torch.channels_last)).latent_dist.mean
    embeddings = [_embeddings(one, people) for one in examples]
    texts = encode_texts([one.text for one in examples], embeddings, K, (encoder,))
    return Encoded(
        latents.half().numpy(),
        np.stack([face_shares(rendering) for rendering in renderings]),
        texts.hidden_states.half().numpy(),
        np.array([[p.traits for p in one.spec.people] for one in examples], np.float32),
        np.array([[p.landmarks for p in r.people] for r in renderings], np.float32),
        np.array([labels_of(one.spec) for one in examples], np.int8),
        np.array(seeds, np.int64),
    )


def _embeddings(example: Captioned, people: UnnamedPeople | None) -> dict[str, Tensor]:
    """Return placeholder -> token embeddings (K, width) of a caption."""
    if people is None:
        return {}
    row: CaptionRow = {
        "text": example.text,
        "plain": example.plain,
        "name_ends": list(example.name_ends),
        "who": list(example.person_ids),
        "names": list(example.names),
    }
    return placeholder_embeddings(row, people)


def face_shares(rendering: Rendering) -> NDArray[np.uint8]:
    """Return the share of face in each cell of CELL x CELL pixels: (h, w), 0 to 255."""
    mask = rendering.face_mask()
    cells = mask.reshape(mask.shape[0] // CELL, CELL, -1, CELL)
    shares: NDArray[np.uint8] = cells.mean((1, 3)).astype(np.uint8)
    return shares
