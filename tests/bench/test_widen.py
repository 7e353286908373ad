"""A widened network is the narrow one until it learns more."""

from __future__ import annotations

import pytest
import torch

from bench.widen import widened
from medprior.errors import BadOption
from medprior.nets import UNet, UNetShape


def _net(ndim: int = 2) -> UNet:
    torch.manual_seed(0)
    net = UNet(UNetShape(4, 1, (8, 16, 24), 1, ndim, n_labels=2, n_numbers=1))
    for parameter in net.parameters():  # silent convolutions too must matter
        torch.nn.init.normal_(parameter, std=0.2)
    return net


@pytest.mark.parametrize("ndim", [2, 3])
def test_same_output_and_all_channels_learn(ndim: int) -> None:
    net = _net(ndim)
    wide = widened(net, (16, 24, 40))
    x, noise = torch.randn(2, 4, *[16] * ndim), torch.rand(2)
    label, numbers = torch.tensor([0, -1]), torch.tensor([[0.3], [float("nan")]])
    torch.testing.assert_close(
        wide(x, noise, label, numbers), net(x, noise, label, numbers), rtol=1e-4, atol=1e-4
    )
    for _ in range(3):  # the silent way in opens first, then all the rest can learn
        wide.zero_grad()
        wide(x, noise, label, numbers).square().mean().backward()
        with torch.no_grad():
            for parameter in wide.parameters():
                assert parameter.grad is not None
                parameter -= 1e-3 * parameter.grad
    first = wide.enter.weight.grad
    assert first is not None and bool((first[8:].abs().amax((1, *range(2, 2 + ndim))) > 0).all())


@pytest.mark.parametrize("widths", [(8, 16), (8, 16, 16), (12, 16, 24)])
def test_refuses_what_cannot_keep_the_output(widths: tuple[int, ...]) -> None:
    with pytest.raises(BadOption, match="multiples of 8"):
        widened(_net(), widths)
