"""The table of docs/presets.md: each preset's size and cost, measured here.

    python bench/presets.py [--threads 1] [--device cuda]

Quality stands beside it where a prior of that preset has been trained: bench/networks.py gives the loss after equal CPU time, trust.json of a
prior its own figures.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import nn

from medprior.nets import UNet, UNetShape
from medprior.training.presets import PRESETS


def milliseconds(work: Callable[[], object], wait: Callable[[], None], repeats: int) -> float:
    """Median of the repeats, after one that is not counted."""
    took = []
    for _ in range(repeats + 1):
        wait()
        start = time.perf_counter()
        work()
        wait()
        took.append(1000 * (time.perf_counter() - start))
    return statistics.median(took[1:])


def network(preset: str, ndim: int) -> nn.Module:
    chosen = PRESETS[preset]
    return UNet(UNetShape(ndim + 2, 1, chosen.widths, chosen.blocks, ndim))


def row(preset: str, device: str, repeats: int) -> str:
    net = network(preset, 2).to(device).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    wait = torch.cuda.synchronize if device.startswith("cuda") else lambda: None
    cells = [f"{sum(p.numel() for p in net.parameters()) / 1e6:.2f}", f"{2 * sum(p.numel() for p in net.parameters()) / 2**20:.1f}"]
    for side, batch in ((64, 16), (256, 1)):
        x, noise = torch.randn(batch, 4, side, side, device=device).to(memory_format=torch.channels_last), torch.zeros(batch, device=device)

        def forward(x: torch.Tensor = x, noise: torch.Tensor = noise) -> None:
            with torch.inference_mode():
                net(x, noise)

        cells.append(f"{milliseconds(forward, wait, repeats) / batch:.2f}")
        if side == 64:
            cells.append(f"{milliseconds(lambda x=x, noise=noise: net(x, noise).square().mean().backward(), wait, repeats) / batch:.2f}")
    chosen = PRESETS[preset]
    return f"| `{preset}` | {'-'.join(map(str, chosen.widths))} x {chosen.blocks} | " + " | ".join(cells) + f" | {chosen.rate:g} | {chosen.batch} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--presets", nargs="+", choices=sorted(PRESETS), default=list(PRESETS))
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    where = torch.cuda.get_device_name() if arguments.device.startswith("cuda") else f"CPU, {arguments.threads} thread(s)"
    print(f"{where}, torch {torch.__version__}, float32; milliseconds an image, medians of {arguments.repeats}\n")
    print("| preset | widths x blocks | M parameters | MiB on disk | 64x64, batch 16 | training, the same | 256x256, batch 1 | rate | patches a step |")
    print("|---|---|---|---|---|---|---|---|---|")
    for preset in arguments.presets:
        print(row(preset, arguments.device, arguments.repeats), flush=True)


if __name__ == "__main__":
    main()
