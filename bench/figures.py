"""Puts what the scripts printed (bench/results, written by bench/records.py) into pages: no figure is typed by
hand. All of it becomes docs/figures.md when the documentation is built; five rows of it are the table of
README.md.

python bench/figures.py [--check]

--check: writes nothing, and fails where the table of README.md is not what the results give, where a row of it
stands on another prior than the shipped one or on an earlier medprior, where a commit is unknown or its tree
was changed, where a line was typed into a result, and where a file of results lacks its plainest rival.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # as a script it finds the other scripts as a package, too

from bench.records import UNRECORDED, Block, load, shipped_priors  # noqa: E402

RESULTS = ROOT / "bench" / "results"
CHAPTERS = {
    "Reconstruction": (
        "reconstruct-operators", "reconstruct-brain-t1", "reconstruct-chest-ct", "volumes", "caution", "rules",
        "deepinv",
    ),
    "Measured data": ("known_images", "measured-kspace", "htc2022"),
    "Trust": ("coverage", "deviation", "attribution", "lesions", "patches", "stability"),
    "Detection": (
        "detect-pneumonia", "detect-chest", "detect-breast", "detect-brain", "detect-lesions", "detect-val",
        "gate", "membership",
    ),
    "Synthesis and augmentation": (
        "audit", "enlarge", "native", "copies", "moves", "joint", "adapt", "augment_gain", "augment_gates",
    ),
    "Few labels": ("label", "learn-pneumonia", "learn-breast", "learn-films", "learn-masks", "transfer", "features", "learn-costs"),
    "Networks, speed and safety": ("networks", "operators", "speed", "dicom_speed", "doors", "augment_speed", "kill", "mutations", "index", "pacs", "ohif"),
    "Explanations": ("explain", "twin"),
}  # fmt: skip
PLAINEST = {
    "adapt": "real-olds20", "attribution": "unheard", "augment_gain": "gain over real",
    "augment_gates": "real scans of the val split", "copies": "false alarms", "coverage": "than one width for all voxels", "deepinv": "FISTA, TV", "detect-brain": "mean intensity",
    "detect-breast": "mean intensity", "detect-chest": "mean intensity", "detect-lesions": "mean intensity",
    "detect-pneumonia": "mean intensity", "detect-val": "mean intensity", "deviation": "one number",
    "enlarge": "interpolated", "explain": "attack 0.05", "folders": "a loop of", "gate": "healthy", "htc2022": "least squares", "joint": "mean grey value",
    "label": "minus random", "learn-breast": "pixels", "learn-films": "pixels", "learn-masks": "U-Net", "transfer": "from nothing", "twin": "none", "learn-pneumonia": "pixels", "lesions": "trivial", "native": "linear interpolation", "measured-kspace": "zero-filled",
    "membership": "rival: mean grey value", "moves": "plain", "networks": "monai", "ohif": "CT alone", "pacs": "disk alone", "patches": "trivial",
    "reconstruct-brain-t1": "trivial", "reconstruct-chest-ct": "trivial", "reconstruct-operators": "trivial",
"stability": "trivial",
    "volumes": "zero-filled",
}  # fmt: skip
"""The plainest rival that a file of results prints, in the words of its lines."""
ALONE = {
    "audit": "the controls of an audit are its rivals: copies in disguise, and a twin that learned by heart",
    "augment_speed": "the other libraries are the rivals",
    "caution": "it compares variants of one method; plain images stand in reconstruct-brain-t1",
    "dicom_speed": "the other readers are the rivals",
    "doors": "the rival is the version before files were read in a process of their own",
    "features": "it compares features of one prior with each other; pixels stand in learn-breast",
    "index": "it measures seconds and bytes",
    "kill": "it counts runs that resume, of all that were killed",
    "mutations": "it counts files that are read or refused, of all that were damaged",
    "known_images": "scans of its own kind are the rival of other kinds",
    "learn-costs": "it measures seconds",
    "operators": "it measures seconds and adjointness",
    "rules": "it compares rules with each other; plain images stand in reconstruct-brain-t1",
    "serve": "it measures seconds and bytes",
    "speed": "it measures seconds",
}
"""Why a file of results has no plain rival among its lines."""
Found = tuple[str, str, str] | None
"""Ours, best baseline, n."""

Read = Callable[[str], Found]

BEGIN, END = "<!-- figures: begin", "<!-- figures: end -->"


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the README's table. read: (ours, best baseline, n) from the lines of today's
    blocks, None where none has it."""

    task: str
    results: str
    read: Read

    @property
    def narrow(self) -> bool:
        """The block that has the row is of the older rule of intervals."""
        results = load(self.results)
        shown = self.read(results.text())
        found = (b for b in results.blocks if b.current and self.read("\n".join(b.lines)) == shown)
        return next((b.narrow for b in found), False)


