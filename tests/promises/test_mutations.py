"""A1: no mutation of a file raises anything but a MedpriorError, crashes, hangs, or takes memory that the
file does not justify.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.corpus.mutations import Kind, judged, kinds

COUNT = 200
"""Of each kind: a tenth of what a release is measured by. MEDPRIOR_MUTATIONS=10 does all of it."""
NAMES = (
    *(f"dicom {syntax}" for syntax in ("explicit", "implicit", "big", "deflated", "jpeg-ls")),
    *("nifti", "png", "tiff", "jpeg", "nifti.gz", "npz", "hdf5 fastmri", "hdf5 ismrmrd"),
    *("card", "trust", "run", "page", "index", "index of before", "index of sqlite", "scans.csv"),
)


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Kind]:
    found = kinds(tmp_path_factory.mktemp("kinds"))
    assert tuple(found) == NAMES
    return found


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", NAMES)
def test_mutations_raise_nothing_foreign(known: dict[str, Kind], name: str, tmp_path: Path) -> None:
    count = COUNT * int(os.environ.get("MEDPRIOR_MUTATIONS", "1"))
    found = judged(known[name], name, count, tmp_path)
    assert found.foreign == []
    assert found.slowest < 10, f"one mutation took {found.slowest:.1f} s of the processor"
    assert found.mib < 512, f"{found.mib:.0f} MiB were taken"
    both = (found.count["read"], found.count["refused"])
    assert min(both) > 0.01 * count, f"the faults are neither harmless nor all fatal: {both}"
