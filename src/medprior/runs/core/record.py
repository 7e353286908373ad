"""Where a run took place: versions and memory, for its record."""

from __future__ import annotations

import platform
import resource
import sys
from importlib.metadata import version

from ... import __version__

__all__ = ["peak_mib", "versions"]


def versions() -> dict[str, str]:
    """Of medprior, Python, the packages that decide the numbers, and the system."""
    return {
        "medprior": __version__,
        "python": platform.python_version(),
        **{name: version(name) for name in ("torch", "numpy")},
        "system": platform.platform(terse=True),
    }


def peak_mib() -> float:
    """Most memory the process has held; Linux counts in KiB, macOS in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
