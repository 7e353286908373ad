"""What goes wrong in a scanner: motion, ghosts and spikes of k-space, photons that are missing, speckle.

Written in a few lines each on torch.fft and scikit-image. TorchIO (1.2) and MONAI (1.6) have some of them,
but none that leaves the anatomy where its mask is while the patient moves, and neither dose nor speckle.
Simulated for training; not for diagnosis.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from .frame import Parameters
from .geometry import mapping, resample_image
from .intensity import AIR, ImageStatistics, _blurred, white_noise

__all__ = ["dose", "ghost", "motion", "speckle", "spike"]

WATER_PER_MM = 0.0192
"""Linear attenuation of water at about 70 keV, 1/mm (NIST XCOM)."""

FINEST_RAYS = 128
"""The expected counts of a ray are smooth: they are taken from an image of at most this side; the noise
itself is reconstructed on the full grid.
"""


def _dark(x: Tensor) -> Tensor:
    return x.amin(tuple(range(1, x.ndim)), keepdim=True)


def _shown(k: Tensor, dark: Tensor, axes: tuple[int, ...]) -> Tensor:
    return torch.fft.ifftn(k, dim=axes).abs() + dark


def motion(x: Tensor, p: Parameters, at: ImageStatistics) -> Tensor:
    """The patient lay otherwise while some lines of k-space were read: each segment comes from a moved image
    (Shaw et al., MIDL 2019).

    parameters: axis (phase encoding), segments of {from, to: shares of the lines counted from the lowest
    frequency; degrees; share: shift}. The middle of k-space is never in a segment, so that the anatomy stays
    where its mask says.
    """
    axes, dark = tuple(range(1, x.ndim)), _dark(x)
    axis = p["axis"] + 1
    k = torch.fft.fftn(x - dark, dim=axes)
    order = torch.fft.fftfreq(x.shape[axis]).to(x.device)  # -0.5 .. 0.5
    for segment in p["segments"]:
        steps = [
            {"name": "rotate", "degrees": segment["degrees"]},
            {"name": "shift", "share": segment["share"]},
        ]
        moved = mapping(steps, at.frame)
        other = torch.fft.fftn(
            resample_image(x - dark, moved, outside=torch.zeros_like(dark)) if moved else x - dark, dim=axes
        )
        lines = (2 * order >= segment["from"]) & (2 * order < segment["to"])
        k = torch.where(lines.view([-1 if a == axis else 1 for a in range(x.ndim)]), other, k)
    return _shown(k, dark, axes)


def ghost(x: Tensor, p: Parameters, at: ImageStatistics) -> Tensor:
    """Periodic motion: every ``every``-th line along ``axis`` is weaker by ``share``, which sets ghosts
    beside the image; the 4 % in the middle are spared.
    """
    axes, dark = tuple(range(1, x.ndim)), _dark(x)
    axis, n = p["axis"] + 1, x.shape[p["axis"] + 1]
    line = torch.arange(n)
    weak = (line % p["every"] == 0) & ((torch.fft.fftfreq(n)).abs() > 0.02)
    weights = (
        torch.where(weak, 1 - p["share"], 1.0).to(x).view([-1 if a == axis else 1 for a in range(x.ndim)])
    )
    return _shown(torch.fft.fftn(x - dark, dim=axes) * weights, dark, axes)


def spike(x: Tensor, p: Parameters, at: ImageStatistics) -> Tensor:
    """Single samples of k-space with ``share`` of the largest magnitude added: stripes across the image. at:
    shares of each side, from the lowest frequency.
    """
    axes, dark = tuple(range(1, x.ndim)), _dark(x)
    k = torch.fft.fftn(x - dark, dim=axes)
    height = p["share"] * k.abs().amax(axes, keepdim=True)
    for place in p["places"]:
        where = tuple(int(share * n) % n for share, n in zip(place, x.shape[1:], strict=True))
        k[(slice(None), *where)] += height.flatten()
    return _shown(k, dark, axes)


def dose(x: Tensor, p: Parameters, at: ImageStatistics) -> Tensor:
    """The same scan with a share of its photons: Poisson's missing certainty, added to each line integral and
    reconstructed (filtered back-projection).

    Only the noise is reconstructed and added, so that tissue keeps its Hounsfield values. A ray of p line
    integrals has variance exp(p) / photons; a fraction of the dose adds 1 / fraction - 1 times that (Yu et
    al., J. Comput. Assist. Tomogr. 36(4), 2012; no bowtie, no electronic noise, parallel rays). Slice by
    slice along the axis that the slices are stacked on. Source of projector and reconstruction: scikit-image
    ``radon`` and ``iradon``.
    """
    rng = np.random.default_rng(p["seed"])
    through = at.frame.axis("head-foot") if at.frame.ndim == 3 else None
    through = at.frame.ndim - 1 if through is None else through
    planes = x.unsqueeze(-1) if at.frame.ndim == 2 else x.movedim(through + 1, -1)
    in_plane = [s for a, s in enumerate(at.frame.spacing) if at.frame.ndim == 2 or a != through]
    changed = planes.clone()
    for channel in range(planes.shape[0]):
        for k in range(planes.shape[-1]):
            slab = planes[channel, :, :, k].double().cpu().numpy()
            changed[channel, :, :, k] += torch.from_numpy(_photon_noise(slab, p, in_plane, rng)).to(x)
    return changed[..., 0] if at.frame.ndim == 2 else changed.movedim(-1, through + 1)


def _photon_noise(
    slab: np.ndarray, p: Parameters, spacing: list[float], rng: np.random.Generator
) -> np.ndarray:
    """(i, j) HU -> (i, j) HU of noise."""
    from skimage.transform import iradon, radon, resize

    side, mm = max(slab.shape), float(np.sqrt(spacing[0] * spacing[1]))
    square = np.full((side, side), AIR)
    corner = [(side - n) // 2 for n in slab.shape]
    square[corner[0] : corner[0] + slab.shape[0], corner[1] : corner[1] + slab.shape[1]] = slab
    small = min(side, FINEST_RAYS)
    attenuation = WATER_PER_MM * np.maximum(
        1 + np.asarray(resize(square, (small, small), order=1, anti_aliasing=True)) / 1000, 0
    )
    angles = np.linspace(0, 180, p["views"], endpoint=False)
    integrals = radon(attenuation, angles, circle=False) * mm * side / small
    bins = int(np.ceil(np.sqrt(2) * side))
    integrals = np.asarray(resize(integrals, (bins, len(angles)), order=1))
    variance = np.exp(np.minimum(integrals, 12.0)) / p["photons"] * (1 / p["fraction"] - 1)
    image = (
        iradon(
            rng.standard_normal(variance.shape) * np.sqrt(variance),
            angles,
            filter_name="hann",
            circle=False,
            output_size=side,
        )
        / mm
    )
    return (
        image[corner[0] : corner[0] + slab.shape[0], corner[1] : corner[1] + slab.shape[1]]
        / WATER_PER_MM
        * 1000
    )


def speckle(x: Tensor, p: Parameters, at: ImageStatistics) -> Tensor:
    """Another speckle pattern over a log-compressed image, where multiplying becomes adding (Dutt and
    Greenleaf, IEEE Trans. Med. Imaging 15(6), 1996).

    The envelope of complex Gaussian noise, blurred by the resolution cell (grain, along the beam and across),
    is Rayleigh distributed (Wagner et al. 1983). Its logarithm, with mean 0 and variance 1, is added with
    ``share`` of the range. What shows no echo (at or below low) stays dark.
    """
    real, imaginary = white_noise(torch.stack([x, x]), p["seed"])
    for axis, grain in enumerate(p["grain"]):
        real, imaginary = _blurred(real, axis + 1, grain), _blurred(imaginary, axis + 1, grain)
    log = torch.hypot(real, imaginary).clamp_min(1e-12).log()
    flat = tuple(range(1, x.ndim))
    log = (log - log.mean(flat, keepdim=True)) / log.std(flat, keepdim=True).clamp_min(1e-6)
    return torch.where(x > at.low, torch.addcmul(x, log, p["share"] * at.span).maximum(at.low), x)
