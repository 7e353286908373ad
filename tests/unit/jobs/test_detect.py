"""Detect: a p-value that is one, a map on a scale of healthy scans, a twin that leaves the healthy alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from medprior.data.volume import Volume
from medprior.errors import BadOption, Uncalibrated, WrongKind
from medprior.jobs.detect import SIGMAS, Found, calibrate, detect, judged, profile
from medprior.prior.door import admit
from tests.unit.jobs.exact import CT, Exact, tiny, volume_of

SIZE = (16, 16)


def healthy(n: int, seed: int) -> list[Volume]:
    prior = Exact()
    return [volume_of(prior, x) for x in prior.draw(n, SIZE, seed)]


def ill(scan: Volume) -> Volume:
    """A bright disc of 800 HU, where nothing is."""
    data = scan.data.copy()
    data[0, 4:9, 5:10] += 1500
    return scan.with_data(data)


@pytest.fixture(scope="module")
def calibrated() -> Exact:
    return Exact(trust={"detect": calibrate(Exact(), healthy(80, 1), n_twins=1)})


def test_healthy_patients_are_flagged_at_the_rate_that_was_promised(calibrated: Exact) -> None:
    """Sixty new healthy scans: p-values spread over 0..1, about one in twenty flagged, about one in twenty above the map's scale (3 expected of each)."""
    found = [detect(calibrated, scan, n_twins=1, seed=7) for scan in healthy(60, 2)]
    p = np.array([f.p_value for f in found])
    assert p.mean() == pytest.approx(0.5, abs=0.13)
    assert sum(f.flagged() for f in found) <= 8
    assert sum(float(f.map.data.max()) > (f.map_high or 0) for f in found) <= 8


def test_what_is_wrong_is_found_where_it_is(calibrated: Exact) -> None:
    scan = ill(healthy(1, 3)[0])
    found = detect(calibrated, scan, n_twins=1)
    assert found.flagged() and found.refused == "" and found.n_healthy == 80
    i, j = np.unravel_index(found.map.data[0].argmax(), SIZE)
    assert 3 <= i <= 9 and 4 <= j <= 10
    assert found.map_high is not None and found.map.data.max() > found.map_high
    before, after = (float(v.data[0, 4:9, 5:10].mean()) for v in (scan, found.healthy))
    assert after < before - 150


def test_the_map_is_the_difference_to_the_twin_in_the_scans_unit(calibrated: Exact) -> None:
    """Mean over 5 x 5 voxels of |scan - twin|, in HU."""
    scan = healthy(1, 4)[0]
    found = detect(calibrated, scan)
    apart = torch.from_numpy(np.abs(scan.data - found.healthy.data))
    mean = torch.nn.functional.avg_pool2d(apart[None], 5, stride=1, padding=2, count_include_pad=False)[0]
    assert np.allclose(found.map.data, mean.numpy(), atol=0.5)
    assert found.map.unit == "HU"


def test_the_scale_is_in_the_maps_unit_and_for_the_number_of_twins_it_was_measured_with(calibrated: Exact) -> None:
    """One number for every scan, in HU; for another number of twins nothing is known, and nothing is said."""
    one, two = (detect(calibrated, scan, n_twins=1, seed=n).map_high for n, scan in enumerate(healthy(2, 9)))
    assert one == two == pytest.approx(calibrated.trust["detect"]["map_high"] * 1000)
    assert detect(calibrated, healthy(1, 9)[0], n_twins=3).map_high is None


def test_map_and_scale_follow_an_arbitrary_unit_together() -> None:
    """A film whose numbers are ten times larger is no more unusual: the same share of the scale is reached at each pixel."""
    card = replace(CT, modality="DX", unit="a.u.", scaling="range", quantiles=(0.0, 1.0))
    films = [replace(v, modality="DX", unit="a.u.") for v in healthy(20, 5)]
    prior = Exact(card, trust={"detect": calibrate(Exact(card), films, n_twins=1)})
    film = films[3]
    one, ten = detect(prior, film, n_twins=1), detect(prior, film.with_data(film.data * 10 + 500), n_twins=1)
    assert one.map_high is not None and ten.map_high is not None
    assert ten.map_high == pytest.approx(10 * one.map_high, rel=1e-4)
    assert np.allclose(ten.map.data, 10 * one.map.data, atol=1e-2 * ten.map_high)
    assert ten.score == pytest.approx(one.score, abs=0.02)


