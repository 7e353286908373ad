"""What may be asked of one scan, of a data set or of a prior: the jobs, training, and a look at a folder."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self, cast

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ...data.plain import JsonObject
from ...jobs.fitting.options import Adaptation, Fitting, chosen_of
from .many import HasMany
from .request import HasFolder, HasLayout, HasScan, HasScans, OneScan, Request, WithPrior, advanced, option

__all__ = [
    "KNOBS",
    "TASKS",
    "Adapt",
    "Augment",
    "AugmentClassical",
    "AugmentSet",
    "Detect",
    "Label",
    "Reconstruct",
    "Scan",
    "Synthesize",
    "Train",
]

Task = Literal["denoise", "superres", "inpaint", "mri", "ct"]
NamedTask = Literal["denoise", "sr2", "sr4", "inpaint", "mri4", "mri8", "ct60", "ct30"]
"""Simulated measurements of fixed settings, so that evaluations of different places compare."""

KNOBS: dict[str, tuple[str, ...]] = {
    "denoise": ("noise",),
    "superres": ("noise", "factor"),
    "inpaint": ("noise", "fraction", "box"),
    "mri": ("noise", "acceleration", "centre_fraction", "pattern", "partial", "coils"),
    "ct": ("views", "photons", "beam", "arc"),
}
"""What each simulated measurement can be told."""


MEASURED = ("noise", "turn", "mirror", "pixels", "undersample")
"""What a measured file can be told."""


class Detect(HasMany, OneScan):
    """Find what looks unlike the healthy scans that a prior knows: map, score, p-value, healthy twin."""

    job: ClassVar[str] = "detect"
    n_twins: int = option(1, "Number of healthy twins to average.", ge=1, le=64)


class Explain(HasMany, OneScan):
    """Show why a model answers as it does: the smallest believable change that turns its answer, and maps of
    importance that passed a check.
    """

    job: ClassVar[str] = "explain"
    private: ClassVar[tuple[str, ...]] = (*OneScan.private, "model", "mask", "real")
    model: Path = Field(
        description="Your model as an ONNX file. Beside it lies a JSON file of the same name that says what "
        "it wants (docs/explain.md).",
        kw_only=True,
    )
    label: str | None = option(None, "The answer to turn to. Default: the model's next likely one.")
    region: Literal["whole", "found"] = option(
        "whole", "Where the scan may change. found: the quarter that the answer depends on most."
    )
    mask: Path | None = option(None, "Mask on the scan's grid: the scan may change only inside of it.")
    n: int = option(4, "Number of fresh searches. Each gives a counterfactual of its own.", ge=1, le=64)
    real: Path | None = option(
        None, "Folder of real scans that the prior has not learned from. They say what is in distribution."
    )
    box: tuple[int, int, int, int] | None = advanced(
        None, "The region as a box instead of a mask: first row, first column, rows, columns."
    )
    similar: int = advanced(
        0,
        "Show so many of the nearest scans of each label from --real. Their pictures then lie in the run "
        "folder.",
        ge=0,
        le=20,
    )
    particles: int = advanced(
        8,
        "Trial changes at each step of a search. More find smaller changes and cost more.",
        ge=2,
        le=512,
        multiple_of=2,
    )
    full_size: bool = advanced(
        False,
        "Work on all pixels of a large scan. By default the change is looked for at half or a quarter of its "
        "size, which costs a fraction.",
    )
    gradients: bool = advanced(
        False,
        "Search along the model's gradients: faster. Those of an ONNX file are tested on the scan first.",
    )

    @model_validator(mode="after")
    def _region_once(self) -> Self:
        if (self.mask is not None) + (self.box is not None) + (self.region != "whole") > 1:
            raise ValueError("region, mask, box: wanted one of them")
        return self


class _Varies(BaseModel):
    n: int = option(4, "How many variations to make of a scan.", ge=1, le=10_000)


class _ByPrior(_Varies):
    strength: float = option(
        0.3,
        "How much to change: near 0 keeps the scan, near 1 forgets it. 0.3 is gentle, 0.6 bold.",
        gt=0,
        lt=1,
    )
    guidance: float = advanced(1.0, "Guidance weight of the label. 1 is plain.", ge=0, le=20)


class _ByTransforms(_Varies):
    policy: Path | None = advanced(
        None,
        "YAML file that sets which classical transforms are allowed and how strong they are "
        "(docs/augment.md).",
    )


class Augment(_ByPrior, OneScan):
    """Vary a scan, or draw one region of it again, by a prior: new images with its label, grid and unit,
    marked synthetic.
    """

    job: ClassVar[str] = "augment"
    private: ClassVar[tuple[str, ...]] = (*OneScan.private, "paint")
    label: str | None = option(None, "The scan's own label, which the variations keep.")
    paint: Path | None = option(
        None, "Mask on the scan's grid: only this region is drawn again. Every other voxel stays bit for bit."
    )
    box: tuple[int, int, int, int] | None = advanced(
        None, "The region as a box instead of a mask: first row, first column, rows, columns."
    )

    @model_validator(mode="after")
    def _one_region(self) -> Self:
        if self.paint is not None and self.box is not None:
            raise ValueError("paint, box: wanted one of them")
        if self.paint is not None or self.box is not None:
            _refuse(self, ("strength",), "no option where a region is drawn again")
        return self


class AugmentClassical(_ByTransforms, Request, HasScan):
    """Vary a scan by classical transforms (rotation, scale, contrast, noise, ...) that are legal for its
    modality; needs no prior.
    """

    job: ClassVar[str] = "augment-classical"
    private: ClassVar[tuple[str, ...]] = (*Request.private, "policy", "mask")
    label: str | None = option(None, "The scan's own label. Transforms that would make it wrong are refused.")
    mask: Path | None = option(None, "Label map on the scan's grid. It moves with the scan.")


class AugmentSet(_ByPrior, _ByTransforms, Request, HasScans):
    """Vary each scan of a data set, or fill up its rare labels, by a prior or by classical transforms; the
    same command again continues.
    """

    job: ClassVar[str] = "augment-set"
    private: ClassVar[tuple[str, ...]] = (*Request.private, "policy")
    prior: str = option(
        "", "Name of a bundled prior (see medprior info) or a folder. Not needed with --classical."
    )
    classical: bool = option(
        False, "Use classical transforms instead of a prior. Masks of scans.csv move with their scans."
    )
    split: Literal["train", "val", "test", "all"] = option("train", "Which scans to vary.")
    fill: Literal["balanced"] | Annotated[int, Field(ge=1, le=1_000_000)] | None = option(
        None,
        "Draw as many as each label lacks, up to the largest label (balanced) or up to this number. "
        "Replaces --n.",
    )
    fill_by: Literal["variations", "synthesis"] = advanced(
        "variations", "fill: draw variations of the label's own scans, or new images of the prior's label."
    )
    judge: Literal["auto", "on", "off"] = advanced(
        "auto",
        "Reject generated images that no longer "
        "show their label, using cross-validated classifiers. auto: on with a prior and at least two labels.",
    )
    alpha: float = advanced(
        0.1, "judge: share of real scans that the classifiers would reject, too.", gt=0, lt=1
    )
    keep_copies: bool = advanced(
        False,
        "Keep variations that are near-copies of a real scan. For your own training only, never for release.",
    )
    tries: int = advanced(3, "How often a rejected image is drawn again before it is left out.", ge=1, le=100)
    unproven: bool = advanced(
        False,
        "fill-by synthesis: write images of a prior that has passed no copy audit. Recorded in run.json.",
    )

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.classical:
            by_prior = ("prior", "strength", "guidance", "allow_other", "fill_by")
            _refuse(self, by_prior, "no option with --classical")
        elif not self.prior:
            raise ValueError("prior: wanted a prior, or --classical, which needs none")
        else:
            _refuse(self, ("policy",), "no option without --classical")
        if self.fill is not None:
            _refuse(self, ("n",), "no option with --fill, which says how many")
        else:
            _refuse(self, ("fill_by",), "no option without --fill")
        if self.fill_by != "synthesis":
            why = "variations are refused one by one where they are copies"
            _refuse(self, ("unproven",), f"no option without --fill-by synthesis: {why}")
        return self


def _refuse(request: Request, names: Collection[str], why: str) -> None:
    """Raises ValueError where one of these options was given, even with the value that it has anyway."""
    if given := _given(request, names):
        raise ValueError(f"{', '.join(given)}: {why}")


def _given(request: Request, names: Collection[str]) -> list[str]:
    return sorted(n for n in names if n in request.model_fields_set and getattr(request, n) is not None)


class Synthesize(HasLayout, WithPrior):
    """New images from nothing but the prior, or from a known channel of a joint one; marked synthetic."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, populate_by_name=True)
    job: ClassVar[str] = "synthesize"
    private: ClassVar[tuple[str, ...]] = (*WithPrior.private, "data", "given")
    n: int = option(16, "Number of images.", ge=1, le=100_000)
    label: str | None = option(None, "A class of the prior's card. Default: any.")
    mix: str | None = option(
        None,
        "How many of each label: shares (normal=0.5,pneumonia=0.5), counts "
        "(normal=10,pneumonia=30) or balanced.",
    )
    number: tuple[str, ...] = option(
        (),
        "A numeric condition of the prior, age=60, or shares of ranges, "
        "age=20..40:0.5,60..80:0.5. Once for each name.",
    )
    given: tuple[Path, ...] = option(
        (),
        "Known channel of a joint prior: a label map or another contrast. "
        "The other channels are drawn on its grid.",
    )
    as_: tuple[str, ...] = advanced(
        (), "What each --given file is, in the same order: mask, T1, ...", alias="as"
    )
    slices: int | None = advanced(
        None, "Draw a volume of this many similar neighbouring slices from a prior of slices.", ge=2, le=2048
    )
    size: tuple[int, int] | None = advanced(
        None, "Rows and columns. Default: the size on the prior's card. A 3-D prior draws that size only."
    )
    guidance: float = advanced(
        1.5, "Guidance weight of the label. 1 is plain, above 1 exaggerates.", ge=0, le=20
    )
    number_guidance: float = advanced(
        1.0,
        "Guidance weight of numeric conditions such as age. Values above 1 also amplify sampling noise.",
        ge=0,
        le=20,
    )
    data: Path | None = option(
        None,
        "Data set that the prior learned from. Its training split is searched "
        "for copies, its validation split sets the thresholds.",
    )
    unproven: bool = option(
        False, "Write images that have passed no copy audit. Recorded in run.json and in the report."
    )
    format: Literal["png", "nii.gz", "npz", "dcm"] | None = option(
        None, "File format. Default: that of --given, else png, or nii.gz for volumes."
    )

    @model_validator(mode="after")
    def _named(self) -> Self:
        if len(self.given) != len(self.as_) or len(set(self.as_)) != len(self.as_):
            raise ValueError(
                f"given, as: wanted one name for each file, each once, got {len(self.given)} files and the "
                f"names {', '.join(self.as_) or 'none'}"
            )
        if self.given and (self.size is not None or self.slices is not None):
            raise ValueError("size, slices: no option with --given, whose grid is taken")
        if self.mix is not None and self.label is not None:
            raise ValueError("label, mix: wanted one of them, got both")
        if self.data is None and (said := set(self.LAYOUT) & self.model_fields_set):
            raise ValueError(f"{', '.join(sorted(said))}: no option without --data")
        return self


