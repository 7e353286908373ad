"""The time that a user gives holds for the whole command."""

from __future__ import annotations

import os
import signal
import time

import pytest

from medprior.training.budget import Budget, stop_flag


def test_learning_gets_what_reading_and_measuring_leave() -> None:
    budget = Budget(2.0, time.monotonic() - 30.0).keeping(15.0)
    assert budget.measuring == 15.0 and budget.learning == pytest.approx(75 / 60, abs=0.01)
    assert budget.left() == pytest.approx(90.0, abs=0.5) and budget.left(0.5) == pytest.approx(45.0, abs=0.5)


def test_measuring_takes_a_quarter_at_most_and_learning_gets_one_at_least() -> None:
    budget = Budget(1.0, time.monotonic() - 50.0).keeping(1000.0)
    assert budget.measuring == 15.0 and budget.learning == 0.25
    late = Budget(1.0, time.monotonic() - 90.0, 15.0)
    assert late.left() == 7.5, "what comes last is not skipped"


def test_steps_have_no_clock() -> None:
    budget = Budget.begun(None).keeping(5.0)
    assert budget.learning is None and budget.left() is None


def test_the_first_ctrl_c_sets_the_flag_and_the_second_interrupts() -> None:
    former = signal.getsignal(signal.SIGINT)
    with stop_flag() as stopped:
        assert not stopped.is_set()
        os.kill(os.getpid(), signal.SIGINT)
        assert stopped.is_set()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is former
