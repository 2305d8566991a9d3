from __future__ import annotations

import pytest
import torch

from celeb_core.pieces import losses_in_pieces
from celeb_core.types import PromptEmbeds

B = 5


def loss_of_rows(said: PromptEmbeds, rows: slice) -> torch.Tensor:
    pooled = 0 if said.pooled is None else said.pooled.sin().sum(1)
    return said.states.square().mean((1, 2)) * torch.arange(B)[rows] + pooled


@pytest.mark.parametrize("size", [1, 2, B, 99])
@pytest.mark.parametrize("scale", [1.0, 1024.0])
@pytest.mark.parametrize("with_pooled", [False, True])
def test_losses_and_gradients_are_those_of_the_whole(size, scale, with_pooled):
    torch.manual_seed(0)
    states = torch.randn(B, 3, 4, dtype=torch.float64, requires_grad=True)
    pooled = torch.randn(B, 2, dtype=torch.float64, requires_grad=True) if with_pooled else None
    leaves = [leaf for leaf in (states, pooled) if leaf is not None]
    said, weights, sizes = PromptEmbeds(states, pooled), torch.rand(B).double(), []

    def loss_of(rows: slice, part: PromptEmbeds) -> torch.Tensor:
        sizes.append(len(part.states))
        return loss_of_rows(part, rows)

    ours = losses_in_pieces(loss_of, said, size, scale)
    theirs = loss_of_rows(said, slice(None))
    assert sum(sizes) == B and max(sizes) == min(size, B)
    assert torch.allclose(ours, theirs)
    ours = torch.autograd.grad((ours * weights).sum(), leaves)
    theirs = torch.autograd.grad((theirs * weights).sum(), leaves)
    assert all(torch.allclose(a, b, atol=1e-12) for a, b in zip(ours, theirs, strict=True))


def test_without_gradients_none_are_taken():
    said = PromptEmbeds(torch.randn(B, 3, 4))
    seen = []

    def loss_of(rows: slice, part: PromptEmbeds) -> torch.Tensor:
        seen.append(torch.is_grad_enabled())
        return loss_of_rows(part, rows)

    assert losses_in_pieces(loss_of, said, 2).shape == (B,)
    assert seen == [False] * 3