def main() -> None:
    readme = ROOT / "README.md"
    if wrong := list(refused()):
        sys.exit("\n".join(wrong))
    text = filled(readme.read_text(encoding="utf-8"))
    if "--check" in sys.argv:
        stale = readme.read_text(encoding="utf-8") != text
        sys.exit("README.md is not as the results have it: run python bench/figures.py" if stale else 0)
    readme.write_text(text, encoding="utf-8")
    (ROOT / "docs" / "figures.md").write_text(figures(), encoding="utf-8")


def names() -> list[str]:
    return sorted(path.stem for path in RESULTS.glob("*.json"))


def refused() -> Iterator[str]:
    """What is wrong with the results, a sentence each."""
    for stray in sorted(RESULTS.glob("*.txt")):
        yield f"{stray.name}: results are written by bench/records.py, as JSON"
    found: dict[str, tuple[Block, ...]] = {}
    for name in names():
        try:
            found[name] = load(name).blocks
        except (ValueError, KeyError, TypeError) as error:
            yield str(error)
    unknown = strangers({block.commit for blocks in found.values() for block in blocks})
    for name, blocks in found.items():
        yield from (f"{name}: commit {b.commit[:7]} is not known here" for b in blocks if b.commit in unknown)
        yield from (f"{name}: the working tree differed from its commit" for b in blocks if b.dirty)
    for name in found:
        yield from (f"{name}: {said}" for said in without_rival(name))
    for row in ROWS:
        if not row.read(load(row.results).text()):
            yield f"README.md, {row.task}: no result of today's medprior and the shipped prior has it"


def without_rival(name: str) -> Iterator[str]:
    """What is wrong with the plainest rival of a file of results that can be read."""
    rival = PLAINEST.get(name)
    if rival is None and name not in ALONE:
        yield "bench/figures.py names no plain rival of it (PLAINEST), nor why it has none (ALONE)"
    elif rival is not None and not any(rival in line for b in load(name).blocks for line in b.lines):
        yield f"its lines lack its plainest rival, {rival!r}"


def strangers(commits: set[str]) -> set[str]:
    """Those that the history of HEAD does not have; a copy without a whole history cannot tell.

    A commit that a rebase left behind is still among the objects here, and is gone for everybody else.
    """
    if _git("rev-parse", "--is-shallow-repository") != "false\n":
        return set()
    return commits - set(_git("rev-list", "HEAD").split())


def _git(*words: str) -> str:
    return subprocess.run(("git", *words), cwd=ROOT, capture_output=True, text=True, check=False).stdout


def filled(page: str) -> str:
    """The page with the table of five rows between its marks."""
    head, rest = page.split(BEGIN)
    mark, tail = rest.split("\n", 1)[0], rest.split(END)[1]
    return f"{head}{BEGIN}{mark}\n{table()}\n{END}{tail}"


