"""Calibrated intervals: the scale is the least that holds, it holds on new scans, and it serves its own kind
of measurement alone.
"""

from __future__ import annotations

from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from scipy.stats import norm

from medprior.errors import BadOption, Uncalibrated
from medprior.evidence.calibration import (
    METHOD,
    SCALES,
    conformal_scale,
    coverage_curve,
    entry_for,
    fit_calibration,
    measurement_kind,
)
from medprior.operators import (
    ComplexGaussian,
    Gaussian,
    Measurement,
    Operator,
    cartesian_lines,
    downsample,
    identity,
    mask,
    mri,
    parallel_ct,
    simulate,
    view_angles,
)
from medprior.prior.promises import Calibration, IntervalPromise, MeasurementKind, ReconstructionMethod

HOW = ReconstructionMethod(False, 8, "proximal", 30, 5.0, 0.01, True, METHOD)


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def curves(n: int, seed: int, factor: float = 1.0) -> torch.Tensor:
    """Of n scans of 400 voxels, each with a deviation that is wrong by its own factor; Gaussian errors."""
    wrong = factor * torch.exp(0.3 * torch.randn(n, generator=rng(seed)))
    errors = torch.randn(n, 400, generator=rng(seed + 1)) * wrong[:, None]
    everywhere = torch.ones(400, dtype=torch.bool)
    return torch.stack([coverage_curve(e, torch.ones(400), everywhere) for e in errors])


def measured(acceleration: float = 4, noise: float = 0.02, centre: float | None = None, size: int = 48):
    mask = cartesian_lines((size, size), acceleration, rng(1), centre_fraction=centre)
    return simulate(torch.zeros(1, 1, size, size), mri(mask), ComplexGaussian(noise), rng())


def test_coverage_is_counted_where_asked_and_grows_with_the_scale() -> None:
    apart, where = torch.tensor([0.5, -3.0, 200.0, 0.0]), torch.tensor([True, True, False, True])
    share = coverage_curve(apart, torch.tensor([1.0, 1.0, 1.0, 1.0]), where)
    assert (share.diff() >= 0).all() and share[-1] == 1
    at = {scale: float(share[int(torch.searchsorted(SCALES, scale))]) for scale in (0.2, 0.6, 3.1)}
    assert at == pytest.approx({0.2: 1 / 3, 0.6: 2 / 3, 3.1: 1.0})
    with pytest.raises(BadOption, match="at least one voxel"):
        coverage_curve(apart, apart.abs() + 1, torch.zeros(4, dtype=torch.bool))


def test_the_scale_is_the_least_that_controls_the_risk() -> None:
    found = curves(60, 0)
    scale = conformal_scale(found, 0.1)
    at = int((SCALES - scale).abs().argmin())
    risk = (60 * (1 - found.mean(0)) + 1) / 61
    assert risk[at] <= 0.1 < risk[at - 1]


def test_the_promise_holds_on_new_scans() -> None:
    """40 calibrations of 60 scans each: in the mean, new scans have 90 to 92 % of their voxels inside, though
    every deviation is wrong in its own way.
    """
    inside = []
    for i in range(40):
        scale = conformal_scale(curves(60, 10 * i, factor=2.5), 0.1)
        new = curves(20, 10 * i + 5, factor=2.5)
        inside.append(new[:, int((SCALES - scale).abs().argmin())].mean())
    assert 0.90 <= float(torch.stack(inside).mean()) <= 0.925


def test_too_few_patients_are_refused_and_the_missing_ones_are_counted() -> None:
    with pytest.raises(Uncalibrated, match="8 patients cannot support"):
        conformal_scale(curves(8, 0), 0.1)
    ratios = [1.0 + n / 100 for n in range(50)]
    for patients, missing in ((1, 8), (4, 5), (8, 1)):
        with pytest.raises(Uncalibrated, match=f"50 scans of {patients}: {missing} patients are missing"):
            fit_calibration(curves(50, 0), ratios, [n % patients for n in range(50)], 0.9)
    assert fit_calibration(curves(50, 0), ratios, [n % 9 for n in range(50)], 0.9).missing == 0


def test_the_bound_on_the_error_is_conformal() -> None:
    """Of 99 patients' ratios 1..99 the 90 % bound is the 90th: one in ten of 100 exchangeable ones may lie
    above.
    """
    at = fit_calibration(curves(99, 0), [float(i) for i in range(1, 100)], range(99), 0.9)
    assert at.error == 90.0 and (at.n, at.patients, at.units, at.icc) == (99, 99, "patients", None)


def test_more_slices_of_the_same_patients_change_nothing() -> None:
    few, ratios = curves(20, 0), [float(i) for i in range(1, 21)]
    once = fit_calibration(few, ratios, range(20), 0.9)
    often = fit_calibration(few.repeat(5, 1), ratios * 5, list(range(20)) * 5, 0.9)
    assert (often.scale, often.error, often.patients) == (once.scale, once.error, 20)
    assert often.n == 100 and often.icc == pytest.approx(1.0)


