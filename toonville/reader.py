"""The attribute reader: what a prompt asks for, read from a picture of one person."""

from __future__ import annotations

import json
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from toonville.augment import blur_faces, damage
from toonville.identity import sample_traits
from toonville.layers import Bottleneck, down, patches, summary
from toonville.onnx_export import export
from toonville.people_store import varied_spec
from toonville.render import render
from toonville.trainer import Budget, train
from toonville.vae import to_tensor
from toonville.world import GROUPS, UNKNOWN, labels_of

SIDE = 128
NUM_PICTURES, SEED = 36_000, 404
PAIR_SHARE = 0.12
BATCH = 96
CHUNK = 500
SHIFT = 4  # pixels that pictures are moved by: the blocks of pixel art stay where they are


class ReaderNet(nn.Module):
    """Pictures (N, 3, 128, 128) in [-1, 1], RGB, to one tensor of logits per group of GROUPS."""

    def __init__(self, widths: tuple[int, int, int, int] = (48, 96, 144, 192)) -> None:
        super().__init__()
        a, b, c, d = widths
        self.features = nn.Sequential(
            patches(a), down(a, b), Bottleneck(b), down(b, c), Bottleneck(c), down(c, d)
        )  # 128 -> 32 -> 16 -> 8 -> 4
        self.summary = summary(d, 64, 16, 256)
        self.heads = nn.ModuleList(nn.Linear(256, len(labels)) for labels in GROUPS.values())

    def forward(self, picture: Tensor) -> tuple[Tensor, ...]:
        x = self.summary(self.features(picture))
        return tuple(head(x) for head in self.heads)


def draw_labelled(folder: Path, n: int, seed: int, workers: int = 2) -> None:
    """Draw n pictures with their labels into a folder, unless it has them already."""
    if (folder / "pictures.npy").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    jobs = [((seed, start), min(CHUNK, n - start)) for start in range(0, n, CHUNK)]
    with ProcessPoolExecutor(workers) as pool:
        parts = list(pool.map(_draw_chunk, jobs))
    np.save(folder / "labels.npy", np.concatenate([labels for _, labels in parts]))
    np.save(folder / "pictures.npy", np.concatenate([pictures for pictures, _ in parts]))


def _draw_chunk(job: tuple[tuple[int, int], int]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    seed, n = job
    rng = np.random.default_rng(seed)
    pictures = np.zeros((n, SIDE, SIDE, 3), np.uint8)
    labels = np.zeros((n, len(GROUPS)), np.int64)
    for i in range(n):
        people = sample_traits(rng, 2 if rng.random() < PAIR_SHARE else 1)
        spec = varied_spec(rng, people)
        if len(people) == 2:  # as captions have it: one mood, no things
            mood = spec.people[0].expression
            bare = [replace(p, accessory="none", action="none") for p in spec.people]
            pair = tuple(replace(p, expression=mood) for p in bare)
            spec = replace(spec, people=pair)
        image = np.asarray(render(spec).image)
        pictures[i] = cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
        labels[i] = labels_of(spec)
    return pictures, labels


def train_reader(data: Path, folder: Path, minutes: float, resume: bool) -> ReaderNet:
    """Train on drawn pictures and write `<folder>/reader.onnx` and `<folder>/reader.json`."""
    torch.manual_seed(3)
    draw_labelled(data / "labelled", NUM_PICTURES, SEED)
    pictures = np.load(data / "labelled" / "pictures.npy", mmap_mode="r")
    labels = np.load(data / "labelled" / "labels.npy")
    reader = ReaderNet().to(memory_format=torch.channels_last)

    def losses(step: int) -> dict[str, Tensor]:
        rng = np.random.default_rng((SEED, step))
        index = rng.integers(len(pictures), size=BATCH)
        generator = torch.Generator().manual_seed(step)
        batch = blur_faces(damage(to_tensor(pictures[index]), generator), generator, share=0.1)
        x, y = SHIFT * rng.integers(3, size=2)
        batch = F.pad(batch, (SHIFT,) * 4, mode="replicate")[:, :, y : y + SIDE, x : x + SIDE]
        answers = reader(batch.contiguous(memory_format=torch.channels_last))
        right = torch.from_numpy(labels[index])
        return {
            group: F.cross_entropy(logits, right[:, i], ignore_index=UNKNOWN)
            for i, (group, logits) in enumerate(zip(GROUPS, answers, strict=True))
        }

    budget = Budget(minutes, learning_rate=2e-3, weight_decay=0.02, ema=0.998)
    trained: ReaderNet = train("reader", reader, losses, budget, folder, resume)  # type: ignore[assignment]
    export_reader(trained, folder)
    return trained


def export_reader(reader: ReaderNet, folder: Path) -> None:
    """Write `<folder>/reader.onnx` and its labels; the number of pictures is free."""
    export(reader, folder / "reader.onnx", torch.zeros(2, 3, SIDE, SIDE), "picture", list(GROUPS))
    text = json.dumps({group: list(values) for group, values in GROUPS.items()}, indent=1)
    (folder / "reader.json").write_text(text, encoding="utf-8")
