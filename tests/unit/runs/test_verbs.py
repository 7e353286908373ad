"""Evaluations, calibrations and reports from Python are the runs of the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

import medprior as mp
from medprior.errors import BadOption, FileProblem
from medprior.runs.verbs import VERBS


def test_every_verb_of_the_table_can_be_loaded() -> None:
    from importlib import import_module

    for _, where in VERBS.values():
        module, _, function = where.partition(":")
        assert callable(getattr(import_module(f"medprior.runs.{module}"), function))


def test_an_unknown_option_names_the_nearest(tmp_path: Path, tiny: Path) -> None:
    with pytest.raises(BadOption, match="did you mean 'alpha'"):
        mp.evaluate("detect", tmp_path, tiny, alhpa=0.1)
    with pytest.raises(BadOption, match="no such verb"):
        mp.calibrate("detekt", tmp_path, tiny)  # pyright: ignore[reportArgumentType]
    with pytest.raises((BadOption, FileProblem)):
        mp.calibrate("detect", tmp_path / "gone", tiny, progress=False)


def test_a_report_from_python_is_the_report_of_the_command_line(
    tmp_path: Path, tiny: Path, picture: Path
) -> None:
    from medprior.cli import main

    assert main(["detect", str(picture), "--prior", str(tiny), "--out", str(tmp_path / "run")]) == 0
    assert mp.report(tmp_path / "run").reused
    with pytest.raises(BadOption, match="wanted the folder of a run"):
        mp.report()
