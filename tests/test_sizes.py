"""The size of the package is a ratchet: functions, parameters, untyped records and lines only shrink."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

SOURCE = Path(__file__).resolve().parent.parent / "src" / "medprior"
FILES = sorted(SOURCE.rglob("*.py"))

LONGEST, MOST_PARAMETERS, MOST_WIDE, MOST_ANY, MOST_LINES = 60, 8, 5, 152, 45_500

PUBLIC = {
    "io/read.py:read",
    "jobs/augment.py:augment",
    "jobs/reconstruct.py:reconstruct",
    "jobs/synthetic/joint.py:synthesize_joint",
    "jobs/synthetic/synthesize.py:synthesize",
}
"""Fronts of the package, whose parameters are keywords of its users."""

STILL_WIDE = {
    "io/dataset/scan.py:add",
    "jobs/fitting/adapt.py:adapt",
    "jobs/fitting/fit.py:fit",
    "jobs/inpaint.py:paint",
    "jobs/synthetic/enlarge.py:prior_variations",
    "operators/ct/projections.py:fan_ct",
    "sampling/loops.py:plug_and_play",
}
STILL_LONG = {
    "io/dataset/scan.py:add",
    "jobs/inpaint.py:paint",
    "jobs/reconstruct.py:reconstruct",
    "jobs/synthetic/joint.py:synthesize_joint",
    "runs/reconstruct/measured.py:run_measured",
    "runs/studies/augment.py:_work",
    "runs/studies/calibrate_detect.py:_work",
    "runs/studies/calibrate_synthesize.py:_work",
    "runs/studies/detect.py:_work",
    "runs/synthesize/audit.py:_compared",
    "runs/synthesize/run.py:run_synthesize",
}
"""To be mended; no name may be added."""


def functions() -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield f"{path.relative_to(SOURCE).as_posix()}:{node.name}", node


def lines_of(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def parameters_of(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Without self and cls."""
    named = [a.arg for a in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
    return len(named) - (named[:1] in (["self"], ["cls"]))


def test_no_function_is_longer_than_a_screen() -> None:
    assert {name for name, node in functions() if lines_of(node) > LONGEST} <= STILL_LONG


def test_only_public_fronts_have_many_parameters() -> None:
    wide = {name for name, node in functions() if parameters_of(node) > MOST_PARAMETERS}
    assert wide <= PUBLIC | STILL_WIDE and len(PUBLIC) <= MOST_WIDE


def test_records_without_a_type_become_fewer() -> None:
    assert sum(path.read_text().count("dict[str, Any]") for path in FILES) <= MOST_ANY


def test_the_package_does_not_grow() -> None:
    assert sum(len(path.read_text().splitlines()) for path in FILES) <= MOST_LINES


def test_sizes_are_measured() -> None:
    node = ast.parse("class A:\n    def f(self, a, *, b=1):\n        return a\n").body[0].body[0]  # type: ignore[attr-defined]
    assert (lines_of(node), parameters_of(node)) == (2, 2)
