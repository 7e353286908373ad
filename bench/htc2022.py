"""Measured sinograms of the Helsinki Tomography Challenge 2022 (61 views over 30 degrees), scored against the
reference segmentation as the challenge did.

    python bench/htc2022.py learn --work .cache/htc2022 [--steps 1000]      # a small prior of SIMULATED discs with holes; no challenge data is read
    python bench/htc2022.py tune --work .cache/htc2022                     # on the val object: the weight of total variation, the noise that methods are told
    python bench/htc2022.py score --work .cache/htc2022 --split test --picture htc2022.png   # and --split val

The geometry is read from each file. The objects are plastic discs, far from what chest-ct knows, which is
shown for that reason; the other prior learned from drawings of discs of that size with holes of random
outline. The beam hardens on its way; a polynomial fitted to the val object takes that back, for all methods
alike. Every image is cut in two by Otsu's threshold, the same rule for all, and compared by the correlation
coefficient of Matthews, the score of the challenge (Meaney et al., doi 10.5281/zenodo.6984868, CC BY 4.0).
The data folder is MEDPRIOR_DATA.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

import medprior as mp
from medprior.evidence.baselines.classic import ridge, total_variation
from medprior.io.arrays import read_sinogram
from medprior.operators import Gaussian, Measurement, measured_sinogram
from medprior.prior import Card, Prior
from medprior.prior.prior import untrained_prior
from medprior.training.deviation_head import with_deviation_head
from medprior.training.folder import save
from medprior.training.held_out import error_tables
from medprior.training.loop import Progress, TrainingSettings, train
from medprior.training.patches import Images

DATA = (
    Path(os.environ.get("MEDPRIOR_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
    / "ct_projections_htc2022"
)
SIDE, FINER = 128, 4
"""Pixels a side of the image; the reference has four times as many on the same square."""
PIXEL = FINER * 0.1483223173
"""mm: effectivePixelSizePost of the files."""
RADIUS, ATTENUATION = 34.9, 0.033
"""mm and 1/mm of the val object's disc."""
CARD = Card(
    "discs", "CT", unit="1/mm", scaling="fixed", low=-0.004, high=0.040, frame=(64, 128), preset="small", widths=(16, 32, 64, 128), sigma_data=0.7,
    limits=("learned from drawings of discs with holes, no scan among them",),
)  # fmt: skip
PIECES = {"levels": (1.0,), "patches": ((64, 0.5), (128, 0.5)), "flip": 1}


def hole(rng: np.random.Generator, x: NDArray, y: NDArray) -> NDArray[np.bool_]:
    """A random hole on the grid (mm): an ellipse, a polygon, a slot or a smooth blob, turned at random."""
    size, flat, turn = rng.uniform(2.5, 9.0), rng.uniform(0.4, 1.0), rng.uniform(0, 2 * math.pi)
    far = np.sqrt(rng.uniform(0, 1)) * (RADIUS - size - 1.5)
    where = rng.uniform(0, 2 * math.pi)
    u, v = x - far * math.cos(where), y - far * math.sin(where)
    u, v = u * math.cos(turn) + v * math.sin(turn), (v * math.cos(turn) - u * math.sin(turn)) / flat
    kind = rng.integers(4)
    if kind == 0:
        return np.hypot(u, v) < size
    if kind == 1:
        return np.maximum(abs(u), abs(v)) < 0.75 * size
    angle = np.arctan2(v, u)
    if kind == 2:
        sides = rng.integers(3, 8)
        return np.hypot(u, v) * np.cos((angle % (2 * math.pi / sides)) - math.pi / sides) < 0.7 * size
    edge = sum(rng.normal(0, 0.25 / k) * np.cos(k * angle + rng.uniform(0, 2 * math.pi)) for k in range(2, 6))
    return np.hypot(u, v) < 0.75 * size * np.exp(np.clip(edge, -0.6, 0.25))


def drawing(rng: np.random.Generator) -> Tensor:
    """(1, SIDE, SIDE) in 1/mm: a disc with 0 to 12 holes, a little off the centre, a little brighter at its
    rim as hardened beams make it.
    """
    place = (np.arange(SIDE * FINER) - (SIDE * FINER - 1) / 2) * PIXEL / FINER
    shift = rng.normal(0, 1.0, 2)
    y, x = place[:, None] - shift[0], place[None, :] - shift[1]
    away = np.hypot(x, y) / (RADIUS * rng.normal(1, 0.01))
    solid = away < 1
    for _ in range(rng.integers(0, 13)):
        new = hole(rng, x, y)
        if not (new & ~solid & (away < 1)).any():  # holes do not meet
            solid &= ~new
    values = (
        solid
        * ATTENUATION
        * rng.normal(1, 0.04)
        * (1 + rng.uniform(0, 0.12) * (np.minimum(away, 1) ** 2 - 0.5))
    )
    return torch.from_numpy(values.reshape(SIDE, FINER, SIDE, FINER).mean((1, 3)).astype(np.float32))[None]


