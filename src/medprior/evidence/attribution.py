"""What the data said and what the prior said: does the result fit the measurement, and which part of it did
the measurement decide?

x = A+ A x + (I - A+ A) x. All images that fit the same data share the first part. The measurement cannot see
the second part, so it comes from the prior (the measurement and null components of Bhadra et al., IEEE Trans.
Med. Imaging 40(11), 2021). That split knows no noise: blur and denoising have no null space, though a fine
detail of theirs that drowns in noise comes from the prior all the same. ``data_shares`` is its companion that
knows the noise.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from scipy.optimize import isotonic_regression
from torch import Tensor

from ..data.seeds import generator
from ..errors import Diverged, ShapeMismatch
from ..operators import Measurement, Operator, cg
from ..prior.rings import BINS, along_rings, by_ring, ring_of
from ..sampling import Draws
from ..sampling.response import fourier_filter, ring_response

__all__ = [
    "EXACT",
    "FITS",
    "NEAR",
    "Attribution",
    "Residual",
    "Split",
    "attribution",
    "data_shares",
    "residual",
    "split",
]

FITS = (0.8, 1.2)
"""The residual of a result that fits its measurement, where the noise is known."""

NEAR = 0.5
"""The least residual of a point estimate that fits. It takes a part of the noise with it, as the mean of
draws does, and has no draws to tell how much.
"""

EXACT = 1e-5
"""How invisible the null part must be: |A (I - A+ A) x| over |A x|."""


@dataclass(frozen=True, slots=True)
class Residual:
    """Squared distance of A x from y in variances of the noise, for each real number that was measured: noise
    alone gives 1.

    image: of the image that is shown. draws: the mean over single draws, None where there is one image only.
    A draw of the true posterior lies as far from the data as the truth does: 1 on average for any operator.
    The mean of draws lies closer, by the draws' own variance in the data.
    """

    image: float
    draws: float | None

    @property
    def judged(self) -> float:
        """The number the verdict goes by: that of the draws, unless their mean is too far away; without draws
        that of the image.
        """
        return self.image if self.draws is None or self.image > FITS[1] else self.draws

    @property
    def fits(self) -> bool:
        return (NEAR if self.draws is None else FITS[0]) <= self.judged <= FITS[1]

    @property
    def verdict(self) -> str:
        """One sentence for a report."""
        if self.fits:
            return f"fits the measurement: residual {self.judged:.2f}, noise alone gives 1"
        far = (
            "too far from it: the image, the operator or the stated noise is wrong, or a solver had not "
            "finished"
        )
        near = "too close to it: the result follows the noise, or the noise is smaller than was stated"
        return (
            f"does not fit the measurement: residual {self.judged:.2f}, noise alone gives 1; "
            f"{far if self.judged > 1 else near}"
        )


@dataclass(frozen=True, slots=True)
class Split:
    """data: A+ A x; prior: (I - A+ A) x, shaped as x (B, *domain). check: |A prior| / |A x|, the worst of the
    batch; iterations: what that took.
    """

    data: Tensor
    prior: Tensor
    check: float
    iterations: int


@dataclass(frozen=True, slots=True)
class Attribution:
    """What is shown of one reconstruction; images are (C, i, j[, k]) in the unit of the draws.

    null_share: |prior_said|^2 / |image|^2, what the measurement cannot see at all. data_said, prior_said: A+
    A x and (I - A+ A) x of the image shown. prior_spread: standard deviation of the draws' null parts, what
    the prior made up; None for one image. check: how invisible prior_said is, see ``EXACT``. unheard,
    unheard_share: (I - H) x and its share of the image: the same with the noise counted, see ``data_shares``.
    data_share: (BINS,) how much of the detail at each ring of frequency, coarse to fine, the data decided in
    spite of their noise. hallucinated: the null part of image minus truth, where a truth was given: what the
    prior made up and got wrong (the null-space hallucination map of Bhadra et al.).
    """

    residual: Residual
    null_share: float
    data_said: Tensor
    prior_said: Tensor
    prior_spread: Tensor | None
    check: float
    unheard: Tensor
    unheard_share: float
    data_share: Tensor
    hallucinated: Tensor | None = None

    @property
    def exact(self) -> bool:
        return self.check <= EXACT

    @property
    def finest(self) -> float:
        """Period in voxels of the finest detail up to which the data decided more than half; infinity where
        they did of no ring but the mean.
        """
        ring = next((r for r in range(1, BINS) if not self.data_share[r] > 0.5), BINS) - 1
        return 2 * (BINS - 1) / (ring * (self.data_said.ndim - 1) ** 0.5) if ring else float("inf")


def attribution(measurement: Measurement, draws: Draws, *, truth: Tensor | None = None) -> Attribution:
    """All of it for one measurement, (1, *codomain), and the draws made from it, in the units of the
    measurement's operator.

    truth: (1, C, i, j[, k]) for simulations. Raises ShapeMismatch for several measurements, UnknownNoise,
    Diverged.
    """
    if len(measurement.y) != 1:
        raise ShapeMismatch(
            "attribution",
            "one measurement, y of (1, ...)",
            tuple(measurement.y.shape),
            "attribute them one by one",
        )
    image = draws.mean()[None]
    informed_by, data_share = data_shares(measurement, image)
    unheard = image - informed_by
    known = image if truth is None else torch.cat([image, _like(image, truth)])
    parts = split(measurement.operator, known)
    made_up = None
    if len(draws) > 1:
        apart = split(measurement.operator, draws.values - draws.values.mean(0), tol=1e-2).prior
        made_up = (apart.square().sum(0) / (len(draws) - 1)).sqrt()
    return Attribution(
        residual=residual(measurement, draws),
        null_share=_share(parts.prior[:1], image),
        data_said=parts.data[0],
        prior_said=parts.prior[0],
        prior_spread=made_up,
        check=parts.check,
        unheard=unheard[0],
        unheard_share=_share(unheard, image),
        data_share=data_share,
        hallucinated=None if truth is None else parts.prior[0] - parts.prior[1],
    )


def residual(measurement: Measurement, draws: Draws) -> Residual:
    """(A x - y)^H C^-1 (A x - y) / m of the image shown and of the draws; m the real numbers that were
    observed. Raises UnknownNoise.

    A measurement of nothing (m = 0) is refused where it is made, by ``Measurement``.
    """
    single = float(measurement.misfit(draws.values).mean()) if len(draws) > 1 else None
    return Residual(float(measurement.misfit(draws.mean()[None])[0]), single)


def split(operator: Operator, x: Tensor, *, tol: float = EXACT, n: int = 400) -> Split:
    """x (B, *domain) -> A+ A x and the rest. tol: |A rest| <= tol * |A x| ends it; n: most iterations, after
    which ``check`` says how far it came.

    Where it did not come so far, A is nearly singular, not singular (blur, many coils): ``prior`` then holds
    what is seen with ``check`` of the rest's weight.

    Conjugate gradients for least squares from zero, which never leave the row space (Björck, Numerical
    Methods for Least Squares Problems, 1996, section 7.4). A preconditioner would lead to another of the many
    solutions, and one in the data's space did not help projections. Raises Diverged.
    """
    data, left = torch.zeros_like(x), operator(x)
    whole = _length(left)
    goal = 0.9 * tol * whole  # ``left`` is updated, not computed anew: some room for rounding
    towards = operator.adjoint(left)
    step, size = towards, _length(towards) ** 2
    done = 0
    while done < n and bool((todo := _length(left) > goal).any()):
        seen = operator(step)
        share = torch.where(todo, size / _length(seen).square(), 0)
        if not bool(share.isfinite().all()):
            raise Diverged(done, 0.0, f"the null space of {operator.name}")
        data = data + _wide(share, x) * step
        left = left - _wide(share, left) * seen
        towards = operator.adjoint(left)
        new = _length(towards).square()
        step = towards + _wide(torch.where(todo, new / size, 0), x) * step
        size, done = new, done + 1
    prior = x - data
    reached = _length(operator(prior)) / torch.where(whole > 0, whole, 1)
    return Split(data, prior, float(reached.max()), done)


def data_shares(measurement: Measurement, x: Tensor, *, n_probes: int = 4) -> tuple[Tensor, Tensor]:
    """(H x, share of the data at each ring of frequency (BINS,), 0 to 1, coarse to fine), x of (1, *domain),
    real.

    H = (A^H C^-1 A + S^-1)^-1 A^H C^-1 A, with C the noise and S the falling power of x by ring. It is what a
    Gaussian prior with only that spectrum would take from the data. It is the averaging kernel of Rodgers
    (Inverse Methods for Atmospheric Sounding, 2000, section 2.4). The share is 1 - posterior variance / prior
    variance, here tr(H S) / tr(S) over a ring, estimated with white probes (Hutchinson, Commun. Stat. 19,
    1990). A learned prior knows more than a spectrum, and may infer the rest rightly; the data did not say
    it. Raises UnknownNoise, Diverged.
    """
    operator, answers = measurement.operator, ring_response(measurement)
    weight = 1 / torch.as_tensor(measurement.noise.variance(measurement.y)).to(x)
    axes = tuple(range(2, x.ndim))
    power = _power(x)
    root = power.sqrt()

    def seen(v: Tensor) -> Tensor:
        return fourier_filter(operator.adjoint(weight * operator(fourier_filter(v, root))), root)

    white = torch.randn((n_probes, *x.shape[1:]), generator=generator(0, "informed")).to(x)
    probes = fourier_filter(white, root)
    pull = torch.cat([fourier_filter(operator.adjoint(weight * operator(v)), root) for v in (x, probes)])
    inverse = None if answers is None else lambda r: fourier_filter(r, 1 / (1 + power * answers.to(r)))
    found = fourier_filter(
        cg(lambda v: v + seen(v), pull, torch.zeros_like(pull), n=40, tol=1e-3, inverse=inverse), root
    )
    before, after = (torch.fft.fftn(v, dim=axes) for v in (probes, found[1:]))
    share = by_ring((before.conj() * after).real.sum((0, 1)), before.abs().square().sum((0, 1)))
    return found[:1], share.clamp(0, 1)


def _power(x: Tensor) -> Tensor:
    """(1, 1, *size): power of an image (1, C, *size) at each frequency, made to fall with it: one image's
    rings swing, those of a kind of images do not.
    """
    size = tuple(x.shape[2:])
    found = torch.fft.fftn(x, dim=tuple(range(2, x.ndim)), norm="ortho").abs().square().mean((0, 1))
    counts = torch.bincount(ring_of(size).flatten(), minlength=BINS).double().clamp_min(1e-6)
    falling = isotonic_regression(
        by_ring(found.double(), torch.ones(size).double()).numpy(), weights=counts.numpy(), increasing=False
    ).x
    return along_rings(torch.from_numpy(falling.copy()), size)[None, None].to(x)


def _like(image: Tensor, truth: Tensor) -> Tensor:
    if image.shape != truth.shape:
        raise ShapeMismatch("attribution, truth", tuple(image.shape), tuple(truth.shape))
    return truth.to(image)


def _share(part: Tensor, image: Tensor) -> float:
    """|part|^2 / |image|^2; an image of zeros has no parts."""
    return float(part.square().sum() / image.square().sum().clamp_min(1e-30))


def _length(y: Tensor) -> Tensor:
    """(B,) in double precision."""
    return torch.linalg.vector_norm(
        y.flatten(1), dim=1, dtype=torch.complex128 if y.is_complex() else torch.float64
    )


def _wide(value: Tensor, like: Tensor) -> Tensor:
    return value.to(like.dtype.to_real()).reshape(-1, *[1] * (like.ndim - 1))