class Reconstruct(HasMany, OneScan):
    """Reconstruct an image from a poor measurement: measured k-space or a sinogram, or SIMULATED from an
    image, which then judges the result.
    """

    job: ClassVar[str] = "reconstruct"
    known_as: ClassVar[dict[str, str]] = {"whole": "volume", "volume": "of_volume"}
    task: Task | NamedTask | None = option(
        None,
        "Measurement to simulate from an image (default denoise): denoise, "
        "superres (or sr2, sr4), inpaint, mri (mri4, mri8), ct (ct60, ct30). A file of k-space or a sinogram "
        "takes none.",
    )
    n: int = option(
        8, "Number of posterior draws. Their mean is the result, their spread the uncertainty.", ge=1, le=256
    )
    fast: bool = option(False, "One point estimate from seven network evaluations, no draws.")
    label: str | None = advanced(None, "Condition on a class of the prior's card.")
    slice: int | None = option(
        None, "Slice of a volume, counted from 0 along the prior's axis. Default: the middle one.", ge=0
    )
    whole: bool = option(
        False,
        "Reconstruct all slices of a volume together, so that neighbours agree. A "
        "3-D prior always takes the whole volume.",
    )
    noise: float | None = option(
        None,
        "Noise level, as a share of half the intensity range. Default: 0.3 "
        "for denoise, else 0.02; estimated for a measured file.",
        gt=0,
        le=10,
    )
    turn: int = advanced(
        0,
        "measured k-space: turn the image counterclockwise by 0, 90, 180 or 270 degrees to match the prior.",
        ge=0,
        le=270,
        multiple_of=90,
    )
    mirror: bool = advanced(False, "measured k-space: mirror the image left to right, after turning.")
    undersample: float | None = advanced(
        None,
        "measured k-space, fully sampled: keep one of this many lines. The full data then judge the result.",
        gt=1,
        le=64,
    )
    pixels: int | None = advanced(
        None,
        "measured sinogram: pixels per side of the image. Default: the number of detector bins, at most 256.",
        ge=16,
        le=2048,
    )
    factor: int = advanced(4, "superres: how many times larger the measured voxels are.", ge=2, le=16)
    fraction: float = advanced(0.7, "inpaint: share of the pixels that is missing.", gt=0, lt=1)
    box: tuple[int, int, int, int] | None = advanced(
        None, "inpaint: a missing box instead: first row, first column, rows, columns."
    )
    acceleration: float = advanced(4.0, "mri: one of this many k-space lines is measured.", ge=1, le=64)
    centre_fraction: float | None = advanced(
        None,
        "mri: share of the central lines that is always measured. Default: 0.32 / acceleration.",
        ge=0,
        le=1,
    )
    pattern: Literal["random", "variable", "equispaced", "poisson"] = advanced(
        "random",
        "mri: how lines are "
        "chosen: at random, more near the centre (variable), evenly spaced, or as a Poisson disc of points "
        "(two phase encodings).",
    )
    partial: float | None = advanced(
        None, "mri: share of each line that is measured (partial Fourier), e.g. 0.75.", gt=0.5, lt=1
    )
    coils: int = advanced(1, "mri: number of receive coils with known sensitivity maps.", ge=1, le=64)
    views: int = advanced(60, "ct: number of views, evenly spaced over the arc.", ge=2, le=4096)
    beam: Literal["parallel", "fan"] = advanced(
        "parallel",
        "ct: parallel beam, or fan beam on a flat "
        "detector (source to axis 595 mm, source to detector 1086 mm).",
    )
    arc: float | None = advanced(
        None,
        "ct: degrees that the views cover. Default: 180, or 360 for a fan "
        "beam. Fewer degrees give a limited-angle scan.",
        gt=0,
        le=360,
    )
    photons: float = advanced(
        100_000.0,
        "ct: photons per detector bin without an object. Fewer photons mean a lower dose.",
        ge=10,
        le=1e9,
    )
    rule: Literal[
        "proximal",
        "decoupled",
        "matched_draw",
        "moment_matching",
        "posterior_sampling",
        "pseudoinverse_guidance",
    ] = advanced(
        "proximal",
        "How the measurement enters. All but the default are for comparison (docs/reconstruct.md).",
    )
    steps: int = advanced(40, "Number of noise levels, from coarse to fine.", ge=2, le=1000)
    baselines: Literal["all", "quick"] = advanced(
        "quick",
        "Plain methods beside the result. all adds total "
        "variation and wavelets, each with its best weight, which can take minutes.",
    )

    @model_validator(mode="before")
    @classmethod
    def _named_task(cls, values: Any) -> Any:
        """``--task sr2`` stands for ``--task superres --factor 2``."""
        named = TASKS.get(str(values.get("task"))) if isinstance(values, Mapping) else None
        if named is None:
            return values
        if twice := [
            name for name in named if name != "task" and values.get(name, named[name]) != named[name]
        ]:
            raise ValueError(f"{', '.join(twice)}: task {values['task']} sets it already")
        return {**values, **named}

    @model_validator(mode="after")
    def _knobs_fit_the_task(self) -> Self:
        every = {name for names in (*KNOBS.values(), MEASURED) for name in names}
        # without a task the file decides: an image is denoised, a measurement may be turned
        allowed = KNOBS[self.simulated] if self.task else (*KNOBS["denoise"], *MEASURED)
        why = f"no option for task {self.task or 'denoise'}, whose options are {', '.join(allowed)}"
        _refuse(self, every - set(allowed), why)
        return self

    @property
    def simulated(self) -> Task:
        """The measurement that is simulated of an image."""
        return cast(Task, self.task or "denoise")


