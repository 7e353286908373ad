"""What a job takes in Python: the names and paths of the command line, and arrays."""

from __future__ import annotations

from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ..data.volume import Volume
from ..errors import BadOption
from ..io.read import read
from ..prior import Prior
from ..training.folder import load

__all__ = ["GivenPrior", "GivenScan", "load_scan", "prior_of"]

GivenPrior: TypeAlias = Prior | str | Path
"""A prior, the name of a bundled one, the folder of a prior or of its training run."""
GivenScan: TypeAlias = Volume | str | Path | NDArray | Tensor
"""A volume, the path of a scan, or an array (i, j), (i, j, k) of a 3-D prior, or with channels first."""


def prior_of(given: GivenPrior) -> Prior:
    """Raises FileProblem for a name or path that holds no prior, BadOption for anything else."""
    if isinstance(given, Prior):
        return given
    if isinstance(given, str | Path):
        return load(given)
    raise BadOption(
        f"prior: wanted a prior, a bundled name or a folder, got a {type(given).__name__}",
        'e.g. medprior.load("chest-xray")',
    )


def load_scan(given: GivenScan, prior: Prior) -> Volume:
    """A file is read by ``medprior.read``. An array has no geometry; modality and unit are the prior's.

    Raises what ``read`` raises, ShapeMismatch for an array of other dimensions, BadOption for anything else.
    """
    if isinstance(given, Volume):
        return given
    if isinstance(given, str | Path):
        return read(given)
    if isinstance(given, Tensor):
        given = given.detach().cpu().numpy()
    if not isinstance(given, np.ndarray) or given.dtype.kind not in "biuf":
        raise BadOption(
            f"scan: wanted a volume, a path or an array of numbers, got a {type(given).__name__}",
            'e.g. medprior.read("scan.dcm")',
        )
    channels_missing = given.ndim == prior.card.ndim
    data = np.asarray(given[None] if channels_missing else given, dtype=np.float32)
    return Volume(data, unit=prior.card.unit, modality=prior.card.modality)
