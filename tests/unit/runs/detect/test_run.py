"""What the terminal says of a detection: the p-value with its count, or why there is none."""

from __future__ import annotations

import numpy as np
import pytest

from medprior.data.volume import Volume
from medprior.jobs.detect import Found
from medprior.runs.detect.run import detect_summary

FLAT = Volume(np.zeros((1, 4, 4), np.float32))


def found(p: float | None, n: int, *, refused: str = "", other: str = "") -> Found:
    return Found(FLAT, FLAT, FLAT, 1.0, {}, p, n, 2.0, (), (), refused, other)


@pytest.mark.parametrize(
    ("case", "line"),
    [
        (
            found(8 / 27, 26),
            "p = 0.3: 7 of 26 healthy patients look at least as unusual. Not flagged; that does not mean "
            "healthy.",
        ),
        (
            found(1 / 27, 26),
            "p = 0.037: 0 of 26 healthy patients look at least as unusual. Flagged; one healthy scan in "
            "twenty would be, too.",
        ),
        (
            found(1 / 5, 4, refused="4 healthy patients cannot support a flag at 5 %"),
            "p = 0.2: 0 of 4 healthy patients look at least as unusual. No flag: 4 healthy patients cannot "
            "support a flag at 5 %.",
        ),
        (
            found(None, 0, refused="no healthy patients were held out for this prior: no p-value"),
            "No p-value: no healthy patients were held out for this prior. Run medprior calibrate detect "
            "with scans of healthy patients.",
        ),
        (
            found(None, 0, refused="no p-value: it is mirrored, and no scan of its kind", other="mirrored"),
            "No p-value: it is mirrored, and no scan of its kind.",
        ),
    ],
)
def test_the_terminal_says_what_the_page_says(case: Found, line: str) -> None:
    assert detect_summary(case).headline[0] == line
