"""dciodvfy (dicom3tools): another author's opinion of a DICOM file."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

NEWER_THAN_THE_CHECKER = "(0008,001c)"


def errors_of(path: Path) -> list[str]:
    """Its error lines; the test is skipped where it is not installed."""
    checker = shutil.which("dciodvfy")
    if checker is None:
        pytest.skip("dciodvfy is not installed (Debian package dicom3tools)")
    told = subprocess.run([checker, "-new", str(path)], capture_output=True, text=True)
    lines = (told.stdout + told.stderr).splitlines()
    assert lines, "it says at least the class"
    return [line for line in lines if line.startswith("Error") and NEWER_THAN_THE_CHECKER not in line]
