"""Results as OHIF shows them. Debian's Orthanc with DICOMweb and OHIF's own files in Chromium on loopback."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("selenium", reason="the extra 'test' is not installed")

ROOT = Path(__file__).resolve().parents[2]
OHIF = ROOT / ".cache" / "ohif" / "package" / "dist"
PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
NEEDED = ("Orthanc", "chromium", "chromedriver")
if missing := [name for name in NEEDED if shutil.which(name) is None]:
    pytest.skip(f"{', '.join(missing)} not installed (Debian: orthanc, chromium)", allow_module_level=True)
if not PLUGIN.exists():
    pytest.skip("Orthanc has no DICOMweb (Debian: orthanc-dicomweb)", allow_module_level=True)
if not OHIF.is_dir():
    pytest.skip("no OHIF in .cache/ohif (npm pack @ohif/app; .ci/run has it)", allow_module_level=True)


@pytest.mark.slow
@pytest.mark.minutes
@pytest.mark.timeout(600)
@pytest.mark.parametrize("way", [(), ("--node",)])
def test_findings_and_map_are_seen_in_colour_and_nothing_is_asked_elsewhere(way: tuple[str, ...]) -> None:
    """A CT alone is grey; its Segmentation and its Parametric Map are drawn over it. --node: Orthanc sends
    the CT to the node, and what comes back is looked at.
    """
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, str(ROOT / "bench" / "ohif.py"), "--ohif", str(OHIF), *way],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=580,
    )
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    seen = {name: int(n) for name, n in re.findall(r"(.+): (\d+) coloured pixels", done.stdout)}
    assert seen["CT alone"] < 1000 < min(seen[name] for name in seen if name != "CT alone") and "map" in seen
    assert "segmentation" in seen or way
    if way:
        assert float(re.findall(r"all else (-?[\d.]+) s", done.stdout)[0]) <= 5
    assert re.search(r"[1-9]\d* requests, 0 other origins", done.stdout)
