"""Linear probes of a trained text tower: what its hidden states contain, on held-out examples."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import one_hot
from transformers import CLIPTextModel, CLIPTokenizer

from celeb_core.prepare.calibration import ridge
from celeb_core.text_encoder import TextEncoder
from toonville.dataset import captioned, celebrities
from toonville.unnamed_people import hidden_states, name_states, text_encoder
from toonville.world import GROUPS, labels_of

CAPTIONS, HELD_OUT_CAPTIONS = 2000, 500
FIRST_SEED = 5_000_000  # of captions that are in no training set
HELD_OUT_NAMES = 100


@torch.no_grad()
def probe_captions(
    encoder: TextEncoder, captions: int = CAPTIONS, held_out: int = HELD_OUT_CAPTIONS
) -> dict[str, float]:
    """Measure how well the last hidden state of a caption tells its attributes.

    Ridge regression to one-hot labels. Half of the captions do not mention the clothes.

    Args:
        encoder: The text tower.
        captions: To fit the probe.
        held_out: To measure it.

    Returns:
        Group -> share of held-out captions whose attribute is predicted.
    """
    examples = [captioned(1, FIRST_SEED + i) for i in range(captions + held_out)]
    groups = [examples[start : start + 500] for start in range(0, len(examples), 500)]
    last = [hidden_states([e.text for e in g], [{}] * len(g), encoder)[:, -1] for g in groups]
    states = torch.cat(last)
    labels = torch.from_numpy(np.array([labels_of(e.spec) for e in examples])).long()
    accuracy = {}
    for column, (group, values) in enumerate(GROUPS.items()):
        wanted = one_hot(labels[:, column], len(values)).float()
        weight, bias, _ = ridge(states[:captions], wanted[:captions])
        answer = (states[captions:] @ weight.T + bias).argmax(1)
        accuracy[group] = float((answer == labels[captions:, column]).float().mean())
    return accuracy


def probe_names(encoder: TextEncoder) -> float:
    """Return R2 of held-out celebrities' traits, by ridge from their name's last hidden state."""
    names, traits = celebrities()
    states = name_states(names.known, encoder)
    order = torch.randperm(len(states), generator=torch.Generator().manual_seed(0))
    known, held_out = order[HELD_OUT_NAMES:], order[:HELD_OUT_NAMES]
    wanted = torch.from_numpy(traits).float()
    weight, bias, _ = ridge(states[known], wanted[known])
    errors = states[held_out] @ weight.T + bias - wanted[held_out]
    deviation = wanted[held_out] - wanted[held_out].mean(0)
    return float(1 - errors.square().sum() / deviation.square().sum())


def run_probe(folder: Path) -> None:
    """Print both for a folder with `text_encoder` and `tokenizer`, or with `clip`."""
    text = folder / "text_encoder"
    model = CLIPTextModel.from_pretrained(text if text.is_dir() else folder / "clip").float()
    encoder = text_encoder(model, CLIPTokenizer.from_pretrained(folder / "tokenizer"))
    for group, accuracy in probe_captions(encoder).items():
        print(f"{group:12} {accuracy:.3f}")
    print(f"{'traits, R2':12} {probe_names(encoder):.3f}")