TASKS: dict[str, dict[str, str | int | float]] = {
    "denoise": {"task": "denoise"},
    "sr2": {"task": "superres", "factor": 2},
    "sr4": {"task": "superres", "factor": 4},
    "inpaint": {"task": "inpaint"},
    "mri4": {"task": "mri", "acceleration": 4.0},
    "mri8": {"task": "mri", "acceleration": 8.0},
    "ct60": {"task": "ct", "views": 60},
    "ct30": {"task": "ct", "views": 30},
}
"""The simulated measurements of evaluations and calibrations, by name; ``reconstruct`` knows them, too."""


class Train(Request, HasFolder):
    """Learn a prior from a folder of scans; the same command again continues."""

    job: ClassVar[str] = "train"
    name: str | None = advanced(
        None, "Name of the prior. Default: the name of the run folder.", pattern=r"^[a-z0-9][a-z0-9-]{0,63}$"
    )
    preset: Literal["tiny", "small", "base", "large"] = option("small", "Size of the network.")
    minutes: float | None = option(
        None, "Minutes for the whole command. Default: 10 if no steps are given.", gt=0, le=100_000
    )
    steps: int | None = advanced(
        None, "Number of optimizer steps, instead of a time budget.", ge=1, le=100_000_000
    )
    unit: str | None = advanced(None, "Unit of the values if the files do not state one, e.g. HU.")
    modality: str | None = option(None, "DICOM modality code (CT, MR, DX, US) if the files do not state one.")
    plane: Literal["axial", "coronal", "sagittal"] = option("axial", "How volumes are cut into slices.")
    ndim: int = option(2, "2 learns slices, 3 learns whole volumes.", ge=2, le=3)
    channels: tuple[str, ...] | None = advanced(
        None, "Channels of a scans.csv to learn jointly, e.g. image and mask. Default: all that it names."
    )
    allow_synthetic: bool = advanced(
        False, "Also learn from images that are marked synthetic. Recorded on the card."
    )
    licence: str = advanced("", "Licence of the training data, for the card.")
    begin_with: str | None = option(
        None, "Begin with the weights of another prior, a bundled name or a folder, where they fit."
    )

    def identity(self) -> JsonObject:
        """Runs without another prior stay what they were; where it lies says nothing of it."""
        known = super().identity()
        known.pop("begin_with")
        return known

    def fitting(self, out: Path, device: str) -> Fitting:
        """The options of the job."""
        return chosen_of(Fitting, self, out=out, device=device)


