"""What may be asked about few labels: learn a head, predict with it, and measure what labels are worth."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from ...io.dataset.layout import Layout
from .many import HasMany
from .request import HasScan, HasScans, Request, WithPrior, advanced, option

__all__ = ["EvaluateLearn", "Learn", "Predict"]


class _Learning(WithPrior, HasScans):
    """The options of whoever learns from the labels of a folder."""

    labels_alone: bool = option(False, "Leave scans without label out.")

    @property
    def layout(self) -> Layout:
        """Files that a table of labels does not name are scans without label."""
        return replace(super().layout, unnamed=True)


class Learn(_Learning):
    """Learn a classifier from a few labels and all unlabelled scans of a folder, on top of a prior."""

    job: ClassVar[str] = "learn"
    segment: bool = option(
        False, "Learn a segmenter from the masks of scans.csv instead of a classifier from labels."
    )
    fine_tune: bool = advanced(
        False, "Also tune the prior's network; takes minutes. Used only where held-out labels prefer it."
    )
    level: float = advanced(0.9, "Share of patients that prediction sets are to cover.", gt=0, lt=1)


class _Head(HasMany):
    head: Path = Field(description="Folder of a head, or of the run of medprior learn.", kw_only=True)


class Predict(Request, _Head, HasScan):
    """What a head says of a scan or of every scan of a folder: a label, probabilities, and the labels that
    cannot be ruled out.
    """

    job: ClassVar[str] = "predict"
    private: ClassVar[tuple[str, ...]] = (*Request.private, "head", "labels")
    input: Path = Field(description="The scan (a file or a DICOM folder), or a folder of many scans.")
    prior: str = advanced("", "Refuse a head that was not learned on this prior.")
    allow_other: bool = advanced(
        False, "Accept scans of another modality or unit than the prior's. Recorded in run.json."
    )


class EvaluateLearn(_Learning):
    """How many labels are needed: learning curves of a prior beside plain methods, over draws of labels and
    over patients.
    """

    job: ClassVar[str] = "evaluate-learn"
    split: ClassVar[str] = "all"
    auto_split: ClassVar[str] = "all"
    judge: Literal["auto", "test", "folds"] = option(
        "auto",
        "Which scans judge. test: the test split, learned from the others. folds: a fifth of the patients in "
        "turn. auto: test if the folder has one, else folds.",
    )
    sizes: tuple[Annotated[int, Field(ge=4, le=100_000)], ...] = option(
        (10, 20, 50, 100), "Numbers of labelled scans to try.", min_length=1
    )
    draws: int = option(10, "Number of times that labels are drawn anew.", ge=2, le=1000)
    stratified: bool = advanced(
        False, "Draw labels in the shares of all; default is at random, as a reader meets them."
    )
    baselines: Literal["all", "quick"] = option(
        "all", "Plain methods beside ours. quick leaves out ImageNet features and the supervised network."
    )
