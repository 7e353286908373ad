"""What files hold becomes a measurement: real k-space with its own maps and noise, real sinograms in their
stated geometry, and no geometry is invented.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from medprior.data.acquisitions import KSpace, Sinogram
from medprior.errors import BadOption, ShapeMismatch
from medprior.io.arrays import read_kspace, read_sinogram
from medprior.operators import (
    ComplexGaussian,
    Measurement,
    Poisson,
    cg,
    measured_kspace,
    measured_sinogram,
    mri,
    parallel_ct,
    simulate,
    simulated_coils,
    sinogram_operator,
    view_angles,
)


def explained(m: Measurement, weight: float, n: int = 30) -> torch.Tensor:
    """Regularised least squares."""
    A = m.operator
    return cg(lambda v: A.gram(v) + weight * v, A.adjoint(m.y), torch.zeros(1, *A.domain), n)


def test_measured_kspace_is_ready_to_reconstruct(real_data: Path) -> None:
    """8 measured coils at 12 %: a least-squares image of magnitude explains most of the data, a complex one
    all of it to the noise; nothing is simulated.
    """
    file = read_kspace(real_data / "kspace_brain_sigpy" / "test" / "brain_8coil_poisson_r8.npz")
    m, how = measured_kspace(file, complex_image=True)
    assert not m.simulated and "8 coils" in how and "ESPIRiT" in how
    assert m.operator.domain == (2, 230, 180) and m.y.shape == (1, 8, 230, 180)
    x = explained(m, 0.02, 12)
    assert float(m.misfit(x)) < 1.5
    real, how = measured_kspace(file)
    assert "phase is estimated" in how and real.operator.domain == (1, 230, 180)
    y = explained(real, 0.02, 12)
    assert float(real.misfit(y)) < 1.0, "1.5 with a slow phase alone"
    assert float((real.operator(y) - real.y).norm() / real.y.norm()) < 0.15
    edge = torch.cat([y[0, 0, :12].flatten(), y[0, 0, -12:].flatten()])
    assert 0 < float(edge.abs().mean()) < 0.05 * float(y.max()), (
        "the maps reach into the air, where the data say that nothing is"
    )
    assert float(np.corrcoef(y[0, 0].flatten(), torch.hypot(x[0, 0], x[0, 1]).flatten())[0, 1]) > 0.97


def test_many_coils_become_twelve() -> None:
    """SIMULATED, 20 coils, every sample: compressed coils still hold the image and the noise; the sentence
    says so.
    """
    n = 48
    place = torch.linspace(-1, 1, n)
    x = 3 * torch.sigmoid(20 * (0.7 - torch.hypot(place[:, None], place)))[None, None]
    everything = torch.ones(n, n, dtype=torch.bool)
    maps = simulated_coils(20, (n, n), torch.Generator().manual_seed(0))
    y = simulate(x, mri(everything, maps), ComplexGaussian(0.02), torch.Generator().manual_seed(1)).y[0]
    m, how = measured_kspace(KSpace(y.numpy(), everything.numpy()))
    assert m.y.shape == (1, 12, n, n) and "20 coils" in how and "compressed to 12" in how
    found = explained(m, 0.01)
    inside = x > 2.9
    assert float((found - x)[inside].abs().mean()) < 0.15, "5 %"
    assert 0.7 < float(m.misfit(found)) < 1.4


def test_one_coil_needs_no_maps() -> None:
    """SIMULATED single coil: the map is 1 but for the phase, the noise is found within 15 %."""
    x = F.avg_pool2d(torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(0)), 7, 1, 3)
    noisy = simulate(
        x, mri(torch.ones(64, 64, dtype=torch.bool)), ComplexGaussian(0.05), torch.Generator().manual_seed(1)
    ).y[0]
    m, how = measured_kspace(KSpace(noisy.numpy(), np.ones((64, 64), dtype=bool)))
    assert isinstance(m.noise, ComplexGaussian) and float(m.noise.std) == pytest.approx(0.05, rel=0.15)
    assert "1 coil;" in how and "ESPIRiT" not in how
    assert float(m.misfit(x)) == pytest.approx(1, abs=0.3)


def test_a_noise_scan_is_believed_before_the_outer_samples() -> None:
    """SIMULATED, two coils with noise of one and of half, correlated: found to 3 % although detail up to the
    pixel fills the outer samples.
    """
    rng = torch.Generator().manual_seed(0)
    root = torch.tensor([[1.0, 0.0], [0.3, 0.4]], dtype=torch.complex64)

    def noise(*size: int) -> torch.Tensor:
        return torch.einsum(
            "ab,b...->a...",
            root,
            torch.complex(torch.randn(2, *size, generator=rng), torch.randn(2, *size, generator=rng)),
        )

    x = torch.rand(64, 64, generator=rng) * 100
    clean = torch.fft.fftshift(
        torch.fft.fft2(torch.fft.ifftshift(torch.stack([x, 0.5 * x]), dim=(1, 2)), norm="ortho"), dim=(1, 2)
    )
    data, everything = (clean + noise(64, 64)).numpy(), np.ones((64, 64), dtype=bool)
    m, how = measured_kspace(KSpace(data, everything, noise=noise(20_000).numpy()))
    wanted = ((1.0 + 0.25) / 2) ** 0.5
    assert isinstance(m.noise, ComplexGaussian) and float(m.noise.std) == pytest.approx(wanted, rel=0.03)
    assert "measured by the scanner in 20000 samples without a signal of 2 coils" in how
    guessed, _ = measured_kspace(KSpace(data, everything))
    assert isinstance(guessed.noise, ComplexGaussian) and float(guessed.noise.std) > 10 * wanted
    _, how = measured_kspace(KSpace(data, everything, noise=noise(20).numpy()))
    assert "outermost" in how, "too few samples to believe"


def test_kspace_keeps_its_unit() -> None:
    """SIMULATED coils of equal noise: whitening moves the scale of the image by less than 10 %."""
    n = 64
    place = torch.linspace(-1, 1, n)
    x = 300 * torch.sigmoid(20 * (0.7 - torch.hypot(place[:, None], place)))[None, None]
    everything = torch.ones(n, n, dtype=torch.bool)
    clean = simulate(
        x,
        mri(everything, simulated_coils(4, (n, n), torch.Generator().manual_seed(0))),
        ComplexGaussian(3.0),
        torch.Generator().manual_seed(1),
    )
    m, _ = measured_kspace(KSpace(clean.y[0].numpy(), everything.numpy()))
    found = explained(m, 1e-3)[0, 0]
    inside = x[0, 0] > 290
    assert float(found[inside].mean()) == pytest.approx(300, rel=0.1)


@pytest.mark.parametrize(
    ("name", "least"), [("val/htc2022_ta", 0.85), ("test/htc2022_tb", 0.65), ("test/htc2022_tc", 0.8)]
)
def test_measured_sinograms_lie_where_their_references_lie(real_data: Path, name: str, least: float) -> None:
    """30 degrees of a measured fan beam, geometry from the file: least squares explain it to 1 %, and cut at
    half its height cover the reference (Dice).

    A mirrored reference is covered less: direction of rotation and side of the detector are right. Thirty
    degrees leave the outline open.
    """
    path = real_data / "ct_projections_htc2022" / f"{name}_limited30deg.npz"
    truth = F.avg_pool2d(torch.from_numpy(np.load(path)["ground_truth"]).float()[None], 8)[0] > 0.5
    m, how = measured_sinogram(read_sinogram(path), (64, 64), spacing=8 * 0.1483223173, bins=4)
    assert isinstance(m.noise, Poisson) and "photons" in how and not m.simulated
    x = explained(m, 3.0)
    assert float((m.operator(x) - m.y).norm() / m.y.norm()) < 0.03

    def dice(reference: torch.Tensor) -> float:
        cuts = [x[0, 0] > cut for cut in np.linspace(0.01, 0.03, 11)]
        return max(2 * float((cut & reference).sum()) / float(cut.sum() + reference.sum()) for cut in cuts)

    assert dice(truth) > max(least - 0.05, dice(truth.flip(0)), dice(truth.flip(1)), dice(truth.T))


def test_our_own_names_of_a_geometry() -> None:
    """bin_spacing and beam parallel, and an offset: the operator is ``parallel_ct``'s; clockwise angles are
    turned round.
    """
    data, angles = (
        np.random.default_rng(0).random((5, 40), dtype=np.float32),
        np.deg2rad(view_angles(5).numpy()),
    )
    A = sinogram_operator(
        Sinogram(data, angles, {"beam": "parallel", "bin_spacing_mm": 1.5, "detector_offset_mm": 2.0}),
        (16, 16),
        spacing=1.2,
    )
    same = parallel_ct((1, 16, 16), view_angles(5), 40, spacing=1.2, bin_spacing=1.5, detector_offset=2.0)
    assert torch.equal(A.matrix.values(), same.matrix.values())
    turned = sinogram_operator(
        Sinogram(data, angles, {"beam": "parallel", "bin_spacing_mm": 1.5, "rotation": "clockwise"})
    )
    assert torch.allclose(turned.angles, -A.angles)
    assert turned.domain == (1, 40, 40) and turned.spacing == (1.5, 1.5)
    fan = {"bin_spacing_mm": 2.0, "source_to_axis_mm": 100.0, "source_to_detector_mm": 200.0}
    assert sinogram_operator(Sinogram(data, angles, fan), (20, 10)).spacing == (2.0, 4.0)


@pytest.mark.parametrize(
    ("geometry", "words"),
    [
        ({}, "beam not stated, it says nothing"),
        ({"beam": "cone"}, "wanted a parallel or a fan beam, got 'cone'"),
        ({"beam": "parallel"}, "bin_spacing_mm not stated"),
        ({"source_to_axis_mm": 100.0, "bin_spacing_mm": 1.0}, "source_to_detector_mm not stated"),
        ({"beam": "parallel", "bin_spacing_mm": "wide"}, "a length in mm"),
        ({"beam": "parallel", "bin_spacing_mm": -1.0}, "positive spacings"),
        ({"beam": "parallel", "bin_spacing_mm": 1.0, "rotation": "left"}, "rotation is"),
        ({"beam": "parallel", "bin_spacing_mm": 1.0, "distanceUnit": "cm"}, "cm"),
    ],
)
def test_an_unknown_geometry_is_not_invented(geometry: dict[str, float | str], words: str) -> None:
    sinogram = Sinogram(np.zeros((3, 40), dtype=np.float32), np.zeros(3), geometry)
    with pytest.raises(BadOption, match=words):
        sinogram_operator(sinogram, (16, 16), spacing=1.0)


def test_empty_kspace_and_odd_bins_are_refused() -> None:
    with pytest.raises(BadOption, match="got none"):
        measured_kspace(KSpace(np.zeros((2, 32, 32), dtype=np.complex64), np.zeros((32, 32), dtype=bool)))
    sinogram = Sinogram(
        np.zeros((3, 40), dtype=np.float32), np.zeros(3), {"beam": "parallel", "bin_spacing_mm": 1.0}
    )
    with pytest.raises(ShapeMismatch, match="divisor of 40"):
        measured_sinogram(sinogram, bins=3)
    with pytest.raises(BadOption, match="noise in it"):
        measured_sinogram(sinogram)
