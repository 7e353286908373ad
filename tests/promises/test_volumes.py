"""Volumes by a 2-D prior as a run: what is simulated, what it costs, what is written and shown."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from medprior.data.volume import Volume
from medprior.errors import BadOption
from medprior.runs.ask.requests import Reconstruct
from medprior.runs.core.inputs import known_prior
from medprior.runs.core.progress import Event
from medprior.runs.page.blocks import Grid
from medprior.runs.reconstruct.run import run_reconstruct
from medprior.runs.reconstruct.simulate import case_of, known_image
from tests.unit.runs.conftest import blobs, save_tiny

AFFINE = np.diag([1.0, 1.0, 3.0, 1.0])


@pytest.fixture(scope="module")
def brain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained prior of axial slices of 2 mm."""
    return save_tiny(
        tmp_path_factory.mktemp("volumes") / "mr",
        modality="MR",
        axes="PL",
        spacing_mm=(2.0, 2.0),
        numbers=("height",),
        labels=(),
    )


def scan(slices: int = 5) -> Volume:
    """32 x 40 pixels of 1 mm, slices of 3 mm."""
    noise = np.random.default_rng(0).normal(size=(1, 32, 40, slices))
    return Volume(
        (gaussian_filter(noise, (0, 3, 3, 1)) * 300 + 100).astype(np.float32), AFFINE, modality="MR"
    )


def asked(task: str, **options) -> Reconstruct:
    return Reconstruct.model_validate({"input": "x", "prior": "p", "task": task, "whole": True, **options})


def test_all_slices_lie_where_they_did(brain: Path) -> None:
    """A voxel of the stack is at the millimetres of the volume, and holds what the slice alone holds."""
    prior, volume = known_prior(str(brain)).prior, scan()
    whole, scale, about = known_image(prior, volume, at=None, whole=True)
    assert whole.shape == (20, 16, 5) and "all 5 slices of 20 x 16 pixels" in about
    for at in range(5):
        one, same, _ = known_image(prior, volume, at=at)
        assert np.array_equal(whole.data[..., at], one.data) and scale == same
        assert whole.affine is not None and one.affine is not None
        assert np.allclose(whole.affine @ [3, 4, at, 1], one.affine @ [3, 4, 0, 1])


@pytest.mark.parametrize("task", ["denoise", "superres", "inpaint", "mri"])
def test_each_task_measures_the_whole_volume(task: str, brain: Path) -> None:
    case = case_of(asked(task), known_prior(str(brain)).prior, scan(8))
    assert case.stack and case.measurement.simulated and case.measurement.operator.domain == (1, 20, 16, 8)
    assert 0.8 < float(case.measurement.misfit(case.image)) < 1.2
    assert all(
        image.shape == case.image.shape and bool(image.isfinite().all()) for image in case.baselines.values()
    )


def test_superresolution_of_a_volume_is_through_its_slices(brain: Path) -> None:
    """Slices four times thicker; what is left over of the slices is cut off."""
    case = case_of(asked("superres", factor=4), known_prior(str(brain)).prior, scan(13))
    assert case.measurement.y.shape == (1, 1, 20, 16, 3) and case.known.shape == (20, 16, 12)
    assert "4 times thicker" in case.sentence
    flat = torch.ones(1, *case.measurement.operator.domain)
    assert torch.allclose(case.measurement.operator(flat), torch.ones(1, 1, 20, 16, 3), atol=1e-5)


def test_a_box_is_missing_in_each_slice(brain: Path) -> None:
    case = case_of(asked("inpaint", box=(2, 3, 6, 5)), known_prior(str(brain)).prior, scan())
    kept = case.measurement.operator.observed
    assert kept is not None and int((~kept).sum()) == 6 * 5 * 5 and "in each slice" in case.sentence


def test_the_run_says_what_all_slices_cost_and_shows_them_from_the_side(brain: Path) -> None:
    events: list[Event] = []
    outcome = run_reconstruct(
        asked("mri", fast=True, baselines="quick"), known_prior(str(brain)).prior, scan(6), events.append
    )
    assert any("42 network evaluations of 20 x 16" in event.text for event in events)
    assert [(e.done, e.total) for e in events if e.kind == "step"] == [(3, 6), (6, 6)]
    shapes = {output.name: output.volume.data.shape for output in outcome.outputs}
    assert shapes["reconstruction"] == shapes["known"] == (1, 20, 16, 6)
    side = [
        p
        for block in outcome.sections[0].blocks
        if isinstance(block, Grid)
        for p in block.pictures
        if "through the slices" in p.title
    ]
    assert len(side) == 3 and [p.synthetic for p in side] == [False, False, True]
    # 6 slices of 3 mm, 16 columns of 2 mm: square pixels of the finer side
    assert {p.image.size for p in side} == {(16, 9)}


def test_volumes_without_geometry_are_shown_as_they_are_stored(tiny: Path) -> None:
    volume = Volume(np.concatenate([blobs(24, 20)[..., None]] * 4, axis=-1))
    outcome = run_reconstruct(
        asked("superres", factor=2, fast=True, baselines="quick"),
        known_prior(str(tiny)).prior,
        volume,
        lambda event: None,
    )
    assert outcome.outputs[0].volume.affine is None


REFUSED = {
    "slice": ({"slice": 2}, scan(), "slice: no option with --whole"),
    "an image": (
        {},
        Volume(blobs()[..., :20], np.diag([2.0, 2.0, 1.0, 1.0]), modality="MR"),
        "wanted a volume of at least 4 slices, got 20 x 32",
    ),
    "too few": ({"factor": 2}, scan(2), "at least 4 slices"),
    "fewer than a thick one": ({"factor": 8}, scan(7), "at least 8 slices"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_wrong_volumes_are_named(case: str, brain: Path) -> None:
    options, volume, says = REFUSED[case]
    with pytest.raises(BadOption, match=says):
        case_of(asked("superres", **options), known_prior(str(brain)).prior, volume)
