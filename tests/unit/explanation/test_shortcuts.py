"""A planted marker is named, and nothing is suspected where there is none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor

from medprior.errors import BadOption
from medprior.evidence.intervals import interval
from medprior.explanation.attribution import Infill, occluded
from medprior.explanation.shortcuts import (
    OtherScan,
    ScanAnswer,
    UsedPlace,
    moved_place,
    place_name,
    used_place,
)
from tests.unit.jobs.exact import Exact

SIZE = (20, 16)
CORNER = (slice(1, 4), slice(1, 4))
MIDDLE = (slice(7, 13), slice(5, 11))


def answers(where: tuple[slice, slice], marked: bool, n: int = 6) -> list[ScanAnswer]:
    """Scans before a model that looks at one place; marked: the place is bright in all of them."""
    prior = Exact()
    found = []
    for seed in range(n):
        scan = prior.draw(1, SIZE, seed)
        if marked:
            scan[(slice(None), slice(None), *where)] += 1.5

        def likelihood(images: Tensor, edge: float = float(scan[(0, 0, *where)].mean()) - 0.5) -> Tensor:
            return torch.sigmoid(8 * (images[(slice(None), 0, *where)].mean((1, 2)) - edge))

        infill = Infill(prior, scan, 0)
        found.append(ScanAnswer(occluded(scan, infill), infill, likelihood))
    return found


def placed(scans: list[ScanAnswer], patients: Sequence[object] = ()) -> UsedPlace:
    return used_place(scans, partial(interval, np.mean, patients=patients or range(len(scans))))


def test_a_marker_in_the_corner_is_named_and_proved() -> None:
    found = placed(answers(CORNER, marked=True))
    assert found.name == "top left corner" and found.turned >= 0.8 and found.elsewhere == 0 and found.suspect


def test_a_marker_is_suspected_where_the_model_also_sees_the_disease() -> None:
    """Without the marker the answer stays, at lower odds."""
    found = placed([replace(one, likelihood=surer(one.likelihood)) for one in answers(CORNER, marked=True)])
    assert found.name == "top left corner" and found.turned == 0 and found.fall.low > 0 and found.suspect


def test_a_corner_that_does_not_matter_is_not_suspected() -> None:
    """Each scan's answer depends on noise of its own: no place matters in all of them."""
    scans = answers(CORNER, marked=False, n=8)
    odds = [torch.randn(SIZE, generator=torch.Generator().manual_seed(n)) for n in range(8)]
    found = placed(
        [
            replace(one, likelihood=lambda images, w=w: torch.sigmoid((images[:, 0] * w).mean((1, 2))))
            for one, w in zip(scans, odds, strict=True)
        ]
    )
    assert not found.suspect


def test_scans_of_one_patient_cannot_say() -> None:
    with pytest.raises(BadOption, match="patients"):
        placed(answers(CORNER, marked=True), ["one"] * 6)


def test_a_marker_moved_into_other_scans_turns_them() -> None:
    """Where painting it out changes little, as the model sees the disease, too."""
    with_it, without = answers(CORNER, marked=True), answers(CORNER, marked=False, n=12)[6:]
    one = with_it[0].likelihood
    others = [OtherScan(scan.windows.scan, one) for scan in without]
    found = moved_place(with_it, others, partial(interval, np.mean, patients=range(6)))
    assert found.name == "top left corner" and found.turned >= 0.5 and found.elsewhere == 0 and found.suspect
    with pytest.raises(BadOption, match="of each answer"):
        moved_place(with_it, others[:3], partial(interval, np.mean, patients=range(3)))


def test_what_every_scan_has_is_no_shortcut() -> None:
    scans, other = answers(CORNER, marked=False), answers(CORNER, marked=False, n=12)[6:]
    others = [OtherScan(scan.windows.scan, scans[0].likelihood) for scan in other]
    assert not moved_place(scans, others, partial(interval, np.mean, patients=range(6))).suspect


def surer(likelihood: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """Log odds higher by 12, as those of a model that has seen the disease elsewhere."""
    return lambda images: (likelihood(images).double().logit() / 4 + 6).sigmoid().float()


def test_a_place_inside_is_no_shortcut() -> None:
    found = placed(answers(MIDDLE, marked=True))
    assert found.name == "inside" and found.turned >= 0.8 and not found.suspect


def test_few_scans_are_refused() -> None:
    with pytest.raises(BadOption, match="at least 5"):
        placed(answers(CORNER, marked=True, n=2))


@pytest.mark.parametrize(
    ("at", "name"),
    [
        ((slice(0, 3), slice(0, 3)), "top left corner"),
        ((slice(18, 20), slice(6, 9)), "bottom border"),
        ((slice(8, 12), slice(14, 16)), "right border"),
        ((slice(8, 12), slice(6, 10)), "inside"),
    ],
)
def test_places_have_names(at: tuple[slice, slice], name: str) -> None:
    where = torch.zeros(SIZE, dtype=torch.bool)
    where[at] = True
    assert place_name(where) == name
