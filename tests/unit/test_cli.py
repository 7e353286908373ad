"""The command line: fast help, one line and code 2 for whatever a person can mend, YAML and flags as one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from medprior.cli import main
from medprior.errors import OutOfDistribution, WrongKind
from medprior.runs.verbs import VERBS

ROOT = Path(__file__).resolve().parents[2]


def test_help_loads_nothing_heavy() -> None:
    """``medprior --help`` is fast because torch, matplotlib and the readers load inside the verbs."""
    code = (
        "import sys; from medprior.cli import main; assert main(['--help']) == 0; assert main(['detect', "
        "'--help']) == 0; "
        "heavy = [m for m in ('torch', 'monai', 'matplotlib', 'pydicom', 'nibabel', 'scipy', 'skimage', "
        "'PIL', 'numpy', 'jinja2') if m in sys.modules]; "
        "print('heavy', heavy)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=ROOT / "src",
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.rstrip().endswith("heavy []")
    verbs = "scan train reconstruct augment augment-classical augment-set synthesize detect info demo doctor"
    for verb in verbs.split():
        assert verb in done.stdout


@pytest.mark.parametrize(
    ("tokens", "words"),
    [
        (["detct"], "Did you mean"),
        (["detect"], "INPUT is missing: medprior detect INPUT"),
        (["train", "--minutes", "1"], "FOLDER is missing: medprior train FOLDER"),
        (["evaluate", "detect"], "FOLDER is missing: medprior evaluate detect FOLDER"),
        (["detect", "x.png"], "--prior is missing"),
        (["list"], 'Unknown command "list". medprior --help lists all commands'),
        (["evaluate", "detct"], 'Did you mean "detect"? medprior --help lists all commands'),
        (["detect", "x.png", "--prio", "a"], "--prior"),
        (["detect", "x.png", "--prior", "nowhere"], "neither a bundled prior nor a folder"),
        (
            ["augment", "x.png", "--prior", "a", "--strength", "2"],
            "strength: input should be less than 1, got '2'",
        ),
        (["augment", "x.png", "--prior", "a", "--n", "0"], "n: input should be greater than or equal to 1"),
        (
            ["reconstruct", "x.png", "--prior", "a", "--task", "mri", "--factor", "2"],
            "factor: no option for task mri",
        ),
        (["reconstruct", "x.png", "--prior", "a", "--noise", "nan"], "noise"),
        (["detect", "x.png", "--prior", "a", "--config", "absent.yaml"], "absent.yaml: no such file"),
        (["train", "absent-folder", "--steps", "1", "--out", "{tmp}/t"], "absent-folder"),
        (["scan", "absent-folder"], "absent-folder"),
        (["info", "nowhere"], "neither a bundled prior"),
    ],
)
def test_what_a_person_can_mend_is_one_line_and_code_2(
    tokens: list[str], words: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main([token.format(tmp=tmp_path) for token in tokens]) == 2
    said = capsys.readouterr()
    lines = [line for line in said.err.splitlines() if line.startswith("medprior: ")]
    assert len(lines) == 1 and words in lines[0]
    assert "Traceback" not in said.err + said.out


@pytest.mark.parametrize(("kind", "code"), [(OutOfDistribution, 3), (WrongKind, 2)])
@pytest.mark.parametrize("more", [[], ["--json"], ["--debug"]])
def test_a_scan_unlike_the_priors_is_code_3(
    kind: type[WrongKind],
    code: int,
    more: list[str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One line like any other, so that a script can sort such scans out; another modality is a mistake to
    mend, and 2 as ever.
    """

    def refuses(*_: object, **__: object) -> None:
        raise kind("it is mirrored", "turn it")

    monkeypatch.setattr("medprior.runs.execute.execute", refuses)
    assert main(["detect", "x.png", "--prior", "a", *more]) == code
    said = capsys.readouterr()
    message = "it is mirrored (turn it)"
    error = {"kind": kind.__name__, "message": message, "code": code}
    assert (json.loads(said.out) == {"error": error}) if "--json" in more else said.out == ""
    lines = [line for line in said.err.splitlines() if line.startswith("medprior: ")]
    assert len(lines) == 1 and "it is mirrored" in lines[0] and "turn it" in lines[0]
    assert ("Traceback" in said.err) == (more == ["--debug"])


def test_debug_shows_the_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "nowhere", "--debug"]) == 2
    assert "Traceback" in capsys.readouterr().err


def test_an_error_of_ours_says_where_to_report_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr("medprior.runs.doctor.diagnose", broken)
    assert main(["doctor"]) == 1
    said = capsys.readouterr().err
    assert "ZeroDivisionError: a bug" in said and "report" in said and "Traceback" not in said


@pytest.mark.parametrize("text", ["n_twinss: 2\n", "priro: a\n"])
def test_an_unknown_key_in_yaml_is_named(
    text: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    config = tmp_path / "c.yaml"
    config.write_text(text)
    assert main(["detect", "x.png", "--prior", "a", "--config", str(config)]) == 2
    assert text.split(":")[0] in capsys.readouterr().err


def test_yaml_scientific_numbers_are_numbers(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """PyYAML reads 1e-4 as text; a request still takes it for a number: the run fails later, at the file."""
    config = tmp_path / "c.yaml"
    config.write_text(f"strength: 1e-4\nprior: {tmp_path / 'nowhere'}\n")
    assert main(["augment", "x.png", "--config", str(config)]) == 2
    assert "strength" not in capsys.readouterr().err


def test_an_error_of_the_command_line_is_json_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["detect", "x.png", "--prio", "a", "--json"]) == 2
    said = capsys.readouterr()
    error = json.loads(said.out)["error"]
    assert error["code"] == 2 and "--prior" in error["message"]
    assert said.err.splitlines()[-1] == f"medprior: {error['message']}"


@pytest.mark.parametrize(
    ("tokens", "usage"), [(["help"], "medprior COMMAND"), (["help", "detect"], "medprior detect")]
)
def test_help_is_a_word_too(tokens: list[str], usage: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(tokens) == 0
    assert capsys.readouterr().out.startswith(f"Usage: {usage}")


def test_every_verb_leads_to_a_function_that_is_there() -> None:
    for words, (request, where) in VERBS.items():
        module, _, function = where.partition(":")
        assert callable(getattr(import_module(f"medprior.runs.{module}"), function))
        assert words.replace(" ", "-") == request.job and request.__doc__


def test_windows_is_refused_in_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.platform", "win32")
    assert main(["info"]) == 2
    assert capsys.readouterr().err.startswith("medprior: medprior runs on Linux and macOS, this is Windows")


def test_what_needs_locks_is_not_imported_on_windows() -> None:
    """Before it fails with a ModuleNotFoundError somewhere inside."""
    code = (
        "import sys; sys.platform = 'win32'; from medprior.errors import MedpriorError\n"
        "try:\n    import medprior.io.disk.files\nexcept MedpriorError as error:\n    print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "this is Windows (use the Windows Subsystem for Linux)" in done.stdout


def test_json_is_clean(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "--json"]) == 0
    assert "bundled" in json.loads(capsys.readouterr().out)


def test_a_console_that_lacks_a_character_does_not_cost_the_work() -> None:
    """A console of 1991: the help is printed, with what it lacks as an escape, and the exit code is that of
    the work.
    """
    code = "import sys; from medprior.cli import main; sys.exit(main(['σ']))"
    environment = {**os.environ, "PYTHONIOENCODING": "ascii:strict", "PYTHONUTF8": "0"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        cwd=ROOT / "src",
        env=environment,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert b"\\u03c3" in done.stderr and b"Traceback" not in done.stderr
