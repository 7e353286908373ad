"""medprior: one generative prior from your own scans; it reconstructs, augments, synthesizes and detects. Research use only.

Importing this package defines names and does nothing else: each name loads its module when it is first used (PEP 562),
so that ``import medprior`` takes milliseconds and torch is loaded by the line that needs it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .data.volume import Volume
    from .errors import MedpriorError
    from .prior import Prior

_HOMES = {
    "MedpriorError": "errors",
    "Prior": "prior",
    "Volume": "data.volume",
}

__all__ = ["MedpriorError", "Prior", "Volume"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'medprior' has no attribute {name!r}; it has {', '.join(__all__)}")
    value = getattr(import_module(f".{_HOMES[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
