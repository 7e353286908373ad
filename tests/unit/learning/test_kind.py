"""Is a scan of the kind that was learned: an anatomy without symmetry is told from its turned, mirrored and inverted images, and the part is named."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from medprior.learning.kind import Kind, part_named, sketched

ORGANS = [((0.3, 0.35, 0.4), 0.14, 0.9), ((0.7, 0.6, 0.35), 0.2, 0.5), ((0.35, 0.75, 0.7), 0.1, -0.4)]
"""Centre, radius in shares of the side, and brightness."""


def anatomy(seed: int, shape: tuple[int, ...] = (40, 36)) -> Tensor:
    """(1, *shape): three organs that no symmetry leaves in place, a little elsewhere in each patient, of about the same brightness, with some noise."""
    rng = torch.Generator().manual_seed(seed)
    at = torch.stack(torch.meshgrid(*((torch.arange(n) + 0.5) / n for n in shape), indexing="ij"))
    x = torch.full(shape, -0.6)
    for centre, radius, value in ORGANS:
        where = torch.tensor(centre[: len(shape)]) + 0.02 * torch.randn(len(shape), generator=rng)
        far = (at - where.reshape(-1, *[1] * len(shape))).square().sum(0)
        x = x + value * (1 + 0.1 * float(torch.randn((), generator=rng))) * torch.exp(-far / (2 * radius**2))
    return (x + 0.03 * torch.randn(shape, generator=rng))[None]


class Known:
    """A kind learned from 40 scans; parts in deviations of 25 others, as a calibration has them: the 40 themselves lie closer than any new one."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.kind = Kind.fitted([sketched(anatomy(n, shape)) for n in range(40)])
        held = torch.stack([self.kind.parts(sketched(anatomy(n, shape))) for n in range(200, 225)])
        self.middle, self.spread = held.mean(0), held.std(0)

    def parts(self, whole: Tensor) -> Tensor:
        return (self.kind.parts(sketched(whole)) - self.middle) / self.spread


SHAPE, SOLID = (40, 36), (24, 22, 20)


@pytest.fixture(scope="module")
def images() -> Known:
    return Known(SHAPE)


@pytest.fixture(scope="module")
def volumes() -> Known:
    return Known(SOLID)


TURNS: dict[str, Callable[[Tensor], Tensor]] = {
    "upside down": lambda x: x.flip(1),
    "left for right": lambda x: x.flip(2),
    "half a turn": lambda x: x.flip(1, 2),
    "transposed": lambda x: x.transpose(1, 2),
    "a quarter turn": lambda x: x.rot90(1, (1, 2)),
    "a quarter turn back": lambda x: x.rot90(-1, (1, 2)),
    "transposed the other way": lambda x: x.transpose(1, 2).flip(1, 2),
}


def test_parts_of_the_scans_themselves_have_mean_0_and_deviation_1(images: Known) -> None:
    parts = torch.stack([images.kind.parts(sketched(anatomy(n))) for n in range(40)])
    assert parts.shape == (40, 2 + 7)
    assert torch.allclose(parts.mean(0), torch.zeros(9), atol=1e-3) and torch.allclose(parts.std(0), torch.ones(9), atol=1e-3)


def test_new_scans_of_the_kind_are_usual(images: Known, volumes: Known) -> None:
    for known, shape in ((images, SHAPE), (volumes, SOLID)):
        parts = torch.stack([known.parts(anatomy(n, shape)) for n in range(100, 120)])
        assert float(parts.max()) < 7 and float(parts.mean(0).abs().max()) < 1


@pytest.mark.parametrize("turn", TURNS)
def test_an_image_turned_or_mirrored_is_told_and_named(images: Known, turn: str) -> None:
    for n in range(100, 105):
        parts = images.parts(TURNS[turn](anatomy(n)))
        assert float(parts[2:].max()) > 10
        assert part_named(int(parts.argmax())).startswith("orientation")


@pytest.mark.parametrize("axes", [(1,), (2,), (3,), (1, 2), (1, 3), (2, 3), (1, 2, 3)])
def test_a_mirrored_volume_is_told_and_named(volumes: Known, axes: tuple[int, ...]) -> None:
    assert len(volumes.kind.turns) == 7
    parts = volumes.parts(anatomy(100, (24, 22, 20)).flip(axes))
    assert float(parts.max()) > 10 and part_named(int(parts.argmax())).startswith("orientation")


def test_an_inverted_film_is_told(images: Known) -> None:
    """White on black: nothing about it is as in a healthy scan."""
    for n in range(100, 105):
        parts = images.parts(-anatomy(n))
        assert min(float(parts[0]), float(parts[1])) > 5


@pytest.mark.parametrize(
    "change",
    [lambda x: x + 0.4, lambda x: 0.5 * x, lambda x: x + 0.15 * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))],
    ids=["brighter", "flatter", "noisier"],
)
def test_other_greys_or_sharpness_are_told_and_named(images: Known, change: Callable[[Tensor], Tensor]) -> None:
    parts = images.parts(change(anatomy(100)))
    assert float(parts[0]) > 5 and part_named(int(parts.argmax())) == "grey values or sharpness"


def test_another_body_part_is_told_by_its_layout(images: Known) -> None:
    """The same greys, shuffled in blocks."""
    x = anatomy(100)
    blocks = x.reshape(1, 4, 10, 4, 9)[:, [2, 0, 3, 1]][:, :, :, [1, 3, 0, 2]].reshape(1, 40, 36)
    assert float(images.parts(blocks)[1]) > 5


def test_a_sketch_is_what_it_says() -> None:
    x = torch.cat([anatomy(0), torch.full((1, 40, 36), 9.0)])
    found = sketched(x)
    assert torch.allclose(found.greys, torch.quantile(x[0], torch.linspace(0.05, 0.95, 10))), "the first channel speaks"
    assert found.layout.shape == (32, 32) and float(found.layout.mean()) == pytest.approx(0, abs=1e-6) and float(found.layout.norm()) == pytest.approx(1)
    assert sketched(anatomy(0, SOLID)).layout.shape == (24, 24, 24)
    brighter = sketched(3 * x + 1)
    assert torch.allclose(brighter.layout, found.layout, atol=1e-5), "a layout has no unit"
    assert torch.allclose(brighter.sharpness, found.sharpness + 2 * torch.tensor(3.0).log(), atol=1e-3)


def test_finer_detail_is_in_the_finest_scale() -> None:
    smooth, rough = anatomy(0), anatomy(0)
    rough[:, ::2] += 0.2
    apart = sketched(rough).sharpness - sketched(smooth).sharpness
    assert float(apart[0]) > 1 and float(apart[0]) == float(apart.max())


def test_a_blank_image_is_finite_and_far(images: Known) -> None:
    parts = images.parts(torch.zeros(1, 40, 36))
    assert parts.isfinite().all() and float(parts.max()) > 10


def test_parts_have_names() -> None:
    """The first is the look, the second the layout, every other a turn."""
    assert "grey values" in part_named(0) and part_named(1) == "layout"
    assert part_named(2) == part_named(8) and "mirrored" in part_named(8)


def test_what_is_stored_judges_alike(images: Known) -> None:
    back = Kind.of("kind", images.kind.tensors("kind"))
    sketch = sketched(anatomy(100))
    assert torch.equal(back.parts(sketch), images.kind.parts(sketch))
