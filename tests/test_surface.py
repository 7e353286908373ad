"""The public face: sorted, complete, documented, and cheap to import."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import medprior

ROOT = Path(__file__).resolve().parent.parent
HEAVY = (
    "torch",
    "monai",
    "matplotlib",
    "pydicom",
    "nibabel",
    "scipy",
    "torchvision",
    "accelerate",
    "pydantic",
)

BLOCK = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {blocked!r}:
            raise ImportError(name + " is blocked by this test")
sys.meta_path.insert(0, Blocked())
"""


def child(code: str) -> str:
    """What a fresh interpreter prints; its traceback when it fails. Warnings are errors there, too."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        cwd=ROOT / "src",
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_names_are_sorted_and_each_has_a_home() -> None:
    assert list(medprior.__all__) == sorted(medprior.__all__)
    assert set(medprior.__all__) == set(medprior._HOMES)
    assert set(medprior.__all__) <= set(dir(medprior))


@pytest.mark.parametrize("name", medprior.__all__)
def test_each_name_is_there_and_says_what_it_is(name: str) -> None:
    assert getattr(medprior, name).__doc__


def test_pyright_sees_what_python_sees() -> None:
    """The names imported for type checkers are the names that load on use, from the same modules."""
    tree = ast.parse(Path(medprior.__file__).read_text(encoding="utf-8"))
    seen = {
        alias.name: node.module or alias.name
        for block in tree.body
        if isinstance(block, ast.If)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert seen == medprior._HOMES


def test_an_unknown_name_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'reconstrukt'"):
        _ = medprior.reconstrukt  # type: ignore[attr-defined]


def test_every_public_name_is_in_the_documentation() -> None:
    page = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    assert [name for name in medprior.__all__ if f"`{name}`" not in page] == []


def test_import_loads_nothing_heavy() -> None:
    """``import medprior`` takes milliseconds: torch and the readers load in the line that needs them."""
    loaded = child(f"import sys, medprior; print([m for m in {HEAVY!r} if m in sys.modules])")
    assert loaded == "[]"


def test_help_loads_nothing_heavy() -> None:
    """``medprior --help`` answers at once: a verb loads torch when it runs."""
    pytest.importorskip("medprior.cli")
    heavy = [name for name in HEAVY if name != "pydantic"]
    assert child(f"import sys, medprior.cli; print([m for m in {heavy!r} if m in sys.modules])") == "[]"


def test_every_module_imports_in_any_order_without_torchvision() -> None:
    """A CPU build of torch breaks torchvision, so nothing may need it. No module relies on another one that
    was imported first: there is no circle (tests/test_floors.py), and both orders of names work.
    """
    modules = [
        ".".join(p.relative_to(ROOT / "src").with_suffix("").parts)
        for p in sorted((ROOT / "src" / "medprior").rglob("*.py"))
    ]
    names = sorted(m.removesuffix(".__init__") for m in modules if not m.endswith("__main__"))
    code = (
        BLOCK.format(blocked={"torchvision"})
        + f"""
import importlib
for order in ({names!r}, {names[::-1]!r}):
    for known in [m for m in sys.modules if m.split(".")[0] == "medprior"]:
        del sys.modules[known]
    for name in order:
        importlib.import_module(name)
print(len([m for m in sys.modules if m.split(".")[0] == "medprior"]))
"""
    )
    assert child(code) == str(len(names))


def test_the_network_side_needs_no_reader_of_scans() -> None:
    """Training runs on machines that have torch and nothing that reads scans."""
    code = (
        BLOCK.format(blocked={"pydicom", "nibabel", "monai", "highdicom", "torchvision"})
        + """
import importlib, pkgutil
for room in ("nets", "prior", "training"):
    package = importlib.import_module("medprior." + room)
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        importlib.import_module(module.name)
"""
    )
    child(code)