class Adapt(WithPrior, HasFolder):
    """Teach a prior a new class, organ or scanner from 5 to 50 scans; the same command again continues."""

    job: ClassVar[str] = "adapt"
    private: ClassVar[tuple[str, ...]] = (*WithPrior.private, "replay")
    name: str | None = advanced(
        None,
        "Name of the new prior. Default: the name of the run folder.",
        pattern=r"^[a-z0-9][a-z0-9-]{0,63}$",
    )
    method: Literal["auto", "lora", "norm", "full"] = advanced(
        "auto",
        "Which weights may change: low-rank "
        "additions (lora), normalisation layers (norm) or all (full). auto: lora.",
    )
    minutes: float | None = option(
        None, "Minutes for the whole command. Default: 5 if no steps are given.", gt=0, le=100_000
    )
    steps: int | None = advanced(
        None, "Number of optimizer steps, instead of a time budget.", ge=1, le=100_000_000
    )
    rank: int = advanced(8, "lora: rank of the additions.", ge=1, le=1024)
    rate: float | None = advanced(None, "Peak learning rate. Default: set by the method.", gt=0, le=1)
    replay: str = option(
        "generative",
        "What preserves the old classes: generative (images that the prior "
        "draws), none, or a folder of real scans.",
    )
    share: float = advanced(0.5, "Share of every batch that comes from the replay.", ge=0, lt=1)
    old_label: str | None = advanced(
        None,
        "Class name for what a prior without labels already knew. Default: none.",
        pattern=r"^[^/\\\x00-\x1f]{1,64}$",
    )
    hold: float = advanced(
        0.2, "Share of the scans held out for early stopping, from 8 scans on. 0: none.", ge=0, le=0.5
    )
    copies: int = advanced(
        15, "Number of gentle variations (turned, scaled, shifted) of each scan. 0: none.", ge=0, le=1000
    )
    unit: str | None = advanced(None, "Unit of the values if the files do not state one, e.g. HU.")
    modality: str | None = option(None, "DICOM modality code (CT, MR, DX, US) if the files do not state one.")
    licence: str = advanced("", "Licence of the scans, for the card.")
    allow_other: bool = advanced(
        False,
        "Accept scans of another modality or unit than the prior's, with its scaling. Recorded in run.json.",
    )
    allow_synthetic: bool = advanced(
        False, "Also learn from images that are marked synthetic. Recorded in run.json."
    )

    def identity(self) -> JsonObject:
        """A folder of old scans is not named."""
        return {
            **super().identity(),
            "replay": self.replay if self.replay in ("generative", "none") else "real scans",
        }

    def adaptation(self, out: Path, device: str) -> Adaptation:
        """The options of the job."""
        return chosen_of(Adaptation, self, out=out, device=device)


