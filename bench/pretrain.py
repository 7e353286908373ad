"""The recipe of the bundled priors: prepare (reads scans), learn (torch alone; also on a GPU machine), finish
(measures and writes).

    python bench/pretrain.py prepare brain-t1 --work .cache/pretrain
    python bench/pretrain.py learn brain-t1 --work .cache/pretrain --steps 10000 [--device cuda]
    python bench/pretrain.py finish brain-t1 --work .cache/pretrain --out src/medprior/pretrained
    python bench/pretrain.py name brain-t1 --out src/medprior/pretrained       (which scans it has learned from, as a digest on its card)

The bundled weights of 2026-11 were made on a busy CPU, one core for each, 40 to 90 minutes a stage. Stages
that were begun for another number of steps and told on the way to end earlier: the first of brain-t1 (10000,
at step 3900) and the second of chest-ct (8000, then 5500, at steps 1300 and 1600). The data folder is
MEDPRIOR_DATA (default ../shared/data beside the checkout); only its train parts are learned from, val parts
measure the error table and calibrate, test parts are not opened here.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from widen import widened

from medprior.nets import UNet
from medprior.prior import Card, Prior
from medprior.prior.image_kind import ImageKind
from medprior.prior.prior import untrained_prior
from medprior.training.checkpoint import load_latest
from medprior.training.deviation_head import with_deviation_head
from medprior.training.folder import load, save
from medprior.training.held_out import error_tables
from medprior.training.loop import Progress, TrainingSettings, train
from medprior.training.patches import Images

DATA = Path(os.environ.get("MEDPRIOR_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
NOT_CLINICAL = "research use only, not for diagnosis"


@dataclass(frozen=True)
class Recipe:
    """card: without the measured parts; its widths are the last stage's. stages: runs of the loop, each begun
    with what the former learned, widened.
    """

    card: Card
    stages: tuple[tuple[tuple[int, ...], TrainingSettings], ...]
    images: dict[str, Any] = field(default_factory=dict)
    licence: str = ""


RECIPES = {
    "brain-t1": Recipe(
        Card(
            "brain-t1", "MR", scaling="foreground", quantiles=(0.0, 0.99), axes="PL", spacing_mm=(2.0, 2.0), frame=(48, 112), numbers=("height",),
            preset="base", widths=(32, 64, 128, 192), sigma_data=0.57,
            limits=(NOT_CLINICAL, "healthy adults of one site and one scanner, 2 mm, faces blanked", "8-bit source"),
        ),
        (
            ((24, 48, 96, 160), TrainingSettings(steps=7500, rate=1.5e-3, save_every=100)),
            ((32, 64, 128, 192), TrainingSettings(steps=9000, rate=1e-3, save_every=100, precision="bfloat16")),
        ),
        {"levels": (0.9, 0.1), "patches": ((64, 0.5), (128, 0.5)), "flip": 1},
        "IXI (brain-development.org), CC BY-SA 3.0",
    ),
    "chest-xray": Recipe(
        Card(
            "chest-xray", "DX", scaling="range", frame=(64, 256), labels=("no_finding", "pneumonia"), sigma_data=0.55,
            limits=(NOT_CLINICAL, "labels were mined from reports; portable films are more frequent among pneumonia", "8-bit source at 256 pixels"),
        ),
        (((16, 32, 64, 128), TrainingSettings(steps=8000, save_every=100)),),
        {"levels": (0.35, 0.3, 0.35), "patches": ((64, 0.85), (128, 0.15))},
        "NIH ChestX-ray14 (Wang et al., CVPR 2017), NIH Clinical Center, use unrestricted with attribution",
    ),
    "chest-ct": Recipe(
        Card(
            "chest-ct", "CT", unit="HU", scaling="fixed", low=-1024.0, high=1024.0, axes="PL", frame=(64, 256), sigma_data=0.46,
            preset="own", widths=(32, 48, 96, 160),
            limits=(NOT_CLINICAL, "slices of chest and upper abdomen, 2x2 means of 512x512, HU clipped to -1024..3071"),
        ),
        (
            ((16, 32, 64, 128), TrainingSettings(steps=5000, save_every=100)),
            ((32, 48, 96, 160), TrainingSettings(steps=4500, rate=1.2e-3, save_every=100, precision="bfloat16")),
        ),
        {"levels": (0.6, 0.2, 0.2), "patches": ((64, 0.8), (128, 0.2))},
        "TCGA-LUAD, TCGA-LUSC (TCIA, CC BY 3.0); COVID-19-NY-SBU, Lung-PET-CT-Dx (TCIA, CC BY 4.0)",
    ),
    "breast-us": Recipe(
        Card(
            "breast-us", "US", scaling="range", frame=(64, 256), labels=("benign", "malignant", "normal"), sigma_data=0.5,
            limits=(NOT_CLINICAL, "images squashed to 256 x 256 by their source", "no patient is named: each image counts as one"),
        ),
        (((16, 32, 64, 128), TrainingSettings(steps=8000, save_every=100)),),
        {"levels": (0.35, 0.3, 0.35), "patches": ((64, 0.85), (128, 0.15)), "flip": 1},
        "BUSI (Al-Dhabyani et al., Data in Brief 2020), CC BY 4.0",
    ),
    "hippocampus": Recipe(
        Card(
            "hippocampus", "MR", scaling="foreground", quantiles=(0.0, 0.99), axes="RAS", spacing_mm=(1.0, 1.0, 1.0), frame=(24, 64),
            ndim=3, sigma_data=0.5,
            limits=(NOT_CLINICAL, "crops around one hippocampus, 1 mm", "8-bit source"),
        ),
        (((16, 32, 64, 128), TrainingSettings(steps=6000, batch=4, save_every=50)),),
        {"levels": (1.0,), "patches": ((32, 0.8), (48, 0.2))},
        "Medical Segmentation Decathlon, hippocampus (Antonelli et al., 2022), CC BY-SA 4.0",
    ),
}  # fmt: skip


PICTURES = {"chest-xray": ("chest_xray_nih", 8), "breast-us": ("breast_us_busi", None)}
"""Sets of pictures: the folder, and how many letters of a file's name are the patient (None: all)."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("stage", choices=("prepare", "learn", "finish", "name"))
    parser.add_argument("name", choices=sorted(RECIPES))
    parser.add_argument("--work", type=Path, default=Path(".cache/pretrain"))
    parser.add_argument("--out", type=Path, default=Path("src/medprior/pretrained"))
    parser.add_argument("--steps", type=int)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    if chosen.stage == "prepare":
        prepare(chosen.name, chosen.work)
    elif chosen.stage == "learn":
        learn(chosen.name, chosen.work, chosen.steps, chosen.device)
    elif chosen.stage == "finish":
        finish(chosen.name, chosen.work, chosen.out)
    else:
        prior = load(chosen.out / chosen.name)
        card = replace(prior.card, data={**prior.card.data, **named(chosen.name)})
        save(
            Prior(prior.net, prior.path, card, prior.promises, prior.healthy),
            chosen.out / chosen.name,
            half=True,
        )


