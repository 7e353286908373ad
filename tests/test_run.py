"""The promise of run.py: two commands that need nothing but Python and pip, and say clearly what is wrong."""

from __future__ import annotations

import ast
import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """run.py as a module, with its environment in an empty folder."""
    spec = importlib.util.spec_from_file_location("run", ROOT / "run.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "VENV", tmp_path / ".venv")
    monkeypatch.setattr(module, "PYTHON", Path(sys.executable))
    return module


def started(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "run.py"), *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        timeout=60,
        check=False,
    )


def test_help_names_the_two_commands_from_any_folder(tmp_path: Path) -> None:
    done = started("--help", cwd=tmp_path)
    assert done.returncode == 0 and "run.py demo" in done.stdout and "run.py test" in done.stdout


def test_an_unknown_command_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    done = started("dmeo", cwd=tmp_path)
    assert done.returncode == 2 and "demo" in done.stderr and "Traceback" not in done.stderr


def test_only_the_standard_library() -> None:
    tree = ast.parse((ROOT / "run.py").read_text(encoding="utf-8"))
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.split(".")[0] for name in names} <= sys.stdlib_module_names


def test_an_old_python_can_read_the_file_and_is_told(
    run: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ast.parse((ROOT / "run.py").read_text(encoding="utf-8"), feature_version=(3, 7))
    monkeypatch.setattr(sys, "version_info", (3, 8, 10))
    assert run.main(["demo"]) == 2
    assert "3.11" in capsys.readouterr().err


def test_the_second_run_installs_nothing_and_the_childs_code_comes_through(
    run: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[str, ...]] = []

    def call(*arguments: str) -> int:
        calls.append(arguments)
        return 0 if "pip" in arguments else 7

    monkeypatch.setattr(run, "call", call)
    run.VENV.mkdir()
    assert run.main(["demo", "--seed", "3"]) == 7
    assert run.main(["demo"]) == 7
    assert [c[:3] for c in calls] == [
        ("-m", "pip", "install"),
        ("-m", "medprior", "demo"),
        ("-m", "medprior", "demo"),
    ]
    assert calls[1][3:] == ("--seed", "3")
    # the tests need more than the demo, and once they are installed the demo needs nothing
    calls.clear()
    assert run.main(["test", "-k", "floors"]) == 7
    assert run.main(["demo"]) == 7
    assert [c[1] for c in calls] == ["pip", "pytest", "medprior"]


def test_a_failed_install_is_not_taken_for_a_whole_one(
    run: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(run, "call", lambda *arguments: 1)
    run.VENV.mkdir()
    assert run.main(["setup"]) == 1
    assert list(run.VENV.iterdir()) == []
    assert "pip could not install" in capsys.readouterr().err


def test_without_a_gpu_the_small_build_is_named_before_anything_is_downloaded(
    run: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(run, "no_gpu_driver", lambda: True)
    monkeypatch.setattr(run, "runs", lambda code: "torch" not in code)
    monkeypatch.setattr(run, "call", lambda *arguments: print("installing") or 0)
    run.VENV.mkdir()
    assert run.main(["setup"]) == 0
    said = capsys.readouterr().out
    assert 0 < said.index("PIP_EXTRA_INDEX_URL") < said.index("installing")


def test_every_step_of_the_tests_runs_and_the_first_failure_is_the_code(
    run: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    modules: list[str] = []

    def call(*arguments: str) -> int:
        modules.append(arguments[1])
        return 3 if arguments[1] == "pyright" else 0

    monkeypatch.setattr(run, "call", call)
    assert run.test() == 3
    assert modules == ["ruff", "ruff", "pyright", "pytest"]


def test_the_audit_asks_for_holes_of_the_pinned_versions(
    run: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[str, ...]] = []
    monkeypatch.setattr(run, "call", lambda *arguments: calls.append(arguments) or 7 * (len(calls) == 2))
    assert run.audit([]) == 7
    assert calls[1][:4] == ("-m", "pip_audit", "-r", "constraints.txt")


def test_the_lowest_versions_are_those_of_the_project(run: ModuleType) -> None:
    pins = dict(line.split("==") for line in run.lowest_versions())
    assert pins["numpy"] == "2.0" and "highdicom" in pins and "pyright" in pins
    assert not any(set(name) & set("[]<>=") for name in pins)


def test_windows_is_refused_in_one_line(
    run: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(run.os, "name", "nt")
    assert run.main(["test"]) == 2
    said = capsys.readouterr().err
    assert "Linux and macOS" in said and said.count("\n") == 1
