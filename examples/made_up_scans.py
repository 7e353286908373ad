# %% [markdown]
# # A small folder of made-up scans
#
# Every "film" is a body with two lungs; those labelled `nodule` have a bright spot. No patient is
# shown. The folder is a data set as medprior reads it: sub-folders are labels, and `scans.csv` names
# the patients.
#
#     python examples/made_up_scans.py my_scans

# %%
import csv
import sys
from pathlib import Path

import numpy as np
from PIL import Image

SIDE = 64
rows, columns = np.indices((SIDE, SIDE)) / SIDE


def film(rng: np.random.Generator, nodule: bool) -> np.ndarray:
    """(64, 64) in 0 to 255: a body with two lungs, ribs, soft tissue and noise; a nodule where asked for."""
    left, up, wide = rng.normal(0, 0.04), rng.normal(0, 0.05), rng.uniform(0.34, 0.46)
    x, y = columns - 0.5 - left, rows - 0.5 - up
    image = rng.uniform(0.45, 0.7) * np.exp(-((x / wide) ** 6))
    for side in (-1, 1):
        lung = ((x - side * 0.42 * wide) / (0.31 * wide)) ** 2 + (y / rng.uniform(0.22, 0.36)) ** 2
        image -= rng.uniform(0.25, 0.4) / (1 + np.exp(8 * (lung - 1)))
    image += 0.05 * np.sin(rows * rng.uniform(30, 50) + side * x * 8 + rng.uniform(0, 6))
    for _ in range(6):  # soft tissue: wide blobs of either sign
        a, b = rng.uniform(0.1, 0.9, 2)
        image += rng.normal(0, 0.06) * np.exp(-((columns - a) ** 2 + (rows - b) ** 2) / 0.03)
    if nodule:
        a, b = 0.5 + left + rng.choice([-0.42, 0.42]) * wide, 0.5 + up + rng.uniform(-0.15, 0.15)
        image += 0.5 * np.exp(-((columns - a) ** 2 + (rows - b) ** 2) / 0.0025)
    image += rng.normal(0, 0.015, image.shape)
    return np.clip(255 * (image + 0.15), 0, 255).astype(np.uint8)


def write_scans(folder: Path, healthy: int = 160, ill: int = 40, seed: int = 0) -> None:
    """healthy and ill: how many films of each label; each is another patient."""
    rng = np.random.default_rng(seed)
    lines = []
    for label, count in (("no_finding", healthy), ("nodule", ill)):
        (folder / label).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            name = f"{label}/{number:03d}.png"
            Image.fromarray(film(rng, label == "nodule")).save(folder / name)
            lines.append({"path": name, "label": label, "patient": f"{label}-{number}"})
    with (folder / "scans.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["path", "label", "patient"])
        writer.writeheader()
        writer.writerows(lines)
    Image.fromarray(film(rng, True)).save(folder.parent / "scan.png")


# %%
if __name__ == "__main__":
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "my_scans").resolve()
    write_scans(folder)
    print(f"200 made-up films in {folder}, and one new film with a nodule: {folder.parent / 'scan.png'}")
