"""What may be asked of many scans whose answers are known: evaluations and calibrations."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from .request import HasFolder, WithPrior, option

__all__ = [
    "CalibrateDetect",
    "CalibrateReconstruct",
    "CalibrateSynthesize",
    "Calibration",
    "EvaluateAugment",
    "EvaluateDetect",
    "EvaluateReconstruct",
    "Evaluation",
]


class Evaluation(WithPrior, HasFolder):
    """What every evaluation of a prior on a folder of scans is told."""

    auto_split: ClassVar[str] = "test"
    """The split that ``auto`` takes where the folder states splits."""

    split: Literal["auto", "train", "val", "test", "all"] = option(
        "auto", "Which scans; auto: test where the folder states splits, else all of them."
    )
    unit: str | None = option(None, "What the numbers mean where the files cannot say, e.g. HU.")
    modality: str | None = option(None, "DICOM's code (CT, MR, DX, US) where the files cannot say.")
    allow_other: bool = option(
        False, "Let scans of another modality or unit than the prior's pass; written down in run.json."
    )
    allow_synthetic: bool = option(
        False, "Also take images that are marked synthetic; written down in run.json."
    )


HEALTHY_OPTION = "The label of healthy scans; default no_finding, healthy or normal, whichever there is."


class _Simulating(Evaluation):
    """What whoever simulates measurements of a folder's scans is told."""

    task: Literal["denoise", "sr2", "sr4", "inpaint", "mri4", "mri8", "ct60", "ct30"] = option(
        "denoise", "Which simulated measurement (docs/evaluate.md)."
    )
    n: int = option(8, "Draws from the posterior; their mean is the result.", ge=1, le=256)
    fast: bool = option(False, "One point estimate from seven network evaluations instead.")
    steps: int = option(40, "Noise levels, from coarse to fine.", ge=2, le=1000)
    per_patient: int = option(
        3, "Most images of a patient; of a volume, slices evenly spaced in its middle half.", ge=1, le=1000
    )
    most: int = option(60, "Most images in all; patients are left out evenly.", ge=1, le=100_000)


class EvaluateReconstruct(_Simulating):
    """How well a prior reconstructs simulated measurements of a folder's scans, beside plain methods."""

    job: ClassVar[str] = "evaluate-reconstruct"
    lesions: bool = option(
        False,
        "Also put lesions of known size and contrast into each image, and measure what each method keeps and "
        "invents.",
    )


class Calibration(Evaluation):
    """What every calibration is told."""

    private: ClassVar[tuple[str, ...]] = (*Evaluation.private, "into")
    auto_split: ClassVar[str] = "val"
    split: Literal["auto", "train", "val", "test", "all"] = option(
        "auto", "Which scans; auto: val where the folder states splits, else all of them."
    )
    into: Path | None = option(
        None,
        "Folder for a calibrated copy of the prior; default the prior's own folder. A bundled prior needs "
        "one.",
    )


class CalibrateReconstruct(Calibration, _Simulating):
    """Measure on other patients how far reconstructions are off, so that their intervals hold; written into
    the prior's trust.json.
    """

    job: ClassVar[str] = "calibrate-reconstruct"
    per_patient: int = option(
        16, "Most images of a patient; of a volume, slices evenly spaced in its middle half.", ge=1, le=1000
    )
    most: int = option(200, "Most images in all; patients are left out evenly.", ge=1, le=100_000)


class CalibrateDetect(Calibration):
    """Show a prior healthy scans, those of the train split, and hold others against them, those of the val
    split: p-values, and the scale of the map.
    """

    job: ClassVar[str] = "calibrate-detect"
    split: Literal["auto", "train", "val", "test", "all"] = option(
        "auto", "Which scans calibrate; auto: val. Those of train are learned, never both."
    )
    healthy: str | None = option(None, HEALTHY_OPTION)