def _new_patient(patients: int, slices: int, icc: float, trials: int = 600) -> tuple[float, float]:
    """(share of voxels inside, share of slices within the PSNR bound) of new patients, in the mean. The log
    error of a slice has a standard deviation of 0.3, and ``icc`` of its variance lies between patients.
    """
    rng = np.random.default_rng(1000 * patients + 10 * slices + round(10 * icc))
    scales, whose = SCALES.numpy(), np.repeat(np.arange(patients), slices).tolist()

    def errors(n: int, each: int) -> np.ndarray:
        within = rng.normal(size=(n, each)) * (1 - icc) ** 0.5
        return np.exp(0.3 * (rng.normal(size=(n, 1)) * icc**0.5 + within)).ravel()

    inside, held = [], []
    for _ in range(trials):
        known, new = errors(patients, slices), errors(40, 1)
        shares = torch.from_numpy(2 * norm.cdf(scales / known[:, None]) - 1)
        at = fit_calibration(shares, (known**2).tolist(), whose, 0.9)
        inside.append((2 * norm.cdf(at.scale / new) - 1).mean())
        held.append((new**2 <= at.error).mean())
    return float(np.mean(inside)), float(np.mean(held))


@pytest.mark.parametrize("icc", [0.0, 0.5, 0.9])
@pytest.mark.parametrize(("patients", "slices"), [(9, 1), (9, 8), (20, 1), (20, 6)])
def test_a_new_patient_gets_what_is_promised(patients: int, slices: int, icc: float) -> None:
    """Simulated: however alike the slices of a patient are. 4, 5 and 8 patients are refused (above)."""
    inside, held = _new_patient(patients, slices, icc)
    assert inside >= 0.89 and held >= 0.89


def test_a_calibration_of_an_older_version_says_what_its_units_were() -> None:
    """100 slices of 4 patients: the interval is shown with its units, and nothing is promised for a fifth."""
    old = {"level": 0.9, "scale": 1.58, "n": 100, "error": 0.66, "patients": 4}
    at = IntervalPromise.from_json(
        {**entry(measurement_kind(measured()), HOW, 1.0).to_json(), "calibration": old}
    ).calibration
    assert at.units == "" and at.basis == "100 images of 4 patients (units: slices)"
    assert at.short == "90% for a new patient needs 9 patients, 5 are missing"
    assert replace(at, patients=100).basis == "100 images of 100 patients"
    marked = replace(at, icc=0.314, named=96).basis
    assert marked == "100 images of 4 patients (units: slices, ICC 0.31, patients: named 96 of 100)"


def entry(kind: MeasurementKind, how: ReconstructionMethod, scale: float) -> IntervalPromise:
    return IntervalPromise("mri 4", kind, how, Calibration(0.9, scale, 60, 1.5, 4))


def test_a_calibration_serves_its_own_kind_alone() -> None:
    promised = [entry(measurement_kind(measured()), HOW, 2.0)]
    assert entry_for(promised, measured(noise=0.024), HOW) == (Calibration(0.9, 2.0, 60, 1.5, 4), "")
    reasons = {
        "measured numbers a voxel": measured(acceleration=8),
        "noise on fine detail": measured(noise=0.04),
        "noise on broad shapes": measured(centre=0.0),
        "voxels a side": measured(size=96),
        "calibrated so far: mri 4; this is larger pixels, 2-D": simulate(
            torch.zeros(1, 1, 48, 48), downsample((1, 48, 48), 2), Gaussian(0.02), rng()
        ),
    }
    for words, other in reasons.items():
        found, refused = entry_for(promised, other, HOW)
        assert found is None and words in refused
    for words, how in {
        "intervals exist for mri 4 with --n 8 --steps 30; this is a run with --n 4 --steps 30": replace(
            HOW, n=4
        ),
        "this is a run with --n 8 --steps 20": replace(HOW, n_steps=20),
        "this is a run with --fast": replace(HOW, fast=True, n=1),
        "method": replace(HOW, method=METHOD + 1),
        "caution": replace(HOW, caution=False),
    }.items():
        found, refused = entry_for(promised, measured(), how)
        assert found is None and words in refused
    assert entry_for((), measured(), HOW) == (None, "nothing was calibrated for this prior")


def test_options_that_have_an_interval_are_named_each_once() -> None:
    """Not those of a method that medprior no longer uses: no option brings them back."""
    kind, fast = measurement_kind(measured()), replace(HOW, fast=True, n=1)
    old = replace(HOW, n=64, method=METHOD - 1)
    promised = [entry(kind, how, 2.0) for how in (old, HOW, HOW, fast)]
    found, refused = entry_for(promised, measured(), replace(HOW, n=2, n_steps=15))
    assert found is None and refused == (
        "intervals exist for mri 4 with --fast or for mri 4 with --n 8 --steps 30; this is a run with --n 2 "
        "--steps 15"
    )


def test_caution_counts_for_a_point_estimate_and_the_levels_do_not() -> None:
    fast = replace(HOW, fast=True, n=1)
    promised = [entry(measurement_kind(measured()), fast, 2.0)]
    assert entry_for(promised, measured(), replace(fast, n_steps=7, high=9.0))[0] is not None
    assert "caution" in entry_for(promised, measured(), replace(fast, caution=False))[1]


