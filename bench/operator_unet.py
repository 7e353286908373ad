"""A U-Net for exactly one measurement: the baseline that knows its operator and nothing else.

    python bench/operator_unet.py fan60 mri4-coils --out .cache/unets [--minutes 12]

It has every advantage: the network of the prior and its weights to begin with, the same train scans, freshly
simulated measurements of them (another mask, noise, mirroring and, for CT, another pose each time), two
reconstructions of each as its input (the least-squares image or filtered back-projection beside the trivial
one), the mean of ln(mean squared error) as its loss, which is PSNR itself, a moving average of its weights,
and the moment to stop chosen on val scans. minutes: CPU time for each network, simulation apart; a task that
follows one of the same scans begins with the weights of that. Writes OUT/NAME.safetensors. Reads
MEDPRIOR_DATA.
"""

from __future__ import annotations

import argparse
import copy
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tasks import RANGE, TASKS, Task, fbp_inside, slices
from torch import Tensor, nn
from torch.nn import functional as F

from medprior import load
from medprior.evidence.metrics import psnr
from medprior.jobs.reconstruct import least_squares, reconstruct
from medprior.nets import UNet
from medprior.operators import Measurement
from medprior.prior.denoiser import broadcast_level, position_channels
from medprior.prior.paths import Path as NoisePath
from medprior.prior.paths import path_named

Pairs = tuple[Tensor, Tensor]


class OperatorNet(nn.Module):
    """(B, 2, i, j) two reconstructions in network units -> (B, 1, i, j), by the prior's own preconditioning:
    a residual of the first one.
    """

    def __init__(self, net: UNet, path: NoisePath, sigma: float) -> None:
        super().__init__()
        self.net, self.path, self.sigma = net, path, sigma

    def forward(self, inputs: Tensor, position: Tensor | None = None) -> Tensor:
        sigma = torch.full((len(inputs),), self.sigma)
        wide = broadcast_level(sigma, inputs)
        place = (
            position_channels((int(inputs.shape[2]), int(inputs.shape[3])))[None]
            if position is None
            else position
        )
        scaled = self.path.c_in(wide) * inputs
        out = self.net(
            torch.cat([scaled[:, :1], place.expand(len(inputs), -1, -1, -1), scaled[:, 1:]], 1),
            self.path.c_noise(sigma),
        )
        return self.path.c_skip(wide) * inputs[:, :1] + self.path.c_out(wide) * out


def inputs_of(name: str, m: Measurement) -> Tensor:
    """(1, 2, i, j): the best cheap image first, the other one beside it."""
    task = TASKS[name]
    trivial = task.trivial(m)
    # at a low dose the least-squares image is noise; the sharp back-projection has what the smooth one lost
    other = fbp_inside(m, "ramp") if name == "lowdose" else least_squares(task.inside(m))
    return torch.cat([trivial, other] if name == "lowdose" else [other, trivial], 1)


def begun(task: Task, sigma: float, other: Path | None = None) -> OperatorNet:
    """The prior's network at noise level sigma, the second input not yet heard; or the weights in the file
    ``other``, of a neighbouring task.
    """
    prior = load(task.prior)
    net = prior.net
    if not isinstance(net, UNet):
        raise TypeError(type(net).__name__)
    shape = replace(net.shape, in_channels=net.shape.in_channels + 1, doubt=False)
    state = {k: v.float() for k, v in net.state_dict().items() if not k.startswith("doubt.")}
    state["enter.weight"] = F.pad(state["enter.weight"], (0, 0, 0, 0, 0, 1))
    wider = UNet(shape)
    wider.load_state_dict(load_file(other) if other else state)
    return OperatorNet(wider, path_named(prior.card.path, prior.card.sigma_data), sigma)


