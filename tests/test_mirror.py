"""``tests/unit`` mirrors ``src``: who changes a module finds its tests without a search."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCE, UNIT = ROOT / "src" / "medprior", ROOT / "tests" / "unit"


def module_of(test: Path) -> Path:
    """Path of the module that a unit test is named after, relative to ``src/medprior``."""
    inside = test.relative_to(UNIT)
    return inside.with_name(inside.name.removeprefix("test_"))


def test_every_unit_test_is_named_after_a_module() -> None:
    """What concerns many modules stands in tests/promises, laws or golden."""
    strays = [test for test in sorted(UNIT.rglob("test_*.py")) if not (SOURCE / module_of(test)).is_file()]
    assert strays == []


def test_every_folder_of_the_package_has_unit_tests() -> None:
    folders = {p.parent for p in SOURCE.rglob("*.py") if p.name not in ("__init__.py", "__main__.py")}
    bare = [
        folder for folder in sorted(folders) if not any((UNIT / folder.relative_to(SOURCE)).glob("test_*.py"))
    ]
    assert bare == []
