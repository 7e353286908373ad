"""What may be asked of many scans whose answers are known: evaluations and calibrations."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from .jobs import NamedTask
from .request import HasScans, WithPrior, advanced, option

__all__ = [
    "CalibrateDetect",
    "CalibrateReconstruct",
    "CalibrateSynthesize",
    "Calibration",
    "EvaluateAugment",
    "EvaluateDetect",
    "EvaluateExplain",
    "EvaluateReconstruct",
    "Evaluation",
]


class Evaluation(WithPrior, HasScans):
    """The options of every evaluation of a prior on a folder of scans."""

    auto_split: ClassVar[str] = "test"
    """The split that ``auto`` takes where the folder states splits."""

    split: Literal["auto", "train", "val", "test", "all"] = option(
        "auto", "Which scans. auto: the test split if the folder has splits, else all."
    )


HEALTHY_OPTION = "Label of the healthy scans. Default: no_finding, healthy or normal, if present."


class _Simulating(Evaluation):
    """What whoever simulates measurements of a folder's scans is told."""

    task: NamedTask = option("denoise", "Measurement to simulate (docs/evaluate.md).")
    n: int = option(8, "Number of posterior draws. Their mean is the result.", ge=1, le=256)
    fast: bool = option(False, "One point estimate from seven network evaluations instead of draws.")
    steps: int = advanced(40, "Number of noise levels, from coarse to fine.", ge=2, le=1000)
    per_patient: int = advanced(
        3,
        "At most this many images per patient. Slices of a volume are evenly spaced in its middle half.",
        ge=1,
        le=1000,
    )
    most: int = option(60, "At most this many images in all. Patients are left out evenly.", ge=1, le=100_000)


class EvaluateReconstruct(_Simulating):
    """How well a prior reconstructs simulated measurements of a folder's scans, beside plain methods."""

    job: ClassVar[str] = "evaluate-reconstruct"
    lesions: bool = option(
        False,
        "Also insert lesions of known size and contrast, and measure what each method keeps and invents.",
    )


class Calibration(Evaluation):
    """The options of every calibration."""

    private: ClassVar[tuple[str, ...]] = (*Evaluation.private, "into")
    auto_split: ClassVar[str] = "val"
    split: Literal["auto", "train", "val", "test", "all"] = option(
        "auto", "Which scans. auto: the validation split if the folder has splits, else all."
    )
    into: Path | None = option(
        None,
        "Folder for a calibrated copy of the prior. Default: the prior's own "
        "folder. A bundled prior needs one.",
    )


class CalibrateReconstruct(Calibration, _Simulating):
    """Measure on other patients how far reconstructions are off, so that their intervals hold; written into
    the prior's trust.json.
    """

    job: ClassVar[str] = "calibrate-reconstruct"
    per_patient: int = advanced(
        16,
        "At most this many images per patient. Slices of a volume are evenly spaced in its middle half.",
        ge=1,
        le=1000,
    )
    most: int = option(
        200, "At most this many images in all. Patients are left out evenly.", ge=1, le=100_000
    )


class CalibrateDetect(Calibration):
    """Show a prior healthy scans, those of the train split, and hold others against them, those of the val
    split: p-values, and the scale of the map.
    """

    job: ClassVar[str] = "calibrate-detect"
    split: Literal["auto", "train", "val", "test", "all"] = option(
        "auto",
        "Which healthy scans calibrate. "
        "auto: the validation split. Scans of the training split are learned and never calibrate.",
    )
    healthy: str | None = option(None, HEALTHY_OPTION)


class CalibrateSynthesize(Calibration):
    """Measure a prior's own images: how faithful and how various they are, whether they are copies of the
    scans it learned from; into its trust.json.
    """

    job: ClassVar[str] = "calibrate-synthesize"
    split: Literal["auto", "train", "val", "test", "all"] = option(
        "auto",
        "The held-out scans. auto: the validation split. The training split is what the prior learned from.",
    )
    n: int = option(
        400,
        "Number of images to draw, with the label shares of the training scans. 2000 give narrow intervals.",
        ge=24,
        le=100_000,
    )
    guidance: float = advanced(1.5, "Guidance weight of the label, as in synthesize.", ge=0, le=20)
    number_guidance: float = advanced(
        1.0, "Guidance weight of numeric conditions, as in synthesize.", ge=0, le=20
    )


