"""Generators trained for the same time on the same scans: ours, MONAI's diffusion U-Net and diffusers'
unconditional recipe; one run, one table.

    pip install --no-deps --target .cache/peers diffusers huggingface_hub httpx regex importlib-metadata zipp
    python bench/generators.py train NAME --peers .cache/peers --data FOLDER --minutes 10 --out WORK       one after the other, or side by side
    python bench/generators.py compare --peers .cache/peers --data FOLDER --out WORK [--n 400] [--evaluations 36]

NAME: ours, monai-stock, monai-slim, diffusers-stock, diffusers-slim. stock: widths, rate and schedule of the
project's own example (MONAI's 2-D DDPM tutorial: 128, 256, 256, Adam 2.5e-5; diffusers' train_unconditional:
128 to 512, AdamW 1e-4, cosine, 500 steps of warm-up). slim: the same class with 32, 64, 128 channels and ten
times the rate, which is what two cores can train. All predict the noise of 1000 linear steps, as both
examples do; ours is the preset small, which also learns the labels of the folder and is not told any when it
draws. Every peer keeps a moving average of its weights (0.999). Sampling: ours by its own loop; peers by DDIM
with the same number of evaluations, the slim ones also by DPM-Solver++, which does worse here. 28 pixels are
padded to 32 for the peers and cropped again. Held-out scans judge; one thread each. Time is the clock for
ours and the processor's own for the peers, who lose nothing to other work. FOLDER: train and val splits;
WORK: weights, so that ``compare`` can be run again.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peers import add_peers
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from medprior import load
from medprior.evidence.synthetic.copies import CopyIndex, copy_audit
from medprior.evidence.synthetic.descriptors import descriptors
from medprior.evidence.synthetic.fidelity import fidelity, gaussian_images
from medprior.io.dataset.scan import Index, scan
from medprior.jobs.fitting.fit import fit
from medprior.jobs.fitting.training_set import admitted, card_for
from medprior.jobs.synthetic.synthesize import Drawing, draw_images

STEPS = 1000


@dataclass(frozen=True)
class Recipe:
    widths: tuple[int, ...]
    rate: float
    warm: int = 0
    cosine: bool = False


RECIPES = {
    "monai-stock": Recipe((128, 256, 256), 2.5e-5),
    "monai-slim": Recipe((32, 64, 128), 1e-3, 100, True),
    "diffusers-stock": Recipe((128, 128, 256, 256, 512, 512), 1e-4, 500, True),
    "diffusers-slim": Recipe((32, 64, 128), 1e-3, 100, True),
}


def network(name: str) -> nn.Module:
    recipe = RECIPES[name]
    if name.startswith("monai"):
        from monai.networks.nets.diffusion_model_unet import DiffusionModelUNet

        return DiffusionModelUNet(
            spatial_dims=2,
            in_channels=1,
            out_channels=1,
            channels=recipe.widths,
            attention_levels=(False, *[True] * (len(recipe.widths) - 1)),
            num_res_blocks=1,
            num_head_channels=recipe.widths[1],
            norm_num_groups=32 if recipe.widths[0] >= 128 else 8,
        )
    from diffusers import UNet2DModel  # pyright: ignore[reportMissingImports]

    n = len(recipe.widths)
    return UNet2DModel(
        sample_size=32,
        in_channels=1,
        out_channels=1,
        layers_per_block=2,
        block_out_channels=recipe.widths,
        down_block_types=tuple("AttnDownBlock2D" if k == max(1, n - 2) else "DownBlock2D" for k in range(n)),
        up_block_types=tuple(
            "AttnUpBlock2D" if k == n - 1 - max(1, n - 2) else "UpBlock2D" for k in range(n)
        ),
        norm_num_groups=32 if recipe.widths[0] >= 128 else 8,
    )


def said(name: str, net: nn.Module, x: Tensor, t: Tensor) -> Tensor:
    """The noise that the network sees in x at step t (B,)."""
    net_: Any = net
    return net_(x, t) if name.startswith("monai") else net_(x, t).sample


def padded(x: Tensor) -> Tensor:
    wide = [(-n) % 32 for n in x.shape[2:]]
    return F.pad(
        x, (wide[1] // 2, wide[1] - wide[1] // 2, wide[0] // 2, wide[0] - wide[0] // 2), mode="replicate"
    )


def cropped(x: Tensor, size: tuple[int, ...]) -> Tensor:
    a, b = ((have - want) // 2 for have, want in zip(x.shape[2:], size, strict=True))
    return x[..., a : a + size[0], b : b + size[1]]


def learn(name: str, images: Tensor, minutes: float, out: Path) -> None:
    """The usual loop: predict the noise of a random step, mean squared error."""
    torch.manual_seed(0)
    net, recipe, x0 = network(name).train(), RECIPES[name], padded(images)
    kept = torch.cumprod(1 - torch.linspace(1e-4, 0.02, STEPS), 0)
    optimizer = torch.optim.AdamW(net.parameters(), lr=recipe.rate)
    average = {key: value.clone() for key, value in net.state_dict().items()}
    rng, began, step = torch.Generator().manual_seed(0), time.process_time(), 0
    loss = torch.full((), torch.nan)
    while (used := time.process_time() - began) < 60 * minutes:
        share = used / (60 * minutes)
        fall = 0.5 * (1 + torch.cos(torch.tensor(torch.pi * share))).item() if recipe.cosine else 1.0
        for group in optimizer.param_groups:
            group["lr"] = recipe.rate * fall * min(1.0, (step + 1) / max(1, recipe.warm))
        x = x0[torch.randint(len(x0), (16,), generator=rng)]
        t = torch.randint(STEPS, (16,), generator=rng)
        noise = torch.randn(x.shape, generator=rng)
        a = kept[t][:, None, None, None]
        loss = F.mse_loss(said(name, net, a.sqrt() * x + (1 - a).sqrt() * noise, t), noise)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        step += 1
        weight = 1 - min(0.999, (1 + step) / (10 + step))
        for key, value in net.state_dict().items():
            average[key].lerp_(value, weight) if value.is_floating_point() else average[key].copy_(value)
    save_file(
        {key: value.contiguous() for key, value in average.items()},
        out / f"{name}.safetensors",
        {"steps": str(step)},
    )
    print(
        f"{name}: {step} steps, {sum(p.numel() for p in net.parameters()) / 1e6:.1f} M parameters, last loss {float(loss):.4f}"
    )


def sampled(name: str, solver: str, out: Path, n: int, size: tuple[int, ...], evaluations: int) -> Tensor:
    from diffusers import DDIMScheduler, DPMSolverMultistepScheduler  # pyright: ignore[reportMissingImports]

    net = network(name).eval()
    net.load_state_dict(load_file(out / f"{name}.safetensors"))
    shared = {"num_train_timesteps": STEPS, "beta_start": 1e-4, "beta_end": 0.02, "beta_schedule": "linear"}
    made, rng = [], torch.Generator().manual_seed(0)
    for count in [min(50, n - k) for k in range(0, n, 50)]:
        schedule: Any = DDIMScheduler(**shared) if solver == "DDIM" else DPMSolverMultistepScheduler(**shared)
        schedule.set_timesteps(evaluations)
        x = torch.randn((count, 1, *padded(torch.zeros((1, 1, *size))).shape[2:]), generator=rng)
        with torch.no_grad():
            for t in schedule.timesteps:
                x = schedule.step(said(name, net, x, t.expand(count)), t, x).prev_sample
        made.append(cropped(x, size))
    return torch.cat(made).clamp(-1, 1)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("train", "compare"))
    parser.add_argument("name", nargs="?", choices=("ours", *RECIPES))
    parser.add_argument("--peers", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--modality", default="DX")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--n", type=int, default=400)
    parser.add_argument("--evaluations", type=int, default=36)
    chosen = parser.parse_args()
    add_peers(chosen.peers)
    chosen.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    if chosen.what == "train" and chosen.name == "ours":
        fit(chosen.data, "small", chosen.minutes, out=chosen.out / "ours", modality=chosen.modality)
        return
    index = scan(chosen.data, out=chosen.out, modality=chosen.modality)
    train, held = (stacked(index, split) for split in ("train", "val"))
    if chosen.what == "train":
        learn(chosen.name, train, chosen.minutes, chosen.out)
        return
    compare(train, held, chosen.out, chosen.n, chosen.evaluations)


def stacked(index: Index, split: str) -> Tensor:
    items = index.usable(split)
    card = card_for(index.usable("train"), "peers", "axial")
    return torch.stack(list(admitted(card, index, items)[0]))


def compare(train: Tensor, held: Tensor, out: Path, n: int, evaluations: int) -> None:
    size = tuple(train.shape[2:])
    sets: dict[str, Callable[[], Tensor]] = {
        "plain Gaussian": lambda: torch.stack(gaussian_images(list(train), n))
    }
    if (out / "ours" / "prior").is_dir():
        prior = load(out / "ours" / "prior")
        sets["ours"] = lambda: draw_images(prior, n, Drawing(size=size, n_steps=evaluations - 2))[0]
    for name in RECIPES:
        if (out / f"{name}.safetensors").is_file():
            for solver in ("DDIM",) if name.endswith("stock") else ("DPM-Solver++", "DDIM"):
                sets[f"{name}, {solver}"] = lambda name=name, solver=solver: sampled(
                    name, solver, out, n, size, evaluations
                )
    index = CopyIndex.learn(list(train), list(held))
    print(
        f"{len(train)} training scans, {len(held)} held out; {n} images a generator, {evaluations} evaluations an image; floor: training scans in their place\n"
    )
    found = {one.name: (one, one(list(train)), one(list(held))) for one in descriptors()}
    for title, make in sets.items():
        began = time.perf_counter()
        made = list(make())
        seconds = time.perf_counter() - began
        print(f"{title}   {seconds / n:.2f} s an image")
        for name, (describe, of_train, of_held) in found.items():
            at = fidelity(name, describe(made), of_train, of_held)
            cells = "   ".join(
                f"{m} {at.made[m].value:.3f} ({at.made[m].low:.3f} to {at.made[m].high:.3f})"
                for m in ("frechet", "precision", "coverage")
            )
            print(
                f"    {name:<20}{cells}   floor {at.floor['frechet'].value:.3f}, {at.floor['coverage'].value:.3f}",
                flush=True,
            )
        at = copy_audit(index, index.nearest(made))
        print(f"    beyond every held-out scan {at.copies} (chance {at.chance:.2g})", flush=True)


if __name__ == "__main__":
    main()
