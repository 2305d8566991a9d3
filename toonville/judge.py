"""The judge: reads traits and an identity from a face. It only ever scores.

It shares nothing with the recogniser that pictures are conditioned on: other people, another
network, a wider crop (hair and shoulders), and the true traits to learn from.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from celeb_core.alignment import JUDGE_TEMPLATE, SIDE
from toonville.augment import blur_faces, damage
from toonville.identity import NUM_TRAITS
from toonville.layers import Bottleneck, down, patches, summary
from toonville.onnx_export import export
from toonville.people_store import draw_people_store, load_people_store
from toonville.recogniser import CosFace
from toonville.trainer import Budget, train
from toonville.vae import to_tensor

NUM_PEOPLE, FACES_EACH, SEED = 3000, 12, 202
EMBEDDING = 128
BATCH = 96
MARGIN, MARGIN_STEPS = 0.20, 1500
TRAITS_WEIGHT = 6.0


class JudgeNet(nn.Module):
    """Crops (N, 3, 112, 112) in [-1, 1], RGB, to traits (N, 24) and embeddings (N, 128)."""

    def __init__(self, widths: tuple[int, int, int, int] = (40, 80, 160, 224)) -> None:
        super().__init__()
        a, b, c, d = widths
        self.features = nn.Sequential(
            patches(a),
            down(a, b),
            Bottleneck(b),
            down(b, c),
            Bottleneck(c),
            Bottleneck(c),
            down(c, d),
        )  # 112 -> 28 -> 14 -> 7 -> 4
        self.summary = summary(d, 64, 16, 256)
        self.traits = nn.Linear(256, NUM_TRAITS)
        self.embedding = nn.Sequential(
            nn.Linear(256, EMBEDDING, bias=False), nn.BatchNorm1d(EMBEDDING)
        )

    def forward(self, crop: Tensor) -> tuple[Tensor, Tensor]:
        """Traits are what is most likely where they cannot be seen; embeddings have norm 1."""
        x = self.summary(self.features(crop))
        return self.traits(x), F.normalize(self.embedding(x))


def train_judge(data: Path, folder: Path, minutes: float, resume: bool) -> JudgeNet:
    """Train on its own random people and write `<folder>/judge.onnx`."""
    torch.manual_seed(2)
    draw_people_store(data / "people_judge", NUM_PEOPLE, FACES_EACH, SEED, JUDGE_TEMPLATE)
    store = load_people_store(data / "people_judge")
    traits = torch.from_numpy(store.traits)
    judge = JudgeNet()
    model = CosFace(judge, NUM_PEOPLE, EMBEDDING).to(memory_format=torch.channels_last)

    def losses(step: int) -> dict[str, Tensor]:
        index = np.random.default_rng((SEED, step)).integers(len(store), size=BATCH)
        generator = torch.Generator().manual_seed(step)
        crops = blur_faces(damage(to_tensor(store.crops[index]), generator), generator)
        read, embedding = judge(crops.contiguous(memory_format=torch.channels_last))
        who = torch.from_numpy(store.who[index])
        margin = MARGIN * min(1.0, step / MARGIN_STEPS)
        return {
            "traits": TRAITS_WEIGHT * F.mse_loss(read, traits[who]),
            "cosface": model.loss(embedding, who, margin),
        }

    budget = Budget(minutes, learning_rate=2e-3, weight_decay=0.02, ema=0.998)
    trained: JudgeNet = train("judge", model, losses, budget, folder, resume).network  # type: ignore[assignment]
    export_judge(trained, folder)
    return trained


def export_judge(judge: JudgeNet, folder: Path) -> None:
    """Write `<folder>/judge.onnx`; the number of crops is free."""
    example = torch.zeros(2, 3, SIDE, SIDE)
    export(judge, folder / "judge.onnx", example, "crop", ["traits", "embedding"])
