"""What text states say: linear probes of a trained text tower on captions and names held out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

from celeb_core.start import ridge
from toonville.dataset import captioned, celebrities
from toonville.world import GROUPS, labels_of

CAPTIONS, HELD_OUT_CAPTIONS = 2000, 500
FIRST_SEED = 5_000_000  # of captions that no training has seen
HELD_OUT_NAMES = 100


@torch.no_grad()
def text_states(texts: list[str], encoder: CLIPTextModel, tokenizer: CLIPTokenizer) -> Tensor:
    """Return the states of padded texts, (N, CONTEXT_LENGTH, WIDTH)."""
    parts = []
    for start in range(0, len(texts), 64):
        batch = tokenizer(texts[start : start + 64], padding="max_length", return_tensors="pt")
        parts.append(encoder(input_ids=batch.input_ids).last_hidden_state)
    return torch.cat(parts)


def probe_captions(encoder: CLIPTextModel, tokenizer: CLIPTokenizer) -> dict[str, float]:
    """Share of held-out captions whose last state says what was asked for, by group.

    Ridge regression to the label, one against all. Half of the clothes are not said.
    """
    examples = [captioned(1, FIRST_SEED + i) for i in range(CAPTIONS + HELD_OUT_CAPTIONS)]
    states = torch.cat(
        [
            text_states([e.text for e in examples[start : start + 500]], encoder, tokenizer)[:, -1]
            for start in range(0, len(examples), 500)
        ]
    )
    labels = torch.from_numpy(np.array([labels_of(e.spec) for e in examples])).long()
    right = {}
    for column, (group, values) in enumerate(GROUPS.items()):
        wanted = torch.nn.functional.one_hot(labels[:, column], len(values)).float()
        weight, bias, _ = ridge(states[:CAPTIONS], wanted[:CAPTIONS])
        answer = (states[CAPTIONS:] @ weight.T + bias).argmax(1)
        right[group] = float((answer == labels[CAPTIONS:, column]).float().mean())
    return right


def probe_names(encoder: CLIPTextModel, tokenizer: CLIPTokenizer) -> float:
    """R2 of held-out celebrities' traits, by ridge from the state of their name's last token."""
    names, traits = celebrities()
    texts = [f"a photo of {name}" for name in names.known]
    ends = torch.tensor([len(tokenizer(text).input_ids) - 2 for text in texts])
    states = text_states(texts, encoder, tokenizer)[torch.arange(len(texts)), ends]
    order = torch.randperm(len(texts), generator=torch.Generator().manual_seed(0))
    known, held_out = order[HELD_OUT_NAMES:], order[:HELD_OUT_NAMES]
    wanted = torch.from_numpy(traits).float()
    weight, bias, _ = ridge(states[known], wanted[known])
    errors = states[held_out] @ weight.T + bias - wanted[held_out]
    spread = wanted[held_out] - wanted[held_out].mean(0)
    return float(1 - errors.square().sum() / spread.square().sum())


def run_probe(folder: Path) -> None:
    """Print both for a folder with `text_encoder` and `tokenizer`, or with `clip`."""
    text = folder / "text_encoder"
    encoder = CLIPTextModel.from_pretrained(text if text.is_dir() else folder / "clip").float()
    tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer")
    for group, right in probe_captions(encoder, tokenizer).items():
        print(f"{group:12} {right:.3f}")
    print(f"{'traits, R2':12} {probe_names(encoder, tokenizer):.3f}")
