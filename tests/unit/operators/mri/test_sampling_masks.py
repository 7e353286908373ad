"""k-space masks hold as many samples as they say, where they say, and the same for the same generator."""

from __future__ import annotations

import pytest
import torch

from medprior.errors import BadOption
from medprior.operators import acceleration_of, cartesian_lines, partial_fourier, poisson_disc


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("pattern", ["random", "variable", "equispaced"])
@pytest.mark.parametrize("acceleration", [2, 4, 8])
def test_lines_are_counted_exactly_and_hold_the_centre(pattern: str, acceleration: int) -> None:
    mask = cartesian_lines((20, 320), acceleration, rng(), pattern=pattern)
    assert mask.shape == (20, 320) and mask.dtype == torch.bool
    assert bool((mask == mask[:1]).all()), "whole lines"
    assert int(mask[0].sum()) == 320 // acceleration
    half = round(320 * 0.32 / acceleration) // 2
    assert bool(mask[0, 160 - half : 160 + half].all())


def test_equispaced_lines_have_equal_gaps_outside_of_the_centre() -> None:
    """Over the lines outside of the centre block the distance varies by one at most."""
    kept = cartesian_lines((1, 320), 4, rng(), pattern="equispaced")[0]
    gaps = torch.nonzero(kept[:147]).flatten().diff()
    assert int(gaps.max() - gaps.min()) <= 1


def test_lines_along_another_axis_and_from_another_seed() -> None:
    mask = cartesian_lines((64, 6, 5), 2, rng(), axis=0)
    assert bool((mask == mask[:, :1, :1]).all()) and int(mask[:, 0, 0].sum()) == 32
    assert torch.equal(mask, cartesian_lines((64, 6, 5), 2, rng(), axis=0))
    assert not torch.equal(mask, cartesian_lines((64, 6, 5), 2, rng(1), axis=0))


def test_partial_fourier_drops_the_end() -> None:
    mask = partial_fourier(torch.ones(16, 8, dtype=torch.bool), 6 / 8)
    assert bool(mask[:12].all()) and not bool(mask[12:].any())


def test_poisson_disc_is_dense_in_the_middle_and_nowhere_clumped() -> None:
    """The number of points is met to 2 %, density falls outwards, and no two points outside of the centre
    square touch at 8x.
    """
    mask = poisson_disc((96, 80), 8, rng())
    assert int(mask.sum()) == pytest.approx(96 * 80 / 8, rel=0.02)
    assert bool(mask[40:56, 32:48].all())
    middle, outer = mask[24:72, 20:60].double().mean(), mask.double().mean()
    assert float(middle) > 1.5 * float(outer)
    edge = mask[:16]
    assert not bool((edge[:, 1:] & edge[:, :-1]).any()) and not bool((edge[1:] & edge[:-1]).any())


def test_masks_that_cannot_be_are_refused() -> None:
    with pytest.raises(BadOption, match="acceleration >= 1"):
        cartesian_lines((8, 8), 0.5, rng())
    with pytest.raises(BadOption, match="hold the centre"):
        cartesian_lines((8, 64), 8, rng(), centre_fraction=0.5)
    with pytest.raises(BadOption, match="random, variable or equispaced"):
        cartesian_lines((8, 64), 4, rng(), pattern="radial")
    with pytest.raises(BadOption, match=r"above 0\.5"):
        partial_fourier(torch.ones(4, 4, dtype=torch.bool), 0.5)
    with pytest.raises(BadOption, match="leaves room"):
        poisson_disc((16, 16), 8, rng(), centre=10)


def test_variable_density_falls_outwards() -> None:
    """Over 50 seeds, lines near the centre are kept more often than those at the edge, and the acceleration
    is exact all the same.
    """
    masks = [cartesian_lines((1, 256), 4, rng(seed), pattern="variable") for seed in range(50)]
    assert {acceleration_of(m) for m in masks} == {4.0}
    often = torch.stack(masks).double().mean(0)[0]
    near, far = torch.cat([often[64:108], often[148:192]]).mean(), torch.cat([often[:40], often[216:]]).mean()
    assert float(near) > 4 * float(far) > 0


def test_the_acceleration_is_what_was_sampled() -> None:
    """Partial Fourier of 6/8 on every second line is 8/3 times faster; an empty mask has no acceleration."""
    assert acceleration_of(partial_fourier(cartesian_lines((16, 64), 2, rng()), 6 / 8)) == pytest.approx(
        8 / 3
    )
    with pytest.raises(BadOption, match="samples something"):
        acceleration_of(torch.zeros(4, 4, dtype=torch.bool))
    with pytest.raises(BadOption, match="axis"):
        cartesian_lines((8, 8), 2, rng(), axis=2)
    with pytest.raises(BadOption, match=r"size \(i, j\)"):
        poisson_disc((8, 8), 0.5, rng())