def stored(folder: Path, name: str) -> Callable[[Measurement], Tensor]:
    """What ``main`` wrote: a measurement of the task ``name`` -> the image in network units."""
    with safe_open(folder / f"{name}.safetensors", "pt") as file:
        model = begun(TASKS[name], float(file.metadata()["sigma"]))
        model.net.load_state_dict({k: file.get_tensor(k) for k in file})
    model.eval().requires_grad_(False)
    return lambda m: model(inputs_of(name, m))


def posed(x: Tensor, rng: torch.Generator, moved: bool) -> Tensor:
    """The image mirrored, left for right, half of the time; moved: also turned by up to 8 degrees and scaled
    by up to 8 %, air (-1) around it.
    """
    x = x.flip(3) if torch.rand((), generator=rng) < 0.5 else x
    if not moved:
        return x
    turn, size = ((torch.rand(2, generator=rng) * 2 - 1) * torch.tensor([math.radians(8), 0.08])).tolist()
    c, s = math.cos(turn) * (1 + size), math.sin(turn) * (1 + size)
    where = F.affine_grid(torch.tensor([[[c, -s, 0.0], [s, c, 0.0]]]), list(x.shape), align_corners=False)
    return (
        F.grid_sample(x + 1, where, mode="bicubic", padding_mode="zeros", align_corners=False).clamp_min(0)
        - 1
    )


def pool(name: str, images: list[Tensor], copies: int, seed: int) -> Pairs:
    """(inputs, targets), float16: each image measured ``copies`` times in other poses; copies = 1 leaves it
    as it is.
    """
    rng, task = torch.Generator().manual_seed(seed), TASKS[name]
    inputs, targets = [], []
    for copy_number in range(copies):
        for image in images:
            x = posed(image, rng, task.prior == "chest-ct" and copy_number % 2 == 1) if copies > 1 else image
            inputs.append(inputs_of(name, task.measure(x, rng)).half())
            targets.append(x.half())
    return torch.cat(inputs), torch.cat(targets)


def batches(pairs: Pairs, side: int, n: int, rng: torch.Generator) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """(inputs, targets, positions) of random windows, without end."""
    inputs, targets = pairs
    full = (int(inputs.shape[2]), int(inputs.shape[3]))
    size = (min(side, full[0]), min(side, full[1]))
    while True:
        for chosen in torch.randperm(len(inputs), generator=rng).split(n):
            a, b = (int(torch.randint(f - s + 1, (), generator=rng)) for f, s in zip(full, size, strict=True))
            window = (slice(None), slice(a, a + size[0]), slice(b, b + size[1]))
            place = position_channels(size, full=full, start=(a, b))[None].expand(len(chosen), -1, -1, -1)
            yield (
                torch.stack([inputs[i][window] for i in chosen]).float(),
                torch.stack([targets[i][window] for i in chosen]).float(),
                place,
            )


def learn(
    name: str, pairs: Pairs, held: Pairs, minutes: float, rate: float, other: Path | None
) -> tuple[OperatorNet, float]:
    """The best moving average by val PSNR, and that PSNR."""
    rng = torch.Generator().manual_seed(1)
    sigma = float((pairs[0][:, :1].float() - pairs[1].float()).square().mean().sqrt())
    model = (
        begun(TASKS[name], sigma, other).train().requires_grad_(True).to(memory_format=torch.channels_last)
    )  # pyright: ignore[reportCallIssue]
    average = copy.deepcopy(model).eval().requires_grad_(False)
    optimizer = torch.optim.Adam(model.parameters(), lr=rate, betas=(0.9, 0.99))
    # windows see more images a second; the last part is learned on whole images, as they will be given
    windows, whole = (
        batches(pairs, 128, 4, rng),
        batches(pairs, 256, 4 if pairs[0].shape[-1] <= 128 else 1, rng),
    )
    best, best_psnr, step, began, shown = average, -math.inf, 0, time.process_time(), 0.0
    while (share := (time.process_time() - began) / (60 * minutes)) < 1:
        for group in optimizer.param_groups:
            group["lr"] = (
                rate * min(1.0, (step + 1) / 50) * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * share)))
            )
        inputs, targets, place = next(windows if share < 0.6 else whole)
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16):
            got = model(inputs, place)
        (got.float() - targets).square().flatten(1).mean(1).log().mean().backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        step += 1
        torch._foreach_lerp_(
            list(average.parameters()), list(model.parameters()), 1 - 0.5 ** (1 / max(1.0, 0.05 * step))
        )
        if share >= shown or (time.process_time() - began) / (60 * minutes) >= 1:
            shown += 1 / 12
            now = score(average, held)
            print(f"{name} {60 * minutes * share:5.0f} s, step {step}: val {now:.2f} dB", flush=True)
            if now > best_psnr:
                best, best_psnr = copy.deepcopy(average), now
    return best, best_psnr


