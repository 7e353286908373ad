"""The U-Net: any size, what is unknown, what it knows on the way, how sure it is, and that every weight can
learn.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from medprior.nets import UNet, UNetShape
from medprior.nets.unet import waves

SIZES = [(16, 16), (17, 16), (16, 23), (9, 31), (5, 4), (1, 1), (3, 40), (8, 8, 8), (7, 9, 10), (2, 5, 1)]


def net(ndim: int = 2, **other: object) -> UNet:
    """Every weight drawn, silent convolutions too; widths that are no multiples of 8 among them."""
    torch.manual_seed(0)
    made = UNet(
        UNetShape(
            **{"in_channels": 3, "out_channels": 2, "widths": (8, 12, 20), "blocks": 1, "ndim": ndim, **other}
        )
    )  # type: ignore[arg-type]
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return made.eval()


def image(*size: int, n: int = 2) -> Tensor:
    return torch.randn(n, 3, *size, generator=torch.Generator().manual_seed(1))


NOISE = torch.tensor([-1.2, 0.4])


@pytest.mark.parametrize("size", SIZES)
@torch.no_grad()
def test_any_size_is_the_next_larger_one_mirrored_and_cropped(size: tuple[int, ...]) -> None:
    """Down to one voxel. Where an axis is too short for its mirror image, its last voxel is repeated."""
    made, x = net(len(size)), image(*size)
    missing = [-n % 4 for n in size]
    pads = [p for m in reversed(missing) for p in (0, m)]
    short = any(m >= n for m, n in zip(missing, size, strict=True))
    wanted = made(F.pad(x, pads, mode="replicate" if short else "reflect"), NOISE)
    found = made(x, NOISE)
    assert found.shape == (2, 2, *size)
    assert torch.equal(found, wanted[(..., *(slice(0, n) for n in size))])


@torch.no_grad()
def test_images_of_a_batch_do_not_hear_of_one_another() -> None:
    made, x = net(n_labels=2, n_numbers=1), image(12, 10)
    label, numbers = torch.tensor([1, -1]), torch.tensor([[0.2], [torch.nan]])
    both = made(x, NOISE, label, numbers)
    for n in range(2):
        alone = made(x[n : n + 1], NOISE[n : n + 1], label[n : n + 1], numbers[n : n + 1])
        torch.testing.assert_close(alone, both[n : n + 1], rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_a_label_of_minus_one_is_no_label() -> None:
    made, x = net(n_labels=2), image(8, 8)
    assert torch.equal(made(x, NOISE, torch.tensor([-1, -1])), made(x, NOISE))
    answers = [made(x, NOISE, torch.tensor([label, label])) for label in (-1, 0, 1)]
    assert all(float((a - b).abs().max()) > 1e-3 for a, b in zip(answers, answers[1:], strict=False))


def test_a_number_that_is_nan_is_no_number() -> None:
    """It is unlike 0, leaves no NaN behind, neither in the answer nor in a gradient, and does not hide the
    other numbers.
    """
    made, x = net(n_numbers=2), image(8, 8)
    unknown, half, zero = (
        torch.tensor([row, row]) for row in ([torch.nan, torch.nan], [0.5, torch.nan], [0.0, 0.0])
    )
    with torch.no_grad():
        assert torch.equal(made(x, NOISE, None, unknown), made(x, NOISE))
        answers = [made(x, NOISE, None, numbers) for numbers in (unknown, half, zero)]
    assert all(float((a - b).abs().max()) > 1e-3 for a, b in zip(answers, answers[1:], strict=False))
    made(x, NOISE, None, half).square().mean().backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in made.parameters())


@pytest.mark.parametrize("size", [(16, 12), (9, 7), (8, 8, 12)])
@torch.no_grad()
def test_features_are_what_the_way_down_has_seen(size: tuple[int, ...]) -> None:
    """Finest first, a level for each width, and the very tensors that the forward pass makes."""
    made, seen = net(len(size), n_labels=2), []
    for blocks in made.descend:
        blocks.register_forward_hook(lambda _module, _inputs, out: seen.append(out.clone()))
    label = torch.tensor([0, 1])
    made(image(*size), NOISE, label)
    passed = list(seen)
    found = made.features(image(*size), NOISE, label)
    assert [f.shape[1] for f in found] == [8, 12, 20]
    assert [tuple(f.shape[2:]) for f in found] == [
        tuple(-(-n // 4) * 4 // 2**level for n in size) for level in range(3)
    ]
    assert all(torch.equal(a, b) for a, b in zip(found, passed, strict=True))


@torch.no_grad()
def test_doubt_is_said_beside_the_mean_and_does_not_move_it() -> None:
    sure, unsure = net(), net(doubt=True)
    unsure.load_state_dict({**unsure.state_dict(), **sure.state_dict()})
    both = unsure(image(9, 8), NOISE)
    assert both.shape == (2, 4, 9, 8)
    assert torch.equal(both[:, :2], sure(image(9, 8), NOISE)) and float(both[:, 2:].abs().max()) > 0


@torch.no_grad()
def test_a_new_network_is_silent() -> None:
    """Its first guess is the path's own; its first doubt is ln 1."""
    made = UNet(UNetShape(3, 2, (8, 16), 1, doubt=True))
    assert float(made(image(8, 8), NOISE).abs().max()) == 0


@pytest.mark.parametrize("ndim", [2, 3])
def test_every_weight_has_a_gradient(ndim: int) -> None:
    """A parameter that nothing depends on would be carried, saved and averaged for nothing."""
    made = net(ndim, n_labels=2, n_numbers=1, doubt=True, blocks=2)
    made(
        image(*[8] * ndim), NOISE, torch.tensor([0, -1]), torch.tensor([[0.3], [torch.nan]])
    ).square().mean().backward()
    silent = [name for name, p in made.named_parameters() if p.grad is None or not bool((p.grad != 0).any())]
    assert not silent
    assert made.label is not None and made.label.weight.grad is not None
    assert [bool(row.any()) for row in made.label.weight.grad] == [True, False, True], (
        "label 1 was in no image"
    )


@torch.no_grad()
def test_layout_and_mode_change_nothing() -> None:
    """channels_last is a matter of speed; so is working in place, which must not reach the caller's image."""
    made, x = net(), image(12, 12)
    before, plain = x.clone(), made(x, NOISE)
    assert torch.equal(x, before)
    with torch.enable_grad():
        torch.testing.assert_close(made(x, NOISE).detach(), plain, rtol=1e-4, atol=1e-5)
    made.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    torch.testing.assert_close(made(x, NOISE), plain, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(
        made(x.to(memory_format=torch.channels_last), NOISE), plain, rtol=1e-3, atol=1e-4
    )


def test_waves_tell_near_numbers_apart() -> None:
    """Cosine and sine of each frequency lie on the unit circle; two heights of neighbouring slices differ
    clearly.
    """
    found = waves(torch.tensor([-2.0, 0.0, 0.02, 2.0]), 32)
    assert found.shape == (4, 32)
    torch.testing.assert_close(found[:, :16] ** 2 + found[:, 16:] ** 2, torch.ones(4, 16))
    assert float((found[1] - found[2]).norm()) > 0.5
