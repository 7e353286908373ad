"""Puts what the scripts printed (bench/results) into docs/figures.md, and a part of it into README.md and
docs/reconstruct.md: no figure is typed by hand.

python bench/figures.py [--check]
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "bench" / "results"
PARTS = {
    "README.md": ("reconstruct-operators", "reconstruct-brain-t1", "coverage", "detect-chest"),
    "docs/reconstruct.md": ("caution", "rules"),
    "docs/synthesize.md": ("joint",),
}
"""What a new reader sees first: quality beside the alternatives, intervals that hold, and where it falls
short; and why the defaults are what they are.
"""
CHAPTERS = {
    "Reconstruction": (
        "reconstruct-operators",
        "reconstruct-brain-t1",
        "reconstruct-chest-ct",
        "volumes",
        "caution",
        "rules",
        "deepinv",
    ),
    "Measured data": ("measured-kspace", "htc2022"),
    "Trust": ("coverage", "deviation", "attribution", "lesions", "patches", "stability"),
    "Detection": (
        "detect-pneumonia",
        "detect-chest",
        "detect-breast",
        "detect-brain",
        "detect-lesions",
        "detect-val",
        "gate",
    ),
    "Synthesis and augmentation": (
        "synthesis",
        "nearer",
        "moves",
        "generators",
        "joint",
        "adapt",
        "augment_gain",
        "augment_gates",
    ),
    "Networks, speed and safety": ("networks", "operators", "speed", "dicom_speed", "augment_speed", "kill"),
}
BEGIN, END = "<!-- figures: begin", "<!-- figures: end -->"


def main() -> None:
    pages = {ROOT / name: filled(ROOT / name, names) for name, names in PARTS.items()} | {
        ROOT / "docs" / "figures.md": figures()
    }
    stale = [
        path.name
        for path, text in pages.items()
        if not path.exists() or path.read_text(encoding="utf-8") != text
    ]
    if "--check" in sys.argv:
        sys.exit(
            f"not as the results have it: {', '.join(stale)}; run python bench/figures.py" if stale else 0
        )
    for path, text in pages.items():
        path.write_text(text, encoding="utf-8")


def filled(path: Path, names: tuple[str, ...]) -> str:
    """The page with these results between its marks."""
    head, rest = path.read_text(encoding="utf-8").split(BEGIN)
    mark, tail = rest.split("\n", 1)[0], rest.split(END)[1]
    return (
        f"{head}{BEGIN}{mark}\n"
        + "\n".join(block(RESULTS / f"{name}.txt") for name in names)
        + f"\n{END}{tail}"
    )


def figures() -> str:
    """Every file of results once; one that no chapter names comes last."""
    named = [name for names in CHAPTERS.values() for name in names]
    others = tuple(path.stem for path in sorted(RESULTS.glob("*.txt")) if path.stem not in named)
    lines = [
        "# Figures",
        "",
        f"What the scripts in `bench/` printed, as they printed it. {(RESULTS / 'README.md').read_text(encoding='utf-8').strip()}",
        "",
    ]
    for chapter, names in {**CHAPTERS, "Other": others}.items():
        if names:
            lines += [f"## {chapter}", "", *(f"{block(RESULTS / f'{name}.txt')}\n" for name in names)]
    return "\n".join(lines).rstrip() + "\n"


def block(path: Path) -> str:
    return f"```text\n{path.read_text(encoding='utf-8').strip()}\n```"


if __name__ == "__main__":
    main()
