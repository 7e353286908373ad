"""Runs a script of this folder and writes what it printed into bench/results, with all that made it so.

python bench/records.py NAME -- bench/lesions.py --tasks mri4

writes bench/results/NAME.json: the command, the commit and whether the working tree differed from it, the
SHA-256 of every prior that was read, the machine, the date, and the printed lines with their own SHA-256. The
same command again replaces its block; another command adds one. Nobody types into these files:
bench/figures.py --check refuses a block whose lines are not those that were printed.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import platform
import re
import runpy
import shlex
import subprocess
import sys
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "bench" / "results"
PRETRAINED = ROOT / "src" / "medprior" / "pretrained"
UNRECORDED = "unrecorded"
_NUMBER = r"[-+]?\d+(?:\.\d+)?"
_INTERVAL = re.compile(rf"[(|] ?{_NUMBER} to {_NUMBER} ?[)|]")


@dataclass(frozen=True, slots=True)
class Block:
    """What one command printed. dirty: whether the working tree differed from the commit; None: unrecorded.

    priors: SHA-256 of the weights by name, or ``UNRECORDED``. remark: what the command line does not say.
    recovered: written before this script was there; the commit is then the one that the result named, or
    else the one that wrote it. earlier: why the figures are not those of today's medprior, "" where they are.
    times: how often the command was recorded; the last one stands.
    """

    command: str
    commit: str
    dirty: bool | None
    priors: dict[str, str]
    machine: str
    date: str
    lines: tuple[str, ...]
    remark: str = ""
    recovered: bool = False
    earlier: str = ""
    times: int = 1

    @property
    def intervals(self) -> int:
        """How many comparisons a reader sees."""
        return len(_INTERVAL.findall("\n".join(self.lines)))

    @property
    def digest(self) -> str:
        """SHA-256 of the printed lines."""
        return hashlib.sha256("\n".join(self.lines).encode()).hexdigest()

    @property
    def other_priors(self) -> list[str]:
        """Bundled priors whose shipped weights are not those that were measured."""
        shipped = shipped_priors()
        return [
            n for n, found in self.priors.items() if n in shipped and found not in (shipped[n], UNRECORDED)
        ]

    @property
    def current(self) -> bool:
        return not self.earlier and not self.other_priors

    @property
    def narrow(self) -> bool:
        """Its intervals are percentile bootstraps over patients, as all were before 2026-11-30: of 4 or 5
        patients, 0.79 to 0.85 of them cover where 0.95 is printed.
        """
        return self.recovered and self.intervals > 0


@dataclass(frozen=True, slots=True)
class Results:
    """A file of results. about: what the authors say of it."""

    about: str
    blocks: tuple[Block, ...]

    def text(self, *, earlier: bool = False) -> str:
        """The printed lines of today's blocks, or of the others."""
        return "\n\n".join("\n".join(b.lines) for b in self.blocks if b.current is not earlier)


@cache
def shipped_priors() -> dict[str, str]:
    """SHA-256 of the weights of each bundled prior."""
    return {f.parent.name: _sha256(f) for f in sorted(PRETRAINED.glob("*/weights.safetensors"))}


def load(name: str) -> Results:
    """A file of results. Raises ValueError where lines are not those that were printed, or facts are missing."""
    stored = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    blocks = []
    for one in stored["blocks"]:
        digest = one.pop("sha256")
        block = Block(**{**one, "lines": tuple(one["lines"])})
        if block.digest != digest:
            raise ValueError(f"{name}: the lines of '{block.command}' are not those that were printed")
        if missing := [k for k in ("command", "commit", "machine", "date") if not getattr(block, k)]:
            raise ValueError(f"{name}: '{block.command}' lacks {', '.join(missing)}")
        blocks.append(block)
    return Results(stored["about"], tuple(blocks))


def save(name: str, results: Results) -> None:
    blocks = [{**asdict(block), "sha256": block.digest} for block in results.blocks]
    text = json.dumps({"about": results.about, "blocks": blocks}, indent=1, ensure_ascii=False)
    (RESULTS / f"{name}.json").write_text(text + "\n", encoding="utf-8")


def add(name: str, block: Block) -> None:
    """Put a block in the place of the same command's, which it counts, or behind all others."""
    known = load(name) if (RESULTS / f"{name}.json").is_file() else Results("", ())
    same = [one.times for one in known.blocks if one.command == block.command]
    block = replace(block, times=1 + sum(same))
    before = [one for one in known.blocks if one.command != block.command]
    save(name, Results(known.about, (*before, block)))


def printed(script: str, args: list[str]) -> tuple[str, dict[str, str]]:
    """What a script printed, and the SHA-256 of the priors that it read."""
    from medprior.io.disk import files  # before any module that reads weights

    priors: dict[str, str] = {}
    names = {found: name for name, found in shipped_priors().items()}
    read, screen = files.load_weights, sys.stdout

    def noted(path: str | Path) -> dict[str, Any]:
        if Path(path).name == "weights.safetensors":
            found = _sha256(Path(path))
            priors[names.get(found, Path(path).resolve().parent.name)] = found
        return read(path)

    class Tee(io.StringIO):
        def write(self, text: str, /) -> int:
            screen.write(text)
            return super().write(text)

    files.load_weights = noted
    sys.argv = [script, *args]
    with redirect_stdout(Tee()) as out:
        runpy.run_path(script, run_name="__main__")
    files.load_weights = read
    return out.getvalue(), priors


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _git(*words: str) -> str:
    return subprocess.run(
        ("git", *words), cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.strip()


def main() -> None:
    name, mark, script, *args = sys.argv[1:]
    if mark != "--":
        sys.exit("wanted: python bench/records.py NAME -- bench/SCRIPT.py ARGUMENTS")
    commit, dirty = _git("rev-parse", "HEAD"), bool(_git("status", "--porcelain", "--", "src", "bench/*.py"))
    text, priors = printed(script, args)
    machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    lines = tuple(line.rstrip() for line in text.strip("\n").splitlines())
    command, today = shlex.join(["python", script, *args]), str(datetime.now(UTC).date())
    add(name, Block(command, commit, dirty, priors, machine, today, lines))


if __name__ == "__main__":
    main()
