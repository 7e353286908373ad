"""What may be asked of a blind reading."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from .request import HasFolder, Request, advanced, option

__all__ = ["Read"]


class Read(Request, HasFolder):
    """Let readers tell synthetic images from real ones without names or marks, and say how often they can;
    the same command again takes their answers in.
    """

    job: ClassVar[str] = "read"
    private: ClassVar[tuple[str, ...]] = (*Request.private, "made", "answers", "reader")
    made: tuple[Path, ...] = Field(
        description="Synthetic images: a run of synthesize or augment, or a folder. Once for each.",
        kw_only=True,
        min_length=1,
    )
    kind: Literal["choice", "rating"] = option(
        "choice",
        "choice: two pictures, which is synthetic? rating: one, from 1 surely real to 6 surely synthetic.",
    )
    n: int = option(20, "Questions, at most.", ge=1, le=500)
    answers: Path | None = option(
        None, "The queue with its column answer filled in. Default: queue.csv in --out."
    )
    reader: str = option("", "Name of the reader, for rows that name none.")
    unit: str | None = advanced(None, "Unit of the values if the files do not state one, e.g. HU.")
    modality: str | None = advanced(
        None, "DICOM modality code (CT, MR, DX, US) if the files do not state one."
    )

    @model_validator(mode="after")
    def _keeps_the_answers(self) -> Self:
        if self.fresh:
            raise ValueError("fresh: answers of readers are never thrown away; choose another --out")
        return self
