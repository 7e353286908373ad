"""The promise: what the README and the documentation show, runs. Every python block of a page, in order, in
one namespace.
"""

from __future__ import annotations

import importlib.util
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
import types
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.records import load
from medprior.training.folder import bundled

ROOT = Path(__file__).resolve().parent.parent
GENERATED = {"docs/api.md", "docs/figures.md"}
"""Pages that bench/api.py and bench/figures.py write when the documentation is built."""
PAGES = [
    page
    for page in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md")))
    if page.relative_to(ROOT).as_posix() not in GENERATED
]
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
    made = {(ROOT / each).resolve() for each in GENERATED}
    targets = {link: (page.parent / link).resolve() for link in links}
    assert [link for link, path in targets.items() if not path.exists() and path not in made] == []


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


def test_the_table_is_what_the_scripts_printed() -> None:
    """README.md holds what bench/figures.py makes of bench/results."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "bench" / "figures.py"), "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_a_limit_has_the_numbers_of_its_results() -> None:
    """Each bullet of docs/limits.md that links results: its decimal numbers stand in that file, in blocks of
    today's prior and medprior, or in the others where the bullet says "earlier".
    """
    text = (ROOT / "docs" / "limits.md").read_text(encoding="utf-8")
    seen = 0
    for bullet in re.split(r"\n- ", text)[1:]:
        link = re.search(r"bench/results/([\w-]+)\.json", bullet)
        if link is None:
            continue
        results = load(link[1]).text(earlier="(earlier)" in bullet)
        numbers = re.findall(r"\d+\.\d+", bullet.split("](")[0])
        assert [number for number in numbers if number not in results] == [], bullet
        seen += len(numbers)
    assert seen > 30


def test_a_false_positive_rate_on_the_page_is_that_of_its_results() -> None:
    text = (ROOT / "docs" / "detect.md").read_text(encoding="utf-8")
    paragraphs = [part for part in text.split("\n\n") if "bench/results/" in part]
    assert paragraphs
    for part in paragraphs:
        name_of = re.search(r"bench/results/([\w-]+)\.json", part)
        numbers = re.findall(r"\d+\.\d+", part.split("](")[0])
        assert name_of is not None and numbers
        results = load(name_of[1]).text(earlier="(earlier" in part)
        assert [one for one in numbers if one not in results] == []


def test_a_page_that_the_code_names_is_there() -> None:
    """Errors, help and docstrings send their reader to pages."""
    files = [file for folder in ("src", "bench", "tests") for file in (ROOT / folder).rglob("*.py")]
    named = {
        (page, file.name)
        for file in files
        for page in re.findall(r"docs/[\w/-]+\.md", file.read_text(encoding="utf-8"))
    }
    assert {page for page, _ in named} >= {"docs/train.md", "docs/evaluate.md"}
    assert [
        each for each in sorted(named) if not (ROOT / each[0]).exists() and each[0] not in GENERATED
    ] == []


def test_every_page_stands_in_the_navigation() -> None:
    site = tomllib.loads((ROOT / "zensical.toml").read_text(encoding="utf-8"))
    named = set(_leaves(site["project"]["nav"]))
    pages = {
        path.relative_to(ROOT / "docs").as_posix() for path in PAGES if path.is_relative_to(ROOT / "docs")
    }
    assert named == pages | {page.removeprefix("docs/") for page in GENERATED}


def _leaves(tree: object) -> Iterator[str]:
    if isinstance(tree, str):
        yield tree
    for child in tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ():
        yield from _leaves(child)


def test_every_public_name_stands_on_the_generated_page() -> None:
    import medprior

    spec = importlib.util.spec_from_file_location("api", ROOT / "bench" / "api.py")
    assert spec and spec.loader
    api = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(api)
    page = api.page()
    assert [name for name in medprior.__all__ if f"## `medprior.{name}`" not in page] == []
    assert "  - `" not in page and len(page) > 10_000
