"""Detect: a p-value that is one, findings where something is, a map on a scale of healthy scans, a twin that
leaves the healthy alone.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from medprior.data.volume import Volume
from medprior.errors import BadOption, OutOfDistribution, Uncalibrated, WrongKind
from medprior.evidence.detectors.kept_scores import KEPT
from medprior.healthy.model import EVIDENCE
from medprior.jobs.detect import Found, detect, evaluations
from medprior.jobs.detection.calibrate import calibrate_detection, learn_healthy
from medprior.prior import Prior
from medprior.prior.promises import DetectPromise, Promises
from tests.unit.jobs.exact import CT, Exact, healthy, tiny

SIZE = (24, 20)


def ill(scan: Volume) -> Volume:
    """700 HU more in a square of 6 voxels."""
    data = scan.data.copy()
    data[0, 8:14, 5:11] += 700
    return scan.with_data(data)


def promise(prior: Prior) -> DetectPromise:
    assert prior.promises.detect is not None
    return prior.promises.detect


def taught(prior: Prior, scans: list[Volume], others: list[Volume]) -> Prior:
    learn_healthy(prior, scans, n_variants=1)
    prior.promises = Promises(detect=calibrate_detection(prior, others))
    return prior


@pytest.fixture(scope="module")
def calibrated() -> Prior:
    return taught(Exact(), healthy(40, 11), healthy(60, 1))


def test_healthy_patients_are_flagged_at_the_rate_that_was_promised(calibrated: Prior) -> None:
    """Sixty new healthy scans: p-values spread over 0..1, about one in twenty flagged, about one in twenty
    with any finding (3 expected of each).
    """
    found = [detect(calibrated, scan, n_twins=0, gate=False) for scan in healthy(60, 2)]
    assert sum(bool(f.other) for f in found) <= 6, "and hardly any would be refused as another kind"
    p = np.array([f.p_value for f in found])
    assert p.mean() == pytest.approx(0.5, abs=0.13)
    assert sum(f.flagged() for f in found) <= 8
    assert sum(bool(f.findings) for f in found) <= 8


def test_what_is_wrong_is_found_where_it_is(calibrated: Prior) -> None:
    scan = ill(healthy(1, 3)[0])
    found = detect(calibrated, scan)
    assert found.flagged() and found.refused == "" and found.n_healthy == 60
    assert found.findings and found.map_high is not None
    first = found.findings[0]
    assert 7 <= first.centre[0] <= 15 and 4 <= first.centre[1] <= 12, (
        "centre in voxels where the geometry is unknown"
    )
    assert first.size is None and first.peak > found.map_high and first.p_value == pytest.approx(1 / 61)
    assert (found.mask.data[0] == 1).sum() == first.voxels
    before, after = (float(v.data[0, 8:14, 5:11].mean()) for v in (scan, found.healthy))
    assert after < before - 200


def test_what_is_not_unusual_is_left_as_it_is(calibrated: Prior) -> None:
    """The twin of an ill scan is the scan itself, to the byte, where the map is low."""
    scan = ill(healthy(1, 4)[0])
    found = detect(calibrated, scan)
    apart = np.abs(found.healthy.data[0] - scan.data[0])
    quiet = found.map.data[0] < 0
    assert quiet.any() and np.median(apart[quiet]) == 0
    assert apart[8:14, 5:11].max() > 200


def test_the_scale_is_the_same_for_every_scan(calibrated: Prior) -> None:
    one, two = (
        detect(calibrated, scan, n_twins=0).map_high for scan in (healthy(1, 9)[0], ill(healthy(1, 8)[0]))
    )
    assert one == two == promise(calibrated).map_high


def test_map_and_score_do_not_depend_on_an_arbitrary_unit() -> None:
    """A film whose numbers are ten times larger is no more unusual."""
    card = replace(CT, modality="DX", unit="a.u.", scaling="range", quantiles=(0.0, 1.0))
    films = [replace(v, modality="DX", unit="a.u.") for v in healthy(32, 5)]
    prior = taught(Exact(card), films[:12], films[12:])
    film = films[3]
    one, ten = detect(prior, film, n_twins=0), detect(prior, film.with_data(film.data * 10 + 500), n_twins=0)
    assert np.allclose(ten.map.data, one.map.data, atol=0.02)
    assert ten.score == pytest.approx(one.score, abs=0.02)


def test_the_score_does_not_hang_on_the_seed_of_the_run(calibrated: Prior) -> None:
    """The noise is that of the calibration, so that a scan is not flagged by trying seeds."""
    scan = ill(healthy(1, 6)[0])
    one, two = detect(calibrated, scan, seed=0), detect(calibrated, scan, seed=1)
    assert (one.score, one.p_value) == (two.score, two.p_value) and np.array_equal(one.map.data, two.map.data)
    assert not np.array_equal(one.healthy.data, two.healthy.data)


def test_every_part_of_the_evidence_is_told(calibrated: Prior) -> None:
    """By name; and a scan that is far from healthy is far in the parts that see it."""
    fine, bad = (
        detect(calibrated, scan, n_twins=0).evidence for scan in (healthy(1, 3)[0], ill(healthy(1, 3)[0]))
    )
    assert tuple(fine) == EVIDENCE
    assert bad["map"] > fine["map"] + 1.5 and bad["layout"] > fine["layout"] + 1


def test_the_healthy_label_is_asked_for() -> None:
    """A prior that knows "healthy" draws twins of that class; a prior without such a label draws them of
    any.
    """
    knows = Exact(replace(CT, labels=("ill", "healthy")), apart=(0.6, -0.6))
    scan = healthy(1, 2)[0]
    plain, told = detect(Exact(), scan, n_twins=4).healthy, detect(knows, scan, n_twins=4).healthy
    assert told.data.mean() < plain.data.mean() - 30


def test_plain_scores_are_ranked_among_the_same_patients(calibrated: Prior) -> None:
    """The same conformal p-value; a bright square raises each; what nobody kept is not made up."""
    scan = ill(healthy(1, 3)[0])
    found = detect(calibrated, scan, n_twins=0)
    assert tuple(found.plain) == tuple(promise(calibrated).plain) == KEPT
    for name, one in found.plain.items():
        known = promise(calibrated).plain[name]
        assert (
            len(known) == 60
            and one.as_high == sum(v >= one.score for v in known)
            and one.p_value == (1 + one.as_high) / 61
        )
    fine = detect(calibrated, healthy(1, 3)[0], n_twins=0).plain
    assert all(
        found.plain[name].score > fine[name].score and found.plain[name].p_value <= fine[name].p_value
        for name in KEPT
        if not name.startswith("minus")
    )
    assert detect(calibrated, replace(scan, modality="MR"), n_twins=0, allow_other=True).plain == {}


def test_few_healthy_patients_support_no_flag() -> None:
    """The p-value is given, the flag is refused; below four there is no calibration at all, below 19 no scale
    for the map.
    """
    prior = taught(Exact(), healthy(12, 11), healthy(18, 1))
    found = detect(prior, ill(ill(healthy(1, 3)[0])), n_twins=0, gate=False)
    assert found.p_value in (1 / 19, 2 / 19) and found.map_high is None
    assert "at least 19" in found.refused
    with pytest.raises(Uncalibrated, match="at least 19"):
        found.flagged()
    assert found.flagged(0.11)
    with pytest.raises(Uncalibrated, match="too few"):
        calibrate_detection(prior, healthy(3, 1))
    assert calibrate_detection(prior, healthy(4, 1)).n_healthy == 4


def test_nothing_calibrated_is_said() -> None:
    found = detect(Exact(), healthy(1, 1)[0])
    assert (found.p_value, found.map_high, found.n_healthy) == (None, None, 0)
    assert "no p-value" in found.refused
    with pytest.raises(Uncalibrated):
        found.flagged()


def test_a_calibration_of_another_version_is_refused(calibrated: Prior) -> None:
    """That of another method, one whose healthy scans are gone, and healthy scans that another version
    wrote.
    """
    other = Exact(promises=Promises(detect=replace(promise(calibrated), method=1)))
    other.healthy = calibrated.healthy
    for prior in (other, Exact(promises=calibrated.promises)):
        with pytest.raises(Uncalibrated, match="calibrate it again"):
            detect(prior, healthy(1, 1)[0])
    older = Exact()
    older.healthy = {name: tensor for name, tensor in calibrated.healthy.items() if name != "bank"}
    with pytest.raises(Uncalibrated, match="another version"):
        detect(older, healthy(1, 1)[0])


def test_an_override_gets_a_map_but_no_p_value(calibrated: Prior) -> None:
    """No healthy scan of the other kind was measured, so nothing can be said of how rare this one is."""
    scan = replace(healthy(1, 5)[0], modality="MR")
    with pytest.raises(WrongKind, match="is for CT, this is MR"):
        detect(calibrated, scan)
    found = detect(calibrated, scan, allow_other=True)
    assert found.p_value is None and found.map_high is None and "is for CT, this is MR" in found.refused


@pytest.mark.parametrize("alpha", [0.0, 1.0, -0.1, float("nan")])
def test_a_rate_lies_between_0_and_1(calibrated: Prior, alpha: float) -> None:
    with pytest.raises(BadOption, match="alpha"):
        detect(calibrated, healthy(1, 1)[0], n_twins=0).flagged(alpha)


def test_outputs_are_marked_and_the_scan_is_left_alone() -> None:
    scan = healthy(1, 1)[0]
    before, steps = scan.data.copy(), []
    found = detect(Exact(), scan, n_twins=3, on_step=lambda done, total: steps.append((done, total)))
    assert np.array_equal(scan.data, before) and not scan.provenance.synthetic
    for made, says in ((found.healthy, "healthy twin"), (found.map, "how unusual")):
        assert (
            made.provenance.synthetic
            and made.provenance.history[0] == "read"
            and says in made.provenance.history[1]
        )
        assert made.shape == scan.shape
    assert steps == [(n, 4) for n in (1, 2, 3, 4)]


def same(a: Found, b: Found) -> bool:
    return (
        a.score == b.score
        and np.array_equal(a.map.data, b.map.data)
        and np.array_equal(a.healthy.data, b.healthy.data)
    )


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
    scans = [
        Volume(
            np.random.default_rng(n).uniform(0, 200, (1, 19, 16, 5)).astype(np.float32), affine, modality="MR"
        )
        for n in range(4)
    ]
    taught(
        prior,
        [
            Volume(
                np.random.default_rng(n).uniform(0, 200, (1, 19, 16, 5)).astype(np.float32),
                affine,
                modality="MR",
            )
            for n in range(8, 16)
        ],
        scans,
    )
    found = detect(prior, scans[0])
    assert len(found.slices) == (16 if ndim == 2 else 0), "axial slices"
    assert found.map.shape == found.healthy.shape == (19, 16, 5)
    assert np.array_equal(found.map.affine, affine) and np.isfinite(found.map.data).all()  # type: ignore[arg-type]
    assert found.p_value in (1 / 5, 2 / 5, 3 / 5, 4 / 5, 1.0)


def test_a_film_of_four_megapixels() -> None:
    film = Volume(
        np.random.default_rng(0).uniform(0, 4000, (1, 2000, 1999)).astype(np.float32), None, modality="DX"
    )
    found = detect(tiny(modality="DX"), film)
    assert found.map.shape == found.healthy.shape == (2000, 1999) and np.isfinite(found.map.data).all()


def test_wrong_input_is_named() -> None:
    scan = healthy(1, 1)[0]
    with pytest.raises(BadOption, match="n_twins"):
        detect(Exact(), scan, n_twins=-1)
    with pytest.raises(WrongKind, match="MR"):
        detect(Exact(), replace(scan, modality="MR"))
    with pytest.raises(WrongKind, match="HU"):
        learn_healthy(Exact(), [replace(scan, unit="a.u.")] * 8)


def test_findings_of_a_volume_have_a_size_and_a_place() -> None:
    """ml and mm, also where axes are permuted and flipped; the slices that hold the lesion stand out, by
    Benjamini-Hochberg.
    """
    prior = tiny(2, axes="PL", spacing_mm=(2.0, 2.0))
    affine = np.array([[0, 0, 3.0, 5], [-1.5, 0, 0, -8], [0, 2.0, 0, 9], [0, 0, 0, 1]])

    def scan(seed: int) -> Volume:
        smooth = np.random.default_rng(seed).normal(size=(1, 30, 24, 6)).astype(np.float32)
        return Volume(100 + 5 * smooth, affine, modality="MR")

    taught(prior, [scan(n) for n in range(8)], [scan(n) for n in range(100, 120)])
    bad = scan(200)
    bad.data[0, 12:20, 8:16, 2:5] += 60
    found = detect(
        prior, bad, n_twins=0, gate=False
    )  # noise is so alike that any lesion makes it another kind of scan
    first = found.findings[0]
    where = affine @ [15.5, 11.5, 3.0, 1.0]
    assert np.abs(np.array(first.centre) - where[:3]).max() < 6
    assert first.size == pytest.approx(first.voxels * 1.5 * 2.0 * 3.0 / 1000)
    quiet = detect(prior, scan(201), n_twins=0, gate=False)
    assert min(found.slices) < 0.5 <= min(quiet.slices)


@pytest.mark.parametrize(
    ("shape", "passes"), [((1, 30, 21), 14 + 11), ((1, 19, 16, 3), 14 + 11), ((1, 129, 128), 7 + 11)]
)
def test_the_cost_that_is_announced_is_the_one_that_is_paid(shape: tuple[int, ...], passes: int) -> None:
    stack = len(shape) == 4
    prior, calls = (
        tiny(2, axes="PL" if stack else "", spacing_mm=(2.0, 2.0) if stack else None, frame=(16, 256)),
        [],
    )
    inside, around = prior.net.forward, prior.net.features  # type: ignore[union-attr]
    prior.net.forward = lambda *a, **k: (calls.append(len(a[0])), inside(*a, **k))[1]  # type: ignore[method-assign]
    prior.net.features = lambda *a, **k: (calls.append(len(a[0])), around(*a, **k))[1]  # type: ignore[method-assign]
    scan = Volume(
        np.random.default_rng(0).uniform(0, 9, shape).astype(np.float32),
        np.diag([2.0, 2.0, 2.0, 1.0]) if stack else None,
        modality="MR",
    )
    detect(prior, scan)
    images = prior.admit(scan).images
    assert sum(calls) / len(images) == passes == evaluations(1, images)


def test_a_scan_of_another_kind_is_refused_before_it_is_scored(calibrated: Prior) -> None:
    """Inverted: an error that says what is unlike; allowed by name it gets a map and no p-value; an
    evaluation scores it all the same.
    """
    scan = healthy(1, 3)[0]
    turned = scan.with_data(-400 - 3 * scan.data)
    with pytest.raises(OutOfDistribution, match=r"is not that of the 100 healthy scans .* --allow-other"):
        detect(calibrated, turned, n_twins=0)
    found = detect(calibrated, turned, n_twins=0, allow_other=True)
    assert found.p_value is None and "100 healthy scans" in found.other and found.other in found.refused
    assert detect(calibrated, turned, n_twins=0, gate=False).p_value == pytest.approx(1 / 61)
    assert detect(calibrated, scan, n_twins=0).other == ""
