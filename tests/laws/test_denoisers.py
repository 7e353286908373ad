"""The laws of what wraps a denoiser: it gives back a denoiser, and where there is nothing to do it does
nothing.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from medprior.errors import BadOption, ShapeMismatch
from medprior.operators import Gaussian, identity, simulate
from medprior.prior import Condition, Denoiser, position_channels
from medprior.prior.denoiser import broadcast_level
from medprior.prior.wrappers import batched, cautious, guided, slicewise, tiled, with_block_means, with_known
from medprior.sampling import posterior_mean


class Told(Denoiser):
    """Shrinks pixel by pixel and adds what it was told: every part of the condition can be read off its
    answer.
    """

    def __init__(self, radius: int = 0, at: float = 0.0) -> None:
        self.radius, self.at, self.calls = radius, at, []

    def __call__(self, x: Tensor, sigma: Tensor, condition: Condition | None = None) -> Tensor:
        self.calls.append(tuple(x.shape))
        given = condition or Condition()
        out = x / (1 + broadcast_level(sigma.expand(len(x)), x) ** 2)
        if self.radius:
            kernel = torch.ones(1, 1, *[2 * self.radius + 1] * 2, dtype=x.dtype)
            out = F.conv2d(F.pad(out, [self.radius] * 4, mode="replicate"), kernel / kernel.sum())
        if given.label is not None:
            out = out + broadcast_level(given.label.to(x), x) * (given.label >= 0).to(x).reshape(
                -1, *[1] * (x.ndim - 1)
            )
        if given.numbers is not None:
            out = out + broadcast_level(given.numbers[:, 0].to(x), x)
        if given.position is not None:
            out = out + self.at * given.position[:, :1].to(x)
        return out

    def error(self, sigma: Tensor) -> Tensor:
        return sigma**2 / (1 + sigma**2)


def image(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


SIGMA = torch.tensor([0.3, 2.0], dtype=torch.float64)
WRAPPERS: dict[str, Callable[[Denoiser], Denoiser]] = {
    "batched": lambda d: batched(d, 1),
    "cautious": lambda d: cautious(d, 1.5),
    "guided": lambda d: guided(d, 0, 1.0),
    "kept": lambda d: with_known(d, image(2, 1, 24, 20, seed=5), torch.ones(24, 20, dtype=torch.float64)),
    "tiled": lambda d: tiled(d, 16, 4),
}


@pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS)
def test_a_wrapper_keeps_the_error_shape_and_precision(wrap: Callable[[Denoiser], Denoiser]) -> None:
    """The weight of a rule comes from ``error``: wrapping must not lose it."""
    x = image(2, 1, 24, 20)
    wrapped = wrap(Told())
    assert torch.equal(wrapped.error(SIGMA), Told().error(SIGMA))
    out = wrapped(x, SIGMA)
    assert out.shape == x.shape and out.dtype == x.dtype


@pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS)
def test_a_wrapper_with_nothing_to_do_does_nothing(wrap: Callable[[Denoiser], Denoiser]) -> None:
    """Told knows label 0 as "add nothing", so each of these wrappers must give the denoiser's own answer."""
    x = image(2, 1, 24, 20)
    assert float((wrap(Told())(x, SIGMA) - Told()(x, SIGMA)).abs().max()) < 1e-12


def test_guidance_of_0_is_unconditional_of_1_conditional_and_beyond_in_line() -> None:
    x = image(2, 1, 8, 8)
    plain, asked = Told()(x, SIGMA), Told()(x, SIGMA, Condition(label=torch.tensor([3, 3])))
    for weight in (0.0, 1.0, 2.5):
        assert (
            float((guided(Told(), 3, weight)(x, SIGMA) - (plain + weight * (asked - plain))).abs().max())
            < 1e-12
        )


def test_guidance_of_1_costs_one_call() -> None:
    told = Told()
    guided(told, 3, 1.0)(image(2, 1, 8, 8), SIGMA)
    assert len(told.calls) == 1


