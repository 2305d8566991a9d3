from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from celeb_core.halves import RestingConv2d, RestingLinear, kept_in_half, rest_in_half


def network() -> nn.Sequential:
    torch.manual_seed(0)
    layers = [
        nn.Conv2d(4, 16, 3, padding=1),
        nn.GroupNorm(4, 16),
        nn.SiLU(),
        nn.Conv2d(16, 8, 3, stride=2, padding=1),
        nn.SiLU(),
        nn.Conv2d(8, 8, 1, groups=2, bias=False),
        nn.Flatten(2),
        nn.Linear(128, 6),
    ]
    return nn.Sequential(*layers).requires_grad_(False)


def gradient(net: nn.Module, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    x = x.clone().requires_grad_()
    with kept_in_half(net):
        y = net(x)
    y.square().sum().backward()
    return y.detach(), x.grad


def test_weights_rest_in_half_and_the_first_layer_and_biases_do_not():
    net = network()
    rest_in_half(net)
    dtypes = {name: weight.dtype for name, weight in net.named_parameters()}
    halved = {"3.weight", "5.weight", "7.weight"}
    assert {name for name, dtype in dtypes.items() if dtype == torch.bfloat16} == halved
    assert [type(net[i]) for i in (0, 3, 5, 7)] == [
        nn.Conv2d,
        RestingConv2d,
        RestingConv2d,
        RestingLinear,
    ]


def test_arithmetic_is_that_of_the_rounded_weights_in_float32():
    x, net = torch.randn(2, 4, 32, 16), network()
    rounded = copy.deepcopy(net)
    for name, weight in rounded.named_parameters():
        if name in ("3.weight", "5.weight", "7.weight"):
            weight.data = weight.data.bfloat16().float()
    rest_in_half(net)
    (y, g), (wanted_y, wanted_g) = gradient(net, x), gradient(rounded, x)
    assert torch.allclose(y, wanted_y, atol=1e-5)
    # What is kept for the backward pass is rounded too: 8 bits.
    assert float((g - wanted_g).norm() / wanted_g.norm()) < 0.01


def test_what_a_pass_keeps_is_half(monkeypatch):
    kept = {"halved": 0, "whole": 0}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        kept["whole"] += tensor.nbytes
        return tensor

    x, net = torch.randn(2, 4, 32, 32, requires_grad=True), network()[:5]
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        net(x)
    rest_in_half(net)
    narrow = __import__("celeb_core.halves", fromlist=["_narrow"])._narrow

    def counted(tensor):
        result = narrow(tensor)
        kept["halved"] += result.nbytes if isinstance(result, torch.Tensor) else result[0].nbytes
        return result

    monkeypatch.setattr("celeb_core.halves._narrow", counted)
    with kept_in_half(net):
        net(x)
    assert kept["halved"] < 0.6 * kept["whole"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_other_networks_are_left_alone(dtype):
    x, net = torch.randn(2, 4, 32, 16, dtype=dtype), network().to(dtype)
    assert torch.equal(gradient(net, x)[1], gradient(copy.deepcopy(net), x)[1])
