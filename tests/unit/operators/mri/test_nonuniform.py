"""Non-Cartesian MRI against the sum it stands for and against the Cartesian operator; density compensation
gives the image back.
"""

from __future__ import annotations

import sys
from math import pi

import pytest
import torch
from torch import Tensor

from medprior.errors import BadOption, MissingExtra, ShapeMismatch
from medprior.operators import (
    ComplexGaussian,
    cg,
    density_compensation,
    fourier,
    nonuniform_mri,
    radial,
    simulate,
    simulated_coils,
    spiral,
)


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(autouse=True)
def needs_finufft(request: pytest.FixtureRequest) -> None:
    if "without_finufft" not in request.node.name:
        pytest.importorskip("finufft", reason="non-Cartesian MRI needs the optional package finufft")


def head(n: int) -> Tensor:
    place = torch.linspace(-1, 1, n)
    u, v = torch.meshgrid(place, place, indexing="ij")
    return (
        torch.sigmoid(20 * (0.8 - torch.hypot(u / 0.95, v / 0.8)))
        - 0.5 * torch.sigmoid(30 * (0.2 - torch.hypot(u - 0.2, v - 0.3)))
    )[None, None]


@pytest.mark.parametrize("size", [(8, 9), (5, 6, 4)])
def test_it_is_the_sum_that_it_stands_for(size: tuple[int, ...]) -> None:
    """Each sample is sum x exp(-2 pi i k (v - n // 2)) / sqrt(voxels), to the precision that was asked for,
    on odd and even grids.
    """
    trajectory = torch.rand(40, len(size), generator=rng(), dtype=torch.float64) - 0.5
    x = torch.rand(2, 1, *size, generator=rng(1), dtype=torch.float64)
    place = torch.stack(
        torch.meshgrid(*[torch.arange(n, dtype=torch.float64) - n // 2 for n in size], indexing="ij"), dim=-1
    ).reshape(-1, len(size))
    matrix = (
        torch.polar(torch.ones(40, len(place), dtype=torch.float64), -2 * pi * trajectory @ place.T)
        / len(place) ** 0.5
    )
    exact = x.flatten(2).to(matrix.dtype) @ matrix.T
    found = nonuniform_mri(trajectory, size, precision=1e-9)(x)
    assert float((found - exact).abs().max()) < 1e-8


def test_on_the_cartesian_grid_it_is_the_cartesian_transform() -> None:
    n = 12
    grid = (torch.arange(n, dtype=torch.float64) - n // 2) / n
    trajectory = torch.stack(torch.meshgrid(grid, grid, indexing="ij"), dim=-1)
    x = torch.rand(1, 1, n, n, generator=rng())
    assert torch.allclose(
        nonuniform_mri(trajectory, (n, n))(x).reshape(1, 1, n, n), fourier((1, n, n))(x), atol=1e-3
    )


@pytest.mark.parametrize("name", ["radial", "golden", "spiral"])
def test_a_compensated_adjoint_gives_the_image_back(name: str) -> None:
    """Fully sampled trajectories: A^H (w A x) is the image to a few percent in its middle, and A^H A x is
    not.
    """
    n = 48
    trajectory = {
        "radial": radial(76, 96, golden=False),
        "golden": radial(90, 96),
        "spiral": spiral(6, 700, 4.5),
    }[name]
    A = nonuniform_mri(trajectory, (n, n))
    weights = density_compensation(trajectory, (n, n))
    assert float(weights.min()) > 0
    x = head(n)
    apart = (A.adjoint(weights * A(x)) - x).norm() / x.norm()
    plain = A.adjoint(A(x))
    best = (x * plain).sum() / plain.square().sum()
    assert float(apart) < 0.1
    assert float((best * plain - x).norm() / x.norm()) > 3 * float(apart)


def test_coils_and_conjugate_gradients_undo_undersampling() -> None:
    """SIMULATED, 8 coils, 7 times fewer spokes than needed: least squares with the maps is nearer to the
    image than the compensated adjoint.
    """
    n = 48
    trajectory, maps, x = radial(10, 96), simulated_coils(8, (n, n), rng()), head(n)
    A = nonuniform_mri(trajectory, (n, n), maps)
    m = simulate(x, A, ComplexGaussian(0.01), rng(1))
    gridded = A.adjoint(density_compensation(trajectory, (n, n)) * m.y)
    solved = cg(lambda v: A.gram(v) + 0.01 * v, A.adjoint(m.y), torch.zeros_like(x), 20)
    assert m.count == 2 * 8 * 10 * 96
    assert float((solved - x).norm()) < 0.5 * float((gridded - x).norm())


def test_trajectories_lie_where_they_should() -> None:
    """Spokes pass the zero frequency in their middle and reach 0.5; arms start there, end at 0.5, and their
    samples are equally far apart.
    """
    spokes = radial(5, 16, golden=False)
    assert float(spokes[:, 8].abs().max()) == 0 and torch.allclose(
        spokes[:, 0].norm(dim=-1), torch.full((5,), 0.5, dtype=torch.float64)
    )
    assert torch.allclose(spokes[0, :, 1], torch.zeros(16, dtype=torch.float64))
    arms = spiral(3, 400, 6.0)
    assert float(arms[:, 0].abs().max()) == 0 and torch.allclose(
        arms[:, -1].norm(dim=-1), torch.full((3,), 0.5, dtype=torch.float64)
    )
    steps = arms[0].diff(dim=0).norm(dim=-1)[40:]
    assert float(steps.max() / steps.min()) < 1.1


def test_moving_keeps_it_working() -> None:
    """``to`` gives an operator with its own plans, and a second call uses the plan of the first."""
    A = nonuniform_mri(radial(4, 16), (8, 8))
    x = torch.rand(1, 1, 8, 8, generator=rng())
    assert torch.equal(A(x), A(x)) and torch.equal(A.to("cpu")(x), A(x))


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(BadOption, match="cycles a voxel"):
        nonuniform_mri(torch.tensor([[0.0, 0.7]]), (8, 8))
    with pytest.raises(BadOption, match="cycles a voxel"):
        nonuniform_mri(torch.tensor([[0.0, float("nan")]]), (8, 8))
    with pytest.raises(ShapeMismatch, match="trajectory"):
        nonuniform_mri(torch.zeros(5, 3), (8, 8))
    with pytest.raises(ShapeMismatch, match="sensitivities"):
        nonuniform_mri(radial(2, 8), (8, 8), torch.ones(2, 8, 9, dtype=torch.complex64))
    with pytest.raises(BadOption, match="precision"):
        nonuniform_mri(radial(2, 8), (8, 8), precision=0.0)
    with pytest.raises(BadOption, match="spoke"):
        radial(0, 8)
    with pytest.raises(BadOption, match="turns"):
        spiral(2, 8, 0.0)


def test_without_finufft_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The package is optional: without it the error gives the line that installs it, when the operator is
    made and not at the first scan.
    """
    monkeypatch.setitem(sys.modules, "finufft", None)
    with pytest.raises(MissingExtra, match="pip install"):
        nonuniform_mri(radial(2, 8), (8, 8))