def test_guidance_keeps_what_else_is_known() -> None:
    """The height of a slice holds on both sides of guidance; only the label is asked and hidden."""
    x, height = image(2, 1, 8, 8), torch.tensor([[0.5], [-0.5]])
    plain = Told()(x, SIGMA, Condition(numbers=height))
    assert (
        float((guided(Told(), 3, 2.0)(x, SIGMA, Condition(numbers=height)) - plain - 6).abs().max()) < 1e-12
    )


def test_guidance_exaggerates_the_numbers_that_are_asked_for() -> None:
    """Unknowing adds the sum of what it knows of a row; of what is unknown there is nothing to exaggerate."""

    class Unknowing(Told):
        def __call__(self, x: Tensor, sigma: Tensor, condition: Condition | None = None) -> Tensor:
            known = condition or Condition()
            return super().__call__(
                x,
                sigma,
                Condition(
                    known.label,
                    None if known.numbers is None else known.numbers.nan_to_num(0.0).sum(1, keepdim=True),
                ),
            )

    x, told = image(2, 1, 8, 8), Condition(numbers=torch.tensor([[0.5, 0.25], [torch.nan, 0.25]]))
    plain = Unknowing()(x, SIGMA)
    wanted = plain + torch.tensor([2 * 0.5 + 0.25, 0.25], dtype=x.dtype).reshape(2, 1, 1, 1)
    assert float((guided(Unknowing(), None, 2.0, (0,))(x, SIGMA, told) - wanted).abs().max()) < 1e-12
    assert float((guided(Unknowing(), 3, 2.0, (0,))(x, SIGMA, told) - wanted - 6).abs().max()) < 1e-12
    assert told.numbers is not None and bool(
        told.numbers[0].isfinite().all()
    )  # what was given is not written to


@pytest.mark.parametrize("weight", [-1.0, float("nan")])
def test_guidance_against_a_label_is_refused(weight: float) -> None:
    with pytest.raises(BadOption, match="guidance weight"):
        guided(Told(), 0, weight)


def test_what_is_kept_is_known_and_the_rest_is_the_denoisers() -> None:
    """To the bit where nothing is free, without any doubt; half way where half is free."""
    x, known = image(2, 1, 9, 12), image(2, 1, 9, 12, seed=1)
    free = torch.zeros(9, 12, dtype=torch.float64)
    free[:, 4:8], free[:, 8:] = 0.5, 1.0
    wrapped, asked = with_known(Told(), known, free), Condition(label=torch.tensor([1, 2]))
    plain, doubt = Told().moments(x, SIGMA, asked)
    mean, std = wrapped.moments(x, SIGMA, asked)
    assert torch.equal(wrapped(x, SIGMA, asked), mean)
    assert torch.equal(mean[..., :4], known[..., :4]) and float(std[..., :4].abs().max()) == 0
    assert torch.allclose(mean[..., 4:8], (plain + known)[..., 4:8] / 2) and torch.allclose(
        std[..., 4:8], doubt[..., 4:8] / 2
    )
    assert torch.allclose(mean[..., 8:], plain[..., 8:]) and torch.equal(std[..., 8:], doubt[..., 8:])


@pytest.mark.parametrize("shape", [(1, 1, 9, 12), (9, 12), (2, 1, 9, 12), (2, 1, 1, 1)])
def test_what_is_free_may_be_said_once_for_all(shape: tuple[int, ...]) -> None:
    """One mask for the batch, one for each image, or one number each."""
    x, known, free = (
        image(2, 1, 9, 12),
        image(2, 1, 9, 12, seed=1),
        torch.rand(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64),
    )
    found = with_known(Told(), known, free)(x, SIGMA)
    assert torch.allclose(found, known + free.expand(2, 1, 9, 12) * (Told()(x, SIGMA) - known))