class Label(WithPrior, HasScans):
    """Propose the scans whose labels help most, take in what readers answered, and say whether to go on; the
    same command again continues.
    """

    job: ClassVar[str] = "label"
    private: ClassVar[tuple[str, ...]] = (*WithPrior.private, "answers", "reader", "undo")
    n: int = option(20, "How many scans to propose. Label the whole batch.", ge=1, le=10_000)
    answers: Path | None = option(
        None, "The queue with its column label filled in, from any spreadsheet. Default: queue.csv in --out."
    )
    reader: str = option("", "Name of the reader, for rows that name none.")
    classes: tuple[str, ...] = option((), "A class. Any other label is refused. Once for each class.")
    repeat: int = option(
        0, "How many of the scans another reader has labelled already. They measure agreement.", ge=0
    )
    revise: bool = option(False, "Let a reader change labels that were recorded before.")
    split: Literal["auto", "train", "val", "test", "all"] = option(
        "auto", "Which scans to propose. auto: all but a test split that the folder states."
    )
    by: Literal["auto", "typical", "uncertain", "random"] = advanced(
        "auto", "How scans are chosen. auto: typical ones, then those where a classifier is unsure."
    )
    undo: int | None = advanced(None, "Take back the answer of this line of trail.jsonl.", ge=1)

    @model_validator(mode="after")
    def _keeps_the_trail(self) -> Self:
        if self.fresh:
            raise ValueError("fresh: answers of readers are never thrown away; choose another --out")
        return self


class Scan(HasFolder):
    """Read every file of a data set once, and say what was understood and what cannot be used."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    job: ClassVar[str] = "scan"
    out: Path | None = option(
        None, "Folder for report, index.json and unusable.csv. Default: runs/scan-XXXXXXXX."
    )
    fresh: bool = advanced(False, "Start over, even if the same run is complete.")
    write_index: bool = advanced(
        False,
        "Also write index.sqlite and unusable.csv into the data folder, so that the next scan is faster.",
    )
    unit: str | None = advanced(None, "Unit of the values if the files do not state one, e.g. HU.")
    modality: str | None = option(None, "DICOM modality code (CT, MR, DX, US) if the files do not state one.")
    colour: Literal["luma"] | None = advanced(
        None, "Convert colour pictures to grey instead of refusing them."
    )

    def identity(self) -> JsonObject:
        """What makes this scan this scan, as JSON."""
        hidden = {"out", "fresh", "folder", "write_index"}
        return {"job": self.job, **self.model_dump(mode="json", exclude=hidden)}
