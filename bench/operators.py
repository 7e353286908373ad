"""CPU time of the forward and adjoint operators on one thread: medians of repeated calls, milliseconds an
image.

    python bench/operators.py [--batch 16] [--repeats 15]
    python bench/operators.py --kspace brain_8coil_poisson_r8.npz    # coil maps beside those of SigPy, which must be installed

CPU time and not wall time, because other work on the machine stretches the latter. In the same run:
scikit-image's radon and iradon (without its filter), and, where they are installed, ASTRA's CPU projectors
(astra-toolbox) and finufft used by itself.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from importlib import import_module
from statistics import median

import numpy as np
import torch
from skimage.transform import iradon, radon

from medprior.io.arrays import read_kspace
from medprior.operators import (
    Operator,
    blur,
    cartesian_lines,
    coil_maps,
    cone_ct,
    downsample,
    fan_ct,
    mri,
    nonuniform_mri,
    parallel_ct,
    radial,
    simulated_coils,
    thick_slices,
    view_angles,
)


def milliseconds(call: Callable[[], object], repeats: int) -> float:
    """Median over ``repeats`` calls, after one that is not counted."""
    call()
    times = []
    for _ in range(repeats):
        start = time.process_time()
        call()
        times.append(time.process_time() - start)
    return 1e3 * median(times)


def row(name: str, operator: Operator, batch: int, repeats: int) -> str:
    """One line: forward and adjoint for a batch, a single image, and | <A x, y> - <x, A^H y> | / (|A x| |y|)
    for random x and y in float32.
    """
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(batch, *operator.domain, generator=rng)
    y = operator(x)
    other = torch.randn(*y.shape, 2, generator=rng) if y.is_complex() else torch.randn(y.shape, generator=rng)
    other = torch.view_as_complex(other) if y.is_complex() else other
    forward, back = (
        milliseconds(call, repeats) / batch for call in (lambda: operator(x), lambda: operator.adjoint(y))
    )
    alone, alone_back = (
        milliseconds(call, repeats) for call in (lambda: operator(x[:1]), lambda: operator.adjoint(y[:1]))
    )
    left = float((y.to(torch.complex128).conj() * other).real.sum())
    right = float((x.double() * operator.adjoint(other).double()).sum())
    apart = abs(left - right) / float(torch.linalg.vector_norm(y) * torch.linalg.vector_norm(other))
    return f"{name:34s} {forward:8.2f} {back:8.2f}   {alone:8.2f} {alone_back:8.2f}   {apart:9.1e}"


def peers_of_ct(image: np.ndarray, n_views: int, repeats: int) -> list[str]:
    """scikit-image, and ASTRA's CPU projectors where they can be imported: milliseconds of one 256 x 256
    image, forward and adjoint.
    """
    angles = np.arange(n_views) * 180.0 / n_views
    sinogram = radon(image, angles, circle=True)
    forward = milliseconds(lambda: radon(image, angles, circle=True), 3)
    back = milliseconds(lambda: iradon(sinogram, angles, circle=True, filter_name=None), 3)  # pyright: ignore[reportArgumentType]  # None is its documented way to leave the filter out
    lines = [f"{'scikit-image radon, iradon':34s} {'':8s} {'':8s}   {forward:8.2f} {back:8.2f}"]
    try:
        astra = import_module("astra")
    except ImportError as missing:
        return [*lines, f"ASTRA is not there ({missing})"]
    for kind in ("linear", "line"):
        beam = astra.create_proj_geom("parallel", 1.0, image.shape[1], np.deg2rad(angles))
        projector = astra.create_projector(kind, beam, astra.create_vol_geom(*image.shape))
        A = astra.OpTomo(projector)
        x = image.ravel().astype(np.float32)
        y = A * x
        forward, back = (
            milliseconds(lambda A=A, x=x: A * x, repeats),
            milliseconds(lambda A=A, y=y: A.T * y, repeats),
        )
        name = f"ASTRA {kind}, CPU"
        lines.append(f"{name:34s} {'':8s} {'':8s}   {forward:8.2f} {back:8.2f}")
    return lines


def rows_of_nufft(maps: torch.Tensor, repeats: int) -> list[str]:
    """8 coils, 320 x 320, 100 spokes of 640 samples: ours, and finufft by itself with plans that are kept
    (what the fastest peer does).
    """
    try:
        finufft = import_module("finufft")
    except ImportError:
        return ["non-Cartesian MRI: finufft is not there"]
    trajectory, lines = radial(100, 640), []
    points = (2 * np.pi * trajectory.reshape(-1, 2).numpy()).astype(np.float32)
    n_coils, *size = maps.shape
    for precision in (1e-3, 1e-4):
        name = f"MRI, 8 coils, 100 spokes, {precision:g}"
        lines.append(
            row(name, nonuniform_mri(trajectory, tuple(size), maps, precision=precision), 1, repeats)
        )
        plans = [
            finufft.Plan(kind, tuple(size), n_coils, precision, sign, "complex64", nthreads=1)
            for kind, sign in ((2, -1), (1, 1))
        ]
        for plan in plans:
            plan.setpts(np.ascontiguousarray(points[:, 0]), np.ascontiguousarray(points[:, 1]))
        x = np.ascontiguousarray(maps.numpy())
        y = plans[0].execute(x)
        forward, back = (
            milliseconds(lambda p=plans, x=x: p[0].execute(x), repeats),
            milliseconds(lambda p=plans, y=y: p[1].execute(y), repeats),
        )
        lines.append(f"{'  finufft alone, no maps, no sum':34s} {'':8s} {'':8s}   {forward:8.2f} {back:8.2f}")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument(
        "--kspace", default="", help="measured k-space: compare coil maps with SigPy's ESPIRiT instead"
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.kspace:
        print(maps_beside_sigpy(options.kspace))
        return
    rng = torch.Generator().manual_seed(0)
    maps = simulated_coils(8, (320, 320), rng)
    start = time.process_time()
    ct = parallel_ct((1, 256, 256), view_angles(180), 256)
    built = time.process_time() - start
    print(
        f"torch {torch.__version__}, 1 thread, CPU time, median of {options.repeats}, ms an image (batch of {options.batch}; alone)\n"
    )
    print(f"{'operator':34s} {'forward':>8s} {'adjoint':>8s}   {'alone':>8s} {'adjoint':>8s}   adjointness")
    print(row("CT 256x256, 180 views, 256 bins", ct, options.batch, options.repeats))
    print(
        row(
            "CT 256x256, 60 views, 256 bins",
            parallel_ct((1, 256, 256), view_angles(60), 256),
            options.batch,
            options.repeats,
        )
    )
    fan = fan_ct(
        (1, 256, 256),
        view_angles(180, arc=360.0),
        368,
        source_to_axis=500.0,
        source_to_detector=1000.0,
        bin_spacing=2.0,
    )
    print(row("fan CT 256x256, 180 views, 368 bins", fan, options.batch, options.repeats))
    cone = cone_ct(
        (1, 64, 64, 64),
        view_angles(30, arc=360.0),
        (96, 96),
        source_to_axis=300.0,
        source_to_detector=600.0,
        bin_spacing=2.0,
    )
    print(row("cone CT 64x64x64, 30 views of 96x96", cone, 1, 3))
    print(row("MRI 320x320, 8 coils, 4x", mri(cartesian_lines((320, 320), 4, rng), maps), 2, options.repeats))
    print(
        row(
            "MRI 256x256, 1 coil, 4x",
            mri(cartesian_lines((256, 256), 4, rng)),
            options.batch,
            options.repeats,
        )
    )
    print(row("mean over 4x4, 256x256", downsample((1, 256, 256), 4), options.batch, options.repeats))
    print(row("Gaussian blur, 256x256", blur((1, 256, 256), 3.0), options.batch, options.repeats))
    print(row("4 mm slices of 64x64x64 at 1 mm", thick_slices((1, 64, 64, 64), 3, 4), 1, options.repeats))
    for line in rows_of_nufft(maps, options.repeats):
        print(line)
    for line in peers_of_ct(np.random.default_rng(0).random((256, 256)) * _circle(256), 180, 3):
        print(line)
    values = ct.matrix.values().numel()
    print(
        f"\nCT matrix, 180 views: {values / 1e6:.1f} M weights, {2 * 8 * values / 2**20:.0f} MiB with its transpose, built in {built:.1f} s"
    )
    kspace = torch.fft.fftshift(torch.fft.fft2(maps), dim=(1, 2))
    print(
        f"ESPIRiT maps of 8 coils, 320x320, 24x24 calibration: {milliseconds(lambda: coil_maps(kspace), 2):.0f} ms"
    )


def maps_beside_sigpy(path: str) -> str:
    """Agreement and time of ``coil_maps`` and SigPy's EspiritCalib, the same calibration region, kernel and
    crop.
    """
    espirit = import_module("sigpy.mri.app").EspiritCalib
    data = read_kspace(path).data
    kspace = torch.from_numpy(data)
    ours, theirs = coil_maps(kspace), torch.from_numpy(espirit(data, crop=0.9, show_pbar=False).run())
    inside, wanted = (m.abs().square().sum(0) > 0.5 for m in (ours, theirs))
    agreement = (ours.conj() * theirs).sum(0).abs()[inside & wanted]
    seconds = (
        milliseconds(lambda: coil_maps(kspace), 3) / 1e3,
        milliseconds(lambda: espirit(data, crop=0.9, show_pbar=False).run(), 3) / 1e3,
    )
    return (
        f"coil maps of {tuple(data.shape)}: |<ours, SigPy's>| mean {float(agreement.mean()):.5f}, least {float(agreement.min()):.4f}; "
        f"voxels inside: {float((inside == wanted).double().mean()):.2%} the same; CPU time {seconds[0]:.2f} s, SigPy {seconds[1]:.2f} s"
    )


def _circle(n: int) -> np.ndarray:
    place = np.arange(n) - n / 2 + 0.5
    return np.hypot(place[:, None], place) < n / 2 - 1


if __name__ == "__main__":
    main()
