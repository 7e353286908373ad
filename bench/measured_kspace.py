"""Measured 8-coil k-space, 12 % of the samples: medprior beside SigPy's l1-wavelet with ESPIRiT maps,
pictures side by side.

    pip install --no-deps --target .cache/peers sigpy numba llvmlite pywavelets
    python bench/measured_kspace.py --peers .cache/peers --picture measured-kspace.png             # measured: misfits, seconds, the picture
    python bench/measured_kspace.py --peers .cache/peers --simulated                               # the same mask and noise on a known T1 slice: PSNR

The measured slice has no fully sampled reference (mikgroup/sigpy-mri-tutorial, BSD-3-Clause): misfits are in
variances of the noise that was estimated from the outermost samples, which is an upper bound of it, and the
picture is for the eye. All methods are given the same whitened data. SigPy's weight is chosen from a grid by
the same rule as that of total variation: the largest whose misfit is not above 1 (discrepancy principle);
--weights shows the others, too. Simulated: a T1 slice of 1 mm of a val patient (brain_mri_ms_lesions_3d),
with the measured slice's own maps, phase and sampling; noise as a share of the brightness likewise; there
SigPy's weight and that of total variation are those with the best PSNR, which no user could choose. Data
folder: MEDPRIOR_DATA.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from importlib import import_module
from math import sqrt
from pathlib import Path

import numpy as np
import torch
from peers import add_peers
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

import medprior as mp
from medprior.data.acquisitions import KSpace
from medprior.data.axes import reorient
from medprior.evidence.baselines.classic import total_variation
from medprior.evidence.metrics import psnr, ssim
from medprior.io.arrays import read_kspace
from medprior.operators import ComplexGaussian, Measurement, coil_maps, mri, noise_covariance, whiten
from medprior.prior import Prior
from medprior.runs.ask.requests import Reconstruct
from medprior.runs.reconstruct.scanner_files import Acquired, acquired, fitting_total_variation

DATA = Path(os.environ.get("MEDPRIOR_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
KSPACE = DATA / "kspace_brain_sigpy" / "test" / "brain_8coil_poisson_r8.npz"
KNOWN = DATA / "brain_mri_ms_lesions_3d" / "val" / "patient07_t1.nii.gz"
WEIGHTS = (5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 4e-3)
"""Of SigPy's l1 term, as a share of the largest k-space sample."""


def white_kspace(file: KSpace) -> tuple[Tensor, Tensor, float]:
    """(k-space with white noise, mask, its standard deviation)."""
    data, mask = torch.from_numpy(file.data), torch.from_numpy(file.mask)
    covariance = noise_covariance(data, mask)
    std = sqrt(float(covariance.diagonal().real.mean()))
    return std * whiten(data, covariance) * mask, mask, std


def wavelets(file: KSpace, weights: tuple[float, ...]) -> dict[float, tuple[Tensor, float, float]]:
    """Weight -> (magnitude (1, 1, i, j), misfit, CPU seconds) of SigPy's L1WaveletRecon with its own
    EspiritCalib, 100 iterations.
    """
    app = import_module("sigpy.mri.app")
    white, mask, std = white_kspace(file)
    start = time.process_time()
    maps = app.EspiritCalib(white.numpy(), calib_width=24, show_pbar=False, crop=0.9).run()
    calibrated = time.process_time() - start
    model = Measurement(
        white[None], mri(mask, torch.from_numpy(maps), complex_image=True), ComplexGaussian(std)
    )
    found = {}
    for weight in weights:
        start = time.process_time()
        largest = float(white.abs().max())
        x = app.L1WaveletRecon(
            white.numpy(),
            maps,
            weight * largest,
            weights=mask.numpy().astype(np.float32),
            max_iter=100,
            show_pbar=False,
        ).run()
        pair = torch.from_numpy(np.stack([x.real, x.imag])).float()[None]
        found[weight] = (
            torch.from_numpy(np.abs(x)).float()[None, None],
            float(model.misfit(pair)[0]),
            calibrated + time.process_time() - start,
        )
    return found


