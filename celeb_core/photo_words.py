"""Words for what is the photo's and not the person's: thrown away after the training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from celeb_core.encoders import TextEncoder


class PhotoWords(nn.Module):
    """k words for each of n people's photos, trained beside the people's own.

    A training's prompt names the person and then them: "a photo of <x> <photo>". Light, layout,
    clothes and whatever else lowers the loss on this one photo has a place of its own there, and
    need not be said by the word that stands for the person in every picture to come. They start
    at the mean of all tokens and are counted in the tokens' standard deviation.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, n: int, k: int, encoders: Sequence[TextEncoder]) -> None:
        super().__init__()
        tables = [encoder.table.detach().float() for encoder in encoders]
        self.register_buffer("mean", torch.cat([t.mean(0) for t in tables]), persistent=False)
        spread = [t.std().expand(t.shape[1]) for t in tables]
        self.register_buffer("std", torch.cat(spread), persistent=False)
        self.offsets = nn.Parameter(torch.zeros(n, k, len(self.mean)))

    def forward(self) -> Tensor:
        """(n, k, d) token embeddings, the encoders' widths one after the other."""
        return self.mean + self.std * self.offsets
