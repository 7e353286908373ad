"""Real scans are learned once, and a scan is never held against itself."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch

from medprior.data.volume import Volume
from medprior.errors import Uncalibrated
from medprior.jobs.explain import likeness_of
from medprior.runs.explain.real_scans import RealScans
from tests.unit.jobs.exact import CT, Exact


class Counted(Exact):
    asked = 0

    def __call__(self, x: Any, sigma: Any, condition: Any = None) -> Any:
        self.asked += 1
        return super().__call__(x, sigma, condition)


def volumes(n: int, size: tuple[int, int] = (16, 16)) -> list[Volume]:
    draws = Exact().draw(n, size)
    return [Volume(draw.numpy() * 1000, None, CT.unit, CT.modality) for draw in draws]


def given(prior: Exact, scans: list[Volume]) -> RealScans:
    item = cast(Any, SimpleNamespace())
    return RealScans.of(prior, [(item, scan) for scan in scans], allow_other=False)


def test_a_scan_of_the_folder_is_held_against_the_others_alone() -> None:
    prior, scans = Counted(), volumes(24)
    real = given(prior, scans)
    assert len(real.others(scans[3])) == 23
    found = real.likeness(scans[3])
    wanted = likeness_of(prior, scans[3], scans[:3] + scans[4:])
    assert found is not None and torch.equal(found.known, wanted.known)
    before = prior.asked
    assert real.likeness(scans[5]) is not None and prior.asked == before


def test_scans_of_another_size_do_not_count() -> None:
    real = given(Counted(), [*volumes(10), *volumes(20, (24, 16))])
    with pytest.raises(Uncalibrated, match="10 real scans are too few"):
        real.likeness(volumes(11)[10])


def test_without_a_folder_nothing_is_known() -> None:
    assert given(Counted(), []).likeness(volumes(1)[0]) is None
