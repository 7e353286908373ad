"""One small example of every operator. The laws run on each entry: a new operator is tested because it stands
here.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .ct.cone import cone_ct
from .ct.projections import fan_ct, parallel_ct, view_angles
from .mri.fourier import as_complex, coils, fourier, mri, pair
from .mri.nonuniform import nonuniform_mri, radial, spiral
from .mri.sampling_masks import cartesian_lines, partial_fourier, poisson_disc
from .operator import Operator, identity, stack
from .pixels import channels, crop, diagonal, mask
from .resample import blur, downsample, thick_slices, truncate
from .slices import neighbours, per_slice

__all__ = ["CATALOGUE"]


def _rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _keep(*size: int) -> Tensor:
    return torch.rand(size, generator=_rng()) < 0.4


def _maps(n_coils: int, *size: int) -> Tensor:
    return torch.view_as_complex(torch.randn(n_coils, *size, 2, generator=_rng(1)))


CATALOGUE: dict[str, Callable[[], Operator]] = {
    "identity": lambda: identity((2, 5, 6)),
    "mask": lambda: mask((2, 5, 6), _keep(5, 6)),
    "mask-3d": lambda: mask((1, 4, 5, 6), _keep(4, 5, 6)),
    "diagonal": lambda: diagonal((2, 5, 6), torch.randn(2, 1, 6, generator=_rng())),
    "diagonal-complex": lambda: diagonal((1, 5, 6), _maps(1, 5, 6), domain_is_complex=True),
    "crop": lambda: crop((2, 7, 6), (1, 2), (4, 3)),
    "channels": lambda: channels((4, 5, 6), (3, 1)),
    "channels-3d": lambda: channels((3, 4, 5, 6), (2,)),
    "known-channel-of-tied-slices": lambda: stack(
        channels((3, 4, 5, 6), (2,)), neighbours((2, 4, 5, 6), axis=3) @ channels((3, 4, 5, 6), (0, 1))
    ),
    "downsample": lambda: downsample((2, 6, 8), 2),
    "downsample-3d": lambda: downsample((1, 4, 6, 6), (1, 2, 3)),
    "thick-slices": lambda: thick_slices((1, 4, 5, 12), axis=3, step=4, thickness=5.0),
    "thick-slices-box": lambda: thick_slices((1, 12, 5), axis=1, step=3, thickness=3.0, profile="box"),
    "thick-slices-measured": lambda: thick_slices(
        (1, 4, 12), 2, 4, thickness=6.0, profile=torch.tensor([0.0, 0.4, 1.0, 0.9, 0.2]), spacing=1.5
    ),
    "truncate": lambda: truncate((2, 8, 9), (4, 5)),
    "truncate-3d": lambda: truncate((1, 6, 7, 4), (3, 4, 4)),
    "blur": lambda: blur((2, 7, 8), 2.5, spacing=(1.0, 0.5)),
    "as-complex": lambda: as_complex((2, 5, 6)),
    "pair": lambda: pair((2, 5, 6)),
    "fourier": lambda: fourier((2, 5, 6)),
    "fourier-3d": lambda: fourier((1, 4, 5, 6)),
    "fourier-complex": lambda: fourier((1, 5, 6), complex_image=True),
    "coils": lambda: coils(_maps(3, 5, 6)),
    "mri": lambda: mri(cartesian_lines((12, 10), 2, _rng())),
    "mri-coils": lambda: mri(
        partial_fourier(cartesian_lines((12, 10), 2, _rng(), pattern="equispaced"), 0.75), _maps(3, 12, 10)
    ),
    "mri-complex": lambda: mri(
        poisson_disc((16, 14), 2, _rng(), centre=4), _maps(2, 16, 14), complex_image=True
    ),
    "mri-3d": lambda: mri(cartesian_lines((4, 6, 8), 2, _rng(), axis=1), _maps(2, 4, 6, 8)),
    "mri-radial": lambda: nonuniform_mri(radial(5, 12), (8, 9), _maps(2, 8, 9)),
    "mri-spiral-complex": lambda: nonuniform_mri(spiral(3, 20, 2.0), (7, 8), complex_image=True),
    "mri-nonuniform-3d": lambda: nonuniform_mri(torch.rand(30, 3, generator=_rng()) - 0.5, (4, 5, 6)),
    "parallel-ct": lambda: parallel_ct((1, 10, 12), view_angles(9), 17, spacing=(0.8, 1.1)),
    "parallel-ct-3d": lambda: parallel_ct((2, 8, 8, 3), view_angles(7), 11, spacing=2.0, bin_spacing=1.5),
    "fan-ct": lambda: fan_ct(
        (1, 10, 10),
        view_angles(8, arc=360.0),
        19,
        source_to_axis=30.0,
        source_to_detector=60.0,
        bin_spacing=1.5,
    ),
    "fan-ct-curved-offset": lambda: fan_ct(
        (1, 9, 10),
        [3.0, 40.0, 77.0],
        15,
        source_to_axis=30.0,
        source_to_detector=50.0,
        bin_spacing=1.5,
        detector_offset=2.2,
        curved=True,
    ),
    "cone-ct": lambda: cone_ct(
        (1, 8, 7, 5),
        view_angles(5, arc=360.0),
        (11, 9),
        source_to_axis=20.0,
        source_to_detector=35.0,
        bin_spacing=(1.6, 1.3),
    ),
    "cone-ct-anisotropic": lambda: cone_ct(
        (2, 6, 8, 4),
        [10.0, 80.0],
        (9, 7),
        source_to_axis=25.0,
        source_to_detector=40.0,
        bin_spacing=2.0,
        spacing=(1.2, 0.9, 2.0),
        detector_offset=(1.0, -3.0),
    ),
    "neighbours": lambda: neighbours((2, 5, 6), axis=1),
    "neighbours-3d": lambda: neighbours((1, 4, 5, 6), axis=3),
    "per-slice": lambda: per_slice(downsample((2, 4, 6), 2), 3),
    "per-slice-mri": lambda: (
        mask((1, 6, 8, 3), _keep(6, 8, 3), is_complex=True) @ per_slice(fourier((1, 6, 8)), 3)
    ),
    "per-slice-observed": lambda: per_slice(mri(cartesian_lines((6, 8), 2, _rng()), _maps(2, 6, 8)), 3),
    "composed": lambda: (
        downsample((1, 3, 2), 1) @ crop((1, 6, 4), (1, 1), (3, 2)) @ downsample((1, 12, 8), 2)
    ),
    "sum": lambda: blur((1, 6, 6), 1.5) + 2.0 * identity((1, 6, 6)),
    "scaled": lambda: -0.5 * downsample((1, 6, 6), 3),
    "adjoint": lambda: downsample((1, 6, 6), 3).H,
    "adjoint-complex": lambda: mri(cartesian_lines((6, 8), 2, _rng()), _maps(2, 6, 8)).H,
    "gram": lambda: blur((1, 6, 6), 2.0).gram,
    "stack-real": lambda: stack(channels((2, 6, 6), (0,)), downsample((2, 6, 6), 2)),
    "stack-complex": lambda: stack(mri(_keep(6, 8)), fourier((1, 6, 8))),
    "stack-mixed": lambda: stack(mri(_keep(6, 8)), mask((1, 6, 8), _keep(6, 8)), identity((1, 6, 8))),
}