@torch.no_grad()
def score(model: OperatorNet, pairs: Pairs) -> float:
    """Mean PSNR in dB, in float32."""
    return float(
        torch.cat(
            [psnr(model(a[None].float()), b[None].float(), RANGE) for a, b in zip(*pairs, strict=True)]
        ).mean()
    )


def beside(name: str, images: list[Tensor]) -> str:
    """The same measure of what the network must beat to be worth its name, on the first images of val."""
    task, prior = TASKS[name], load(TASKS[name].prior)
    found: dict[str, list[float]] = {"trivial": [], "least squares": [], "ours, fast": []}
    for i, x in enumerate(images):
        m = task.measure(x, torch.Generator().manual_seed(i))
        got = reconstruct(prior, m, n=1, scale=task.physical, fast=True).mean()[None]
        low, high = task.physical
        images_of = task.trivial(m), least_squares(task.inside(m)), 2 * (got - low) / (high - low) - 1
        for title, image in zip(found, images_of, strict=True):
            found[title].append(float(psnr(image, x, RANGE)))
    return ", ".join(f"{title} {sum(values) / len(values):.2f}" for title, values in found.items())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("tasks", nargs="+", choices=sorted(TASKS))
    parser.add_argument("--out", type=Path, default=Path(".cache/unets"))
    parser.add_argument("--minutes", type=float, default=12.0)
    parser.add_argument("--copies", type=int, default=3, help="measurements of each image")
    parser.add_argument("--rate", type=float, default=7e-4)
    parser.add_argument(
        "--begin",
        type=Path,
        help="what an earlier call wrote for a neighbouring task, e.g. .cache/unets/fan30.safetensors",
    )
    parser.add_argument("--images", type=int, default=10**6, help="most train images, for a trial")
    chosen = parser.parse_args()
    chosen.out.mkdir(parents=True, exist_ok=True)
    last: Path | None = chosen.begin
    for name in chosen.tasks:
        near = last if last and TASKS[last.stem].prior == TASKS[name].prior else None
        began = time.process_time()
        images, patients = slices(TASKS[name].prior, "train", 10**6)
        val, _ = slices(TASKS[name].prior, "val", 6)
        pairs, held = pool(name, images[: chosen.images], chosen.copies, 0), pool(name, val, 1, 5)
        seconds = time.process_time() - began
        print(
            f"{name}: {len(pairs[0])} pairs of {len(images)} images, {len(set(patients))} patients; {len(val)} of val; {seconds:.0f} s",
            flush=True,
        )
        model, best = learn(name, pairs, held, chosen.minutes, chosen.rate, near)
        weights = {k: v.contiguous() for k, v in model.net.state_dict().items()}
        written = last = chosen.out / f"{name}.safetensors"
        save_file(weights, written, metadata={"sigma": str(model.sigma)})
        own = score(model, (held[0][:6], held[1][:6]))
        print(
            f"{name}: val {best:.2f} dB; on its first {min(6, len(val))} images {own:.2f}, beside {beside(name, val[:6])}",
            flush=True,
        )


if __name__ == "__main__":
    main()