class EvaluateDetect(Evaluation):
    """How well a prior tells healthy scans from others in a labelled folder, beside plain scores."""

    job: ClassVar[str] = "evaluate-detect"
    healthy: str | None = option(None, HEALTHY_OPTION)
    alpha: float = option(0.05, "Promised false positive rate.", gt=0, lt=1)
    baselines: Literal["all", "quick"] = option(
        "all",
        "Plain detectors beside ours. quick leaves out "
        "PatchCore and PaDiM, which need features of every scan.",
    )


class EvaluateExplain(Evaluation):
    """Whether the explanations of a model of your own hold. Does a second model agree? Are they in
    distribution and small? Do the maps pass, and which place does the model go by?
    """

    job: ClassVar[str] = "evaluate-explain"
    private: ClassVar[tuple[str, ...]] = (*Evaluation.private, "model", "judge")
    model: Path = Field(description="Your model as an ONNX file (docs/explain.md).", kw_only=True)
    judge: Path | None = option(
        None, "A second model as an ONNX file, trained on other patients. It says whether the class changed."
    )
    most: int = option(60, "At most this many scans.", ge=1, le=100_000)
    maps: bool = option(True, "Also test maps of importance.")
    particles: int = advanced(8, "Trial changes at each step of a search.", ge=2, le=512, multiple_of=2)


class EvaluateAugment(Evaluation):
    """Is it worth it? Train with and without generated images, with equal steps and controls of equal count,
    and say in plain words: use them or not.
    """

    job: ClassVar[str] = "evaluate-augment"
    auto_split: ClassVar[str] = "test"
    private: ClassVar[tuple[str, ...]] = (*Evaluation.private, "generated", "seen")
    prior: str = option(
        "", "The prior that generates: a bundled name or a folder. Not needed with --generated."
    )
    split: Literal["auto", "train", "val", "test", "all"] = option(
        "test",
        "Which scans judge. val leaves "
        "the test split untouched. The ratio is always chosen on the validation split.",
    )
    generated: Path | None = option(
        None,
        "Folder of generated images instead of a prior. Sub-folders are "
        "labels; for segmentation scans.csv names the masks.",
    )
    seen: Path | None = advanced(
        None,
        "Folder of the labelled scans behind the generated images. A classifier that learns from them is the "
        "strongest rival. Default: the train split, where the prior has learned from it.",
    )
    how: Literal["vary", "synthesize"] = option(
        "vary",
        "vary the labelled scans, or synthesize new images "
        "of each label on the card (for segmentation: new pairs from a joint prior).",
    )
    strengths: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = advanced(
        (0.5,), "vary: how much to change, between 0 and 1. Several values take turns.", min_length=1
    )
    keep_label: bool = advanced(False, "vary: condition on each scan's own label, which must be on the card.")
    guidance: float = advanced(1.0, "Guidance weight of the label. 1 is plain.", ge=0, le=20)
    levels: int = advanced(6, "vary: number of noise levels of each variation.", ge=2, le=100)
    segment: bool = option(
        False, "Train a segmenter on the masks of scans.csv instead of a classifier on the labels."
    )
    per_class: int | None = option(
        None,
        "Few labels: use this many labelled scans per class (segmentation: "
        "in all), drawn again for each seed.",
        ge=2,
    )
    slices: int = advanced(
        8,
        "Labelled slices of each training volume, evenly spaced in its middle half, "
        "different from scan to scan.",
        ge=1,
        le=64,
    )
    seeds: int = option(
        5,
        "Number of repetitions. Each has its own initial weights, batch order and (with "
        "--per-class) labelled subset.",
        ge=2,
        le=1000,
    )
    ratios: tuple[Annotated[float, Field(gt=0, le=100)], ...] = advanced(
        (0.25, 0.5, 1.0, 2.0, 4.0), "Numbers of generated images for each real one to try.", min_length=1
    )
    steps: int = advanced(
        200, "Optimizer steps of each training, the same for every arm.", ge=10, le=1_000_000
    )
    size: int | None = advanced(
        None, "Largest image side in pixels. Default: 64, or the size of the scans if smaller.", ge=16, le=512
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
