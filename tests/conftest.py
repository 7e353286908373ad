"""What every test shares: the folder of real data, no display, no accelerator unless there is one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ.setdefault("MPLBACKEND", "Agg")
# Nothing here downloads; should a library want to, it must fail at once instead of waiting for a network.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
# One thread a process: tests run side by side, and more threads than cores wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real scans: MEDPRIOR_DATA, or ../shared/data beside the checkout; the test is skipped
    where there is none.
    """
    folder = Path(os.environ.get("MEDPRIOR_DATA", ROOT.parent / "shared" / "data"))
    if not (folder / "manifest.json").is_file():
        pytest.skip(f"no real data in {folder}; set MEDPRIOR_DATA to a folder that holds it")
    return folder


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """No test reads or writes the cache of the person who runs it."""
    os.environ["MEDPRIOR_CACHE"] = str(tmp_path_factory.mktemp("cache"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if not os.environ.get("MEDPRIOR_LONG_TESTS"):
        for item in items:
            if item.get_closest_marker("minutes"):
                item.add_marker(pytest.mark.skip(reason="takes minutes: set MEDPRIOR_LONG_TESTS=1"))
    marked = [item for item in items if item.get_closest_marker("gpu")]
    if not marked:
        return
    import torch

    if not torch.cuda.is_available():
        for item in marked:
            item.add_marker(pytest.mark.skip(reason="no accelerator on this machine"))
