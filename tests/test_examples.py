"""The promise: every script in examples/ runs as it stands, from any folder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.test_readme import missing_priors

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


@pytest.mark.slow
@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_an_example_runs(example: Path, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    code = example.read_text(encoding="utf-8")
    absent = missing_priors(code)
    if absent:
        pytest.skip(f"{example.name} needs bundled priors that are not here yet: {', '.join(sorted(absent))}")
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "MPLBACKEND": "Agg"}
    if "MEDPRIOR_DATA" in code:
        environment["MEDPRIOR_DATA"] = str(request.getfixturevalue("real_data"))
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