def learn(work: Path, steps: int) -> None:
    """work/prior, from 300 drawings; 20 others measure its errors. The same call continues where it was
    stopped.
    """
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    images = [2 * (drawing(rng) - CARD.low) / (CARD.high - CARD.low) - 1 for _ in range(320)]
    torch.manual_seed(0)
    prior = untrained_prior(CARD)

    def show(line: Progress, _: Prior) -> None:
        print(
            f"{line.step}/{line.steps}: loss {line.loss:.4f}, {line.seconds_left / 60:.1f} min left",
            flush=True,
        )

    data = Images(images[:300], **PIECES)
    prior = train(
        prior,
        data,
        TrainingSettings(steps=steps, save_every=100, precision="bfloat16"),
        work,
        on_progress=show,
    )
    prior.net.eval().requires_grad_(False)
    prior = with_deviation_head(prior, data, steps=min(300, steps // 5))
    prior.card = replace(
        prior.card,
        errors=error_tables(prior, images[300:], None, n_levels=1),
        data={"images": 300, "what": "SIMULATED drawings"},
    )
    save(prior, work / "prior")


@dataclass(frozen=True)
class Object:
    """One measured object: its measurement in 1/mm on the reference's square, and the reference (512, 512),
    True where there is plastic.
    """

    name: str
    measurement: Measurement
    how: str
    reference: NDArray[np.bool_]


HARDENED = (0.0383, -0.1353, 0.1204)
"""mu, a, b of mu * length = y + a y^2 + b y^3, fitted to the val object, whose reference says the lengths
(``fit_hardening``).
"""


def fit_hardening() -> None:
    """Prints ``HARDENED`` and what is left unexplained of the val object's sinogram without and with it."""
    item = objects("val", linear=False)[0]
    solid = torch.nn.functional.avg_pool2d(torch.from_numpy(item.reference).float()[None, None], FINER)
    length, y = item.measurement.operator(solid).flatten().double(), item.measurement.y.flatten().double()
    for terms in (0, 2):
        columns = torch.stack([length, *[-(y ** (k + 2)) for k in range(terms)]], 1)
        found = torch.linalg.lstsq(columns, y[:, None]).solution[:, 0]
        print(
            f"{terms} terms: {[round(v, 4) for v in found.tolist()]}, unexplained {float((columns @ found - y).norm() / y.norm()):.4f}"
        )


def objects(split: str, *, linear: bool = True) -> list[Object]:
    """All objects of a split; four bins of the detector are averaged, since the pixels are four times as
    wide.

    linear: with the hardening of the beam taken back, so that the disc has ``ATTENUATION``.
    """
    found = []
    for path in sorted((DATA / split).glob("*.npz")):
        with np.load(path) as file:
            reference = file["ground_truth"].astype(bool)
            assert math.isclose(
                json.loads(str(file["geometry_json"]))["effectivePixelSizePost"] * FINER, PIXEL, rel_tol=1e-6
            )
        measurement, how = measured_sinogram(read_sinogram(path), (SIDE, SIDE), spacing=PIXEL, bins=FINER)
        if linear:
            mu, a, b = HARDENED
            y = measurement.y
            measurement = replace(measurement, y=(y + a * y**2 + b * y**3) * (ATTENUATION / mu))
        found.append(Object(path.stem.split("_")[1], measurement, how, reference))
    return found


def segmented(image: Tensor) -> NDArray[np.bool_]:
    """(1, 1, SIDE, SIDE) -> the reference's pixels, plastic by the threshold of Otsu (IEEE Trans. Syst. Man
    Cybern. 9(1), 1979).
    """
    from skimage.filters import threshold_otsu

    large = torch.nn.functional.interpolate(image, scale_factor=FINER, mode="bilinear", align_corners=False)[
        0, 0
    ].numpy()
    return large > threshold_otsu(large)


def matthews(found: NDArray[np.bool_], reference: NDArray[np.bool_]) -> float:
    """Correlation of two masks, 1 where they are the same (Biochim. Biophys. Acta 405(2), 1975)."""
    return float(np.corrcoef(found.ravel(), reference.ravel())[0, 1])


def told(measurement: Measurement, share: float) -> Measurement:
    """The same with white noise of this share of the largest line integral: scatter and what is left of
    hardening leave more unexplained than photons do.
    """
    return Measurement(measurement.y, measurement.operator, Gaussian(share * float(measurement.y.max())))


def chest(measurement: Measurement, prior: Prior) -> Tensor:
    """The fast estimate of a prior in Hounsfield units, back in 1/mm; water at 0.0193 per mm."""
    water = 0.0193
    found = mp.reconstruct(prior, measurement.shifted(water / 1000, water), fast=True).mean()[None]
    return (found / 1000 + 1) * water


Method = Callable[[Measurement], Tensor]


def methods(work: Path, weight: float, share: float, n: int) -> dict[str, Method]:
    """Name -> measurement -> image (1, 1, SIDE, SIDE) in 1/mm. The prior of discs only where it was learned."""
    torso = mp.load("chest-ct")
    found: dict[str, Method] = {
        "least squares, damped": lambda m: ridge(told(m, share), 3.0),
        f"total variation, weight {weight:g}": lambda m: total_variation(
            told(m, share), weight, n=400, tol=1e-4
        ).clamp_min(0),
        "chest-ct, out of its domain, fast": lambda m: chest(told(m, share), torso),
    }
    if (work / "prior").is_dir():
        discs, own = mp.load(work / "prior"), "own prior of drawn discs"
        found |= {
            f"{own}, fast": lambda m: mp.reconstruct(discs, told(m, share), fast=True).mean()[None],
            f"{own}, mean of {n}": lambda m: mp.reconstruct(discs, told(m, share), n=n).mean()[None],
        }
    return found


def tune(work: Path) -> None:
    """On the val object alone: the weight of total variation and the share of noise with the best score."""
    fit_hardening()
    discs = mp.load(work / "prior")
    for item in objects("val"):
        for weight in (0.001, 0.003, 0.01, 0.03, 0.1):
            image = total_variation(told(item.measurement, 0.01), weight, n=400, tol=1e-4).clamp_min(0)
            print(
                f"{item.name}: total variation, weight {weight:g}: {matthews(segmented(image), item.reference):.4f}",
                flush=True,
            )
        for share in (0.005, 0.01, 0.02):
            image = mp.reconstruct(discs, told(item.measurement, share), n=2).mean()[None]
            print(
                f"{item.name}: own prior, mean of 2, told noise of {share:g}: {matthews(segmented(image), item.reference):.4f}",
                flush=True,
            )


def score(work: Path, split: str, weight: float, share: float, n: int, picture: Path | None) -> None:
    """The table of a split, and its pictures: a row an object."""
    every, rows = objects(split), []
    print(
        f"{split}: Matthews correlation with the reference segmentation; noise told: {share:g} of the largest line integral"
    )
    for item in every:
        print(f"object {item.name}: {item.how}")
        row = []
        for name, method in methods(work, weight, share, n).items():
            start = time.process_time()
            image = method(item.measurement)
            seconds, found = time.process_time() - start, segmented(image)
            misfit = float(told(item.measurement, share).misfit(image)[0])
            print(
                f"  {name:40s} {matthews(found, item.reference):7.4f}   misfit {misfit:6.2f}   {seconds:6.1f} CPU s",
                flush=True,
            )
            row += [drawn((image[0, 0] / ATTENUATION).clamp(0, 1).numpy())]
        rows.append(np.concatenate([*row, drawn(item.reference)], 1))
        if picture is not None:
            Image.fromarray(np.concatenate(rows)).save(picture, optimize=True)


def drawn(image: NDArray) -> NDArray[np.uint8]:
    """0 to 1 as grey, 256 pixels a side."""
    return np.asarray(
        Image.fromarray((255 * image.astype(np.float32)).astype(np.uint8)).resize(
            (256, 256), Image.Resampling.BILINEAR
        )
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("stage", choices=("learn", "tune", "score"))
    parser.add_argument("--work", type=Path, default=Path(".cache/htc2022"))
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--split", default="test", choices=("val", "test"))
    parser.add_argument("--weight", type=float, default=0.01)
    parser.add_argument("--share", type=float, default=0.01)
    parser.add_argument("-n", type=int, default=8, help="draws")
    parser.add_argument("--picture", type=Path)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    if chosen.stage == "learn":
        learn(chosen.work, chosen.steps)
    elif chosen.stage == "tune":
        tune(chosen.work)
    else:
        score(chosen.work, chosen.split, chosen.weight, chosen.share, chosen.n, chosen.picture)


if __name__ == "__main__":
    main()
