"""The fan-beam operator on a real micro-CT measurement (Helsinki Tomography Challenge 2022, the 30 degree arc
of its first object).
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from medprior.evidence.baselines.classic import ridge, total_variation
from medprior.operators import Gaussian, LineIntegrals, Measurement, fan_ct


def overlap(x: Tensor, truth: Tensor) -> float:
    return float(np.corrcoef(x.flatten(), truth.flatten())[0, 1])


def test_a_measured_sinogram_fits_the_geometry_of_its_file(real_data: Path) -> None:
    """Distances and angles from the file: the answer explains the measurement to 1 %, lies where the
    reference lies, TV is nearer to it than ridge, and a scan turned by 90 degrees is not: millimetres,
    direction of rotation and side of the detector are right."""
    file = np.load(real_data / "ct_projections_htc2022" / "val" / "htc2022_ta_limited30deg.npz")
    geometry = json.loads(str(file["geometry_json"]))
    truth = F.avg_pool2d(torch.from_numpy(file["ground_truth"]).float()[None], 8)[None]
    y = torch.from_numpy(file["sinogram"]).reshape(1, 1, 61, 140, 4).mean(-1)  # four bins in one
    clockwise = -torch.from_numpy(file["angles_deg"]).double()

    def scanner(turn: float) -> LineIntegrals:
        return fan_ct(
            (1, 64, 64),
            clockwise + turn,
            140,
            source_to_axis=geometry["distanceSourceOrigin"],
            source_to_detector=geometry["distanceSourceDetector"],
            bin_spacing=4 * geometry["pixelSizePost"],
            spacing=8 * geometry["effectivePixelSizePost"],
        )

    right = Measurement(y, scanner(0.0), Gaussian(0.01))
    found = total_variation(right, 0.1, n=150)
    turned = total_variation(Measurement(y, scanner(90.0), Gaussian(0.01)), 0.1, n=150)
    assert float((right.operator(found) - y).norm() / y.norm()) < 0.01
    assert overlap(found, truth) > 0.7
    assert overlap(found, truth) > overlap(ridge(right, 3.0, n=30, tol=1e-3), truth) + 0.05
    assert overlap(found, truth) > overlap(turned, truth) + 0.1
