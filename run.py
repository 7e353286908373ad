#!/usr/bin/env python3
"""Two commands, the standard library only:

  python3 run.py demo    the four jobs on real scans, ending with a report to open
  python3 run.py test    style, types and tests, as they run before every change lands

also  python3 run.py setup    only make .venv and install into it
      python3 run.py audit    ask the network whether a pinned version has a known hole

The first call makes .venv beside this file and installs into it with pip and constraints.txt; later calls
start at once. Further arguments are passed on: 'run.py demo --help', 'run.py test -k floors' (then only
pytest runs).
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin/python"
EXTRAS = {"setup": "demo", "demo": "demo", "test": "test", "lowest": "test", "audit": "test"}
PYTEST = ("pytest", "-n", "3", "--dist", "loadfile")
CPU_HINT = """\
No NVIDIA driver was found, and torch is not installed yet. pip's default torch for Linux brings CUDA:
several gigabytes that this machine cannot use. For the small CPU build (about 200 MB) stop now and start
again with the CPU index that pytorch.org names:
    PIP_EXTRA_INDEX_URL=<the CPU index named on pytorch.org> python3 run.py {command}
or with a folder that holds a CPU wheel of torch:
    PIP_FIND_LINKS=<folder> python3 run.py {command}
constraints.txt accepts either build."""


def main(arguments: list[str]) -> int:
    """Exit code: the child's own, 2 for a wrong call or an old Python."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(__doc__)
        return 0 if arguments else 2
    command, rest = arguments[0], arguments[1:]
    if os.name == "nt":
        print("run.py: medprior runs on Linux and macOS, not on Windows (WSL works).", file=sys.stderr)
        return 2
    if command not in EXTRAS:
        print(
            f"run.py: unknown command {command!r}; choose from {', '.join(sorted(EXTRAS))} (python3 run.py "
            "--help)",
            file=sys.stderr,
        )
        return 2
    if sys.version_info < (3, 11):  # noqa: UP036 (this file is started by whatever Python is there, to say so)
        print(
            f"run.py: medprior needs Python 3.11 or newer, this is {sys.version.split()[0]} "
            f"({sys.executable}).",
            file=sys.stderr,
        )
        print(
            f"        Install a newer one and call it by name, e.g. python3.12 run.py {command}",
            file=sys.stderr,
        )
        return 2
    if command == "lowest":
        return lowest(rest)
    code = install(command)
    if code or command == "setup":
        return code
    if command == "audit":
        return audit(rest)
    if command == "demo":
        return call("-m", "medprior", "demo", *rest)
    return call("-m", "pytest", *rest) if rest else test()


def call(*arguments: str) -> int:
    """Run the environment's Python in the project's folder."""
    return subprocess.call([str(PYTHON), *arguments], cwd=ROOT)


def audit(rest: list[str]) -> int:
    """Compare constraints.txt with the database of advisories of the Python Package Index."""
    pins = ("-c", "constraints.txt")
    code = call("-m", "pip", "install", "--quiet", "--disable-pip-version-check", *pins, "-e", ".[audit]")
    return code or call("-m", "pip_audit", "-r", "constraints.txt", "--no-deps", "--disable-pip", *rest)


def lowest(rest: list[str]) -> int:
    """Run pytest in .venv-lowest, with the lowest version of each dependency that pyproject.toml allows."""
    global VENV, PYTHON
    VENV = ROOT / ".venv-lowest"
    PYTHON = VENV / "bin/python"
    pins = ROOT / ".venv-lowest.txt"
    pins.write_text("\n".join(lowest_versions()) + "\n", encoding="utf-8")
    return install("lowest", pins) or call("-m", "pytest", *(rest or PYTEST[1:]))


def lowest_versions() -> list[str]:
    """ "name==version" of each lower bound in pyproject.toml."""
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = [
        *project["dependencies"],
        *(line for some in project["optional-dependencies"].values() for line in some),
    ]
    return sorted({re.sub(r"\[.*\]", "", line).replace(">=", "==") for line in lines if ">=" in line})


def install(command: str, constraints: Path = ROOT / "constraints.txt") -> int:
    """Make the environment complete for the command; nothing to do when its stamp says that it already is."""
    wanted = stamp(EXTRAS[command])
    path = VENV / "medprior-installed"
    if PYTHON.exists() and path.exists() and {wanted, stamp(EXTRAS["test"])} & set(path.read_text().split()):
        return 0
    started = time.monotonic()
    if not runs("import pip"):
        print(f"Making the environment {VENV}", flush=True)
        try:
            venv.create(VENV, with_pip=True, clear=VENV.exists(), symlinks=True)
        except (OSError, subprocess.CalledProcessError) as error:
            print(f"run.py: the environment could not be made ({error}).", file=sys.stderr)
            print(
                "        On Debian and Ubuntu: apt install python3-venv; elsewhere check the free space and "
                "try again.",
                file=sys.stderr,
            )
            return 2
    if no_gpu_driver() and not runs(
        "import importlib.util, sys; sys.exit(importlib.util.find_spec('torch') is None)"
    ):
        print(CPU_HINT.format(command=command), flush=True)
    print(f"Installing medprior[{EXTRAS[command]}] with pip (a few minutes the first time)", flush=True)
    code = call(
        "-m",
        "pip",
        "install",
        "--disable-pip-version-check",
        "-c",
        str(constraints),
        "-e",
        f".[{EXTRAS[command]}]",
    )
    if code:
        print(
            "run.py: pip could not install what medprior needs; its reason stands above. Nothing else was "
            "changed: try again.",
            file=sys.stderr,
        )
        return code
    path.write_text(wanted + "\n")
    print(f"Installed in {time.monotonic() - started:.0f} s\n", flush=True)
    return 0


def stamp(extras: str) -> str:
    """What an environment was made from: extras, Python, pyproject.toml and constraints.txt."""
    digest = hashlib.sha256(f"{extras} {sys.version_info[:2]}".encode())
    for name in ("pyproject.toml", "constraints.txt"):
        digest.update((ROOT / name).read_bytes())
    return digest.hexdigest()


def runs(code: str) -> bool:
    """Whether the environment's Python exists and runs a line of code without an error."""
    if not PYTHON.exists():
        return False
    return (
        subprocess.run(
            [str(PYTHON), "-c", code], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False
        ).returncode
        == 0
    )


def no_gpu_driver() -> bool:
    """Linux without an NVIDIA driver: the one place where pip's default torch is much larger than what can be
    used.
    """
    return (
        sys.platform == "linux"
        and shutil.which("nvidia-smi") is None
        and not Path("/proc/driver/nvidia/version").exists()
    )


def test() -> int:
    """Every step runs even when one before it failed; the code is the first failure's."""
    steps = {
        "ruff check": ("ruff", "check", "."),
        "ruff format": ("ruff", "format", "--check", "."),
        "pyright": ("pyright",),
        "pytest": (*PYTEST, "--cov", "--cov-report=term:skip-covered"),
    }
    lines, codes = [], []
    for name, (module, *arguments) in steps.items():
        print(f"== {name}", flush=True)
        started = time.monotonic()
        codes.append(call("-m", module, *arguments))
        lines.append(f"{name:12} {time.monotonic() - started:7.1f} s  {'failed' if codes[-1] else 'ok'}")
    print("\n".join(["", *lines]), flush=True)
    return next((code for code in codes if code), 0)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