def prepare(name: str, work: Path) -> None:
    """work/<name>/<split>.npz: images in network units as float16, labels, numbers, patients."""
    from medprior.prior.admit import admit

    for split in ("train", "val"):
        images, numbers, labels, patients = [], [], [], []
        for volume, label, patient in scans(name, split):
            admitted = admit(RECIPES[name].card, volume)
            # slices of nothing but air teach nothing
            kept = (admitted.images > -0.8).float().flatten(1).mean(1) > 0.02
            images += [x.numpy().astype(np.float16) for x in admitted.images[kept]]
            labels += [label] * int(kept.sum())
            patients += [patient] * int(kept.sum())
            if admitted.condition.numbers is not None:
                numbers += admitted.condition.numbers[kept].tolist()
        (work / name).mkdir(parents=True, exist_ok=True)
        np.savez_compressed(
            work / name / f"{split}.npz",
            labels=labels,
            numbers=numbers,
            patients=patients,
            **{f"image_{n}": image for n, image in enumerate(images)},
        )
        spread = np.concatenate([image.ravel() for image in images]).astype(np.float32).std()
        print(f"{name} {split}: {len(images)} images of {len(set(patients))} patients, std {spread:.3f}")


def scans(name: str, split: str) -> Iterator[tuple[Any, int, str]]:
    """(volume, label or -1, patient) of one split."""
    from medprior.io.arrays import read_stack
    from medprior.io.read import read

    if name == "brain-t1":
        for path in sorted((DATA / "brain_mri_t1_3d_ixi" / split).glob("*_t1.nii.gz")):
            yield read(path, modality="MR"), -1, path.name.split("_")[0]
    elif name == "hippocampus":
        for path in sorted((DATA / "brain_mri_hippocampus_3d" / split).glob("*_t1.nii.gz")):
            yield read(path, modality="MR"), -1, path.name.removesuffix("_t1.nii.gz")
    elif name in PICTURES:
        where, prefix = PICTURES[name]
        card = RECIPES[name].card
        for label, folder in enumerate(card.labels):
            for path in sorted((DATA / where / split / folder).glob("*.png")):
                yield read(path, modality=card.modality), label, path.name[:prefix]
    else:
        stack = read_stack(DATA / "ct_slices_hu" / split / "slices_256.npz")
        for volume, patient in zip(stack.images, stack.patients, strict=True):
            yield volume, -1, str(patient)
        if split == "train":
            for path in sorted((DATA / "ct_volumes_hu" / split).glob("*.nii.gz")):
                yield (
                    read(path, modality="CT", unit="HU"),
                    -1,
                    path.name.split("_kernel")[0],
                )  # two kernels, one patient


