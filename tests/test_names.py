"""A public name stands for one thing: who searches for a function or class finds one definition."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

SOURCE = Path(__file__).resolve().parent.parent / "src" / "medprior"

MOST_SHARED = 9
DEFINES = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef

SHARED = {
    "Calibration": "the options that every calibration shares, and what a calibration of draws has measured",
    "deidentify": "the command, and the function that it calls",
    "main": "where a process starts: of the command line, and of the process that decodes images",
    "missing": "what a command line lacks, and the files that an augmented data set could not use",
    "report": "the command, and the function that it calls",
}
"""Names with more than one definition, and why they keep them."""


def definitions() -> dict[str, set[str]]:
    """The modules that define each public function or class at their top level."""
    found: dict[str, set[str]] = defaultdict(set)
    for path in sorted(SOURCE.rglob("*.py")):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, DEFINES) and not node.name.startswith("_"):
                found[node.name].add(path.relative_to(SOURCE).as_posix())
    return found


def test_few_public_names_have_more_than_one_definition() -> None:
    shared = {name: sorted(modules) for name, modules in definitions().items() if len(modules) > 1}
    assert {name: modules for name, modules in shared.items() if name not in SHARED} == {}
    assert len(shared) <= MOST_SHARED


def test_no_reason_stands_for_a_name_that_is_defined_once() -> None:
    found = definitions()
    assert [name for name in SHARED if len(found.get(name, ())) < 2] == []


def test_definitions_are_found() -> None:
    assert definitions()["read"] == {"io/read.py"}
