"""A1: no mutation of a file raises anything but a MedpriorError, hangs, or takes memory that the file does
not justify.
"""

from __future__ import annotations

import os
import random
import resource
import time
from pathlib import Path

import numpy as np
import pytest

from medprior.errors import MedpriorError
from medprior.io.dicom.read.series import read_dicom
from tests.corpus.dicom import seeds

N_MUTATIONS = 8000
"""Of the 20 000 of one CI run; MEDPRIOR_MUTATIONS multiplies them for a night."""


def mutated(data: bytes, rng: random.Random) -> bytes:
    """One to four faults: flipped bits, overwritten lengths, cuts, repeats, bytes put in or taken out. Three
    of four hit the header.
    """
    changed = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        if len(changed) < 2:
            break
        inside = len(changed) > 400 and rng.random() < 0.75
        at = rng.randrange(132, len(changed) - 200) if inside else rng.randrange(len(changed))
        match rng.randrange(7):
            case 0:
                changed[at] ^= 1 << rng.randrange(8)
            case 1:
                changed[at] = rng.randrange(256)
            case 2:
                changed[at : at + 2] = rng.choice((b"\xff\xff", b"\0\0", b"\x01\0", b"\xfe\xff"))
            case 3:
                changed[at : at + 4] = rng.choice(
                    (b"\xff\xff\xff\xff", b"\0\0\0\x80", b"\xff\xff\xff\x7f", b"\xfe\xff\xdd\xe0")
                )
            case 4:
                del changed[at:]
            case 5:
                changed[at:at] = changed[at : at + rng.randrange(64)]
            case _:
                del changed[at : at + rng.randrange(16)]
    return bytes(changed)


@pytest.mark.timeout(600)
def test_mutations_raise_nothing_foreign(tmp_path: Path) -> None:
    originals = [path.read_bytes() for path in seeds(tmp_path / "seeds")]
    n = N_MUTATIONS * int(os.environ.get("MEDPRIOR_MUTATIONS", "1"))
    rng = random.Random(20261122)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    n_read, slowest = 0, 0.0
    for round_ in range(n):
        place = (
            tmp_path / f"{round_}.dcm"
        )  # a new name each time: some file systems flush to disk when a file is overwritten
        place.write_bytes(mutated(originals[round_ % len(originals)], rng))
        start = time.process_time()
        try:
            volume = read_dicom(place)
        except MedpriorError:
            pass
        else:
            n_read += 1
            assert volume.affine is None or np.isfinite(volume.affine).all()
        place.unlink()
        slowest = max(slowest, time.process_time() - start)
    assert slowest < 5, f"one mutation took {slowest:.1f} s"
    taken = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert taken < 512, f"{taken:.0f} MiB were taken"
    assert 0.05 < n_read / n < 0.95, "the faults are neither harmless nor all fatal: both ways are walked"
