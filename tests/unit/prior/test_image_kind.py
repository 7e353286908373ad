"""The kind of a prior's training images: its own pass, others are named."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from medprior.prior.image_kind import KIND_PARTS, ImageKind


def heads(n: int, seed: int, *, ndim: int = 2, side: int = 48) -> list[Tensor]:
    """(1, i, j[, k]): a bright disc with a dark middle and fine texture, a little different each time."""
    rng = torch.Generator().manual_seed(seed)
    at = torch.stack(torch.meshgrid(*[torch.linspace(-1, 1, side)] * ndim, indexing="ij"))
    found = []
    for _ in range(n):
        shift, size, dark = 0.05 * torch.randn(ndim, generator=rng), *torch.rand(2, generator=rng)
        r = (at - shift.reshape(-1, *[1] * ndim)).norm(dim=0)
        image = -1.0 + 1.6 * torch.sigmoid((0.6 + 0.1 * size - r) * 30)
        image = image - (0.6 + 0.2 * dark) * torch.sigmoid((0.25 - r) * 30)
        texture = torch.randn(image.shape, generator=rng)
        found.append((image + 0.05 * texture)[None])
    return found


@pytest.fixture(scope="module")
def kind() -> ImageKind:
    fitted = ImageKind.fitted(heads(120, 0))
    assert fitted is not None
    return fitted


def test_at_most_one_in_twenty_of_its_own_kind_is_called_unlike(kind: ImageKind) -> None:
    assert sum(bool(kind.unlike(x)) for x in heads(200, 1)) <= 10


OTHERS = {
    "inverted contrast": lambda x: -x - 0.4,
    "beside its place": lambda x: x.roll(14, 1),
    "half as large": lambda x: torch.nn.functional.pad(x[:, ::2, ::2], (12, 12, 12, 12), value=-1.0),
    "cut out of the middle": lambda x: x[:, 14:34, 14:34],
    "much blurred": lambda x: torch.nn.functional.avg_pool2d(x[None], 9, 1, 4, count_include_pad=False)[0],
    "another scale of greys": lambda x: 0.5 * x,
}


@pytest.mark.parametrize("name", OTHERS)
def test_images_of_another_kind_are_called_unlike(kind: ImageKind, name: str) -> None:
    found = [kind.unlike(OTHERS[name](x)) for x in heads(20, 2)]
    assert sum(map(bool, found)) >= 18 and set(found) - {""} <= set(KIND_PARTS), found


def test_volumes_have_a_kind_too() -> None:
    kind = ImageKind.fitted(heads(60, 3, ndim=3, side=24))
    assert kind is not None
    assert sum(bool(kind.unlike(x)) for x in heads(20, 4, ndim=3, side=24)) <= 3
    assert all(kind.unlike(-x) for x in heads(5, 4, ndim=3, side=24))


def test_it_is_read_as_it_was_written(kind: ImageKind) -> None:
    again = ImageKind.read(kind.tensors())
    for x in heads(4, 5):
        assert torch.allclose(again.parts(x), kind.parts(x), rtol=0.02)


def test_few_images_say_nothing() -> None:
    assert ImageKind.fitted(heads(39, 0)) is None


def test_images_without_content_make_no_fault() -> None:
    kind = ImageKind.fitted([torch.zeros(1, 16, 16)] * 40)
    assert kind is not None and kind.unlike(heads(1, 0)[0]) in KIND_PARTS