def table() -> str:
    star = r" \*"
    lines = ["| task | medprior | best baseline | n |", "|---|---|---|---|"]
    for row in ROWS:
        found = row.read(load(row.results).text())
        if found is not None:  # main refuses a row without
            link = f"[{row.task}](bench/results/{row.results}.json)"
            lines.append(f"| {link} | {' | '.join(found)}{star if row.narrow else ''} |")
    if any(row.narrow for row in ROWS):
        lines += ["", f"{star.strip()} The interval is by an older rule, and too narrow for so few patients."]
    if loose := [row.task for row in ROWS if unrecorded(row.results)]:
        lines += ["", f"The SHA-256 of the prior is unrecorded for: {'; '.join(loose)}."]
    return "\n".join(lines)


def unrecorded(name: str) -> bool:
    return any(UNRECORDED in block.priors.values() for block in load(name).blocks if block.current)


def psnr(block: str) -> Read:
    """Reads a table of bench/reconstruct.py: the mean of 8 draws, and the best of all methods but ours."""

    def read(text: str) -> Found:
        part = next((p for p in reversed(text.split("\n\n")) if p.startswith(f"{block}:")), None)
        if part is None:
            return None
        rows = re.findall(r"^(\S.*?)\s+([\d.]+) \(([\d.]+) to ([\d.]+)\)", part, re.MULTILINE)
        values = {name: f"{mean} dB ({low} to {high})" for name, mean, low, high in rows}
        means = {name: float(mean) for name, mean, *_ in rows if not name.startswith("ours")}
        best = max(means, key=means.__getitem__)
        patients = re.search(r"(\d+) patients", part)
        return (
            values["ours, mean of 8"],
            f"{values[best]}, {best.rsplit(',', 1)[0]}",
            f"{patients[1]} patients" if patients else "",
        )

    return read


def coverage(prior: str, title: str) -> Read:
    """Reads bench/calibrate.py: the share of voxels inside of 90 % intervals of eight draws, newest first."""

    def read(text: str) -> Found:
        task = {"mri acceleration 4": "mri4"}[title]
        share = r"([\d.]+) \(([\d.]+) to ([\d.]+)\)"
        units = rf"^{prior} {title}, 8 draws: coverage {share} on \d+ images of (\d+) test patients"
        table = rf"^{prior} +{task} +8 draws .*?\) +[\d.]+ +\d+ \((?P<n>\d+)\) +{share}"
        plain = f"0.90 promised; {narrowing()[f'{title}, 8 draws']} than one width for all voxels"
        if found := re.search(units, text, re.MULTILINE):
            return f"{found[1]} ({found[2]} to {found[3]})", plain, f"{found[4]} patients"
        if found := re.search(table, text, re.MULTILINE):
            return f"{found[2]} ({found[3]} to {found[4]})", plain, f"{found['n']} patients"
        return None

    return read


def auroc(text: str) -> Found:
    """Reads bench/detect.py's table: ours, and the best of the plain scores."""
    rows = re.findall(r"^\| ([^|]+?) \| ([\d.]+) \| ([\d.]+) to ([\d.]+) \|", text, re.MULTILINE)
    patients = re.search(r"test: (\d+) healthy, (\d+) others", text)
    if not rows or not patients:
        return None
    values = {name: f"{value} ({low} to {high})" for name, value, low, high in rows}
    best = max((name for name in values if name != "ours"), key=lambda name: values[name])
    return values["ours"], f"{values[best]}, {best}", f"{int(patients[1]) + int(patients[2])} patients"


def few_labels(labelled: int) -> Read:
    """Reads bench/learn.py's first curves: the head with unlabelled scans, and the best that knows no
    prior.
    """

    def read(text: str) -> Found:
        rows = re.findall(
            rf"^(\w.*?)  .*? {labelled}: ([\d.]+) \(([\d.]+) to ([\d.]+)\)",
            text.split("\n\n")[0],
            re.MULTILINE,
        )
        values = {name: f"{float(v):.3f} ({float(a):.3f} to {float(b):.3f})" for name, v, a, b in rows}
        others = [name for name in values if not name.startswith("prior")]
        if not others:
            return None
        best = max(others, key=values.__getitem__)
        return values["prior, with unlabelled scans"], f"{values[best]}, {best}", "ten draws of labels"

    return read


