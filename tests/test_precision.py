from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.autograd.graph import saved_tensors_hooks

from celeb_core.precision import (
    BFloat16Conv2d,
    BFloat16Linear,
    save_activations_in_bfloat16,
    store_in_bfloat16,
)

STORED = {"3.weight", "5.weight", "7.weight"}


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


def images(*shape: int) -> torch.Tensor:
    return torch.randn(2, 4, *shape, generator=torch.Generator().manual_seed(1))


def gradient(net: nn.Module, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    x = x.clone().requires_grad_()
    with save_activations_in_bfloat16(net):
        y = net(x)
    y.square().sum().backward()
    return y.detach(), x.grad


def test_weights_are_stored_in_bfloat16_but_for_the_first_layer_and_biases():
    net = network()
    store_in_bfloat16(net)
    dtypes = {name: weight.dtype for name, weight in net.named_parameters()}
    assert {name for name, dtype in dtypes.items() if dtype == torch.bfloat16} == STORED
    assert set(dtypes.values()) == {torch.bfloat16, torch.float32}
    kinds = [type(net[i]) for i in (0, 3, 5, 7)]
    assert kinds == [nn.Conv2d, BFloat16Conv2d, BFloat16Conv2d, BFloat16Linear]


def test_a_network_in_half_precision_gets_float32_norms_and_biases():
    net = network().bfloat16()
    store_in_bfloat16(net)
    assert {n for n, w in net.named_parameters() if w.dtype == torch.bfloat16} == STORED
    assert net(images(32, 16)).dtype == torch.float32


def test_padding_other_than_zeros_stays_float32():
    net = nn.Sequential(nn.Linear(4, 4), nn.Conv2d(4, 4, 3, padding=1, padding_mode="circular"))
    store_in_bfloat16(net)
    assert type(net[1]) is nn.Conv2d and net[1].weight.dtype == torch.float32


def test_arithmetic_is_that_of_the_rounded_weights_in_float32():
    x, net = images(32, 16), network()
    rounded = copy.deepcopy(net)
    for name, weight in rounded.named_parameters():
        if name in STORED:
            weight.data = weight.data.bfloat16().float()
    store_in_bfloat16(net)
    (y, g), (wanted_y, wanted_g) = gradient(net, x), gradient(rounded, x)
    assert torch.allclose(y, wanted_y, atol=1e-5)
    # What is saved for the backward pass is rounded too, to 8 bits.
    assert 0 < float((g - wanted_g).norm() / wanted_g.norm()) < 0.01


def saved_bytes(net: nn.Module, pack, unpack) -> int:
    """What a forward pass saves for the backward pass."""
    total = 0

    def counted(tensor: torch.Tensor):
        nonlocal total
        packed = pack(tensor)
        total += packed.nbytes if isinstance(packed, torch.Tensor) else packed[0].nbytes
        return packed

    with saved_tensors_hooks(counted, unpack):
        net(images(32, 32).requires_grad_())
    return total


def test_a_pass_saves_half_as_much():
    net = network()[:5]
    whole = saved_bytes(net, lambda tensor: tensor, lambda tensor: tensor)
    store_in_bfloat16(net)
    hooks = save_activations_in_bfloat16(net)
    assert saved_bytes(net, hooks.pack_hook, hooks.unpack_hook) < 0.6 * whole


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_other_networks_are_left_alone(dtype):
    x, net = images(32, 16).to(dtype), network().to(dtype)
    plain = x.clone().requires_grad_()
    copy.deepcopy(net)(plain).square().sum().backward()
    assert torch.equal(gradient(net, x)[1], plain.grad)
