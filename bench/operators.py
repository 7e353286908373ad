"""CPU time of the forward and adjoint operators on one thread: medians of repeated calls, milliseconds an image.

    python bench/operators.py [--batch 16] [--repeats 15]

CPU time and not wall time, because other work on the machine stretches the latter. CT is compared with scikit-image's radon in the same run.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from statistics import median

import numpy as np
import torch
from skimage.transform import radon

from medprior.operators import Operator, blur, cartesian_lines, downsample, mri, parallel_ct, view_angles


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
    """One line: forward and adjoint for a batch, a single image, and how exact the adjoint is in float32."""
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(batch, *operator.domain, generator=rng)
    y = operator(x)
    forward, back = (milliseconds(call, repeats) / batch for call in (lambda: operator(x), lambda: operator.adjoint(y)))
    alone, alone_back = (milliseconds(call, repeats) for call in (lambda: operator(x[:1]), lambda: operator.adjoint(y[:1])))
    z = operator.adjoint(y).double()
    inner = float((y.abs().double() ** 2).sum())
    return f"{name:34s} {forward:8.2f} {back:8.2f}   {alone:8.2f} {alone_back:8.2f}   {abs(float((x.double() * z).sum()) / inner - 1):9.1e}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=15)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rng = torch.Generator().manual_seed(0)
    maps = torch.view_as_complex(torch.randn(8, 320, 320, 2, generator=rng))
    start = time.process_time()
    ct = parallel_ct((1, 256, 256), view_angles(180), 256)
    built = time.process_time() - start
    print(f"torch {torch.__version__}, 1 thread, CPU time, median of {options.repeats}, ms an image (batch of {options.batch}; alone)\n")
    print(f"{'operator':34s} {'forward':>8s} {'adjoint':>8s}   {'alone':>8s} {'adjoint':>8s}   adjointness")
    print(row("CT 256x256, 180 views, 256 bins", ct, options.batch, options.repeats))
    print(row("CT 256x256, 60 views, 256 bins", parallel_ct((1, 256, 256), view_angles(60), 256), options.batch, options.repeats))
    print(row("MRI 320x320, 8 coils, 4x", mri(cartesian_lines((320, 320), 4, rng), maps), 2, options.repeats))
    print(row("MRI 256x256, 1 coil, 4x", mri(cartesian_lines((256, 256), 4, rng)), options.batch, options.repeats))
    print(row("mean over 4x4, 256x256", downsample((1, 256, 256), 4), options.batch, options.repeats))
    print(row("Gaussian blur, 256x256", blur((1, 256, 256), 3.0), options.batch, options.repeats))
    values = ct.matrix.values().numel()
    print(f"\nCT matrix, 180 views: {values / 1e6:.1f} M weights, {2 * 8 * values / 2**20:.0f} MiB with its transpose, built in {built:.1f} s")
    image = np.random.default_rng(0).random((256, 256))
    theirs = milliseconds(lambda: radon(image, np.arange(180.0), circle=False), 3)
    print(f"scikit-image radon, the same image and angles: {theirs:.0f} ms")


if __name__ == "__main__":
    main()
