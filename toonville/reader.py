"""The attribute reader: image -> the attributes that a prompt can ask for."""

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

from toonville.degradation import degrade, downscale_some
from toonville.identity import sample_traits
from toonville.layers import Bottleneck, channels_last, down, patches, summary
from toonville.onnx_export import export
from toonville.random_specs import simplify_group, varied_spec
from toonville.render import render
from toonville.trainer import Budget, train
from toonville.vae import to_tensor
from toonville.world import GROUPS, UNKNOWN, labels_of

SIDE = 128
NUM_IMAGES, SEED = 36_000, 404
PAIR_SHARE = 0.12
BATCH = 96
CHUNK = 500  # images per job of a worker
SHIFT = 4  # pixels that images are moved by: the side of a block of pixel art
IMAGES_FILE, LABELS_FILE = "pictures.npy", "labels.npy"  # names of older folders, too


class ReaderNet(nn.Module):
    """RGB images (N, 3, 128, 128) in [-1, 1] -> logits (N, values) for each group of GROUPS."""

    def __init__(self, widths: tuple[int, int, int, int] = (48, 96, 144, 192)) -> None:
        super().__init__()
        a, b, c, d = widths
        self.features = nn.Sequential(
            patches(a), down(a, b), Bottleneck(b), down(b, c), Bottleneck(c), down(c, d)
        )  # 128 -> 32 -> 16 -> 8 -> 4
        self.summary = summary(d, 64, 16, 256)
        self.heads = nn.ModuleList(nn.Linear(256, len(labels)) for labels in GROUPS.values())

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return one tensor of logits per group."""
        x = self.summary(self.features(images))
        return tuple(head(x) for head in self.heads)


def render_labelled(folder: Path, n: int, seed: int, workers: int = 2) -> None:
    """Render n images with their labels into a folder, unless it has them already."""
    if (folder / IMAGES_FILE).exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    jobs = [((seed, start), min(CHUNK, n - start)) for start in range(0, n, CHUNK)]
    with ProcessPoolExecutor(workers) as pool:
        parts = list(pool.map(_render_chunk, jobs))
    np.save(folder / LABELS_FILE, np.concatenate([labels for _, labels in parts]))
    np.save(folder / IMAGES_FILE, np.concatenate([images for images, _ in parts]))


def _render_chunk(job: tuple[tuple[int, int], int]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    seed, n = job
    rng = np.random.default_rng(seed)
    images = np.zeros((n, SIDE, SIDE, 3), np.uint8)
    labels = np.zeros((n, len(GROUPS)), np.int64)
    for i in range(n):
        spec = varied_spec(rng, sample_traits(rng, 2 if rng.random() < PAIR_SHARE else 1))
        if len(spec.people) == 2:
            spec = replace(spec, people=tuple(simplify_group(spec.people)))
        image = np.asarray(render(spec).image)
        images[i] = cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
        labels[i] = labels_of(spec)
    return images, labels


def train_reader(data: Path, folder: Path, minutes: float, resume: bool) -> None:
    """Train on rendered images and write `<folder>/reader.onnx` and `<folder>/reader.json`."""
    torch.manual_seed(3)
    render_labelled(data / "labelled", NUM_IMAGES, SEED)
    images = np.load(data / "labelled" / IMAGES_FILE, mmap_mode="r")
    labels = np.load(data / "labelled" / LABELS_FILE)
    reader = channels_last(ReaderNet())

    def losses(step: int) -> dict[str, Tensor]:
        rng = np.random.default_rng((SEED, step))
        index = rng.integers(len(images), size=BATCH)
        generator = torch.Generator().manual_seed(step)
        degraded = degrade(to_tensor(images[index]), generator)
        batch = downscale_some(degraded, generator, share=0.1)
        x, y = SHIFT * rng.integers(3, size=2)
        batch = F.pad(batch, (SHIFT,) * 4, mode="replicate")[:, :, y : y + SIDE, x : x + SIDE]
        answers = reader(batch.contiguous(memory_format=torch.channels_last))
        right = torch.from_numpy(labels[index])
        return {
            group: F.cross_entropy(logits, right[:, i], ignore_index=UNKNOWN)
            for i, (group, logits) in enumerate(zip(GROUPS, answers, strict=True))
        }

    budget = Budget(minutes, learning_rate=2e-3, weight_decay=0.02, ema=0.998)
    export_reader(train("reader", reader, losses, budget, folder, resume), folder)


def export_reader(reader: ReaderNet, folder: Path) -> None:
    """Write `<folder>/reader.onnx` and its labels; the number of images is free."""
    # The input is named "picture" in the shipped file; celeb_core takes whatever name it has.
    export(reader, folder / "reader.onnx", torch.zeros(2, 3, SIDE, SIDE), "picture", list(GROUPS))
    text = json.dumps({group: list(values) for group, values in GROUPS.items()}, indent=1)
    (folder / "reader.json").write_text(text, encoding="utf-8")