def test_an_entry_from_before_there_was_a_method_serves_nobody() -> None:
    """As it stood in files: no method, no caution, no directions and no parts. Of a point estimate no levels
    count: only the method tells.
    """
    how = replace(HOW, fast=True, n=1)
    old = entry(measurement_kind(measured()), how, 2.0).to_json()
    del old["how"]["method"], old["how"]["caution"], old["kind"]["sectors"], old["kind"]["worst"]
    found, refused = entry_for([IntervalPromise.from_json(old)], measured(), how)
    assert found is None and "method 1 of medprior" in refused


def test_the_newest_entry_serves() -> None:
    kind = measurement_kind(measured())
    found, _ = entry_for([entry(kind, HOW, 2.0), entry(kind, HOW, 3.0)], measured(), HOW)
    assert found is not None and found.scale == 3.0


def test_what_nothing_was_calibrated_for_is_not_looked_at() -> None:
    """Of a volume that would take more memory than its reconstruction may."""

    class Deaf(Operator):
        def apply(self, x: torch.Tensor) -> torch.Tensor:
            raise AssertionError("asked")

        def adjoint(self, y: torch.Tensor) -> torch.Tensor:
            raise AssertionError("asked")

    m = Measurement(
        torch.zeros(1, 1, 8, 8, 8), Deaf(domain=(1, 8, 8, 8), codomain=(1, 8, 8, 8)), Gaussian(0.02)
    )
    promised = [entry(replace(measurement_kind(measured()), operator="Deaf"), HOW, 2.0)]
    assert entry_for(promised, m, HOW) == (None, "calibrated so far: mri 4; this is Deaf, 3-D")
    with pytest.raises(AssertionError, match="asked"):
        measurement_kind(m)


@pytest.mark.parametrize("size", [(1, 9), (2, 2), (17, 3)])
def test_small_images_and_double_precision_have_a_kind(size: tuple[int, int]) -> None:
    kinds = [
        measurement_kind(
            Measurement(torch.zeros(1, 1, *size, dtype=kind), identity((1, *size)), Gaussian(0.05))
        )
        for kind in (torch.float32, torch.float64)
    ]
    for kind in kinds:
        assert kind.white == pytest.approx(0.05, rel=1e-4) and kind.worst == pytest.approx(0.05, rel=1e-4)
        assert all(at == pytest.approx(0.05, rel=1e-3) or at == 1e6 for at in kind.sectors)
    assert kinds[0].apart(kinds[1]) == ""


def holes(kept: torch.Tensor) -> Measurement:
    return simulate(torch.zeros(1, 1, *kept.shape), mask((1, *kept.shape), kept), Gaussian(0.02), rng())


def test_a_box_is_not_scattered_holes() -> None:
    box = torch.ones(48, 48, dtype=torch.bool)
    box[4:44, 4:44] = False
    scattered = torch.zeros(48 * 48, dtype=torch.bool)
    scattered[torch.randperm(48 * 48, generator=rng(4))[: int(box.sum())]] = True
    first, second, other = (
        measurement_kind(holes(scattered.reshape(48, 48))),
        measurement_kind(holes(scattered.flip(0).reshape(48, 48))),
        measurement_kind(holes(box)),
    )
    assert first.apart(second) == ""
    assert "other parts of the image" in first.apart(other)


def test_a_limited_angle_is_not_a_full_one() -> None:
    """As many views of the same noise, over 180 degrees and over 60."""
    full, limited = (
        measurement_kind(
            simulate(
                torch.zeros(1, 1, 32, 32),
                parallel_ct((1, 32, 32), view_angles(20, arc=arc), 46, spacing=2.0),
                Gaussian(0.02),
                rng(),
            )
        )
        for arc in (180.0, 60.0)
    )
    assert "other directions" in full.apart(limited)


def test_other_lines_of_the_same_mask_are_of_the_same_kind_and_the_other_axis_is_not() -> None:
    def lines(seed: int, turned: bool = False) -> MeasurementKind:
        kept = cartesian_lines((96, 96), 4, rng(seed))
        return measurement_kind(
            simulate(
                torch.zeros(1, 1, 96, 96),
                mri(kept.T.contiguous() if turned else kept),
                ComplexGaussian(0.02),
                rng(),
            )
        )

    assert all(lines(0).apart(lines(seed)) == "" for seed in range(1, 20))
    assert "other directions" in lines(0).apart(lines(1, turned=True))


def test_the_kind_does_not_depend_on_units() -> None:
    """The same measurement of the image in other units, brought back to network units, is of the same
    kind.
    """
    m = measured()
    there_and_back = m.shifted(1 / 50.0, 0.0).shifted(50.0, 0.0)
    there, here = asdict(measurement_kind(there_and_back)), asdict(measurement_kind(m))
    assert there.pop("operator") == here.pop("operator") == "Mask @ Fourier @ AsComplex"
    assert there.pop("sectors") == pytest.approx(here.pop("sectors"), rel=1e-4)
    assert there == pytest.approx(here, rel=1e-4)
