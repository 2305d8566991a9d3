"""The judge: reads traits and an embedding from a face. It is only ever used to score.

It shares nothing with the recogniser that trainings are conditioned on: other people, another
network, a wider crop (hair and shoulders), and the true traits as targets.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from celeb_core.scoring import CROP, judge_crop
from toonville.degradation import degrade, downscale_some
from toonville.identity import NUM_TRAITS
from toonville.layers import Bottleneck, channels_last, down, patches, summary
from toonville.onnx_export import export
from toonville.people_store import load_people_store, render_people_store
from toonville.recogniser import CosFace
from toonville.trainer import Budget, train
from toonville.vae import to_tensor

NUM_PEOPLE, FACES_EACH, SEED = 3000, 12, 202
EMBEDDING = 128
BATCH = 96
MARGIN, MARGIN_STEPS = 0.20, 1500
TRAITS_WEIGHT = 6.0


class JudgeNet(nn.Module):
    """RGB crops (N, 3, 112, 112) in [-1, 1] -> traits (N, 24) and embeddings (N, 128)."""

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

    def forward(self, crops: Tensor) -> tuple[Tensor, Tensor]:
        """Return traits, of hidden parts the most likely ones, and embeddings of unit norm."""
        x = self.summary(self.features(crops))
        return self.traits(x), F.normalize(self.embedding(x))


def train_judge(data: Path, folder: Path, minutes: float, resume: bool) -> None:
    """Train on random people of its own and write `<folder>/judge.onnx`."""
    torch.manual_seed(2)
    render_people_store(data / "people_judge", NUM_PEOPLE, FACES_EACH, SEED, judge_crop)
    store = load_people_store(data / "people_judge")
    traits = torch.from_numpy(store.traits)
    judge = JudgeNet()
    model = channels_last(CosFace(judge, NUM_PEOPLE, EMBEDDING))

    def losses(step: int) -> dict[str, Tensor]:
        index = np.random.default_rng((SEED, step)).integers(len(store), size=BATCH)
        generator = torch.Generator().manual_seed(step)
        crops = downscale_some(degrade(to_tensor(store.crops[index]), generator), generator)
        read, embeddings = judge(crops.contiguous(memory_format=torch.channels_last))
        person_ids = torch.from_numpy(store.person_ids[index])
        margin = MARGIN * min(1.0, step / MARGIN_STEPS)
        return {
            "traits": TRAITS_WEIGHT * F.mse_loss(read, traits[person_ids]),
            "cosface": model.loss(embeddings, person_ids, margin),
        }

    budget = Budget(minutes, learning_rate=2e-3, weight_decay=0.02, ema=0.998)
    export_judge(train("judge", model, losses, budget, folder, resume).network, folder)


def export_judge(judge: JudgeNet, folder: Path) -> None:
    """Write `<folder>/judge.onnx`; the number of crops is free."""
    example = torch.zeros(2, 3, CROP, CROP)
    export(judge, folder / "judge.onnx", example, "crop", ["traits", "embedding"])
