"""A prior that learns how wrong it is."""

from __future__ import annotations

import time

import pytest
import torch

from medprior.errors import BadOption
from medprior.nets import UNet, UNetShape
from medprior.prior import Condition
from medprior.training.deviation_head import with_deviation_head
from medprior.training.patches import Batch, Images
from medprior.training.presets import PRESETS, preset_named
from tests.unit.training import small


def test_the_means_do_not_move_and_the_deviation_is_learned() -> None:
    """An untrained prior on empty images errs by c_skip sigma n exactly: that is the deviation it must come
    to name.
    """
    prior = small.prior()
    data = Images([torch.zeros(1, 24, 24)] * 2, torch.tensor([0, 1]), torch.zeros(2, 1), patches=((16, 1.0),))
    made = with_deviation_head(prior, data, steps=150, rate=1e-2, sigmas=(-0.5, 0.7), batch=8)
    assert (
        made.card.doubt and not prior.card.doubt and not any(p.requires_grad for p in made.net.parameters())
    )
    rng = torch.Generator().manual_seed(0)
    sigma = torch.tensor([0.3, 0.5, 0.7])
    x = sigma.reshape(3, 1, 1, 1) * torch.randn(3, 1, 20, 20, generator=rng)
    with torch.no_grad():
        mean, std = made.moments(x, sigma, Condition())
        assert torch.equal(mean, prior(x, sigma, Condition()))
    wanted = prior.path.c_skip(sigma) * sigma
    assert std.mean((1, 2, 3)).tolist() == pytest.approx(wanted.tolist(), rel=0.3)
    before = prior.path.c_out(sigma).abs()  # what an untaught doubt of ln 1 says
    assert float((std.mean((1, 2, 3)) / wanted).log().abs().mean()) < 0.5 * float(
        (before / wanted).log().abs().mean()
    )


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_a_network_that_can_be_built(name: str) -> None:
    """Larger presets have more weights and no higher rate; widths are multiples of 8, so that a network can
    grow into the next.
    """
    with torch.device("meta"):
        sizes = {
            n: sum(p.numel() for p in UNet(UNetShape(4, 1, chosen.widths, chosen.blocks)).parameters())
            for n, chosen in PRESETS.items()
        }
    order = list(PRESETS)
    larger = order[order.index(name) + 1 :]
    assert all(sizes[name] < sizes[other] and PRESETS[name].rate >= PRESETS[other].rate for other in larger)
    assert all(width % 8 == 0 for width in PRESETS[name].widths) and preset_named(name) is PRESETS[name]


def test_an_unknown_preset_names_the_nearest() -> None:
    with pytest.raises(BadOption, match="did you mean 'small'"):
        preset_named("smal")


def test_it_takes_no_longer_than_it_may() -> None:
    """A million steps in a fifth of a second: it stops in time, and the head has moved."""
    data = Images([torch.zeros(1, 24, 24)] * 2, torch.tensor([0, 1]), torch.zeros(2, 1), patches=((16, 1.0),))
    started = time.monotonic()
    made = with_deviation_head(small.prior(), data, steps=10**6, batch=2, seconds=0.2)
    assert time.monotonic() - started < 10
    heads = [p for name, p in made.net.named_parameters() if name.startswith("doubt.") and p.ndim > 1]
    assert heads and any(float(p.abs().max()) > 0 for p in heads)


def test_it_learns_on_the_device_of_the_prior(monkeypatch: pytest.MonkeyPatch) -> None:
    """The batches that are drawn on the host go where the network is."""
    seen: list[torch.device] = []
    to = Batch.to
    monkeypatch.setattr(Batch, "to", lambda batch, device: (seen.append(device), to(batch, device))[1])
    data = Images([torch.zeros(1, 24, 24)] * 2, torch.tensor([0, 1]), torch.zeros(2, 1), patches=((16, 1.0),))
    prior = small.prior()
    made = with_deviation_head(prior, data, steps=2, batch=2)
    assert seen == [next(prior.net.parameters()).device] * 2 == [next(made.net.parameters()).device] * 2
