"""Our networks beside others of equal size: cost of one evaluation, and validation loss after equal CPU time.

    python bench/networks.py cost [--threads 1] [--pairs 15] [--peers FOLDER]
    python bench/networks.py learn [--seconds 120] [--rates 5e-4 2e-3] [--peers FOLDER]
    python bench/networks.py learn --variants [--seconds 120]      ours against itself, in other shapes

Data: axial slices of the IXI volumes in MEDPRIOR_DATA (default ../shared/data beside the checkout), train
part to learn, val part to judge. All see the same patches, noise and preconditioning; a peer's width is the
one whose parameter count is nearest to ours; each network gets its best learning rate of those named. Peers
that are not installed are said to be left out (bench/peers.py: how to install them in a folder of their own).
deepinv's DiffUNet comes in two fixed sizes of hundreds of millions and its UNet takes no noise level: they
have no row. Times are CPU times, medians of alternating pairs.
"""

from __future__ import annotations

import argparse
import copy
import importlib.util
import math
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peers import add_peers
from torch import Tensor, nn

from medprior.nets import UNet, UNetShape
from medprior.prior import Card, Prior, path_named
from medprior.training.patches import Images, draw_batch
from medprior.training.presets import PRESETS

DATA = Path(os.environ.get("MEDPRIOR_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
SIGMA_DATA = 0.57
SIGMAS = (-1.0, 1.4)
CHANNELS = 4  # the image and its three position channels


def size(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


class Peer(nn.Module):
    """A network with a clock of 0..1000, called as ours is: ln(sigma) / 4 runs from about -1.5 to 1.1."""

    def __init__(self, net: nn.Module, call: Callable[[Any, Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.net, self.call = net, call

    def forward(
        self, x: Tensor, noise: Tensor, label: Tensor | None = None, numbers: Tensor | None = None
    ) -> Tensor:
        return self.call(self.net, x, (noise + 1.75) * 333)


def ours(preset: str) -> nn.Module:
    chosen = PRESETS[preset]
    return UNet(UNetShape(CHANNELS, 1, chosen.widths, chosen.blocks)).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]


def monai(width: int) -> nn.Module:
    """Two residual blocks a level, attention at the coarsest, the library's own defaults elsewhere."""
    from monai.networks.nets.diffusion_model_unet import DiffusionModelUNet

    channels = (width, 2 * width, 3 * width)
    net = DiffusionModelUNet(
        2, CHANNELS, 1, (2, 2, 2), channels, (False, False, True), norm_num_groups=8, num_head_channels=8
    )
    return Peer(net, lambda n, x, t: n(x, timesteps=t))


def diffusers(width: int) -> nn.Module:
    from diffusers import UNet2DModel  # pyright: ignore[reportMissingImports]

    blocks = ("DownBlock2D", "DownBlock2D", "AttnDownBlock2D"), ("AttnUpBlock2D", "UpBlock2D", "UpBlock2D")
    net = UNet2DModel(
        64,
        CHANNELS,
        1,
        block_out_channels=(width, 2 * width, 3 * width),
        down_block_types=blocks[0],
        up_block_types=blocks[1],
        norm_num_groups=8,
    )
    return Peer(net, lambda n, x, t: n(x, t).sample)


def deepinv_adm(width: int) -> nn.Module:
    """The network inside of ADMUNet; its preconditioning is ours already, and so is its ln(sigma) / 4. Its
    normalisation wants multiples of 32.
    """
    from deepinv.models import ADMUNet  # pyright: ignore[reportMissingImports]

    net = ADMUNet(
        64,
        CHANNELS,
        1,
        model_channels=width,
        channel_mult=(1, 2, 2),
        num_blocks=1,
        attn_resolutions=(16,),
        pretrained=None,
    )
    return Peer(net, lambda n, x, t: n.forward_unet(x, t / 333 - 1.75))


def deepinv_drunet(width: int) -> nn.Module:
    """Its noise level goes in as one more channel."""
    from deepinv.models import DRUNet  # pyright: ignore[reportMissingImports]

    return Peer(
        DRUNet(CHANNELS, 1, nc=(width, 2 * width, 4 * width, 8 * width), pretrained=None),
        lambda n, x, t: n(x, t / 333 - 1.75),
    )


PEERS = {
    "monai": (monai, 8),
    "diffusers": (diffusers, 8),
    "deepinv ADMUNet": (deepinv_adm, 32),
    "deepinv DRUNet": (deepinv_drunet, 4),
}
"""How to build it, and what its width must be a multiple of."""


class Attentive(nn.Module):
    """Ours, and self-attention over the coarsest resolution, added before the way up."""

    def __init__(self, net: UNet, heads: int = 4) -> None:
        super().__init__()
        self.net, width = net, net.shape.widths[-1]
        self.norm = nn.GroupNorm(8, width)
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        nn.init.zeros_(self.attention.out_proj.weight)
        net.descend[-1].register_forward_hook(self.attended)

    def attended(self, _module: nn.Module, _inputs: object, x: Tensor) -> Tensor:
        tokens = self.norm(x).flatten(2).transpose(1, 2)
        return x + self.attention(tokens, tokens, tokens, need_weights=False)[0].transpose(1, 2).reshape(
            x.shape
        )

    def forward(
        self, x: Tensor, noise: Tensor, label: Tensor | None = None, numbers: Tensor | None = None
    ) -> Tensor:
        return self.net(x, noise, label, numbers)


VARIANTS: dict[str, tuple[tuple[int, ...], int, bool]] = {
    "with attention": ((16, 32, 64, 128), 2, True),
    "three levels": ((16, 32, 96), 2, False),
    "one block": ((16, 48, 96, 160), 1, False),
    "wide and low": ((32, 48, 64, 96), 1, False),
}
"""Other shapes of about the parameters of "small": widths, blocks, attention."""


def variants() -> dict[str, nn.Module]:
    found = {"small": ours("small")}
    for name, (widths, blocks, attention) in VARIANTS.items():
        torch.manual_seed(0)
        net = UNet(UNetShape(CHANNELS, 1, widths, blocks))
        found[name] = (Attentive(net) if attention else net).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    return found


def of_size(build: Callable[[int], nn.Module], step: int, wanted: int) -> nn.Module:
    """The width, a multiple of ``step``, whose parameter count is nearest."""

    def apart(width: int) -> float:
        with torch.device("meta"):  # shapes alone, no memory and no initialisation
            return abs(math.log(size(build(width)) / wanted))

    return build(min(range(step, 97, step), key=apart))


def contenders(arguments: argparse.Namespace) -> dict[str, nn.Module]:
    torch.manual_seed(0)
    if arguments.variants:
        return variants()
    add_peers(arguments.peers)
    found = {arguments.preset: ours(arguments.preset)}
    for name, (build, step) in PEERS.items():
        if importlib.util.find_spec(name.split()[0]) is None:
            print(f"{name}: not installed, left out")
        elif not arguments.only or name in arguments.only:
            found[name] = of_size(build, step, size(found[arguments.preset]))
    return found


def seconds(work: Callable[[], object]) -> float:
    """CPU seconds, all threads together: what others do on the machine stretches wall time and not these."""
    start = time.process_time()
    work()
    return time.process_time() - start


def cost(arguments: argparse.Namespace) -> None:
    """Forward, and forward with backward, 64x64, batch 16."""
    torch.set_num_threads(arguments.threads)
    nets = contenders(arguments)
    first = next(iter(nets))
    x, noise = torch.randn(16, CHANNELS, 64, 64), torch.randn(16) / 4
    # only our networks were told of channels_last; an input in either layout is taken by all
    x = x.to(memory_format=torch.channels_last)

    def forward(net: nn.Module) -> None:
        with torch.inference_mode():
            net(x, noise)

    def learn(net: nn.Module) -> None:
        net(x, noise).square().mean().backward()

    times: dict[tuple[str, str], list[float]] = {}
    for turn in range(arguments.pairs + 2):
        for kind, work in (("forward", forward), ("learn", learn)):
            for name, net in nets.items():
                took = seconds(lambda work=work, net=net: work(net))
                if turn > 1:
                    times.setdefault((kind, name), []).append(took)
    print(
        f"{arguments.threads} thread(s), 64x64, batch 16; CPU ms an image, median of {arguments.pairs}; ratio: median of the pairs' own"
    )
    print("network           M params   forward  ratio     learn  ratio")
    for name, net in nets.items():
        row = f"{name:17} {size(net) / 1e6:8.2f}"
        for kind in ("forward", "learn"):
            mine, base = times[kind, name], times[kind, first]
            ratio = statistics.median(a / b for a, b in zip(mine, base, strict=True))
            row += f"  {1000 * statistics.median(mine) / 16:8.2f} {ratio:5.2f}x"
        print(row)


def slices(part: str) -> list[Tensor]:
    """Axial slices (1, i, j) in network units: 0 and the 99th percentile of the foreground at -1 and 1."""
    import medprior

    files = sorted((DATA / "brain_mri_t1_3d_ixi" / part).glob("*_t1.nii.gz"))
    if not files:
        raise SystemExit(f"no IXI volumes in {DATA}; set MEDPRIOR_DATA")
    found = []
    for file in files:
        data = medprior.read(file).data
        high = float(np.quantile(data[data > data.mean()], 0.99))
        found += [
            torch.from_numpy(2 * data[..., k] / high - 1)
            for k in range(data.shape[-1] // 5, 4 * data.shape[-1] // 5, 2)
        ]
    return found


@dataclass(frozen=True)
class Judge:
    """The same 256 patches, levels and noises for all."""

    prior: Callable[[nn.Module], Prior]
    data: Images

    def __call__(self, net: nn.Module) -> tuple[float, float, float]:
        """Loss in all, at the lower and at the higher half of the noise levels."""
        losses, sigmas = [], []
        for step in range(16):
            b = draw_batch(self.data, step, seed=99, batch=16, sigmas=SIGMAS, drop=0.0)
            with torch.no_grad():
                losses.append(self.prior(net).loss(b.x0, b.sigma, b.noise, b.condition))
            sigmas.append(b.sigma)
        loss, sigma = torch.cat(losses), torch.cat(sigmas)
        low = sigma < sigma.median()
        return float(loss.mean()), float(loss[low].mean()), float(loss[~low].mean())


def learned(
    net: nn.Module, prior: Callable[[nn.Module], Prior], data: Images, budget: float, rate: float
) -> tuple[nn.Module, int]:
    """CPU seconds of training, judging not counted: Adam, clipped, warmed up and annealed over the budget,
    moving average. -> (average, steps).
    """
    net, average = copy.deepcopy(net).train(), copy.deepcopy(net).requires_grad_(False)
    optimizer = torch.optim.Adam(net.parameters(), lr=rate, betas=(0.9, 0.99))
    model, start, step = prior(net), time.process_time(), 0
    while (spent := time.process_time() - start) < budget:
        b = draw_batch(data, step, seed=0, batch=16, sigmas=SIGMAS)
        for group in optimizer.param_groups:
            group["lr"] = (
                rate * min(1.0, (step + 1) / 100) * (0.02 + 0.49 * (1 + math.cos(math.pi * spent / budget)))
            )
        optimizer.zero_grad()
        model.loss(b.x0, b.sigma, b.noise, b.condition).mean().backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        step += 1
        weight = 1 - 0.5 ** (1 / max(1.0, 0.05 * step))
        torch._foreach_lerp_(list(average.parameters()), list(net.parameters()), weight)
    return average.eval(), step


def learn(arguments: argparse.Namespace) -> None:
    """Validation loss after equal CPU time on one thread, for each network at its best rate."""
    torch.set_num_threads(1)
    path = path_named("karras", SIGMA_DATA)
    card = Card("bench", "MR", sigma_data=SIGMA_DATA)
    train, judge = Images(slices("train")), Judge(lambda net: Prior(net, path, card), Images(slices("val")))
    print(
        f"{len(train)} slices; {arguments.seconds:g} CPU seconds each, one thread; loss on 256 fixed patches of other patients"
    )
    print("network           M params     rate   steps     loss  low noise  high noise")
    for name, net in contenders(arguments).items():
        runs = []
        for rate in arguments.rates:
            average, steps = learned(net, judge.prior, train, arguments.seconds, rate)
            runs.append((*judge(average), steps, rate))
        loss, low, high, steps, rate = min(runs)
        print(
            f"{name:17} {size(net) / 1e6:8.2f} {rate:8.1e} {steps:7} {loss:8.4f}  {low:9.4f}  {high:10.4f}",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["cost", "learn"])
    parser.add_argument("--preset", choices=sorted(PRESETS), default="small")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--pairs", type=int, default=15)
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--rates", type=float, nargs="+", default=[5e-4, 2e-3])
    parser.add_argument("--peers", type=Path, help="folder of other people's packages, see bench/peers.py")
    parser.add_argument("--only", nargs="+", choices=sorted(PEERS), help="these peers alone, beside ours")
    parser.add_argument("--variants", action="store_true", help="ours in other shapes instead of peers")
    arguments = parser.parse_args()
    (cost if arguments.what == "cost" else learn)(arguments)


if __name__ == "__main__":
    main()