class CalibrateSynthesize(Calibration):
    """Measure a prior's own images: how faithful and how various they are, whether they are copies of the
    scans it learned from; into its trust.json.
    """

    job: ClassVar[str] = "calibrate-synthesize"
    split: Literal["auto", "train", "val", "test", "all"] = option(
        "auto", "The held-out scans; auto: val. Those of train are what the prior learned from."
    )
    n: int = option(
        400,
        "Images drawn, with the labels in the shares of the training scans; the intervals want 2000.",
        ge=24,
        le=100_000,
    )
    guidance: float = option(1.5, "Weight of the label, as synthesize takes it.", ge=0, le=20)
    number_guidance: float = option(1.0, "Weight of numbers, as synthesize takes it.", ge=0, le=20)


class EvaluateDetect(Evaluation):
    """How well a prior tells healthy scans from others in a labelled folder, beside plain scores."""

    job: ClassVar[str] = "evaluate-detect"
    healthy: str | None = option(None, HEALTHY_OPTION)
    alpha: float = option(0.05, "The false-positive rate that is promised.", gt=0, lt=1)
    baselines: Literal["all", "quick"] = option(
        "all",
        "Plain detectors beside ours; quick leaves out PatchCore and PaDiM, which need features of every "
        "scan.",
    )


class EvaluateAugment(Evaluation):
    """Is it worth it? Train with and without generated images, with equal steps and controls of equal count,
    and say in plain words: use them or not.
    """

    job: ClassVar[str] = "evaluate-augment"
    auto_split: ClassVar[str] = "test"
    private: ClassVar[tuple[str, ...]] = (*Evaluation.private, "generated")
    prior: str = option(
        "", "The prior that generates: a bundled name or the folder of your own; none with --generated."
    )
    split: Literal["auto", "train", "val", "test", "all"] = option(
        "test", "Which scans judge; val leaves test untouched. The ratio is chosen on val in any case."
    )
    generated: Path | None = option(
        None,
        "Folder of generated images instead of a prior: sub-folders are labels; of a segmentation scans.csv "
        "names the masks.",
    )
    how: Literal["vary", "synthesize"] = option(
        "vary",
        "vary the labelled scans, or synthesize: new images of each label on the prior's card; of a "
        "segmentation new pairs, by a joint prior.",
    )
    strengths: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = option(
        (0.5,), "vary: 0 keeps the source, 1 forgets it; several take turns.", min_length=1
    )
    keep_label: bool = option(
        False, "vary: ask the prior for each scan's own label (its card must have the labels)."
    )
    guidance: float = option(1.0, "Weight of the label; 1 is plain.", ge=0, le=20)
    levels: int = option(6, "vary: noise levels of each variation.", ge=2, le=100)
    segment: bool = option(
        False, "Train a segmenter on the masks of scans.csv instead of a classifier on the labels."
    )
    per_class: int | None = option(
        None,
        "Low data: only so many labelled scans a class (of a segmentation: in all), drawn anew for each "
        "seed.",
        ge=2,
    )
    slices: int = option(
        8,
        "Labelled slices of each training volume, evenly spaced in its middle half, other ones from scan to "
        "scan.",
        ge=1,
        le=64,
    )
    seeds: int = option(
        5, "Trials: first weights, batches, and with --per-class which scans are labelled.", ge=2, le=1000
    )
    ratios: tuple[Annotated[float, Field(gt=0, le=100)], ...] = option(
        (0.25, 0.5, 1.0, 2.0, 4.0), "Generated images for each real one.", min_length=1
    )
    steps: int = option(200, "Steps of each training, the same for every arm.", ge=10, le=1_000_000)
    size: int | None = option(
        None,
        "Largest side in pixels at which images are made and classified; default 64, or that of the scans if "
        "smaller.",
        ge=16,
        le=512,
    )

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if bool(self.prior) == (self.generated is not None):
            raise ValueError(
                "prior, generated: wanted one of the two, the prior that generates or a folder of generated "
                "images"
            )
        if self.split in ("auto", "train", "all"):
            raise ValueError(
                f"split: wanted val or test, which judge and are not learned from, got {self.split}"
            )
        return self
