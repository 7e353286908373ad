"""Is a scan of the kind that was learned: an anatomy without symmetry is told from its turned, mirrored and
inverted images, and the part is named.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from medprior.data.grids import box_mean
from medprior.healthy.acquisition import PARTS, AcquisitionModel, describe_part, sketch

ORGANS = [((0.3, 0.35, 0.4), 0.14, 0.9), ((0.7, 0.6, 0.35), 0.2, 0.5), ((0.35, 0.75, 0.7), 0.1, -0.4)]
"""Centre, radius in shares of the side, and brightness."""


def anatomy(seed: int, shape: tuple[int, ...] = (40, 36)) -> Tensor:
    """(1, *shape): three organs that no symmetry leaves in place, a little elsewhere in each patient, of
    about the same brightness, with some noise.
    """
    rng = torch.Generator().manual_seed(seed)
    at = torch.stack(torch.meshgrid(*((torch.arange(n) + 0.5) / n for n in shape), indexing="ij"))
    x = torch.full(shape, -0.6)
    for centre, radius, value in ORGANS:
        where = torch.tensor(centre[: len(shape)]) + 0.02 * torch.randn(len(shape), generator=rng)
        far = (at - where.reshape(-1, *[1] * len(shape))).square().sum(0)
        x = x + value * (1 + 0.1 * float(torch.randn((), generator=rng))) * torch.exp(-far / (2 * radius**2))
    return (x + 0.03 * torch.randn(shape, generator=rng))[None]


class Known:
    """A kind learned from n scans; parts in deviations of those same scans, each by a kind learned without
    it.
    """

    def __init__(self, shape: tuple[int, ...], n: int = 40) -> None:
        self.kind = AcquisitionModel.fitted([[sketch(anatomy(seed, shape))] for seed in range(n)])
        self.middle, self.spread = self.kind.known.mean(0), self.kind.known.std(0)

    def parts(self, whole: Tensor) -> Tensor:
        return (self.kind.parts(sketch(whole)) - self.middle) / self.spread


SHAPE, SOLID = (40, 36), (24, 22, 20)


@pytest.fixture(scope="module")
def images() -> Known:
    return Known(SHAPE)


@pytest.fixture(scope="module")
def volumes() -> Known:
    return Known(SOLID, 10)


TURNS: dict[str, Callable[[Tensor], Tensor]] = {
    "upside down": lambda x: x.flip(1),
    "left for right": lambda x: x.flip(2),
    "half a turn": lambda x: x.flip(1, 2),
    "transposed": lambda x: x.transpose(1, 2),
    "a quarter turn": lambda x: x.rot90(1, (1, 2)),
    "a quarter turn back": lambda x: x.rot90(-1, (1, 2)),
    "transposed the other way": lambda x: x.transpose(1, 2).flip(1, 2),
}


def test_what_is_known_is_judged_by_a_kind_learned_without_it(images: Known) -> None:
    """So the parts of new scans lie as those known do."""
    assert images.kind.known.shape == (40, 4 + 7) and images.kind.other.shape == (7,)
    new = torch.stack([images.kind.parts(sketch(anatomy(n))) for n in range(100, 130)])
    apart = (new.mean(0) - images.middle) / images.spread
    assert float(apart.abs().max()) < 1
    assert bool((images.kind.other > images.kind.known[:, 4:].amax(0)).all()), (
        "each image under a symmetry is on the other side"
    )


def test_new_scans_of_the_kind_are_usual(images: Known, volumes: Known) -> None:
    for known, shape in ((images, SHAPE), (volumes, SOLID)):
        parts = torch.stack([known.parts(anatomy(n, shape)) for n in range(100, 112)])
        assert float(parts.max()) < 7 and float(parts.mean(0).abs().max()) < 1


@pytest.mark.parametrize("turn", TURNS)
def test_an_image_turned_or_mirrored_is_told_and_named(images: Known, turn: str) -> None:
    for n in range(100, 105):
        parts = images.parts(TURNS[turn](anatomy(n)))
        assert float(parts[4:].max()) > 6
        assert describe_part(4 + int(parts[4:].argmax())).startswith("orientation")


@pytest.mark.parametrize("axes", [(1,), (2,), (3,), (1, 2), (1, 3), (2, 3), (1, 2, 3)])
def test_a_mirrored_volume_is_told_and_named(volumes: Known, axes: tuple[int, ...]) -> None:
    assert len(volumes.kind.turns) == 7
    parts = volumes.parts(anatomy(100, (24, 22, 20)).flip(axes))
    assert float(parts[4:].max()) > 6


def test_an_inverted_film_is_told(images: Known) -> None:
    """White on black: nothing about it is as in a healthy scan."""
    for n in range(100, 105):
        parts = images.parts(-anatomy(n))
        assert min(float(parts[0]), float(parts[2])) > 5


@pytest.mark.parametrize("change", [lambda x: x + 0.4, lambda x: 0.5 * x], ids=["brighter", "flatter"])
def test_other_greys_are_told_and_named(images: Known, change: Callable[[Tensor], Tensor]) -> None:
    assert float(images.parts(change(anatomy(100)))[0]) > 5 and describe_part(0) == "grey values"


@pytest.mark.parametrize(
    "change",
    [
        lambda x: box_mean(x[None], 3)[0],
        lambda x: x + 0.04 * torch.randn(x.shape, generator=torch.Generator().manual_seed(0)),
    ],
    ids=["softer", "noisier"],
)
def test_other_detail_is_told_and_named(images: Known, change: Callable[[Tensor], Tensor]) -> None:
    parts = images.parts(change(anatomy(100)))
    assert float(parts[1]) > 4 and describe_part(1) == "sharpness or noise"


@pytest.mark.parametrize("std", [0.02, 0.1])
def test_the_noise_is_that_of_the_image_and_not_its_edges(std: float) -> None:
    """Known noise on an image of large areas; the areas themselves have none."""
    flat = torch.zeros(1, 80, 70)
    flat[:, 20:50, 15:60] = 1
    noisy = flat + std * torch.randn(flat.shape, generator=torch.Generator().manual_seed(0))
    assert float(sketch(noisy).detail[3].exp().sqrt()) == pytest.approx(std, rel=0.1)
    assert float(sketch(flat).detail[3].exp().sqrt()) < 1e-4


def test_a_mirrored_body_that_is_nearly_two_sided_is_told(images: Known) -> None:
    """Two equal lungs, and a heart a little to one side, patients shifted and turned: only when laid on each
    other do they show on which side.
    """

    def chest(seed: int) -> Tensor:
        rng = torch.Generator().manual_seed(seed)
        at = torch.stack(torch.meshgrid(*(2 * (torch.arange(64) + 0.5) / 64 - 1,) * 2, indexing="ij"))
        at = at - 0.12 * torch.randn(2, 1, 1, generator=rng)
        x = torch.full((64, 64), -0.5)
        for y, side, radius, value in (
            (0.0, -0.4, 0.25, -0.4),
            (0.0, 0.4, 0.25, -0.4),
            (0.25, 0.12, 0.2, 0.5),
        ):
            x = x + value * torch.exp(
                -(at - torch.tensor([y, side]).reshape(2, 1, 1)).square().sum(0) / (2 * radius**2)
            )
        return (x + 0.05 * torch.randn(x.shape, generator=rng))[None]

    kind = AcquisitionModel.fitted([[sketch(chest(n))] for n in range(40)])
    right, left = (
        torch.stack([kind.parts(sketch(turn(chest(n)))) for n in range(100, 120)])[:, 4]
        for turn in (lambda x: x, lambda x: x.flip(2))
    )
    limit = float(kind.known[:, 4].max())
    assert float((left > limit).float().mean()) > 0.9 and float((right > limit).float().mean()) < 0.1


def test_another_body_part_is_told_by_its_layout(images: Known) -> None:
    """The same greys, shuffled in blocks."""
    x = anatomy(100)
    blocks = x.reshape(1, 4, 10, 4, 9)[:, [2, 0, 3, 1]][:, :, :, [1, 3, 0, 2]].reshape(1, 40, 36)
    assert min(float(part) for part in images.parts(blocks)[2:4]) > 5


def test_a_sketch_is_what_it_says() -> None:
    x = torch.cat([anatomy(0), torch.full((1, 40, 36), 9.0)])
    found = sketch(x)
    assert torch.allclose(found.greys, torch.quantile(x[0], torch.linspace(0.05, 0.95, 10))), (
        "the first channel speaks"
    )
    assert (
        found.layout.shape == (32, 32)
        and float(found.layout.mean()) == pytest.approx(0, abs=1e-6)
        and float(found.layout.norm()) == pytest.approx(1)
    )
    assert sketch(anatomy(0, SOLID)).layout.shape == (24, 24, 24)
    brighter = sketch(3 * x + 1)
    assert torch.allclose(brighter.layout, found.layout, atol=1e-5), "a layout has no unit"
    assert torch.allclose(brighter.detail, found.detail + 2 * torch.tensor(3.0).log(), atol=1e-3)


def test_finer_detail_is_in_the_finest_scale() -> None:
    smooth, rough = anatomy(0), anatomy(0)
    rough[:, ::2] += 0.2
    apart = sketch(rough).detail - sketch(smooth).detail
    assert float(apart[0]) > 1 and float(apart[0]) == float(apart[:3].max())


def test_a_blank_image_is_finite_and_far(images: Known) -> None:
    parts = images.parts(torch.zeros(1, 40, 36))
    assert parts.isfinite().all() and float(parts.max()) > 10


def test_parts_have_names() -> None:
    """Of the look two, of the place two, and every other is a turn."""
    assert [describe_part(n) for n in range(4)] == list(PARTS[:4])
    assert describe_part(4) == describe_part(10) and "mirrored" in describe_part(10)


def test_what_is_stored_judges_alike(images: Known) -> None:
    back = AcquisitionModel.of("kind", images.kind.tensors("kind"))
    one = sketch(anatomy(100))
    assert torch.equal(back.parts(one), images.kind.parts(one))


@pytest.mark.parametrize("thin", [1, 2, 3])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_thin_volume_has_a_sketch(thin: int, axis: int) -> None:
    """One or two slices along any axis: its noise is that of the slices."""
    shape = [24, 20, 22]
    shape[axis] = thin
    noise = 0.1 * torch.randn(1, *shape, generator=torch.Generator().manual_seed(0))
    found = sketch(noise)
    assert all(torch.isfinite(part).all() for part in (found.greys, found.detail, found.small))
    assert float(found.detail[3].exp().sqrt()) == pytest.approx(0.1, rel=0.3)
