"""The gate: healthy scans pass at the rate that is promised, the sick mostly, and what is not of the kind is
refused; few healthy scans say nothing.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from medprior.healthy.acquisition import PARTS, AcquisitionModel, sketch
from medprior.jobs.detection.gate import GATE_ALPHA, describe_difference, gate_distance, known_parts
from medprior.prior.promises import DetectPromise
from tests.unit.healthy.test_acquisition import anatomy

N_RULES = 7
N_PARTS = len(PARTS) - 1 + N_RULES
ORIENTATION = len(PARTS) - 1


@pytest.fixture(scope="module")
def kind() -> AcquisitionModel:
    return AcquisitionModel.fitted([[sketch(anatomy(n))] for n in range(60)])


def parts_of(n: int, seed: int) -> Tensor:
    """Healthy scans' parts, as independent normal numbers."""
    return torch.randn((n, N_PARTS), generator=torch.Generator().manual_seed(seed)).double()


FAR = torch.full((N_RULES,), 8.0).double()


def refused(parts: Tensor, known: Tensor, other: Tensor = FAR) -> bool:
    p, distance, _ = gate_distance(parts, known, other, side=256)
    return p <= GATE_ALPHA and distance > 1


def test_new_scans_of_the_kind_pass(kind: AcquisitionModel) -> None:
    known = known_parts(kind, None)
    found = [describe_difference(kind, known, sketch(anatomy(n))) for n in range(100, 140)]
    assert sum(beyond for _, beyond in found) <= 2 and sum(bool(text) for text, _ in found) <= 6


WRONG: dict[str, Callable[[Tensor], Tensor]] = {
    "upside down": lambda x: x.flip(1),
    "mirrored": lambda x: x.flip(2),
    "turned": lambda x: x.rot90(1, (1, 2)),
    "inverted": lambda x: -x,
    "noise alone": lambda x: torch.randn(x.shape, generator=torch.Generator().manual_seed(0)),
    "noisier": lambda x: x + 0.1 * torch.randn(x.shape, generator=torch.Generator().manual_seed(0)),
    "constant": torch.zeros_like,
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_not_of_the_kind_is_refused(kind: AcquisitionModel, wrong: str) -> None:
    known = known_parts(kind, None)
    for n in range(100, 105):
        text, beyond = describe_difference(kind, known, sketch(WRONG[wrong](anatomy(n))))
        assert beyond and text.startswith("its ") and "60 healthy scans" in text


def test_the_farthest_part_is_named() -> None:
    known = parts_of(300, 0)
    for number in range(N_PARTS):
        one = torch.zeros(N_PARTS).double()
        one[number] = 12.0
        assert gate_distance(one, known, FAR, side=256)[2] == number and refused(one, known)


def test_patients_who_calibrated_count_as_well(kind: AcquisitionModel) -> None:
    """Known scans and calibration's together; 19 support a p-value of 5 %, 18 say nothing of whatever
    scan.
    """
    promise = DetectPromise(kind=((0.0,) * N_PARTS,) * 3)
    assert known_parts(kind, promise).shape == (63, N_PARTS) and known_parts(kind, None).shape == (
        60,
        N_PARTS,
    )
    wrong = sketch(-anatomy(100))
    assert describe_difference(kind, known_parts(kind, None)[:18], wrong) == ("", False)
    assert describe_difference(kind, known_parts(kind, None)[:19], wrong)[1]


def test_healthy_scans_are_warned_about_at_the_rate_that_is_promised() -> None:
    """2000 of the distribution of the 100 that are known, 20 draws of those: one in twenty has p <= 0.05, and
    no more are refused.
    """
    rows = [
        gate_distance(one, parts_of(100, seed), FAR, side=256)
        for seed in range(20)
        for one in parts_of(100, 1000 + seed)
    ]
    warned = sum(p <= GATE_ALPHA for p, _, _ in rows) / len(rows)
    assert abs(warned - 0.05) < 0.03
    assert sum(p <= GATE_ALPHA and distance > 1 for p, distance, _ in rows) / len(rows) <= 0.05


def test_grey_values_have_more_room_than_orientation() -> None:
    """Disease is grey: five deviations of it are too many, three are not; of noise they are."""
    known = parts_of(300, 0)
    for number, deviations, out in ((0, 3.0, False), (0, 5.0, True), (1, 3.0, True)):
        one = torch.zeros(N_PARTS).double()
        one[number] = deviations
        assert refused(one, known) is out
        assert gate_distance(one, known, FAR, side=256)[2] == number


def test_a_rule_refuses_only_what_is_nearer_to_the_other_side() -> None:
    """The same value of a rule: usual where turned scans lie at 8, past half way where they lie at 4; a rule
    that cannot tell them apart says nothing.
    """
    known, one = parts_of(300, 0), torch.zeros(N_PARTS).double()
    one[ORIENTATION] = 3.5
    assert not refused(one, known, FAR)
    assert refused(one, known, FAR / 2)
    one[ORIENTATION:] = 30.0
    assert refused(one, known, FAR) and not refused(one, known, FAR / 8)


def test_few_known_scans_have_more_room() -> None:
    one = torch.zeros(N_PARTS).double()
    one[1] = 3.2
    assert refused(one, parts_of(300, 0)) and not refused(one, parts_of(20, 0))


def test_one_odd_scan_among_those_known_hides_nothing() -> None:
    """A film that hangs upside down in the folder of healthy ones."""
    known, one = parts_of(300, 0), torch.zeros(N_PARTS).double()
    known[0, ORIENTATION] = 40
    one[ORIENTATION] = 7
    assert refused(one, known)


def test_small_images_have_more_room_for_what_disease_changes() -> None:
    """As sharp as 1.4 times what is usual: refused in a film of 256 pixels, judged in one of 28; grey values
    and orientation have no more room.
    """
    known = parts_of(400, 0)
    for number in range(known.shape[1]):
        large, small = (
            gate_distance(with_part(known, number), known, FAR, side=side)[1] for side in (256, 28)
        )
        assert large == pytest.approx(small * (1.75 if number in (1, 2, 3) else 1.0), rel=1e-6)


def with_part(known: Tensor, number: int) -> Tensor:
    """Like the median healthy scan but for one part, far out."""
    one = known.median(0).values.clone()
    one[number] += 20 * known[:, number].std()
    return one
