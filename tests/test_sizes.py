"""The size of the package is a ratchet: functions, parameters, untyped records and lines only shrink."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

SOURCE = Path(__file__).resolve().parent.parent / "src" / "medprior"
FILES = sorted(SOURCE.rglob("*.py"))

LONGEST, MOST_PARAMETERS, MOST_WIDE = 60, 8, 5

MOST_LINES = 66113
"""All of src/medprior; a new feature may raise it by what it needs."""

MOST_ANY = 42
"""Annotations ``dict[str, Any]``; never raised."""

PUBLIC = {
    "io/read.py:read",
    "jobs/fitting/adapt.py:adapt",
    "jobs/fitting/fit.py:fit",
    "jobs/reconstruct.py:reconstruct",
    "jobs/synthetic/joint.py:synthesize_joint",
}
"""Fronts of the package, whose parameters are keywords of its users."""


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
    assert not {name for name, node in functions() if lines_of(node) > LONGEST}


def test_only_public_fronts_have_many_parameters() -> None:
    wide = {name for name, node in functions() if parameters_of(node) > MOST_PARAMETERS}
    assert wide <= PUBLIC and len(PUBLIC) <= MOST_WIDE


def test_records_without_a_type_become_fewer() -> None:
    assert sum(path.read_text().count("dict[str, Any]") for path in FILES) <= MOST_ANY


def test_the_package_does_not_grow() -> None:
    assert sum(len(path.read_text().splitlines()) for path in FILES) <= MOST_LINES


def test_sizes_are_measured() -> None:
    node = ast.parse("class A:\n    def f(self, a, *, b=1):\n        return a\n").body[0].body[0]  # type: ignore[attr-defined]
    assert (lines_of(node), parameters_of(node)) == (2, 2)
