"""Which features of a prior? Noise levels, ways of the network and pooling, judged on validation scans of three
data sets: area under the ROC curve of a head on 50 random labels of train.

    python bench/features.py --priors PNEUMONIA BREAST FILMS [--draws 10] [--labels 50] [--most 800]

PNEUMONIA, BREAST, FILMS: priors that have not learned from val. Films of NIH are looked at with 128 pixels a
side. --most: scans of train. Reads MEDPRIOR_DATA.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from sklearn.metrics import roc_auc_score
from torch import Tensor
from torch.nn import functional as F

import medprior as mp
from medprior.data.seeds import generator
from medprior.data.volume import Volume
from medprior.learning.heads import Projection, fit_linear
from medprior.nets import Featured

DATA = Path(os.environ.get("MEDPRIOR_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
SETS = ("pneumonia", "breast", "films")
SIGMAS = (0.05, 0.1, 0.3, 0.8, 2.0)
DEFAULT = (0.1, 0.3, 0.8)
BOTH, POOLED = ("down", "up"), ("mean", "sd")
VARIANTS = {
    **{f"noise {sigma}": ((sigma,), BOTH, POOLED) for sigma in SIGMAS},
    "noise 0.1 0.3": ((0.1, 0.3), BOTH, POOLED),
    "noise 0.1 0.3 0.8 (default)": (DEFAULT, BOTH, POOLED),
    "noise 0.3 0.8 2.0": ((0.3, 0.8, 2.0), BOTH, POOLED),
    "all five levels": (SIGMAS, BOTH, POOLED),
    "default, way down alone": (DEFAULT, ("down",), POOLED),
    "default, way up alone": (DEFAULT, ("up",), POOLED),
    "default, means alone": (DEFAULT, BOTH, ("mean",)),
    "default, and means of quarters": (DEFAULT, BOTH, (*POOLED, "quarters")),
}
"""name -> noise levels, ways of the network, pooling."""
Key = tuple[float, str, str]


def scans(name: str, split: str, most: int) -> tuple[list[np.ndarray], np.ndarray]:
    """Pictures, and whether each is of the second class."""
    if name == "films":
        paths = sorted((DATA / "chest_xray_nih" / split).glob("*/*.png"))
        order = torch.randperm(len(paths), generator=generator(0, "films")).tolist()[:most]
        pictures = [np.array(Image.open(paths[n]).convert("L").resize((128, 128))) for n in order]
        return pictures, np.array([paths[n].parent.name == "pneumonia" for n in order])
    with np.load(DATA / f"medmnist_{name}" / split / f"{name}mnist_28.npz") as stored:
        order = torch.randperm(len(stored["images"]), generator=generator(0, name)).numpy()[:most]
        return list(stored["images"][order]), stored["labels"].ravel()[order] > 0


@torch.no_grad()
def looked(prior: mp.Prior, pictures: list[np.ndarray]) -> dict[Key, np.ndarray]:
    """(n, d) of each noise level, way and pooling."""
    found: dict[Key, list[Tensor]] = {}
    net = prior.net
    if not isinstance(net, Featured):
        raise TypeError("a prior with medprior's own network")
    how = {"unit": prior.card.unit, "modality": prior.card.modality}
    images = [prior.admit(Volume(one[None].astype(np.float32), **how)).images for one in pictures]
    for x in torch.cat(images).split(32):
        for sigma in SIGMAS:
            noise = torch.randn(x.shape[1:], generator=generator(0, "features", sigma))[None]
            known = mp.prior.Condition()
            maps = net.features(
                *prior.inputs(x + sigma * noise, torch.full((len(x),), sigma), known), upward=True
            )
            down = len(prior.card.widths)
            for way, own in (("down", maps[:down]), ("up", maps[down:])):
                for pool, one in (
                    ("mean", [m.mean((2, 3)) for m in own]),
                    ("sd", [m.std((2, 3), correction=0) for m in own]),
                    ("quarters", [F.adaptive_avg_pool2d(m, 2).flatten(1) for m in own]),
                ):
                    found.setdefault((sigma, way, pool), []).append(torch.cat(one, 1))
    return {key: torch.cat(parts).numpy() for key, parts in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--priors", nargs=3, required=True)
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--labels", type=int, default=50)
    parser.add_argument("--most", type=int, default=800)
    args = parser.parse_args()
    areas = {name: [] for name in VARIANTS}
    for kind, folder in zip(SETS, args.priors, strict=True):
        prior = mp.load(folder)
        most = 300 if kind == "films" else args.most
        (learn, y), (val, truth) = scans(kind, "train", most), scans(kind, "val", 10**6)
        seen = looked(prior, learn + val)
        for name, (sigmas, ways, pools) in VARIANTS.items():
            x = np.concatenate([seen[s, way, pool] for s in sigmas for way in ways for pool in pools], axis=1)
            turned = Projection.fitted(x[: len(learn)])(x)
            found = []
            for draw in range(args.draws):
                order = torch.randperm(len(learn), generator=generator(draw, "labels", kind)).numpy()
                at = order[: args.labels]
                logits = fit_linear(turned[at], np.eye(2)[y[at].astype(int)])(turned[len(learn) :])
                found.append(roc_auc_score(truth, logits[:, 1] - logits[:, 0]))
            areas[name].append((float(np.mean(found)), float(np.std(found, ddof=1))))
        print(f"{kind}: {len(learn)} scans of train, {len(val)} of val", flush=True)
    print(f"\nAUROC on val, {args.labels} random labels, mean and deviation of {args.draws} draws")
    print(f"{'':32s}{'pneumonia':>16s}{'breast':>16s}{'films':>16s}{'mean':>8s}")
    for name, row in areas.items():
        cells = "".join(f"{mean:>9.3f} ({sd:.3f})" for mean, sd in row)
        print(f"{name:32s}{cells}{np.mean([mean for mean, _ in row]):>8.3f}")
    whole = {name: float(np.mean([mean for mean, _ in row])) for name, row in areas.items()}
    best, default = max(whole, key=lambda name: whole[name]), whole["noise 0.1 0.3 0.8 (default)"]
    print(f"best: {best}, {whole[best] - default:+.3f} over the default")


if __name__ == "__main__":
    main()