def test_the_score_does_not_hang_on_the_seed_of_the_run(calibrated: Exact) -> None:
    """The noise is that of the calibration, so that a scan is not flagged by trying seeds."""
    scan = healthy(1, 6)[0]
    one, two = detect(calibrated, scan, n_twins=1, seed=0), detect(calibrated, scan, n_twins=1, seed=1)
    assert (one.score, one.p_value) == (two.score, two.p_value)
    assert not np.array_equal(one.healthy.data, two.healthy.data)


def test_the_profile_is_the_known_error_of_the_denoiser() -> None:
    """ln of the mean squared error at each level, on draws of the prior itself: its closed form."""
    prior = Exact()
    admitted = [admit(prior.card, scan) for scan in healthy(40, 8)]
    found = torch.stack([profile(prior, a).exp() for a in admitted]).mean(0)
    wanted = torch.stack([prior.spectrum(torch.tensor([s]), SIZE).mean() for s in SIGMAS])
    assert torch.allclose(found, wanted, rtol=0.1)


def test_the_healthy_label_is_asked_for() -> None:
    """A prior that knows "healthy" draws twins of that class; a prior without such a label draws them of any."""
    knows = Exact(replace(CT, labels=("ill", "healthy")), apart=(0.6, -0.6))
    scan = healthy(1, 2)[0]
    plain, told = detect(Exact(), scan, n_twins=4).healthy, detect(knows, scan, n_twins=4).healthy
    assert told.data.mean() < plain.data.mean() - 30


def test_few_healthy_patients_support_no_flag() -> None:
    """The p-value is given, the flag is refused; below four there is no calibration at all, below 19 no scale for the map."""
    prior = Exact()
    prior.trust["detect"] = calibrate(prior, healthy(18, 1), n_twins=1)
    found = detect(prior, ill(healthy(1, 3)[0]), n_twins=1)
    assert found.p_value == pytest.approx(1 / 19) and found.map_high is None
    assert "at least 19" in found.refused
    with pytest.raises(Uncalibrated, match="at least 19"):
        found.flagged()
    assert found.flagged(0.1)
    with pytest.raises(Uncalibrated, match="too few"):
        calibrate(prior, healthy(3, 1))
    assert calibrate(prior, healthy(4, 1), n_twins=1)["n_healthy"] == 4


def test_p_values_are_valid_whatever_the_profiles() -> None:
    """Full conformal: of healthy patients like the calibration's, at most a share alpha (and not far fewer) has p <= alpha."""
    rng = torch.Generator().manual_seed(0)
    shape = torch.randn((6, 6), generator=rng)
    p = torch.tensor([judged((torch.randn(6, generator=rng) ** 3) @ shape, (torch.randn((24, 6), generator=rng) ** 3) @ shape)[1] for _ in range(2000)])
    for alpha in (0.04, 0.2, 0.52):
        assert abs(float((p <= alpha + 1e-9).float().mean()) - alpha) < 4 * (alpha * (1 - alpha) / 2000) ** 0.5


def test_an_odd_profile_is_odd_in_every_direction() -> None:
    """The rank of a patient far away is the last one, and the score grows with the distance."""
    rng = torch.Generator().manual_seed(1)
    known = torch.randn((30, 6), generator=rng)
    near, far = judged(torch.full((6,), 4.0), known), judged(torch.full((6,), 8.0), known)
    assert near[1] == far[1] == pytest.approx(1 / 31)
    assert far[0] > near[0]


def test_nothing_calibrated_is_said() -> None:
    found = detect(Exact(), healthy(1, 1)[0])
    assert (found.p_value, found.map_high, found.n_healthy) == (None, None, 0)
    assert "no p-value" in found.refused
    with pytest.raises(Uncalibrated):
        found.flagged()


def test_a_calibration_of_other_levels_is_refused(calibrated: Exact) -> None:
    entry = {**calibrated.trust["detect"], "sigmas": [0.1, 0.2]}
    with pytest.raises(Uncalibrated, match="levels"):
        detect(Exact(trust={"detect": entry}), healthy(1, 1)[0])


