"""What a person or a log file sees of a run."""

from __future__ import annotations

import pytest

from medprior.runs.core import progress
from medprior.runs.core.progress import Event, progress_bar, show_progress


def test_a_log_file_gets_a_line_now_and_then(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a terminal: the stage, then a line of progress every 30 seconds and no more."""
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    with show_progress() as listen:
        listen(Event("stage", "learning", 0, 100))
        for step in range(1, 71):
            now[0] = float(step)
            listen(Event("step", f"learning: step {step}, 9 s left", step, 100))
        listen(Event("stage", "reading"))
        now[0] = 101.0
        listen(Event("step", done=3, total=7))
    said = capsys.readouterr().err.splitlines()
    assert said == [
        "learning",
        "learning: step 30, 9 s left",
        "learning: step 60, 9 s left",
        "reading",
        "reading: 3 of 7",
    ]


def test_a_job_in_python_can_have_the_same_bar(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    with progress_bar("drawing") as step:
        now[0] = 31.0
        step(2, 5)
    assert capsys.readouterr().err.splitlines() == ["drawing", "drawing: 2 of 5"]
