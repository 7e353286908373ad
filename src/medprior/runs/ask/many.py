"""What may be asked of a folder of scans, whatever the job: which part, by how many, what is kept."""

from __future__ import annotations

import re
from typing import Literal, Self

from pydantic import model_validator

from ...errors import BadOption
from .request import HasLayout, advanced, unsaid

__all__ = ["HasMany", "shard_named"]


class HasMany(HasLayout):
    """A job whose input may be a folder of scans."""

    workers: int | None = advanced(
        None, "A folder: work in this many processes here, each of one thread.", ge=1, le=1024, exclude=True
    )
    shard: str | None = advanced(
        None,
        "A folder: only one part of it. 3/64 is the third of 64. Scans of a patient stay together.",
        exclude_if=unsaid,
    )
    cluster: str | None = advanced(
        None,
        "A folder: work on a cluster. slurm submits to SLURM; tcp://HOST:PORT is a Dask scheduler.",
        exclude=True,
    )
    jobs: int | None = advanced(
        None,
        "Parts that workers or a cluster share. Default: one a worker, 64 on a cluster.",
        ge=1,
        exclude=True,
    )
    pages: Literal["flagged", "all", "none"] = advanced(
        "flagged",
        "A folder: which scans get a page of their own.",
        exclude_if=lambda value: value == "flagged",
    )
    keep: Literal["all", "flagged", "none"] = advanced(
        "all",
        "A folder: which scans keep their files. results.csv has every scan.",
        exclude_if=lambda value: value == "all",
    )

    @model_validator(mode="after")
    def _one_way_to_share(self) -> Self:
        said = [name for name in ("shard", "workers", "cluster") if getattr(self, name) is not None]
        if len(said) > 1:
            raise ValueError(f"{', '.join(said)}: wanted one of them")
        if self.cluster is not None and self.cluster != "slurm" and "://" not in self.cluster:
            raise ValueError(
                f"cluster: wanted slurm, or the address of a Dask scheduler, got {self.cluster!r}"
            )
        if self.jobs is not None and not (self.workers or self.cluster):
            raise ValueError("jobs: no option without workers or cluster")
        try:
            shard_named(self.shard)
        except BadOption as error:
            raise ValueError(str(error)) from None
        return self


def shard_named(text: str | None) -> tuple[int, int] | None:
    """ "3/64" -> (3, 64). Raises BadOption for anything else."""
    if text is None:
        return None
    found = re.fullmatch(r"(\d{1,7})/(\d{1,7})", text)
    if found is None or not 1 <= int(found[1]) <= int(found[2]):
        raise BadOption(f"shard: wanted a part such as 3/64, got {text!r}", "parts count from 1")
    return int(found[1]), int(found[2])