ROWS = (
    Row("MRI, 8 coils, 4 times fewer lines: PSNR", "reconstruct-operators", psnr("mri4-coils")),
    Row("fan-beam CT, 60 views: PSNR", "reconstruct-operators", psnr("fan60")),
    Row("90 % interval, MRI 4 times: coverage", "coverage", coverage("brain-t1", "mri acceleration 4")),
    Row("detection on NIH films, `chest-xray`: AUROC", "detect-chest", auroc),
    Row("50 labels of 1 000 films, PneumoniaMNIST: AUROC", "learn-pneumonia", few_labels(50)),
)
"""What a new reader sees first: one figure a job, and one where a baseline is ahead."""


def figures() -> str:
    """Every file of results once; one that no chapter names comes last."""
    named = [name for chapter in CHAPTERS.values() for name in chapter]
    others = tuple(name for name in names() if name not in named)
    lines = ["# Figures", "", (RESULTS / "README.md").read_text(encoding="utf-8").strip(), ""]
    for chapter, inside in {**CHAPTERS, "Other": others}.items():
        if inside:
            lines += [f"## {chapter}", ""]
            lines += [line for name in inside for line in (f"### {name}", "", *section(name))]
    return "\n".join(lines).rstrip() + "\n"


def section(name: str) -> Iterator[str]:
    """A file of results: what its authors say of it, then each block with what made it."""
    results = load(name)
    if results.about:
        yield from (results.about, "")
    if name == "coverage":
        yield from (narrower(), "")
    if name in PLAINEST:
        yield from (f"The plainest rival here: *{PLAINEST[name]}*.", "")
    elif name in ALONE:
        yield from (f"No plain rival stands here: {ALONE[name]}.", "")
    for block in results.blocks:
        yield from (f"`{block.command}`", "", " ".join(facts(block)), "")
        yield "```text\n" + "\n".join(block.lines) + "\n```\n"


def facts(block: Block) -> Iterator[str]:
    """What made the figures of a block, a sentence each."""
    if not block.current:
        yield f"**Mind: {block.earlier or 'of an earlier prior: ' + ', '.join(block.other_priors)}.**"
    dirty = {None: UNRECORDED, True: "changed", False: "unchanged"}[block.dirty]
    yield f"Commit {block.commit[:7]}, working tree {dirty}; {block.machine}; {block.date}."
    shipped = shipped_priors()
    for name, found in block.priors.items():
        kind = " (as shipped)" if shipped.get(name) == found else ""
        yield f"Prior {name}: {found if found == UNRECORDED else f'SHA-256 {found[:16]}{kind}'}."
    if block.times > 1:
        yield f"Recorded {block.times} times; the last one stands."
    if block.recovered:
        yield (
            "Recovered from the history: the commit is the one that the result named, or else the one that "
            "wrote it. Remarks of the authors may stand among the lines."
        )
    if block.remark:
        yield f"Remark: {block.remark}."
    if block.narrow:
        yield (
            "Its intervals are percentile bootstraps over patients: of 4 or 5 patients they cover 0.79 to 0.85, "
            "not 0.95."
        )
    if (n := block.intervals) >= 10:
        yield f"{n} intervals: of so many at 95 %, about {n / 20:.0f} miss their value by chance alone."


def narrowing() -> dict[str, str]:
    """How much narrower or wider intervals are than one width for all voxels (bench/calibrate.py units)."""
    rows = re.findall(
        r"^brain-t1 (.+?): .* images of .*; ([\d.]+)% (narrower|wider) than one width",
        load("coverage").text(),
        re.MULTILINE,
    )
    return {name: f"{share} % {said}" for name, share, said in rows}


def narrower() -> str:
    """The trivial baseline of coverage in words."""
    shares = ", ".join(f"{share} ({name})" for name, share in narrowing().items())
    return (
        "The trivial baseline of these intervals is one width for all voxels. At the same coverage, on val "
        f"patients, those of brain-t1 are {shares} than it."
    )


if __name__ == "__main__":
    main()
