"""Arrays on disk come back to the bit, and take no memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from medprior.errors import FileProblem
from medprior.io.disk.mapped import MappedArrays


def test_arrays_come_back_from_files_of_a_bounded_size_that_have_no_name(tmp_path: Path) -> None:
    kept = MappedArrays(tmp_path / "new", most=1000)
    rng = np.random.default_rng(0)
    arrays = [rng.random(shape).astype(np.float32) for shape in ((1, 5, 7), (2, 3), (400,), (1, 1), (9, 9))]
    for n, array in enumerate(arrays):
        kept.append(array.T if n == 1 else array)
        assert (kept[n] == (array.T if n == 1 else array)).all()  # also while more are to come
    assert len(kept) == 5 and kept.files == 3  # one of its own for what is larger
    for n in (4, 0, 2, 1, 3):
        assert kept[n].dtype == np.float32 and (kept[n] == (arrays[n].T if n == 1 else arrays[n])).all()
    assert list((tmp_path / "new").iterdir()) == []


def test_a_disk_that_refuses_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(FileProblem, match="file"):
        MappedArrays(tmp_path / "file" / "images").append(np.zeros(3, np.float32))


def test_memory_does_not_grow_with_the_arrays(tmp_path: Path) -> None:
    """200 MB are written and read with less than 40 MB of memory of the process itself."""
    code = f"""
import resource, numpy as np
from pathlib import Path
from medprior.io.disk.mapped import MappedArrays
def own():
    line = next(line for line in open("/proc/self/status") if line.startswith("RssAnon"))
    return int(line.split()[1]) / 1024
before, kept = own(), MappedArrays(Path({str(tmp_path)!r}), most=2**25)
for n in range(200):
    kept.append(np.full(250_000, n, np.float32))
assert sum(float(kept[n][-1]) for n in range(200)) == 19900 and kept.files > 5
assert all(float(kept[n].sum()) == 250_000 * n for n in range(0, 200, 7))
assert own() - before < 40, own() - before
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
