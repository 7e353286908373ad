"""The promise: what the README and the documentation show, runs. Every python block of a page, in order, in
one namespace.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
import types
from pathlib import Path

import pytest

from medprior.training.folder import bundled

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SHELL = re.compile(r"^```bash\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)#\s]+)")


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def missing_priors(code: str) -> set[str]:
    """Bundled priors that the code names and that are not here."""
    return set(re.findall(r"""load\(["']([\w-]+)["']\)""", code)) - set(bundled())


@pytest.fixture
def scans(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with the scan that the pages speak of: chest.dcm, a chest radiograph that comes with
    pydicom-data.
    """
    from pydicom.data import get_testdata_file

    shutil.copy(str(get_testdata_file("RG1_UNCR.dcm", download=False)), tmp_path / "chest.dcm")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("page", [p for p in PAGES if BLOCK.search(p.read_text(encoding="utf-8"))], ids=name)
def test_the_code_of_a_page_runs(page: Path, scans: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = BLOCK.findall(page.read_text(encoding="utf-8"))
    absent = missing_priors("\n".join(blocks))
    if absent:
        pytest.skip(f"{name(page)} shows bundled priors that are not here yet: {', '.join(sorted(absent))}")
    module = types.ModuleType("page")  # dataclasses look their module up
    monkeypatch.setitem(sys.modules, "page", module)
    for number, block in enumerate(blocks, 1):
        exec(compile(block, f"{name(page)}, block {number}", "exec"), vars(module))


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_local_links_and_pictures_exist(page: Path) -> None:
    links = [
        link
        for link in LINK.findall(page.read_text(encoding="utf-8"))
        if "://" not in link and not link.startswith("mailto:")
    ]
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_the_command_lines_of_the_pages_are_understood() -> None:
    """Verbs and flags as they are shown; nothing is run."""
    cli = pytest.importorskip("medprior.cli")
    shown = [
        line.split("#")[0]
        for page in PAGES
        for block in SHELL.findall(page.read_text(encoding="utf-8"))
        for line in block.splitlines()
    ]
    lines = [shlex.split(line)[1:] for line in shown if re.match(r"(\.venv/bin/)?medprior ", line)]
    assert len(lines) >= 6
    for words in lines:
        cli.app.parse_args(words, exit_on_error=False, print_error=False)


def test_the_two_commands_are_the_first_thing_to_type() -> None:
    """And they are commands that run.py knows."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    commands = re.findall(r"^python3 run\.py (\w+)", text, re.MULTILINE)
    assert commands[:2] == ["demo", "test"]
    runner = (ROOT / "run.py").read_text(encoding="utf-8")
    assert [c for c in commands if f'"{c}"' not in runner] == []


def test_figures_are_those_that_the_scripts_printed() -> None:
    """README.md and docs/figures.md hold bench/results to the letter."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "bench" / "figures.py"), "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
