"""Puts what the scripts printed (bench/results) into README.md, between its figures marks: no figure is typed by hand.

python bench/readme.py
"""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SHOWN = ("reconstruct-brain-t1.txt", "reconstruct-chest-ct.txt", "networks.txt", "trust-chest-xray.txt", "kill.txt")
"""The others (operators) are linked from their own pages."""
BEGIN, END = "<!-- figures: begin", "<!-- figures: end -->"


def main() -> None:
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    head, rest = page.split(BEGIN)
    mark, tail = rest.split("\n", 1)[0], rest.split(END)[1]
    blocks = "\n".join(f"```text\n{path.read_text(encoding='utf-8').strip()}\n```" for path in (ROOT / "bench" / "results" / name for name in SHOWN))
    (ROOT / "README.md").write_text(f"{head}{BEGIN}{mark}\n{blocks}\n{END}{tail}", encoding="utf-8")


if __name__ == "__main__":
    main()
