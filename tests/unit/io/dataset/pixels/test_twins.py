"""Equal and nearly equal images are found."""

from __future__ import annotations

import numpy as np
import pytest

from medprior.data.volume import Volume
from medprior.io.dataset.pixels import twins
from medprior.io.dataset.pixels.twins import SIDE, groups, near_pairs, pixel_hash, thumbnail, unpack_thumbnail


def test_thumbnails_average_by_area_and_pairs_are_those_of_the_full_table(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ramp = Volume(np.add.outer(np.arange(40), 3 * np.arange(56))[None].astype(np.float32))
    wanted = np.add.outer(np.arange(SIDE) * 2.5, 3 * np.arange(SIDE) * 3.5).ravel()
    wanted -= wanted.mean()
    assert unpack_thumbnail(thumbnail(ramp)) @ wanted / np.linalg.norm(wanted) > 0.9999
    rng = np.random.default_rng(0)
    volumes = [Volume(rng.normal(size=(1, 20, 20)).astype(np.float32)) for _ in range(30)]
    volumes += [v.with_data(2 * v.data + 1) for v in volumes[::7]]
    thumbs = [thumbnail(v) for v in volumes]
    table_of_all = np.asarray(np.corrcoef([unpack_thumbnail(t) for t in thumbs]))
    assert near_pairs(thumbs) == [
        (a, b) for a in range(35) for b in range(a + 1, 35) if table_of_all[a, b] > 0.99
    ]
    assert len(near_pairs(thumbs)) == 5
    monkeypatch.setattr(twins, "_BLOCK", 3)  # only neighbours are compared, and the pairs are the same
    assert near_pairs(thumbs, 0.2) == [
        (a, b) for a in range(35) for b in range(a + 1, 35) if table_of_all[a, b] > 0.2
    ]
    alike = [Volume(v.data + 40 * volumes[0].data) for v in volumes]  # as radiographs are
    thumbs = [thumbnail(v) for v in alike]
    table_of_all = np.asarray(np.corrcoef([unpack_thumbnail(t) for t in thumbs]))
    wanted_pairs = [(a, b) for a in range(35) for b in range(a + 1, 35) if table_of_all[a, b] > 0.9995]
    assert near_pairs(thumbs, 0.9995) == wanted_pairs and 5 <= len(wanted_pairs) < 595
    assert len({pixel_hash(v) for v in volumes}) == 35
    assert groups(6, [(0, 3), (3, 5), (1, 2)]) == [0, 1, 1, 0, 4, 0]