@pytest.mark.parametrize("axes", [(8, 12), (4, 6, 8)])
def test_block_means_are_known_and_finer_detail_is_the_denoisers(axes: tuple[int, ...]) -> None:
    x, coarse = image(2, 1, *axes), image(2, 1, *(n // 2 for n in axes), seed=1)
    wrapped, asked = with_block_means(Told(), coarse), Condition(label=torch.tensor([1, 2]))
    plain, doubt = Told().moments(x, SIGMA, asked)
    mean, std = wrapped.moments(x, SIGMA, asked)
    means = nn.AvgPool2d(2) if len(axes) == 2 else nn.AvgPool3d(2)
    assert torch.allclose(means(mean), coarse) and torch.equal(std, doubt)
    detail, wanted = ((y - nn.Upsample(scale_factor=2)(means(y))) for y in (mean, plain))
    assert torch.allclose(detail, wanted)
    assert torch.equal(wrapped(x, SIGMA, asked), mean)


class SureAndWrong(Told):
    """Says 1 everywhere; the left half of each image with hardly a doubt, and each image, and each slice of a
    volume, with more doubt than the last.
    """

    def moments(self, x: Tensor, sigma: Tensor, condition: Condition | None = None) -> tuple[Tensor, Tensor]:
        std = torch.full_like(x, 0.4)
        std[:, :, :, : x.shape[3] // 2] = 0.01
        std = std * torch.arange(1, len(x) + 1).reshape(-1, *[1] * (x.ndim - 1))
        return torch.ones_like(x), std * torch.arange(1, x.shape[4] + 1) if x.ndim == 5 else std


@pytest.mark.parametrize("size", [(8, 8), (8, 8, 3)])
def test_caution_spreads_the_doubt_over_each_image_and_slice(size: tuple[int, ...]) -> None:
    x = image(2, 1, *size)
    plain, told = SureAndWrong().moments(x, SIGMA)
    mean, std = cautious(SureAndWrong(), 1.5, 0.5).moments(x, SIGMA)
    assert torch.equal(mean, plain)
    for n, k in np.ndindex(2, size[2] if len(size) == 3 else 1):
        before, after = (
            v[n, 0, ..., k].square() if len(size) == 3 else v[n, 0].square() for v in (told, std)
        )
        assert torch.allclose(after.mean(), 1.5**2 * before.mean())
        assert torch.allclose(after[:, 0], 1.5**2 * 0.5 * (before[:, 0] + before.mean()))
    assert torch.allclose(cautious(SureAndWrong(), 1.0, 0.0).moments(x, SIGMA)[1], told)


def test_with_caution_data_set_right_what_a_denoiser_is_sure_of() -> None:
    truth = torch.zeros(1, 1, 8, 8)
    m = simulate(truth, identity((1, 8, 8)), Gaussian(0.05), torch.Generator().manual_seed(0))
    wrong, right = (
        float(posterior_mean(d, m, truth, torch.ones(1)).abs()[..., :4].mean())
        for d in (SureAndWrong(), cautious(SureAndWrong(), 1.5))
    )
    assert wrong > 0.9 and right < 0.1


def test_caution_is_as_large_as_the_denoiser_says_and_none_by_default() -> None:
    """Every wrapper keeps it."""

    class Careful(SureAndWrong):
        @property
        def caution(self) -> float:
            return 1.5

    exact, x = SureAndWrong(), image(2, 1, 8, 8)
    assert cautious(exact) is exact
    assert torch.equal(
        cautious(Careful()).moments(x, SIGMA)[1], cautious(exact, 1.5, 0.5).moments(x, SIGMA)[1]
    )
    assert batched(Careful(), 4).caution == 1.5


@pytest.mark.parametrize("doubt, share", [(0.0, 0.5), (1.0, 1.5), (1.0, -0.1), (float("nan"), 0.5)])
def test_caution_wants_a_doubt_and_a_share(doubt: float, share: float) -> None:
    with pytest.raises(BadOption, match="cautious"):
        cautious(Told(), doubt, share)


@pytest.mark.parametrize("size", [(33, 20), (16, 47), (40, 40), (17, 16)])
@pytest.mark.parametrize("overlap", [0, 1, 4, 15])
def test_tiles_of_a_pointwise_denoiser_leave_no_trace(size: tuple[int, int], overlap: int) -> None:
    """Every voxel is covered, and blending weights add up to one, at any overlap and any size."""
    x = image(2, 1, *size)
    assert float((tiled(Told(), 16, overlap)(x, SIGMA) - Told()(x, SIGMA)).abs().max()) < 1e-12


def test_tiles_know_where_they_lie() -> None:
    """Position channels are those of the whole image: a denoiser that answers with its place gives the same
    ramp, tiled or not.
    """
    x = image(2, 1, 40, 24)
    whole = Told(at=1.0)(
        x, SIGMA, Condition(position=position_channels((40, 24))[None].expand(2, -1, -1, -1))
    )
    assert float((tiled(Told(at=1.0), 16, 4)(x, SIGMA) - whole).abs().max()) < 1e-6


def test_tiles_of_a_blur_agree_away_from_seams_and_nearly_at_them() -> None:
    """A denoiser that sees 2 voxels far is exact where no tile ends within 2 voxels, and the blend halves
    what is left elsewhere.
    """
    x = image(1, 1, 64, 64)
    whole, apart = Told(radius=2)(x, SIGMA[:1]), tiled(Told(radius=2), 40, 16)(x, SIGMA[:1])
    gap = (whole - apart).abs()[0, 0]
    touched = [r for a in (24, 40) for r in range(a - 2, a + 2)]  # tiles end at 24 and at 40
    clear = torch.tensor([r not in touched for r in range(64)])
    assert float(gap[clear][:, clear].max()) < 1e-12
    hard = (whole - tiled(Told(radius=2), 40, 0)(x, SIGMA[:1])).abs()
    assert 0 < float(gap.max()) < 0.5 * float(hard.max())


def test_a_tile_is_never_larger_than_asked() -> None:
    told = Told()
    tiled(told, 16, 4)(image(2, 1, 40, 10), SIGMA)
    assert all(max(shape[2:]) <= 16 for shape in told.calls)


@pytest.mark.parametrize("tile, overlap", [(16, 16), (16, -1), (0, 0)])
def test_tiles_that_never_advance_are_refused(tile: int, overlap: int) -> None:
    with pytest.raises(BadOption, match="overlap"):
        tiled(Told(), tile, overlap)


@pytest.mark.parametrize("label", [None, torch.tensor([1, -1])])
@pytest.mark.parametrize(
    "numbers",
    [None, torch.arange(5.0)[:, None], torch.tensor([[0.5], [2.0]])],
    ids=["unknown", "a-slice", "an-image"],
)
def test_slicewise_is_the_loop_over_slices(label: Tensor | None, numbers: Tensor | None) -> None:
    """Levels, labels and numbers reach the slice that they belong to, whatever the batch."""
    x = image(2, 1, 6, 7, 5)
    found = slicewise(Told(), 3)(x, SIGMA, Condition(label=label, numbers=numbers))
    for k in range(5):
        row = None if numbers is None else numbers if len(numbers) == 2 else numbers[k : k + 1].expand(2, -1)
        assert (
            float((found[..., k] - Told()(x[..., k], SIGMA, Condition(label=label, numbers=row))).abs().max())
            < 1e-12
        )


def test_slicewise_refuses_numbers_of_nobody() -> None:
    with pytest.raises(ShapeMismatch, match="5 slices, or of 2 images"):
        slicewise(Told())(image(2, 1, 6, 7, 5), SIGMA, Condition(numbers=torch.zeros(3, 1)))


@pytest.mark.parametrize("most", [1, 2, 3, 5, 9])
def test_batches_are_invisible(most: int) -> None:
    """Whatever the number of images a call, each keeps its own level, label and number."""
    x, sigma = image(5, 1, 6, 6), torch.linspace(0.1, 2, 5, dtype=torch.float64)
    known = Condition(label=torch.arange(5), numbers=torch.arange(5.0)[:, None])
    told = Told()
    assert float((batched(told, most)(x, sigma, known) - Told()(x, sigma, known)).abs().max()) < 1e-12
    assert all(shape[0] <= most for shape in told.calls)
