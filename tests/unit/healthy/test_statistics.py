"""What is usual: Gaussians, courses and places against direct computation; what follows the height, and what
a small image leaves undone.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from medprior.data.grids import box_mean
from medprior.healthy.statistics import (
    HeightGaussian,
    HeightTrend,
    PlaceStatistics,
    grid_moments,
    resampled_rows,
)


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def correlated(n: int, seed: int = 0) -> Tensor:
    """(n, 4), of very different sizes."""
    mix = torch.tensor([[1.0, 0.5, 0, 0], [0, 2, 0, 0], [0.3, 0, 30, 0], [0, 0.8, 0, 0.1]])
    return noise(n, 4, seed=seed) @ mix + torch.tensor([5.0, -1, 100, 0])


def heights_of(n_scans: int, n_slices: int) -> Tensor:
    return ((2 * torch.arange(n_slices) + 1) / n_slices - 1).repeat(n_scans)


def test_the_distance_is_mahalanobis_with_a_tenth_of_the_diagonal() -> None:
    known, new = correlated(60), correlated(9, seed=1)
    usual = HeightGaussian.fitted(known)
    x = known.double().numpy()
    cov = np.cov(x.T, bias=True)
    precision = np.linalg.inv(0.9 * cov + 0.1 * np.diag(np.diag(cov)))
    apart = new.double().numpy() - x.mean(0)
    wanted = np.log(np.sqrt(np.einsum("ni,ij,nj->n", apart, precision, apart)))
    assert np.allclose(usual.distance(new), wanted, atol=1e-3)


def test_units_of_a_feature_do_not_count() -> None:
    known, new, units = correlated(60), correlated(9, seed=1), torch.tensor([1e3, 1.0, 1e-2, 7.0])
    assert torch.allclose(
        HeightGaussian.fitted(known * units).distance(new * units),
        HeightGaussian.fitted(known).distance(new),
        atol=1e-3,
    )


def test_the_mean_follows_the_height() -> None:
    """What changes along the body does not count, a slice that lies at another height does; without heights
    it would be lost in the spread.
    """
    heights = heights_of(40, 12)
    swing = 20 * torch.cos(math.pi * (heights + 1) / 2)[:, None] * torch.tensor([1.0, 0, -1, 0.1])
    wobble = correlated(len(heights))
    usual, still = HeightGaussian.fitted(wobble + swing, heights), HeightGaussian.fitted(wobble, heights)
    assert torch.allclose(usual.distance(wobble + swing, heights), still.distance(wobble, heights), atol=1e-2)
    wrong = (wobble + swing)[:1]
    assert float(usual.distance(wrong, torch.tensor([0.9])) - usual.distance(wrong, heights[:1])) > 2
    blind = HeightGaussian.fitted(wobble + swing)
    assert float(blind.distance(wrong)) < 2 < float(usual.distance(wrong, torch.tensor([0.9])))


def test_a_feature_that_never_varies_counts_when_it_does() -> None:
    known = torch.cat([correlated(30), torch.full((30, 1), 3.0)], dim=1)
    usual = HeightGaussian.fitted(known)
    assert usual.distance(known).isfinite().all()
    changed = known[:1] + torch.tensor([0.0, 0, 0, 0, 0.5])
    assert float(usual.distance(changed)) > float(usual.distance(known).max()) + 3


def test_fewer_scans_than_features_still_give_a_distance() -> None:
    usual = HeightGaussian.fitted(noise(8, 40))
    assert usual.distance(noise(8, 40)).isfinite().all()
    assert float(usual.distance(noise(1, 40, seed=1) * 5)) > float(usual.distance(noise(8, 40)).max())


def test_a_course_is_the_mean_and_the_mean_absolute_deviation() -> None:
    values = noise(50) * 3 + 7
    middle, size = values.mean(), (values - values.mean()).abs().mean()
    assert torch.allclose(HeightTrend.fitted(values).unusual(values), (values - middle) / size, atol=1e-5)


def test_only_what_is_above_healthy_slices_is_unusual() -> None:
    """A slice closer to the mean than others are is below zero, and the lower, the closer."""
    course = HeightTrend.fitted(noise(50))
    below, middle, above = course.unusual(torch.tensor([-9.0, 0.0, 9.0]))
    assert below < -5 < -1 < middle < 1 < 5 < above


def test_a_course_has_its_own_scale_at_each_height() -> None:
    """Values that scatter twice as much at one end of the body: deviations of new ones are as large at either
    end.
    """
    heights = heights_of(300, 12)
    swing = torch.cos(math.pi * (heights + 1) / 2)
    size = 1 + 0.5 * swing
    course = HeightTrend.fitted(5 * swing + size * noise(len(heights)), heights)
    new = course.unusual(5 * swing + size * noise(len(heights), seed=1), heights)
    for part in (heights < -0.6, heights.abs() < 0.2, heights > 0.6):
        assert float(new[part].abs().mean()) == pytest.approx(1, abs=0.1)
        assert float(new[part].mean()) == pytest.approx(0, abs=0.15)


def test_values_that_never_vary_leave_a_course_finite() -> None:
    course = HeightTrend.fitted(torch.full((10,), 4.0))
    assert (
        torch.allclose(course.unusual(torch.tensor([4.0])), torch.zeros(1), atol=1e-2)
        and float(course.unusual(torch.tensor([5.0]))) > 100
    )


def maps(n: int, shape: tuple[int, ...], seed: int = 0) -> list[Tensor]:
    """Louder and brighter from one side to the other."""
    along = torch.linspace(0, 1, shape[0]).reshape(-1, *[1] * (len(shape) - 1))
    return [3 * along + (0.5 + along) * noise(*shape, seed=seed + i) for i in range(n)]


@pytest.mark.parametrize("shape", [(64, 48), (40, 36), (24, 20), (26, 24, 20)])
def test_maps_that_a_place_was_fitted_to_are_usual_everywhere(shape: tuple[int, ...]) -> None:
    """Mean 0 and standard deviation 1 at either end and in the middle, though the maps differ there."""
    known = maps(40, shape)
    place = PlaceStatistics.fitted([grid_moments(one) for one in known])
    found = torch.stack([place.unusual(one) for one in known])
    for part in found.split(-(-shape[0] // 4), dim=1):
        assert float(part.mean()) == pytest.approx(0, abs=0.15)
        assert float(part.std()) == pytest.approx(1, abs=0.15)


def test_the_same_change_is_more_unusual_where_maps_are_quiet() -> None:
    place = PlaceStatistics.fitted([grid_moments(one) for one in maps(40, (64, 48))])
    quiet, loud = (
        place.unusual(torch.full((64, 48), 9.0))[row].mean() - place.unusual(torch.zeros(64, 48))[row].mean()
        for row in (6, 58)
    )
    assert float(quiet) > 1.8 * float(loud)


def test_a_place_serves_maps_of_any_size() -> None:
    """A map of twice the voxels, of the same body, is as unusual."""
    place = PlaceStatistics.fitted([grid_moments(one) for one in maps(40, (32, 32))])
    for size in ((64, 64), (33, 21), (7, 90)):
        found = torch.stack([place.unusual(one) for one in maps(20, size, seed=100)])
        assert found.shape[1:] == size
        assert float(found.mean()) == pytest.approx(0, abs=0.2) and float(found.std()) == pytest.approx(
            1, abs=0.2
        )


@pytest.mark.parametrize("shape, cell", [((64, 96), (2, 3)), ((24, 48, 72), (1, 2, 3))])
def test_a_grid_holds_means_of_cells_and_of_their_squares(
    shape: tuple[int, ...], cell: tuple[int, ...]
) -> None:
    x = noise(*shape)
    first, second = grid_moments(x)
    corner = x[tuple(slice(0, c) for c in cell)]
    far = x[tuple(slice(-c, None) for c in cell)]
    for n, part in ((0, corner), (-1, far)):
        at = (n,) * len(shape)
        assert float(first[at]) == pytest.approx(float(part.mean()), abs=1e-6)
        assert float(second[at]) == pytest.approx(float(part.square().mean()), abs=1e-6)


@pytest.mark.parametrize(
    "shape, width, widths",
    [
        ((9, 11), 3, (3, 3)),
        ((9, 11), 5, (5, 5)),
        ((9, 4), 5, (5, 3)),
        ((12, 2), 5, (5, 1)),
        ((3, 1), 9, (3, 1)),
        ((7, 6, 4), 5, (5, 5, 3)),
        ((5, 5, 1), 3, (3, 3, 1)),
    ],
)
def test_averages_are_means_of_what_lies_within(
    shape: tuple[int, ...], width: int, widths: tuple[int, ...]
) -> None:
    """Fewer voxels at the border, and fewer along an axis that is shorter than the width."""
    x = noise(*shape)
    found = box_mean(x[None, None], width)[0, 0]
    assert found.shape == x.shape
    for at in np.ndindex(shape):
        near = tuple(slice(max(0, a - w // 2), a + w // 2 + 1) for a, w in zip(at, widths, strict=True))
        assert float(found[at]) == pytest.approx(float(x[near].mean()), abs=1e-5)


def test_averages_keep_the_sign() -> None:
    """What alternates averages out, what goes one way stays, and the other way it is as large."""
    checkered = torch.where((torch.arange(20)[:, None] + torch.arange(20)) % 2 == 0, 1.0, -1.0)
    assert float(box_mean(checkered[None, None], 5)[0, 0].abs()[2:-2, 2:-2].max()) == pytest.approx(1 / 25)
    assert torch.allclose(box_mean(-torch.ones(1, 1, 20, 20), 5), -torch.ones(1, 1, 20, 20))
    x = noise(20, 20)
    assert torch.allclose(box_mean(-x[None, None], 5)[0, 0], -box_mean(x[None, None], 5)[0, 0])


def test_what_is_stored_comes_back_by_its_name() -> None:
    """Half precision in the file is float in memory; what is not there is a KeyError, for the caller to
    explain.
    """
    usual = HeightGaussian.fitted(correlated(30))
    kept = usual.tensors("a") | HeightGaussian.fitted(correlated(30, seed=2)).tensors("b")
    assert set(kept) == {"a.course", "a.white", "b.course", "b.white"}
    back = HeightGaussian.of("a", {name: tensor.half() for name, tensor in kept.items()})
    assert back.course.dtype == torch.float32 and torch.allclose(back.course, usual.course, rtol=1e-3)
    with pytest.raises(KeyError, match=r"c\.course"):
        HeightGaussian.of("c", kept)


@pytest.mark.parametrize("slices", [1, 2, 4])
def test_few_slices_ask_for_few_waves(slices: int) -> None:
    """With as many waves as slices a volume of more of them is judged sensibly between the heights that were
    learned.
    """
    rng = torch.Generator().manual_seed(0)
    heights = ((2 * torch.arange(slices) + 1) / slices - 1).repeat(10)
    values = 3 + 2 * torch.cos(torch.pi * (heights + 1) / 2) + torch.randn(len(heights), generator=rng) / 2
    found = HeightTrend.fitted(values, heights, waves=slices)
    between = (2 * torch.arange(9) + 1) / 9 - 1
    assert found.unusual(3 + 2 * torch.cos(torch.pi * (between + 1) / 2), between).abs().max() < 12


def test_rows_drawn_anew_keep_the_law_and_no_row() -> None:
    """Correlation, quantiles and skew stay; no number comes back."""
    rng = torch.Generator().manual_seed(0)
    shape = torch.tensor([[1.0, 0.8, 0.0], [0.0, 0.6, 0.0], [0.0, 0.0, 1.0]])
    rows = torch.randn((400, 3), generator=rng) @ shape
    rows[:, 2] = rows[:, 2].exp()
    found = resampled_rows(rows, rng)
    assert abs(float(torch.corrcoef(found.T)[0, 1] - torch.corrcoef(rows.T)[0, 1])) < 0.1
    for level in (0.1, 0.5, 0.9):
        apart = torch.quantile(found, level, dim=0) - torch.quantile(rows, level, dim=0)
        assert float((apart / rows.std(0)).abs().max()) < 0.1
    assert not set(found.flatten().tolist()) & set(rows.flatten().tolist())
    assert torch.equal(resampled_rows(rows[:1], rng), rows[:1])
