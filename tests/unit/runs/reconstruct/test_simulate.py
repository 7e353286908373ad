"""Simulated measurements: said to be simulated, right in their physics, and plain methods beside them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from medprior.data.volume import Volume
from medprior.errors import BadOption, WrongKind
from medprior.evidence.metrics import psnr
from medprior.operators import LineIntegrals
from medprior.operators.operator import Scaled
from medprior.runs.ask.requests import Reconstruct
from medprior.runs.core.inputs import known_prior
from medprior.runs.core.progress import Event
from medprior.runs.reconstruct.run import run_reconstruct
from medprior.runs.reconstruct.simulate import Case, best_total_variation, case_of, known_image
from tests.unit.runs.conftest import blobs, save_tiny

TASKS = ("denoise", "superres", "inpaint", "mri")


@pytest.mark.parametrize("task", TASKS)
def test_each_task_measures_the_known_image(task: str, tiny: Path) -> None:
    """The true image fits the measurement as well as its noise allows; the sentence and the measurement say
    that it was simulated.
    """
    case = case_of(
        Reconstruct.model_validate({"input": "x", "prior": "p", "task": task}),
        known_prior(str(tiny)).prior,
        Volume(blobs()),
    )
    assert case.measurement.simulated
    assert 0.7 < float(case.measurement.misfit(case.image)) < 1.3
    assert all(
        image.shape == case.image.shape and bool(image.isfinite().all()) for image in case.baselines.values()
    )


def test_ct_is_measured_in_line_integrals_of_water(tmp_path: Path) -> None:
    """A disc of water: filtered back-projection gives its Hounsfield units back, and so does the measurement
    as the prior sees it.
    """
    prior = known_prior(
        str(
            save_tiny(
                tmp_path / "ct",
                modality="CT",
                unit="HU",
                scaling="fixed",
                low=-1024.0,
                high=1024.0,
                frame=(16, 64),
            )
        )
    ).prior
    i, j = np.mgrid[0:48, 0:48] - 23.5
    disc = np.where(i**2 + j**2 < 20**2, 0.0, -1000.0).astype(np.float32)[None]
    volume = Volume(disc, unit="HU", modality="CT", spacing_mm=(2.0, 2.0))
    request = Reconstruct.model_validate(
        {"input": "x", "prior": "p", "task": "ct", "views": 90, "photons": 1e7}
    )
    case = case_of(request, prior, volume)
    inside = case.baselines["filtered back-projection, ramp"][0, 0][i**2 + j**2 < 14**2]
    assert abs(float(inside.mean())) < 15
    assert 0.7 < float(case.measurement.misfit(case.image)) < 1.3
    with pytest.raises(WrongKind, match="Hounsfield"):
        case_of(request, known_prior(str(save_tiny(tmp_path / "other"))).prior, Volume(blobs()))


def sampled(tmp_path: Path, **asked: Any) -> tuple[Case, np.ndarray]:
    """The case, and (i, j) bool: which points of 48 x 48 of k-space the operator keeps."""
    prior = known_prior(str(save_tiny(tmp_path / "mr", modality="MR", frame=(16, 48)))).prior
    case = case_of(
        Reconstruct.model_validate({"input": "x", "prior": "p", "task": "mri", **asked}),
        prior,
        Volume(blobs(48, 48), modality="MR"),
    )
    kept = case.measurement.operator.observed
    assert kept is not None and 0.7 < float(case.measurement.misfit(case.image)) < 1.3
    return case, kept.expand(case.measurement.y.shape[1:])[0].numpy()


def lines_of(kept: np.ndarray) -> np.ndarray:
    """Which columns; they are kept whole or not at all."""
    assert (kept == kept[:1]).all()
    return np.flatnonzero(kept[0])


def test_random_lines_surround_a_full_centre(tmp_path: Path) -> None:
    case, kept = sampled(tmp_path)
    lines = lines_of(kept)
    assert (
        len(lines) == 12
        and {23, 24}.issubset(lines)
        and "12 of 48 lines, random (4 times faster)" in case.sentence
    )
    assert not np.array_equal(lines, lines_of(sampled(tmp_path, seed=1)[1]))


def test_equispaced_lines_have_equal_gaps(tmp_path: Path) -> None:
    case, kept = sampled(tmp_path, pattern="equispaced", acceleration=3.0, centre_fraction=0.0)
    assert set(np.diff(lines_of(kept))) == {3} and "16 of 48 lines, equispaced" in case.sentence


def test_variable_density_is_denser_in_the_middle(tmp_path: Path) -> None:
    away = [
        np.abs(lines_of(sampled(tmp_path, pattern=pattern, centre_fraction=0.0)[1]) - 23.5).mean()
        for pattern in ("variable", "equispaced")
    ]
    assert away[0] < 0.8 * away[1]


def test_partial_fourier_leaves_one_side_out(tmp_path: Path) -> None:
    """Rows of the readout: the first three quarters, and nothing of the rest."""
    case, kept = sampled(tmp_path, partial=0.75)
    rows = np.asarray(kept.any(axis=1))
    assert rows[:36].all() and not rows[36:].any() and "the first 0.75 of k-space" in case.sentence


def test_a_poisson_disc_is_of_points_for_several_coils(tmp_path: Path) -> None:
    case, kept = sampled(tmp_path, pattern="poisson", coils=4)
    assert (
        case.measurement.y.shape[1] == 4
        and "4 coils whose maps are known, points of a Poisson disc" in case.sentence
    )
    assert not (kept == kept[:1]).all() and not (kept == kept[:, :1]).all(), "neither lines nor columns"
    assert kept.mean() == pytest.approx(0.25, rel=0.15) and kept[22:26, 22:26].all()


@pytest.mark.parametrize(
    "asked, beam, arc, baseline",
    [
        ({}, "parallel", 180.0, "filtered back-projection, hann"),
        ({"beam": "fan"}, "fan", 360.0, "filtered back-projection, hann"),
        ({"beam": "fan", "arc": 90.0}, "fan", 90.0, "least squares, 20 iterations"),
        ({"arc": 60.0, "views": 20}, "parallel", 60.0, "filtered back-projection, hann"),
    ],
)
def test_rays_go_as_asked(
    asked: dict[str, Any], beam: str, arc: float, baseline: str, tmp_path: Path
) -> None:
    """Their angles, their kind, and that they reach the corners of a field of 560 mm, where the object has
    something too.
    """
    prior = known_prior(
        str(
            save_tiny(
                tmp_path / "ct",
                modality="CT",
                unit="HU",
                scaling="fixed",
                low=-1024.0,
                high=1024.0,
                frame=(16, 64),
            )
        )
    ).prior
    fat = Volume(np.full((1, 40, 40), -80.0, np.float32), unit="HU", modality="CT", spacing_mm=(14.0, 14.0))
    case = case_of(
        Reconstruct.model_validate({"input": "x", "prior": "p", "task": "ct", **asked}), prior, fat
    )
    operator = case.measurement.operator
    while isinstance(operator, Scaled):
        operator = operator.of
    assert isinstance(operator, LineIntegrals) and operator.beam == beam
    views = asked.get("views", 60)
    assert (
        np.rad2deg(operator.angles.diff().numpy()) == pytest.approx(arc / views)
        and len(operator.angles) == views
    )
    assert (
        f"{views} " in case.sentence
        and f"over {arc:g} degrees" in case.sentence
        and baseline in case.baselines
    )
    assert 0.7 < float(case.measurement.misfit(case.image)) < 1.3
    assert any("LIMITED ANGLE" in line for line in case.warnings) == (arc in (60.0, 90.0))
    corner = torch.zeros(operator.domain)[None]
    corner[..., 0, 0] = 1
    assert (operator.apply(corner).amax(-1) > 0).all(), "every view sees the corner"


def test_a_fan_that_stands_in_the_image_is_refused(tmp_path: Path) -> None:
    prior = known_prior(
        str(
            save_tiny(
                tmp_path / "ct",
                modality="CT",
                unit="HU",
                scaling="fixed",
                low=-1024.0,
                high=1024.0,
                frame=(16, 64),
            )
        )
    ).prior
    wide = Volume(np.full((1, 40, 40), -80.0, np.float32), unit="HU", modality="CT", spacing_mm=(30.0, 30.0))
    with pytest.raises(BadOption, match=r"corners are .* mm from its middle.*--beam parallel"):
        case_of(
            Reconstruct.model_validate({"input": "x", "prior": "p", "task": "ct", "beam": "fan"}), prior, wide
        )


def test_kspace_is_refused_of_other_modalities(tiny: Path) -> None:
    with pytest.raises(WrongKind, match="k-space is measured of MR, this is DX"):
        case_of(
            Reconstruct.model_validate({"input": "x", "prior": "p", "task": "mri"}),
            known_prior(str(tiny)).prior,
            Volume(blobs(), modality="DX"),
        )


def test_a_slice_of_a_volume_keeps_its_place(tmp_path: Path) -> None:
    """A voxel of the chosen slice lies at the same millimetres in the volume and in the image on the prior's
    grid.
    """
    prior = known_prior(
        str(
            save_tiny(
                tmp_path / "mr",
                modality="MR",
                axes="PL",
                spacing_mm=(2.0, 2.0),
                numbers=("height",),
                labels=(),
            )
        )
    ).prior
    affine = np.diag([1.0, 1.0, 3.0, 1.0])
    affine[:3, 3] = (-16, -20, 5)
    data = np.random.default_rng(0).normal(size=(1, 32, 40, 5)).astype(np.float32) ** 2
    known, _, about = known_image(prior, Volume(data, affine, modality="MR"), at=3)
    assert known.shape == (20, 16) and "slice 3 of 5" in about
    assert known.affine is not None
    corner = known.affine @ [
        -0.25,
        -0.25,
        0,
        1,
    ]  # centre of the first voxel of the volume's grid: front right
    assert np.allclose(corner[:3], affine @ [31, 39, 3, 1] @ np.eye(4)[:, :3])
    with pytest.raises(BadOption, match="slice: wanted 0 to 4, got 5"):
        known_image(prior, Volume(data, affine, modality="MR"), at=5)


def test_total_variation_gets_the_best_weight_of_its_family(tiny: Path) -> None:
    """The baseline is not crippled: no weight nearby does better, and it beats the noisy image."""
    from medprior.evidence.baselines.classic import total_variation

    case = case_of(
        Reconstruct.model_validate({"input": "x", "prior": "p", "task": "denoise"}),
        known_prior(str(tiny)).prior,
        Volume(blobs()),
    )
    best, weight = best_total_variation(case)

    def score(x: torch.Tensor) -> float:
        return float(psnr(x, case.image, 2 * case.half))

    assert score(best) > score(case.baselines["noisy image"]) + 2
    for factor in (0.25, 0.5, 2, 4):
        assert score(total_variation(case.measurement, factor * weight, n=300, tol=1e-4)) < score(best) + 0.1


def test_a_plain_method_that_is_nearer_is_named_in_the_verdict(tiny: Path) -> None:
    """An untrained prior loses to non-local means; the page's first sentence says so, and a point estimate
    has no file of draws.
    """
    heard: list[Event] = []
    request = Reconstruct.model_validate({"input": "x", "prior": "p", "fast": True, "baselines": "quick"})
    outcome = run_reconstruct(request, known_prior(str(tiny)).prior, Volume(blobs()), heard.append)
    methods = outcome.metrics["methods"]
    best = max(methods, key=lambda name: methods[name]["psnr_db"])
    assert best != "medprior, point estimate"
    assert (
        outcome.sections[0].verdict.lower().startswith(f"{best} is nearest to the known image here".lower())
    )
    assert {output.name for output in outcome.outputs} >= {"reconstruction", "known"} and "draws" not in {
        output.name for output in outcome.outputs
    }
    assert any(event.text == "computing the point estimate" for event in heard)
