"""A synthetic image lies beside the scan of a set that is most alike."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medprior.data.volume import Volume
from medprior.errors import MedpriorError
from medprior.io.write import write
from medprior.web.rooms.nearest import NearestRoom

from ...runs.conftest import scene


def test_the_nearest_scan_of_a_set_is_found_whatever_its_brightness(tmp_path: Path) -> None:
    for k in range(5):
        write(Volume(scene(k)), tmp_path / f"set/p{k}/1.png", kind="converted")
    found = NearestRoom().nearest(Volume(np.asarray(0.3 * scene(3) + 0.1, np.float32)), tmp_path / "set")
    assert found.name == "p3/1.png" and found.alike == pytest.approx(1, abs=1e-3)
    assert Image.open(BytesIO(found.png)).width <= 320


def test_a_set_without_scans_is_refused(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    with pytest.raises(MedpriorError):
        NearestRoom().nearest(Volume(scene(0)), tmp_path / "set")
