"""The table of docs/presets.md: each preset's size and cost, measured here.

    python bench/presets.py [--threads 1] [--device cuda] [--seconds 60] [--write docs/presets.md]

With --seconds each preset but ``large`` also learns for that much CPU time on one thread, from the slices
that bench/networks.py learns from, at its own rate; the column says the loss on fixed patches of other
patients (lower is better, 1 is an untrained network). --write puts the table into a page.
"""

from __future__ import annotations

import argparse
import re
import statistics
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path

import torch
from networks import SIGMA_DATA, Judge, learned, ours, slices

from medprior.prior import Card, Prior, path_named
from medprior.training.patches import Images
from medprior.training.presets import PRESETS

BEGIN, END = "<!-- measured -->", "<!-- /measured -->"


def milliseconds(
    work: Callable[[], object], wait: Callable[[], None], repeats: int, clock: Callable[[], float]
) -> float:
    """Median of the repeats, after one that is not counted."""
    took = []
    for _ in range(repeats + 1):
        wait()
        start = clock()
        work()
        wait()
        took.append(1000 * (clock() - start))
    return statistics.median(took[1:])


def row(preset: str, device: str, repeats: int, quality: str) -> str:
    net = ours(preset).to(device)
    gpu = device.startswith("cuda")
    wait, clock = (torch.cuda.synchronize, time.perf_counter) if gpu else (lambda: None, time.process_time)
    cells = [
        f"{sum(p.numel() for p in net.parameters()) / 1e6:.2f}",
        f"{2 * sum(p.numel() for p in net.parameters()) / 2**20:.1f}",
    ]
    for side, batch in ((64, 16), (256, 1)):
        x, noise = (
            torch.randn(batch, 4, side, side, device=device).to(memory_format=torch.channels_last),
            torch.zeros(batch, device=device),
        )

        def forward(x: torch.Tensor = x, noise: torch.Tensor = noise) -> None:
            with torch.inference_mode():
                net(x, noise)

        cells.append(f"{milliseconds(forward, wait, repeats, clock) / batch:.2f}")
        if side == 64:
            cells.append(
                f"{milliseconds(lambda x=x, noise=noise: net(x, noise).square().mean().backward(), wait, repeats, clock) / batch:.2f}"
            )
    chosen = PRESETS[preset]
    return (
        f"| `{preset}` | {'-'.join(map(str, chosen.widths))} x {chosen.blocks} | "
        + " | ".join(cells)
        + f" | {quality} | {chosen.rate:g} | {chosen.batch} |"
    )


def qualities(presets: list[str], seconds: float) -> dict[str, str]:
    """preset -> validation loss after so many CPU seconds, and the steps that they were."""
    path, card = path_named("karras", SIGMA_DATA), Card("bench", "MR", sigma_data=SIGMA_DATA)
    train, judge = Images(slices("train")), Judge(lambda net: Prior(net, path, card), Images(slices("val")))
    found = {}
    for preset in presets:
        torch.manual_seed(0)
        average, steps = learned(ours(preset), judge.prior, train, seconds, PRESETS[preset].rate)
        found[preset] = f"{judge(average)[0]:.3f} ({steps} steps)"
        print(f"{preset}: {found[preset]}", flush=True)
    return found


def written(page: Path, text: str) -> None:
    """The page with ``text`` between its two marks."""
    old = page.read_text(encoding="utf-8")
    new, count = re.subn(f"(?s){BEGIN}.*?{END}", lambda _: f"{BEGIN}\n{text}\n{END}", old)
    if count != 1:
        raise SystemExit(f"{page}: wanted one pair of {BEGIN} and {END}, found {count}")
    page.write_text(new, encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--presets", nargs="+", choices=sorted(PRESETS), default=list(PRESETS))
    parser.add_argument(
        "--seconds",
        type=float,
        default=0.0,
        help="CPU seconds of learning for the column of quality; 0: none",
    )
    parser.add_argument("--write", type=Path, help="the page that takes the table")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    learners = [preset for preset in arguments.presets if preset != "large"] if arguments.seconds else []
    quality = qualities(learners, arguments.seconds) if learners else {}
    where = (
        torch.cuda.get_device_name()
        if arguments.device.startswith("cuda")
        else f"CPU, {arguments.threads} thread(s), CPU time"
    )
    lines = [
        f"{where}, torch {torch.__version__}, float32; milliseconds an image, medians of {arguments.repeats}, {date.today()}."
        + (
            f" Loss: after {arguments.seconds:g} CPU seconds of learning (IXI slices, 64-pixel patches), on other patients."
            if learners
            else ""
        ),
        "",
        "| preset | widths x blocks | M parameters | MiB on disk | 64x64, batch 16 | training, the same | 256x256, batch 1 | loss | rate | patches a step |",
        "|---|---|---|---|---|---|---|---|---|---|",
        *(
            row(preset, arguments.device, arguments.repeats, quality.get(preset, "-"))
            for preset in arguments.presets
        ),
    ]
    print("\n".join(lines), flush=True)
    if arguments.write:
        written(arguments.write, "\n".join(lines))


if __name__ == "__main__":
    main()
