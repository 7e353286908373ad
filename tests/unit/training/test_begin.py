"""Another network's weights where they fit: all of them at the same size, a corner at another one."""

from __future__ import annotations

import pytest
import torch

from medprior.errors import BadOption
from medprior.training.begin import begin_with
from tests.unit.jobs.exact import tiny


def test_the_same_shape_takes_everything_but_the_names() -> None:
    own, other = tiny(), tiny()
    for p in other.net.parameters():
        p.data += 1
    share = begin_with(own.net, other.net)
    mine, theirs = own.net.state_dict(), other.net.state_dict()
    named = {name for name in mine if name.startswith(("label.", "numbers."))}
    assert named and 0.5 < share < 1
    for name in mine:
        assert torch.equal(mine[name], theirs[name]) is (name not in named), name


def test_a_wider_network_takes_the_corner() -> None:
    own, other = tiny(2, widths=(12, 24)), tiny()
    before = {name: tensor.clone() for name, tensor in own.net.state_dict().items()}
    share = begin_with(own.net, other.net)
    now, theirs = own.net.state_dict(), other.net.state_dict()
    name = "descend.1.0.conv1.weight"
    assert torch.equal(now[name][:16, :16], theirs[name])
    assert torch.equal(now[name][16:], before[name][16:]) and 0 < share < 1


def test_other_channels_keep_their_own_first_layer() -> None:
    own = tiny(2, channels=("a", "b"))
    before = own.net.state_dict()["enter.weight"].clone()
    begin_with(own.net, tiny().net)
    assert torch.equal(own.net.state_dict()["enter.weight"], before)


def test_what_does_not_fit_at_all_is_refused() -> None:
    with pytest.raises(BadOption, match="no weight of that prior fits"):
        begin_with(torch.nn.Linear(2, 2), tiny().net)