def named(name: str) -> dict[str, Any]:
    """How an audit knows again which scans a prior has learned from (``runs/training_scans.py``): their
    number, and a digest of the digests of their pixels.
    """
    from medprior.io.dataset.pixels.twins import pixel_hash

    digests = sorted(pixel_hash(volume) for volume, _, _ in scans(name, "train"))
    return {"scans": len(digests), "sha256": sha256("\n".join(digests).encode()).hexdigest()}


def held(
    name: str, work: Path, split: str
) -> tuple[list[torch.Tensor], torch.Tensor, torch.Tensor | None, list[str]]:
    """What ``prepare`` wrote, as tensors."""
    with np.load(work / name / f"{split}.npz") as stored:
        images = [
            torch.from_numpy(stored[f"image_{n}"].astype(np.float32)) for n in range(len(stored["labels"]))
        ]
        numbers = torch.from_numpy(stored["numbers"].astype(np.float32)) if stored["numbers"].size else None
        return images, torch.from_numpy(stored["labels"]), numbers, stored["patients"].tolist()


def learn(name: str, work: Path, steps: int | None, device: str) -> Prior:
    """Runs or continues the stages in work/<name>/stage-1, stage-2, ...; steps: of the last one."""
    recipe = RECIPES[name]
    images, labels, numbers, _ = held(name, work, "train")
    data = Images(images, labels if recipe.card.labels else None, numbers, **recipe.images)

    def show(line: Progress, _: Prior) -> None:
        print(
            f"{name} {line.step}/{line.steps}: loss {line.loss:.4f}, {line.seconds_left / 60:.1f} min left, {line.peak_mib:.0f} MiB",
            flush=True,
        )

    torch.manual_seed(recipe.stages[0][1].seed)
    prior = untrained_prior(replace(recipe.card, widths=recipe.stages[0][0]))
    for number, (widths, settings) in enumerate(recipe.stages, 1):
        if number > 1:
            assert isinstance(prior.net, UNet)
            prior = Prior(widened(prior.net, widths), prior.path, replace(recipe.card, widths=widths))
        if steps and number == len(recipe.stages):
            settings = replace(settings, steps=steps)
        settings = replace(settings, device=device)
        prior = train(prior, data, settings, work / name / f"stage-{number}", on_progress=show)
    return prior


def finish(name: str, work: Path, out: Path) -> None:
    """The moving average of the newest checkpoint, with its measured error table, its card and its trust."""
    recipe = RECIPES[name]
    state, _ = load_latest(work / name / f"stage-{len(recipe.stages)}" / "checkpoints")
    if state is None:
        raise SystemExit(
            f"{work / name}: the last of its {len(recipe.stages)} stages has learned nothing yet"
        )
    prior = untrained_prior(recipe.card)
    prior.net.load_state_dict(state.average)
    prior.net.eval().requires_grad_(False)
    images, labels, numbers, patients = held(name, work, "train")
    prior = with_deviation_head(
        prior,
        Images(images, labels if recipe.card.labels else None, numbers, **recipe.images),
        batch=recipe.stages[-1][1].batch,
    )
    data = {
        "n_images": len(images), "n_patients": len(set(patients)), "licence": recipe.licence, "shape": list(images[0].shape[1:]),
        "labels": {label: int((labels == i).sum()) for i, label in enumerate(recipe.card.labels)}, **named(name),
    }  # fmt: skip
    training = {
        "steps": [*(settings.steps for _, settings in recipe.stages[:-1]), state.facts["step"]],
        "widths": [list(widths) for widths, _ in recipe.stages],
        "seed": state.facts["seed"],
        "batch": recipe.stages[-1][1].batch,
        "torch": torch.__version__,
        "recipe": "bench/pretrain.py",
    }
    held_out, _, known, _ = held(name, work, "val")
    card = replace(
        prior.card,
        errors=error_tables(prior, held_out, known, n_levels=len(recipe.images["levels"])),
        data=data,
        training=training,
    )
    save(
        Prior(prior.net, prior.path, card, kind=ImageKind.fitted(images[:: max(1, len(images) // 500)])),
        out / name,
        half=True,
    )
    print(f"{out / name}: step {state.facts['step']}")


if __name__ == "__main__":
    main()
