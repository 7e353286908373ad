"""A planted marker is named, and nothing is suspected where there is none."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from medprior.errors import BadOption
from medprior.explanation.attribution import Infill, occluded
from medprior.explanation.shortcuts import ScanAnswer, place_name, used_place
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


def test_a_marker_in_the_corner_is_named_and_proved() -> None:
    found = used_place(answers(CORNER, marked=True))
    assert found.name == "top left corner" and found.turned >= 0.8 and found.elsewhere == 0 and found.suspect


def test_a_place_inside_is_no_shortcut() -> None:
    found = used_place(answers(MIDDLE, marked=True))
    assert found.name == "inside" and found.turned >= 0.8 and not found.suspect


def test_few_scans_are_refused() -> None:
    with pytest.raises(BadOption, match="at least 5"):
        used_place(answers(CORNER, marked=True, n=2))


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
