"""The promise: every script in examples/ runs as it stands, from any folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.test_readme import missing_priors

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


def few_films(data: Path, folder: Path) -> Path:
    """Thirty real films of the two labels, in the place where an example looks for eighty."""
    for label in ("no_finding", "pneumonia"):
        place = Path("chest_xray_nih/val") / label
        (folder / place).mkdir(parents=True)
        for film in sorted((data / place).glob("*.png"))[:15]:
            shutil.copy(film, folder / place)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_an_example_runs(example: Path, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    code = example.read_text(encoding="utf-8")
    absent = missing_priors(code)
    if absent:
        pytest.skip(f"{example.name} needs bundled priors that are not here yet: {', '.join(sorted(absent))}")
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "MPLBACKEND": "Agg"}
    if "MEDPRIOR_DATA" in code:
        environment["MEDPRIOR_DATA"] = str(few_films(request.getfixturevalue("real_data"), tmp_path / "data"))
    done = subprocess.run(
        [sys.executable, str(example)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip(), "an example says what it found"
