"""Other people's packages, in a folder of their own: the project's environment stays what it is.

    pip install --no-deps --target .cache/peers deepinv==0.5.0 torchvision==0.28.0 natsort torchmetrics
    lightning-utilities \\
        diffusers==0.36.0 regex importlib-metadata zipp
    python bench/networks.py cost --peers .cache/peers

torchvision is compiled for one build of torch and refuses to be imported beside another (a CPU build beside
CUDA wheels, say), because two of its operators are then missing. No network needs them, so they are declared
here, without a body: its python part imports, and who would call them is told.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import torch

__all__ = ["add_peers"]

_DECLARED: list[torch.library.Library] = []
"""Kept: a library that is collected takes its declarations with it."""


def add_peers(folder: Path | None) -> None:
    """Packages of ``folder`` can be imported from now on; those of the environment come first. Nothing to do
    for None.
    """
    if folder is None:
        return
    if not folder.is_dir():
        raise SystemExit(f"{folder}: no such folder; bench/peers.py says how to make it")
    sys.path.append(str(folder))
    if importlib.util.find_spec("torchvision") and not _DECLARED:
        library = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            library.define(f"{name}() -> ()")
        _DECLARED.append(library)