def timed(call: Callable[[], Tensor]) -> tuple[Tensor, float]:
    """What it gives, (1, 1, i, j), and its CPU seconds."""
    start = time.process_time()
    x = call()
    return x.reshape(1, 1, *x.shape[-2:]), time.process_time() - start


def case_of(file: KSpace, prior: Prior) -> tuple[Acquired, float]:
    """What the command makes of the file, and the seconds for it."""
    start = time.process_time()
    return acquired(Reconstruct(input=KSPACE, prior="brain-t1"), prior, file), time.process_time() - start


def simulated_from(file: KSpace) -> tuple[KSpace, Tensor]:
    """(SIMULATED k-space with the measured slice's maps, phase, mask and noise; the known image (1, 1, i, j),
    bright tissue at 1).
    """
    white, mask, std = white_kspace(file)
    maps = coil_maps(white, mask, crop=0.0)
    measured = Measurement(white[None], mri(mask, maps, complex_image=True), ComplexGaussian(std))
    x = total_variation(measured, 4e-4, n=100, tol=1e-3)
    phase = torch.polar(torch.ones(x.shape[2:]), torch.atan2(x[0, 1], x[0, 0]))
    bright = float(torch.hypot(x[0, 0], x[0, 1]).quantile(0.97))
    volume = reorient(mp.read(KNOWN, modality="MR"), "PLS")
    plane = torch.from_numpy(volume.data[0, :, :, volume.data.shape[-1] // 2].copy())
    known = torch.zeros(tuple(mask.shape))
    rows, columns = ((have - want) // 2 for have, want in zip(mask.shape, plane.shape, strict=True))
    known[rows : rows + plane.shape[0], columns : columns + plane.shape[1]] = plane / plane[
        plane > plane.mean()
    ].quantile(0.99)
    clean = mri(mask, maps * phase)(bright * known[None, None])
    rng = torch.Generator().manual_seed(0)
    noise = torch.complex(torch.randn(clean.shape, generator=rng), torch.randn(clean.shape, generator=rng))
    return KSpace(((clean + std * noise) * mask)[0].numpy(), file.mask), bright * known[None, None]


def measured(prior: Prior, picture: Path | None, n: int, every: bool) -> None:
    """The table of the measured slice, and its picture."""
    file = read_kspace(KSPACE)
    peers = wavelets(file, WEIGHTS)
    case, prepared = case_of(file, prior)
    print(f"measured k-space: {'; '.join(case.sentences)}; {prepared:.1f} s for maps, phase and noise")
    print(f"{'method':44s} {'misfit':>7s} {'CPU s':>7s}", flush=True)

    def show(name: str, x: Tensor, seconds: float, misfit: float | None = None) -> Tensor:
        print(
            f"{name:44s} {float(case.measurement.misfit(x)[0]) if misfit is None else misfit:7.2f} {seconds:7.1f}",
            flush=True,
        )
        return x

    shown = {"zero-filled": show("zero-filled", case.baselines["zero-filled, coils combined"], 0)}
    fitting = max((w for w, (_, misfit, _) in peers.items() if misfit <= 1), default=min(peers))
    for weight, (x, misfit, seconds) in peers.items():
        if every or weight == fitting:
            show(f"SigPy l1-wavelet, weight {weight:g}", x, seconds, misfit)
    shown["SigPy l1-wavelet, ESPIRiT"] = peers[fitting][0]
    (x, weight), seconds = fitting_with_seconds(case)
    shown["total variation"] = show(f"total variation, weight {weight:.2g}", x, seconds)
    for fast in (True, False):
        name = "medprior brain-t1, fast" if fast else f"medprior brain-t1, mean of {n}"
        draws, seconds = timed(
            lambda fast=fast: mp.reconstruct(prior, case.measurement, scale=case.scale, fast=fast, n=n).mean()
        )
        shown[name] = show(name, draws, seconds + prepared)
        if picture is not None:
            side_by_side(shown, picture)


def fitting_with_seconds(case: Acquired) -> tuple[tuple[Tensor, float], float]:
    """Total variation by the discrepancy principle, its weight, and CPU seconds."""
    start = time.process_time()
    found = fitting_total_variation(case)
    return found, time.process_time() - start


def simulated(prior: Prior, n: int) -> None:
    """The table of the known slice."""
    file, known = simulated_from(read_kspace(KSPACE))
    head = known > 0.02 * known.max()
    top = float(known.max())

    def score(name: str, x: Tensor, seconds: float, misfit: float) -> float:
        x = x.abs() * float((x.abs() * known).sum() / x.square().sum())
        inside = 10 * np.log10(top**2 / float((x - known)[head].square().mean()))
        print(
            f"{name:44s} {float(psnr(x, known, top)):8.2f} {inside:8.2f} {float(ssim(x, known, top)):7.3f} {misfit:7.2f} {seconds:7.1f}",
            flush=True,
        )
        return inside

    print(
        f"SIMULATED from {KNOWN.name}, mask, maps, phase and noise of the measured slice; PSNR of a magnitude scaled to the truth, range 0 to its largest value"
    )
    print(
        f"{'method':44s} {'PSNR dB':>8s} {'in head':>8s} {'SSIM':>7s} {'misfit':>7s} {'CPU s':>7s}",
        flush=True,
    )
    case, prepared = case_of(file, prior)
    m = case.measurement

    def ours(name: str, x: Tensor, seconds: float) -> None:
        score(name, x, seconds, float(m.misfit(x)[0]))

    ours("zero-filled", case.baselines["zero-filled, coils combined"], 0)
    for weight, (x, misfit, seconds) in wavelets(file, (*WEIGHTS, 8e-3)).items():
        score(f"SigPy l1-wavelet, weight {weight:g}", x, seconds, misfit)
    for weight in (1e-3, 2e-3, 4e-3, 8e-3):
        ours(
            f"total variation, weight {weight:g}",
            *timed(lambda w=weight: total_variation(m, w, n=200, tol=1e-4)),
        )
    for fast in (True, False):
        x, seconds = timed(
            lambda fast=fast: mp.reconstruct(prior, m, scale=case.scale, fast=fast, n=n).mean()
        )
        ours("medprior brain-t1, fast" if fast else f"medprior brain-t1, mean of {n}", x, seconds + prepared)


def side_by_side(shown: dict[str, Tensor], path: Path) -> None:
    """Names, whole slices, and the same window of each, three times as large; one grey scale by each image's
    own 99.5th percentile.
    """
    names, tops, insets = [], [], []
    for name, x in shown.items():
        strip = Image.new("L", (270, 24))
        ImageDraw.Draw(strip).text((6, 4), name, fill=255, font=ImageFont.load_default(15))
        names.append(np.asarray(strip))
        image = x[0, 0].abs()
        grey = ((image / image.flatten().quantile(0.995)).clamp(0, 1) * 255).byte().numpy()
        tops.append(np.asarray(Image.fromarray(grey).resize((270, 345), Image.Resampling.BICUBIC)))
        insets.append(
            np.asarray(Image.fromarray(grey[60:150, 45:135]).resize((270, 270), Image.Resampling.BICUBIC))
        )
    whole = np.concatenate([np.concatenate(row, 1) for row in (names, tops, insets)])
    Image.fromarray(whole).save(path, optimize=True)
    print(f"{path}: {', '.join(shown)}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--peers", type=Path, help="folder with SigPy")
    parser.add_argument("--picture", type=Path)
    parser.add_argument("--weights", action="store_true", help="show every weight of SigPy's")
    parser.add_argument("--simulated", action="store_true")
    parser.add_argument("-n", type=int, default=8, help="draws")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    add_peers(chosen.peers)
    prior = mp.load("brain-t1")
    if chosen.simulated:
        simulated(prior, chosen.n)
    else:
        measured(prior, chosen.picture, chosen.n, chosen.weights)


if __name__ == "__main__":
    main()
