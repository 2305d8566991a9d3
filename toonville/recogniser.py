"""The face recogniser: an aligned face of 112 x 112 -> 512 numbers, as ArcFace models do it."""

from __future__ import annotations

from pathlib import Path
from typing import Generic

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from celeb_core.scoring import CROP
from toonville.degradation import degrade, downscale_some
from toonville.layers import Network, Residual, channels_last, conv
from toonville.onnx_export import export
from toonville.people_store import load_people_store, render_people_store
from toonville.trainer import Budget, train
from toonville.vae import to_tensor

NUM_PEOPLE, FACES_EACH, SEED = 4000, 12, 101
EMBEDDING = 512
INNER_SIDE = CROP // 2
BATCH = 128
MARGIN, SCALE = 0.25, 32.0
MARGIN_STEPS = 1500  # over which the margin grows to its full size


class Recogniser(nn.Module):
    """Aligned RGB faces (N, 3, 112, 112) in [-1, 1] -> embeddings (N, 512), not normalised."""

    def __init__(self, widths: tuple[int, int, int, int] = (32, 64, 128, 192)) -> None:
        super().__init__()
        a, b, c, d = widths
        self.reduce = nn.AvgPool2d(2)
        self.features = nn.Sequential(
            conv(3, a, 2), conv(a, b, 2), Residual(b), conv(b, c, 2), Residual(c), conv(c, d, 2)
        )  # 56 -> 28 -> 14 -> 7 -> 4
        self.head = nn.Sequential(
            nn.Conv2d(d, d // 2, 1, bias=False),
            nn.Flatten(),
            nn.Linear(d // 2 * 16, EMBEDDING, bias=False),
            nn.BatchNorm1d(EMBEDDING),
        )

    def forward(self, faces: Tensor) -> Tensor:
        """Embed faces (N, 3, 112, 112)."""
        return self.embed(self.reduce(faces))

    def embed(self, reduced: Tensor) -> Tensor:
        """Embed faces that are reduced to (N, 3, 56, 56)."""
        embedding: Tensor = self.head(self.features(reduced))
        return embedding


class CosFace(nn.Module, Generic[Network]):
    """An embedding network and one direction per person: CosFace (Wang et al., arXiv 1801.09414).

    Args:
        network: The result of the training.
        num_people: Number of classes.
        width: Of the network's embeddings.
    """

    def __init__(self, network: Network, num_people: int, width: int) -> None:
        super().__init__()
        self.network = network
        self.people = nn.Parameter(torch.randn(num_people, width) * 0.05)

    def loss(self, embeddings: Tensor, person_ids: Tensor, margin: float) -> Tensor:
        """Cross-entropy of scaled cosines, the right one lowered by the margin.

        Args:
            embeddings: (N, width).
            person_ids: (N,), the right classes.
            margin: 0 is plain softmax.
        """
        cosine = F.normalize(embeddings) @ F.normalize(self.people).T
        right = F.one_hot(person_ids, len(self.people)) * margin
        return F.cross_entropy(SCALE * (cosine - right), person_ids)


def train_recogniser(data: Path, folder: Path, minutes: float, resume: bool) -> None:
    """Train on random people and write `<folder>/faces/rec.onnx`."""
    torch.manual_seed(0)
    render_people_store(data / "people_rec", NUM_PEOPLE, FACES_EACH, SEED, side=INNER_SIDE)
    store = load_people_store(data / "people_rec")
    network = Recogniser()
    model = channels_last(CosFace(network, len(store.traits), EMBEDDING))

    def losses(step: int) -> dict[str, Tensor]:
        index = np.random.default_rng((SEED, step)).integers(len(store), size=BATCH)
        generator = torch.Generator().manual_seed(step)
        faces = downscale_some(degrade(to_tensor(store.crops[index]), generator), generator)
        embeddings = network.embed(faces.contiguous(memory_format=torch.channels_last))
        margin = MARGIN * min(1.0, step / MARGIN_STEPS)
        person_ids = torch.from_numpy(store.person_ids[index])
        return {"cosface": model.loss(embeddings, person_ids, margin)}

    budget = Budget(minutes, learning_rate=2e-3, weight_decay=0.02, ema=0.998)
    trained = train("recogniser", model, losses, budget, folder, resume).network
    export_recogniser(trained, folder / "faces" / "rec.onnx")


def export_recogniser(recogniser: Recogniser, path: Path) -> None:
    """Write a recogniser to an ONNX file; the number of faces is free."""
    export(recogniser, path, torch.zeros(2, 3, CROP, CROP), "faces", ["embedding"])
