"""What text states say: linear probes of a trained text tower on captions and names held out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from transformers import CLIPTextModel, CLIPTokenizer

from celeb_core.encoders import TextEncoder
from celeb_core.start import ridge
from toonville.between import name_states, text_encoder, text_states
from toonville.dataset import captioned, celebrities
from toonville.world import GROUPS, labels_of

CAPTIONS, HELD_OUT_CAPTIONS = 2000, 500
FIRST_SEED = 5_000_000  # of captions that no training has seen
HELD_OUT_NAMES = 100


@torch.no_grad()
def probe_captions(encoder: TextEncoder) -> dict[str, float]:
    """Share of held-out captions whose last state says what was asked for, by group.

    Ridge regression to the label, one against all. Half of the clothes are not said.
    """
    examples = [captioned(1, FIRST_SEED + i) for i in range(CAPTIONS + HELD_OUT_CAPTIONS)]
    groups = [examples[start : start + 500] for start in range(0, len(examples), 500)]
    last = [text_states([e.text for e in g], [{}] * len(g), encoder)[:, -1] for g in groups]
    states = torch.cat(last)
    labels = torch.from_numpy(np.array([labels_of(e.spec) for e in examples])).long()
    right = {}
    for column, (group, values) in enumerate(GROUPS.items()):
        wanted = torch.nn.functional.one_hot(labels[:, column], len(values)).float()
        weight, bias, _ = ridge(states[:CAPTIONS], wanted[:CAPTIONS])
        answer = (states[CAPTIONS:] @ weight.T + bias).argmax(1)
        right[group] = float((answer == labels[CAPTIONS:, column]).float().mean())
    return right


def probe_names(encoder: TextEncoder) -> float:
    """R2 of held-out celebrities' traits, by ridge from the state of their name's last token."""
    names, traits = celebrities()
    states = name_states(names.known, encoder)
    order = torch.randperm(len(states), generator=torch.Generator().manual_seed(0))
    known, held_out = order[HELD_OUT_NAMES:], order[:HELD_OUT_NAMES]
    wanted = torch.from_numpy(traits).float()
    weight, bias, _ = ridge(states[known], wanted[known])
    errors = states[held_out] @ weight.T + bias - wanted[held_out]
    spread = wanted[held_out] - wanted[held_out].mean(0)
    return float(1 - errors.square().sum() / spread.square().sum())


def run_probe(folder: Path) -> None:
    """Print both for a folder with `text_encoder` and `tokenizer`, or with `clip`."""
    text = folder / "text_encoder"
    model = CLIPTextModel.from_pretrained(text if text.is_dir() else folder / "clip").float()
    encoder = text_encoder(model, CLIPTokenizer.from_pretrained(folder / "tokenizer"))
    for group, right in probe_captions(encoder).items():
        print(f"{group:12} {right:.3f}")
    print(f"{'traits, R2':12} {probe_names(encoder):.3f}")
