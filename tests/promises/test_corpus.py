"""Promises A1 to A5, A7, A8, A12, B4: every row of the corpus does what it says, and raises nothing but
MedpriorError.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import medprior
from medprior.data.volume import Volume
from medprior.errors import MedpriorError
from medprior.io.read import read
from tests.corpus import Case, dicom, other

GENERATORS: dict[str, Callable[[Path], list[Case]]] = {"dicom": dicom.cases, "other": other.cases}
AT_THE_DOOR = {
    "empty-file": "refuses:Corrupt:is empty",
    "text": "refuses:Unsupported:of no kind that is known here",
    "pipe": "refuses:FileProblem:not opened",
}
"""DICOM rows that never reach the DICOM reader: the door for all formats refuses them first, in its own
words.
"""


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Case]]:
    found = {name: generate(tmp_path_factory.mktemp(name)) for name, generate in GENERATORS.items()}
    found["dicom"] = [
        replace(case, expect=AT_THE_DOOR.get(case.name, case.expect)) for case in found["dicom"]
    ]
    return found


def outcome(case: Case) -> Volume | MedpriorError:
    try:
        return read(case.path)
    except MedpriorError as error:
        return error


def fault(case: Case, results: dict[str, Volume | MedpriorError]) -> str:
    """What a row did other than it says, or ""."""
    got = results[case.name]
    kind, _, rest = case.expect.partition(":")
    if kind == "refuses":
        name, _, part = rest.partition(":")
        as_said = isinstance(got, MedpriorError) and type(got).__name__ == name and part in str(got)
    elif kind == "equal":
        as_said = same(got, results[rest])
    else:
        as_said = kind == "reads" and isinstance(got, Volume) and bool(np.isfinite(got.data).all())
    return (
        ""
        if as_said
        else f"{case.name}: wanted {case.expect}, got {type(got).__name__} "
        f"{got if isinstance(got, MedpriorError) else got.provenance}"
    )


def same(one: Volume | MedpriorError, other: Volume | MedpriorError) -> bool:
    """Equal voxels, unit and place (within 0.01 mm over the grid)."""
    if isinstance(one, MedpriorError) or isinstance(other, MedpriorError):
        return False
    if (
        one.data.shape != other.data.shape
        or not np.array_equal(one.data, other.data)
        or one.unit != other.unit
    ):
        return False
    if one.affine is None or other.affine is None:
        return one.affine is other.affine
    reach = np.append(np.array((*one.shape, 1)[:3]), 1)
    return bool((np.abs(one.affine - other.affine)[:3] * reach < 0.01).all())


@pytest.mark.parametrize("family", sorted(GENERATORS))
def test_every_row_does_what_it_says(corpus: dict[str, list[Case]], family: str) -> None:
    rows = corpus[family]
    assert len({case.name for case in rows}) == len(rows)
    results = {case.name: outcome(case) for case in rows}
    assert [line for case in rows if (line := fault(case, results))] == []


def test_there_are_enough_rows(corpus: dict[str, list[Case]]) -> None:
    assert sum(map(len, corpus.values())) >= 150


def test_a_row_that_lies_is_found(corpus: dict[str, list[Case]]) -> None:
    """The judge itself can fail: rows with the expectation of another kind are reported."""
    good, bad = (
        next(case for case in corpus["other"] if case.expect.startswith(start))
        for start in ("reads", "refuses")
    )
    results = {case.name: outcome(case) for case in (good, bad)}
    assert fault(Case(good.name, good.path, "refuses:Corrupt:"), results)
    assert fault(Case(good.name, good.path, f"equal:{bad.name}"), results)
    assert fault(Case(bad.name, bad.path, "reads"), results)
    assert fault(Case(bad.name, bad.path, "refuses:MedpriorError:"), results)


MEASURE = """
import json, resource, sys, time
import medprior.io.nifti.nifti, medprior.io.pictures, medprior.io.arrays, medprior.io.dicom.read.series
from medprior.errors import MedpriorError
from medprior.io.read import read
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
before, slow = peak(), []
for line in sys.stdin:
    start = time.process_time()
    try:
        read(json.loads(line))
    except MedpriorError:
        pass
    slow += [json.loads(line)] if time.process_time() - start > 2 else []
print(json.dumps([slow, (peak() - before) // 1024]))
"""


def test_no_row_takes_long_or_much_memory(corpus: dict[str, list[Case]]) -> None:
    """A2: each row within 2 s, and all of them together never 256 MiB above what the imports take; measured
    in a process of its own.
    """
    paths = "\n".join(json.dumps(str(case.path)) for rows in corpus.values() for case in rows)
    environment = {**os.environ, "PYTHONPATH": str(Path(medprior.__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-c", MEASURE],
        input=paths,
        capture_output=True,
        text=True,
        env=environment,
        check=True,
    )
    slow, grown = json.loads(done.stdout)
    assert slow == []
    assert grown <= 256


def test_nothing_is_written_outside_by_an_archive(corpus: dict[str, list[Case]]) -> None:
    """B4: after all the rows, no file called evil lies beside or above the corpus, or in the folder for
    temporary files.
    """
    rows = [case for case in corpus["other"] if case.name.startswith("zip")]
    for case in rows:
        outcome(case)
    home = rows[0].path.parent
    assert [
        p
        for place in (home, home.parent, home.parent.parent, Path(tempfile.gettempdir()))
        for p in place.glob("*evil*")
    ] == []
