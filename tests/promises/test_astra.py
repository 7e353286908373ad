"""CT against the ASTRA Toolbox, where it is installed: the same numbers from other people's projectors, on
the CPU.

ASTRA's rays: at angle a (radians) a parallel ray runs along (sin a, -cos a), the detector along (cos a, sin
a), x to the right (j), y upwards (-i).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from medprior.operators import fan_ct, parallel_ct, view_angles

astra: Any = pytest.importorskip(
    "astra", reason="the comparison needs the package astra-toolbox", exc_type=ImportError
)

N = 64
IMAGE = torch.nn.functional.avg_pool2d(
    torch.rand(1, 1, N, N, generator=torch.Generator().manual_seed(0)), 5, 1, 2
)


def projected(kind: str, geometry: dict) -> np.ndarray:
    """ASTRA's sinogram (n_angles, n_bins) of the image, pixels of 1 mm."""
    projector = astra.create_projector(kind, geometry, astra.create_vol_geom(N, N))
    _, sinogram = astra.create_sino(IMAGE[0, 0].numpy(), projector)
    return sinogram


def test_parallel_beams_are_the_same() -> None:
    """ASTRA's "linear" is Joseph's method: equal to rounding. Our angle theta is its -theta, since i runs
    downwards.
    """
    degrees = view_angles(18) + 3.0
    theirs = projected("linear", astra.create_proj_geom("parallel", 1.25, 75, -np.deg2rad(degrees.numpy())))
    ours = parallel_ct((1, N, N), degrees, 75, bin_spacing=1.25)(IMAGE)[0, 0].numpy()
    assert np.abs(ours - theirs).max() < 1e-4 * theirs.max()


def test_fan_beams_agree() -> None:
    """ASTRA's line projector weighs a pixel by the length of the ray in it, ours by interpolation: on a
    smooth image they agree to 0.2 %.
    """
    degrees = view_angles(15, arc=360.0) + 2.0
    geometry = astra.create_proj_geom("fanflat", 1.5, 101, -np.deg2rad(degrees.numpy()), 120.0, 60.0)
    theirs = projected("line_fanflat", geometry)
    ours = fan_ct((1, N, N), degrees, 101, source_to_axis=120.0, source_to_detector=180.0, bin_spacing=1.5)(
        IMAGE
    )[0, 0].numpy()
    assert np.abs(ours - theirs).mean() < 0.002 * theirs.max()
