"""Promises A1 and A3: no flipped bit passes in silence where a format has a checksum, and no mutation raises
anything but MedpriorError.
"""

from __future__ import annotations

import random
import time
from pathlib import Path

import numpy as np
import pytest

from medprior.errors import MedpriorError
from medprior.io.arrays import read_kspace
from medprior.io.read import read
from tests.corpus import other

MUTATIONS = 12_000


@pytest.mark.parametrize("name", ["b.nii.gz", "d.png", "k.zip", "j.npz"])
def test_a_flipped_bit_is_refused_or_harmless(name: str, tmp_path: Path) -> None:
    """100 single-bit flips each: refused, or the voxels are the same."""
    content = other.seeds()[name]
    path = tmp_path / name
    path.write_bytes(content)
    good = read(path).data
    places = random.Random(name)
    wrong = 0
    refused = 0
    for at in places.sample(range(8 * len(content)), 100):
        path.write_bytes(other.bytes_changed(content, at // 8, bytes([content[at // 8] ^ 1 << at % 8])))
        try:
            wrong += not np.array_equal(read(path).data, good)
        except MedpriorError:
            refused += 1
    assert wrong == 0
    assert refused > 50


def mutated(content: bytes, draw: random.Random) -> bytes:
    """One to four changes: a bit, a byte, a run of equal bytes, a cut, a repeated or missing piece; headers
    are hit more often than bodies.
    """
    for _ in range(draw.randint(1, 4)):
        at = int(len(content) * draw.random() ** 2)
        kind = draw.randrange(6)
        if kind == 0:
            content = (
                content[:at] + bytes([content[at] ^ 1 << draw.randrange(8)]) + content[at + 1 :]
                if at < len(content)
                else content
            )
        elif kind == 1:
            content = content[:at] + bytes([draw.randrange(256)]) + content[at + 1 :]
        elif kind == 2:
            n = draw.randint(1, 8)
            content = content[:at] + draw.choice([b"\0", b"\xff", b"\x7f", b"\x80"]) * n + content[at + n :]
        elif kind == 3:
            content = content[:at] if draw.random() < 0.3 else content
        elif kind == 4:
            content = content[:at] + content[max(0, at - 16) : at] + content[at:]
        else:
            content = content[:at] + content[at + draw.randint(1, 16) :]
    return content


def test_mutations_raise_nothing_but_medprior_errors(tmp_path: Path) -> None:
    """A1: seeded mutations of small NIfTI, PNG, TIFF, JPEG, NPZ, zip and HDF5 files; what still reads is
    finite and has a proper place.
    """
    seeds = other.seeds()
    draw = random.Random(2026)
    read_well = refused = 0
    slowest = 0.0
    for name, content in seeds.items():
        path = tmp_path / name
        for _ in range(MUTATIONS // len(seeds)):
            path.unlink(
                missing_ok=True
            )  # a file that is cut to nothing and filled again is flushed by some disks, a new one is not
            path.write_bytes(mutated(content, draw))
            start = time.process_time()
            try:
                if name.endswith(".h5"):
                    assert np.isfinite(read_kspace(path).data).all()
                else:
                    volume = read(path, index=0) if name == "i.npz" else read(path)
                    assert np.isfinite(volume.data).all()
                    assert volume.affine is None or np.isfinite(volume.affine).all()
                read_well += 1
            except MedpriorError as error:
                assert str(error)
                refused += 1
            slowest = max(slowest, time.process_time() - start)
    assert read_well + refused == len(seeds) * (MUTATIONS // len(seeds)) >= 12_000
    assert min(read_well, refused) > 1000, "both ways are walked"
    assert slowest < 5