def test_an_override_gets_a_map_but_no_p_value(calibrated: Exact) -> None:
    """No healthy scan of the other kind was measured, so nothing can be said of how rare this one is."""
    scan = replace(healthy(1, 5)[0], modality="MR")
    with pytest.raises(WrongKind, match="is for CT, this is MR"):
        detect(calibrated, scan)
    found = detect(calibrated, scan, allow_other=True)
    assert found.p_value is None and found.map_high is None and "is for CT, this is MR" in found.refused


@pytest.mark.parametrize("alpha", [0.0, 1.0, -0.1, float("nan")])
def test_a_rate_lies_between_0_and_1(calibrated: Exact, alpha: float) -> None:
    with pytest.raises(BadOption, match="alpha"):
        detect(calibrated, healthy(1, 1)[0], n_twins=1).flagged(alpha)


def test_outputs_are_marked_and_the_scan_is_left_alone() -> None:
    scan = healthy(1, 1)[0]
    before, steps = scan.data.copy(), []
    found = detect(Exact(), scan, n_twins=3, on_step=lambda done, total: steps.append((done, total)))
    assert np.array_equal(scan.data, before) and not scan.provenance.synthetic
    for made, says in ((found.healthy, "healthy twin"), (found.map, "|scan - healthy twin|")):
        assert made.provenance.synthetic and made.provenance.history[0] == "read" and says in made.provenance.history[1]
        assert made.shape == scan.shape
    assert steps == [(n, 4) for n in (1, 2, 3, 4)]


def same(a: Found, b: Found) -> bool:
    return a.score == b.score and np.array_equal(a.map.data, b.map.data) and np.array_equal(a.healthy.data, b.healthy.data)


def test_same_seed_same_bytes() -> None:
    prior = tiny()
    scan = Volume(np.random.default_rng(0).uniform(0, 9, (1, 30, 21)).astype(np.float32), None, modality="MR")
    assert same(detect(prior, scan, seed=2), detect(prior, scan, seed=2))
    assert not same(detect(prior, scan, seed=2), detect(prior, scan, seed=3))


@pytest.mark.parametrize("ndim", [2, 3])
def test_a_volume(ndim: int) -> None:
    """By slices or as a whole, calibrated and judged, in patient space."""
    prior = tiny(ndim, axes="PL" if ndim == 2 else "PLS", spacing_mm=(2.0,) * ndim)
    affine = np.array([[0, 0, 3.0, 5], [-1.5, 0, 0, -8], [0, 2.0, 0, 9], [0, 0, 0, 1]])
    scans = [Volume(np.random.default_rng(n).uniform(0, 200, (1, 19, 16, 5)).astype(np.float32), affine, modality="MR") for n in range(4)]
    prior.trust["detect"] = calibrate(prior, scans, n_twins=1)
    found = detect(prior, scans[0], n_twins=1)
    assert found.map.shape == found.healthy.shape == (19, 16, 5)
    assert np.array_equal(found.map.affine, affine) and np.isfinite(found.map.data).all()  # type: ignore[arg-type]
    assert found.p_value in (1 / 5, 2 / 5, 3 / 5, 4 / 5, 1.0)


def test_a_film_of_four_megapixels() -> None:
    film = Volume(np.random.default_rng(0).uniform(0, 4000, (1, 2000, 1999)).astype(np.float32), None, modality="DX")
    found = detect(tiny(modality="DX"), film, n_twins=1)
    assert found.map.shape == found.healthy.shape == (2000, 1999) and np.isfinite(found.map.data).all()


def test_wrong_input_is_named() -> None:
    scan = healthy(1, 1)[0]
    with pytest.raises(BadOption, match="n_twins"):
        detect(Exact(), scan, n_twins=0)
    with pytest.raises(BadOption, match="n_twins"):
        calibrate(Exact(), [scan] * 4, n_twins=0)
    with pytest.raises(WrongKind, match="MR"):
        detect(Exact(), replace(scan, modality="MR"))
    with pytest.raises(WrongKind, match="HU"):
        calibrate(Exact(), [replace(scan, unit="a.u.")] * 4)
