"""What the validation loss says of a training."""

from __future__ import annotations

import pytest

from medprior.training.early_stopping import FALLING, still_falling


@pytest.mark.parametrize(
    "losses, falling",
    [
        ([1.0, 0.8, 0.6, 0.5, 0.45, 0.40], True),
        ([1.0, 0.6, 0.41, 0.40, 0.40, 0.395], False),
        ([1.0, 0.6, 0.4, 0.5, 0.6, 0.7], False),
        ([1.0, 0.8, 0.6], None),
        ([], None),
    ],
)
def test_falling_is_what_the_last_third_shows(losses: list[float], falling: bool | None) -> None:
    assert still_falling([(100 * n, loss) for n, loss in enumerate(losses, 1)]) is falling


def test_a_fall_by_the_threshold_is_none() -> None:
    held = [(n, 1.0) for n in range(1, 6)]
    assert still_falling([*held, (9, 1.0 - FALLING)]) is False
    assert still_falling([*held, (9, 0.99 * (1.0 - FALLING))]) is True
