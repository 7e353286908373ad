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
    """(64, 64) in 0 to 255: body, lungs, ribs, noise, and a nodule where asked for."""
    image = np.exp(-(((columns - 0.5) / 0.42) ** 6)) * 0.6
    for middle in (0.32, 0.68):
        x, y = middle + rng.normal(0, 0.015), 0.5 + rng.normal(0, 0.02)
        lung = ((columns - x) / 0.13) ** 2 + ((rows - y) / 0.3) ** 2
        image -= 0.35 / (1 + np.exp(8 * (lung - 1)))
    image += 0.04 * np.sin(rows * 40 + rng.uniform(0, 6)) + rng.normal(0, 0.015, image.shape)
    if nodule:
        x, y = rng.choice([0.32, 0.68]) + rng.normal(0, 0.03), rng.uniform(0.35, 0.65)
        image += 0.5 * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / 0.0025)
    return np.clip(255 * (image + 0.1), 0, 255).astype(np.uint8)


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
