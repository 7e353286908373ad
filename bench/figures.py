"""Puts what the scripts printed (bench/results) into pages: no figure is typed by hand. All of it becomes
docs/figures.md when the documentation is built; five rows of it are the table of README.md.

python bench/figures.py [--check]

--check: fails where the table of README.md is not what the results give; writes nothing.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "bench" / "results"
CHAPTERS = {
    "Reconstruction": (
        "reconstruct-operators", "reconstruct-brain-t1", "reconstruct-chest-ct", "volumes", "caution", "rules",
        "deepinv",
    ),
    "Measured data": ("measured-kspace", "htc2022"),
    "Trust": ("coverage", "deviation", "attribution", "lesions", "patches", "stability"),
    "Detection": (
        "detect-pneumonia", "detect-chest", "detect-breast", "detect-brain", "detect-lesions", "detect-val",
        "gate",
    ),
    "Synthesis and augmentation": (
        "synthesis", "nearer", "moves", "generators", "joint", "adapt", "augment_gain", "augment_gates",
    ),
    "Networks, speed and safety": ("networks", "operators", "speed", "dicom_speed", "augment_speed", "kill"),
}  # fmt: skip
BEGIN, END = "<!-- figures: begin", "<!-- figures: end -->"


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the README's table. read: (ours, best baseline, n) from the text of the results."""

    task: str
    results: str
    read: Callable[[str], tuple[str, str, str]]


def main() -> None:
    readme = ROOT / "README.md"
    text = filled(readme.read_text(encoding="utf-8"))
    if "--check" in sys.argv:
        stale = readme.read_text(encoding="utf-8") != text
        sys.exit("README.md is not as the results have it: run python bench/figures.py" if stale else 0)
    readme.write_text(text, encoding="utf-8")
    (ROOT / "docs" / "figures.md").write_text(figures(), encoding="utf-8")


def filled(page: str) -> str:
    """The page with the table of five rows between its marks."""
    head, rest = page.split(BEGIN)
    mark, tail = rest.split("\n", 1)[0], rest.split(END)[1]
    return f"{head}{BEGIN}{mark}\n{table()}\n{END}{tail}"


def table() -> str:
    lines = ["| task | medprior | best baseline | n |", "|---|---|---|---|"]
    for row in ROWS:
        ours, other, patients = row.read((RESULTS / f"{row.results}.txt").read_text(encoding="utf-8"))
        link = f"[{row.task}](bench/results/{row.results}.txt)"
        lines.append(f"| {link} | {ours} | {other} | {patients} |")
    return "\n".join(lines)


def psnr(block: str) -> Callable[[str], tuple[str, str, str]]:
    """Reads a table of bench/reconstruct.py: the mean of 8 draws, and the best of all methods but ours."""

    def read(text: str) -> tuple[str, str, str]:
        part = next(p for p in text.split("\n\n") if p.startswith(f"{block}:"))
        rows = re.findall(r"^(\S.*?)\s+([\d.]+) \(([\d.]+) to ([\d.]+)\)", part, re.MULTILINE)
        values = {name: f"{mean} dB ({low} to {high})" for name, mean, low, high in rows}
        means = {name: float(mean) for name, mean, *_ in rows if not name.startswith("ours")}
        best = max(means, key=means.__getitem__)
        patients = re.search(r"(\d+) patients", part)
        return (
            values["ours, mean of 8"],
            f"{values[best]}, {best.split(',')[0]}",
            f"{patients[1]} patients" if patients else "",
        )

    return read


def coverage(prior: str, task: str) -> Callable[[str], tuple[str, str, str]]:
    """Reads bench/calibrate.py's table: the share of voxels inside of 90 % intervals of eight draws."""

    def read(text: str) -> tuple[str, str, str]:
        found = re.search(
            rf"^{prior} +{task} +8 draws .*?\) +[\d.]+ +\d+ \((\d+)\) +([\d.]+) \(([\d.]+) to ([\d.]+)\)",
            text,
            re.MULTILINE,
        )
        assert found, f"{prior}, {task} stands in coverage.txt"
        return f"{found[2]} ({found[3]} to {found[4]})", "0.90 promised", f"{found[1]} patients"

    return read


def auroc(text: str) -> tuple[str, str, str]:
    """Reads bench/detect.py's table: ours, and the best of the plain scores."""
    rows = re.findall(r"^\| ([^|]+?) \| ([\d.]+) \| ([\d.]+) to ([\d.]+) \|", text, re.MULTILINE)
    values = {name: f"{value} ({low} to {high})" for name, value, low, high in rows}
    best = max((name for name in values if name != "ours"), key=lambda name: values[name])
    patients = re.search(r"test: (\d+) healthy, (\d+) others", text)
    assert patients, "the counts stand above the table"
    return values["ours"], f"{values[best]}, {best}", f"{int(patients[1]) + int(patients[2])} patients"


def gain(data: str, labelled: int) -> Callable[[str], tuple[str, str, str]]:
    """Reads bench/augment_gain.py's table: gain in AUROC over real and classical images."""

    def read(text: str) -> tuple[str, str, str]:
        found = re.search(
            rf"^{data}, {labelled} .*?AUROC ([\d.]+) +([+-][\d.]+ \([^)]*\))", text, re.MULTILINE
        )
        seeds = re.search(r"equal steps for every arm, (\w+ seeds)", text)
        assert found and seeds, f"{data}, {labelled} stands in augment_gain.txt"
        return f"{found[1]}, gain {found[2]}", "classical augmentation", seeds[1]

    return read


ROWS = (
    Row("MRI, 8 coils, 4 times fewer lines: PSNR", "reconstruct-operators", psnr("mri4-coils")),
    Row("fan-beam CT, 60 views: PSNR", "reconstruct-operators", psnr("fan60")),
    Row("90 % interval, MRI 4 times: coverage", "coverage", coverage("brain-t1", "mri4")),
    Row("detection on NIH films, `chest-xray`: AUROC", "detect-chest", auroc),
    Row("classifier of 50 films a class: AUROC", "augment_gain", gain("pneumonia", 50)),
)
"""What a new reader sees first: one figure a job, and one where a baseline is ahead."""


def figures() -> str:
    """Every file of results once; one that no chapter names comes last."""
    named = [name for names in CHAPTERS.values() for name in names]
    others = tuple(path.stem for path in sorted(RESULTS.glob("*.txt")) if path.stem not in named)
    lines = ["# Figures", "", (RESULTS / "README.md").read_text(encoding="utf-8").strip(), ""]
    for chapter, names in {**CHAPTERS, "Other": others}.items():
        if names:
            lines += [f"## {chapter}", ""]
            lines += [line for name in names for line in (f"### {name}", "", f"{block(name)}\n")]
    return "\n".join(lines).rstrip() + "\n"


def block(name: str) -> str:
    return f"```text\n{(RESULTS / f'{name}.txt').read_text(encoding='utf-8').strip()}\n```"


if __name__ == "__main__":
    main()
