"""What a person may ask for: one model a job, said once, true as command line, YAML, web form and run.json.

Importing this module loads pydantic and nothing heavier.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ..errors import BadOption, nearest

__all__ = [
    "DATA_SET_ONLY",
    "REQUESTS",
    "TASKS",
    "Adapt",
    "Augment",
    "CalibrateDetect",
    "CalibrateReconstruct",
    "CalibrateSynthesize",
    "Calibration",
    "Detect",
    "EvaluateAugment",
    "EvaluateDetect",
    "EvaluateReconstruct",
    "Reconstruct",
    "Request",
    "Scan",
    "Synthesize",
    "Train",
    "explained",
    "request_from",
]

Task = Literal["denoise", "superres", "inpaint", "mri", "ct"]

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


def option(default: Any, description: str, **limits: Any) -> Any:
    """A field that is given by its name (``--name`` on the command line)."""
    return Field(default=default, description=description, kw_only=True, **limits)


class Request(BaseModel):
    """Options of every job."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
    job: ClassVar[str] = ""
    private: ClassVar[tuple[str, ...]] = ("out", "fresh", "device", "input", "folder", "prior", "like")
    """Fields that say where things are, not what is done: a run is the same run without them (inputs and priors count by their SHA-256)."""

    out: Path | None = option(None, "Folder for the results; default runs/JOB-XXXXXXXX, named by the request.")
    seed: int = option(0, "Seed of every random draw: the same machine and seed give the same bytes.", ge=0, lt=2**63)
    device: Literal["auto", "cpu", "cuda"] = option("auto", "Where the network runs; auto takes a GPU when there is one.")
    fresh: bool = option(False, "Start over, also where the same run is already complete.")

    def identity(self) -> dict[str, Any]:
        """What makes this run this run: all fields that change the numbers, as JSON."""
        return {"job": self.job, **self.model_dump(mode="json", exclude=set(self.private))}


class _HasPrior(BaseModel):
    prior: str = Field(description="Name of a bundled prior (chest-xray, brain-t1, chest-ct) or the folder of your own.", kw_only=True)


class _HasInput(BaseModel):
    input: Path = Field(description="The scan: DICOM file or folder, NIfTI, PNG, TIFF, JPEG, NPZ, or a zip archive of one.")


class _HasFolder(BaseModel):
    folder: Path = Field(description="The data set: sub-folders are labels, or scans.csv says more (docs/train.md).")


# Fields stand in the reverse order of the bases: what is given by its place comes first, as a command line wants it.


class WithPrior(Request, _HasPrior):
    """A job that needs a prior."""


class OneScan(WithPrior, _HasInput):
    """A job on one scan."""

    series: str | None = option(None, "Which DICOM series of a folder, by its UID.")
    index: int | None = option(None, "Which image of an NPZ stack.", ge=0)
    unit: str | None = option(None, "What the numbers mean where the file cannot say, e.g. HU.")
    modality: str | None = option(None, "DICOM's code (CT, MR, DX, US) where the file cannot say.")
    allow_other: bool = option(False, "Let a scan pass that the prior is not for (modality, unit; detect: its look, too); written down in run.json.")


class Detect(OneScan):
    """Find what looks unlike the healthy scans that a prior knows: map, score, p-value, healthy twin."""

    job: ClassVar[str] = "detect"
    n_twins: int = option(1, "Healthy twins that are averaged.", ge=1, le=64)


class Augment(OneScan):
    """Vary a scan, or each scan of a data set, by a prior or by classical transforms: new images with its label, grid and unit, marked synthetic."""

    job: ClassVar[str] = "augment"
    private: ClassVar[tuple[str, ...]] = (*OneScan.private, "policy", "mask", "paint")
    input: Path = Field(description="A scan (DICOM file or folder, NIfTI, PNG, TIFF, JPEG, NPZ, zip), or a data set: sub-folders are labels, or a scans.csv.")
    prior: str = option("", "Name of a bundled prior (chest-xray, brain-t1, chest-ct) or the folder of your own; none with --classical.")
    classical: bool = option(False, "Rotation, scale, contrast, noise and what else is legal for the modality, instead of a prior.")
    policy: Path | None = option(None, "classical: YAML file that says what is allowed and how strongly (docs/augment.md); default by modality and label.")
    mask: Path | None = option(None, "classical: a label map on the scan's grid, moved along with it; of a data set its scans.csv names them.")
    n: int = option(4, "How many variations of a scan.", ge=1, le=10_000)
    strength: float = option(0.3, "0 keeps the source, 1 forgets it; 0.3 is gentle, 0.6 bold.", gt=0, lt=1)
    label: str | None = option(None, "The scan's own label, so that the variations keep it; classical: what would make it wrong is refused.")
    guidance: float = option(1.0, "Weight of the label; 1 is plain.", ge=0, le=20)
    paint: Path | None = option(None, "A mask on the scan's grid: only this region is drawn anew, given the rest, which stays as it is to the last bit.")
    box: tuple[int, int, int, int] | None = option(None, "The region as a box instead (first row, first column, rows, columns).")
    split: Literal["train", "val", "test", "all"] = option("train", "data set: which scans are varied.")
    fill: Literal["balanced"] | Annotated[int, Field(ge=1, le=1_000_000)] | None = option(
        None, "data set: instead of --n for each scan, as many as each label lacks: to the largest label's number (balanced), or to this number."
    )
    fill_by: Literal["variations", "synthesis"] = option("variations", "fill: by variations of the label's own scans, or by new images of the prior's label.")
    judge: Literal["auto", "on", "off"] = option(
        "auto", "data set: a classifier that has seen neither an image nor its patient refuses what has lost its label; auto: with a prior and two labels."
    )
    alpha: float = option(0.1, "judge: the share of real scans that it would refuse, too.", gt=0, lt=1)
    keep_copies: bool = option(False, "data set: keep variations that are near copies of a real scan: for your own training, never for release.")
    tries: int = option(3, "data set: how often a refused image is drawn again before it is left out.", ge=1, le=100)
    allow_synthetic: bool = option(False, "data set: also vary images that are marked synthetic; written down in run.json.")

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if not self.classical and not self.prior:
            raise ValueError("prior: wanted a prior, or --classical, which needs none")
        other = ("prior", "strength", "guidance", "allow_other", "paint", "box", "fill_by") if self.classical else ("policy", "mask")
        self._refuse(other, f"no option {'with' if self.classical else 'without'} --classical")
        if self.paint is not None and self.box is not None:
            raise ValueError("paint, box: wanted one of them")
        if self.paint is not None or self.box is not None:
            self._refuse(("strength", *DATA_SET_ONLY), "no option where a region of one scan is drawn anew")
        if self.fill is not None:
            self._refuse(("n",), "no option with --fill, which says how many")
        elif self.fill_by != "variations":
            raise ValueError("fill_by: no option without --fill")
        return self

    def _refuse(self, names: tuple[str, ...], why: str) -> None:
        if given := [name for name in names if getattr(self, name) != type(self).model_fields[name].default]:
            raise ValueError(f"{', '.join(given)}: {why}")


DATA_SET_ONLY = ("split", "fill", "fill_by", "judge", "alpha", "keep_copies", "tries", "allow_synthetic")
"""What only the augmentation of a whole data set can be told."""


class Synthesize(WithPrior):
    """New images from nothing but the prior, or from a known channel of a joint one; marked synthetic."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, populate_by_name=True)
    job: ClassVar[str] = "synthesize"
    private: ClassVar[tuple[str, ...]] = (*WithPrior.private, "data", "given")
    n: int = option(16, "How many images.", ge=1, le=100_000)
    label: str | None = option(None, "A class of the prior's card; default any.")
    mix: str | None = option(None, "How many of each label: shares (normal=0.5,pneumonia=0.5), counts (normal=10,pneumonia=30) or balanced; kept to the image.")
    number: tuple[str, ...] = option((), "What the prior was trained to be told, age=60, or shares of ranges, age=20..40:0.5,60..80:0.5; once for each name.")
    given: tuple[Path, ...] = option((), "A known channel of a joint prior: a label map, another contrast; what is missing is drawn, on its grid.")
    as_: tuple[str, ...] = option((), "What the given file is: mask, T1, ...; once for each --given, in their order.", alias="as")
    slices: int | None = option(None, "A volume of so many slices by a prior of slices, neighbours alike.", ge=2, le=2048)
    size: tuple[int, int] | None = option(None, "Rows and columns; default the size the prior was trained to show. A 3-D prior draws that size only.")
    guidance: float = option(1.5, "Weight of the label; 1 is plain, above it exaggerates.", ge=0, le=20)
    data: Path | None = option(None, "The data set the prior learned from: its train split is searched for copies, its val split says what is usual.")
    unproven: bool = option(False, "Write images that no audit has passed; written down in run.json and in the report.")
    format: Literal["png", "nii.gz", "npz", "dcm"] | None = option(None, "Format; default that of what is given, else png, of volumes nii.gz.")

    @model_validator(mode="after")
    def _named(self) -> Self:
        if len(self.given) != len(self.as_) or len(set(self.as_)) != len(self.as_):
            raise ValueError(f"given, as: wanted one name for each file, each once, got {len(self.given)} files and the names {', '.join(self.as_) or 'none'}")
        if self.given and (self.size is not None or self.slices is not None):
            raise ValueError("size, slices: no option with --given, whose grid is taken")
        if self.mix is not None and self.label is not None:
            raise ValueError("label, mix: wanted one of them, got both")
        return self


class Reconstruct(OneScan):
    """Reconstruct an image from a poor measurement: measured k-space or a sinogram, or SIMULATED from an image, which then judges the result."""

    job: ClassVar[str] = "reconstruct"
    task: Task | None = option(None, "Which measurement to simulate of an image, default denoise; a file of k-space or a sinogram is measured and takes none.")
    n: int = option(8, "Draws from the posterior; their mean is the result, their spread the uncertainty.", ge=1, le=256)
    fast: bool = option(False, "One point estimate from seven network evaluations; no draws.")
    label: str | None = option(None, "Condition on a class of the prior's card.")
    slice: int | None = option(None, "Which slice of a volume, counted from 0 along the prior's axis; default the middle one.", ge=0)
    volume: bool = option(False, "All slices of a volume at once, neighbours tied to each other; a 3-D prior takes the volume whole anyway.")
    noise: float | None = option(
        None, "Noise, as a share of half the intensity range; default 0.3 for denoise, else 0.02; of a measured file estimated from itself.", gt=0, le=10
    )
    turn: int = option(
        0,
        "measured k-space: degrees (0, 90, 180, 270) by which the image is turned counterclockwise, to stand as the prior knows it.",
        ge=0,
        le=270,
        multiple_of=90,
    )
    mirror: bool = option(False, "measured k-space: mirror the image left to right, after turning.")
    undersample: float | None = option(
        None, "measured k-space, fully sampled: keep one of so many lines, as if no more had been measured; all of them then judge the result.", gt=1, le=64
    )
    pixels: int | None = option(None, "measured sinogram: pixels a side of the image; default the detector's bins, at most 256.", ge=16, le=2048)
    factor: int = option(4, "superres: voxels of the measurement are this many times larger.", ge=2, le=16)
    fraction: float = option(0.7, "inpaint: share of the pixels that is missing.", gt=0, lt=1)
    box: tuple[int, int, int, int] | None = option(None, "inpaint: a missing box instead (first row, first column, rows, columns).")
    acceleration: float = option(4.0, "mri: one of so many lines of k-space is measured.", ge=1, le=64)
    centre_fraction: float | None = option(None, "mri: share of the lines that is measured in the centre; default 0.32 / acceleration.", ge=0, le=1)
    pattern: Literal["random", "variable", "equispaced", "poisson"] = option(
        "random", "mri: which lines: at random, likelier near the centre, evenly spaced; poisson: points of a Poisson disc instead, as of two phase encodings."
    )
    partial: float | None = option(None, "mri: only this share of each line is measured (partial Fourier), e.g. 0.75.", gt=0.5, lt=1)
    coils: int = option(1, "mri: coils of an array round the patient, their maps known.", ge=1, le=64)
    views: int = option(60, "ct: number of views, evenly over the arc.", ge=2, le=4096)
    beam: Literal["parallel", "fan"] = option("parallel", "ct: parallel rays, or a fan on a flat detector (595 mm from source to axis, 1086 to detector).")
    arc: float | None = option(None, "ct: degrees over which the views are spread; default 180, of a fan 360; fewer leave a limited angle.", gt=0, le=360)
    photons: float = option(100_000.0, "ct: photons a detector bin receives with nothing in the beam (fewer = lower dose).", ge=10, le=1e9)
    rule: Literal["proximal", "decoupled", "matched_draw", "moment_matching", "posterior_sampling", "pseudoinverse_guidance"] = option(
        "proximal", "How the measurement enters; all but the default are for comparison (docs/reconstruct.md)."
    )
    steps: int = option(40, "Noise levels, from coarse to fine.", ge=2, le=1000)
    baselines: Literal["all", "quick"] = option("all", "Plain methods beside the result; quick leaves out total variation with its best weight.")

    @model_validator(mode="after")
    def _knobs_fit_the_task(self) -> Self:
        every = {name for names in (*KNOBS.values(), MEASURED) for name in names}
        # without a task the file decides: an image is denoised, a measurement may be turned
        allowed = KNOBS[self.task] if self.task else (*KNOBS["denoise"], *MEASURED)
        wrong = sorted((self.model_fields_set & every) - set(allowed) - {n for n in every if self._is_default(n)})
        if wrong:
            raise ValueError(f"{', '.join(wrong)}: no option for task {self.task or 'denoise'}, whose options are {', '.join(allowed)}")
        return self

    @property
    def simulated(self) -> Task:
        """The measurement that is simulated of an image."""
        return self.task or "denoise"

    def _is_default(self, name: str) -> bool:
        return getattr(self, name) == type(self).model_fields[name].default


TASKS: dict[str, dict[str, Any]] = {
    "denoise": {"task": "denoise"},
    "sr2": {"task": "superres", "factor": 2},
    "sr4": {"task": "superres", "factor": 4},
    "inpaint": {"task": "inpaint"},
    "mri4": {"task": "mri", "acceleration": 4.0},
    "mri8": {"task": "mri", "acceleration": 8.0},
    "ct60": {"task": "ct", "views": 60},
    "ct30": {"task": "ct", "views": 30},
}
"""The measurements that an evaluation simulates, by name: comparable from one place to another, since nothing of them can be turned."""


class Evaluation(WithPrior, _HasFolder):
    """What every evaluation of a prior on a folder of scans is told."""

    auto_split: ClassVar[str] = "test"
    """The split that ``auto`` takes where the folder states splits."""

    split: Literal["auto", "train", "val", "test", "all"] = option("auto", "Which scans; auto: test where the folder states splits, else all of them.")
    unit: str | None = option(None, "What the numbers mean where the files cannot say, e.g. HU.")
    modality: str | None = option(None, "DICOM's code (CT, MR, DX, US) where the files cannot say.")
    allow_other: bool = option(False, "Let scans of another modality or unit than the prior's pass; written down in run.json.")
    allow_synthetic: bool = option(False, "Also take images that are marked synthetic; written down in run.json.")


HEALTHY_OPTION = "The label of healthy scans; default no_finding, healthy or normal, whichever there is."


class _Simulating(Evaluation):
    """What whoever simulates measurements of a folder's scans is told."""

    task: Literal["denoise", "sr2", "sr4", "inpaint", "mri4", "mri8", "ct60", "ct30"] = option("denoise", "Which simulated measurement (docs/evaluate.md).")
    n: int = option(8, "Draws from the posterior; their mean is the result.", ge=1, le=256)
    fast: bool = option(False, "One point estimate from seven network evaluations instead.")
    steps: int = option(40, "Noise levels, from coarse to fine.", ge=2, le=1000)
    per_patient: int = option(3, "Most images of a patient; of a volume, slices evenly spaced in its middle half.", ge=1, le=1000)
    most: int = option(60, "Most images in all; patients are left out evenly.", ge=1, le=100_000)


class EvaluateReconstruct(_Simulating):
    """How well a prior reconstructs simulated measurements of a folder's scans, beside plain methods."""

    job: ClassVar[str] = "evaluate-reconstruct"
    lesions: bool = option(False, "Also put lesions of known size and contrast into each image, and measure what each method keeps and invents.")


class Calibration(Evaluation):
    """What every calibration is told."""

    private: ClassVar[tuple[str, ...]] = (*Evaluation.private, "into")
    auto_split: ClassVar[str] = "val"
    split: Literal["auto", "train", "val", "test", "all"] = option("auto", "Which scans; auto: val where the folder states splits, else all of them.")
    into: Path | None = option(None, "Folder for a calibrated copy of the prior; default the prior's own folder. A bundled prior needs one.")


class CalibrateReconstruct(Calibration, _Simulating):
    """Measure on other patients how far reconstructions are off, so that their intervals hold; written into the prior's trust.json."""

    job: ClassVar[str] = "calibrate-reconstruct"
    per_patient: int = option(16, "Most images of a patient; of a volume, slices evenly spaced in its middle half.", ge=1, le=1000)
    most: int = option(200, "Most images in all; patients are left out evenly.", ge=1, le=100_000)


class CalibrateDetect(Calibration):
    """Show a prior healthy scans, those of the train split, and hold others against them, those of the val split: p-values, and the scale of the map."""

    job: ClassVar[str] = "calibrate-detect"
    split: Literal["auto", "train", "val", "test", "all"] = option("auto", "Which scans calibrate; auto: val. Those of train are learned, never both.")
    healthy: str | None = option(None, HEALTHY_OPTION)


class CalibrateSynthesize(Calibration):
    """Measure a prior's own images: how faithful and how various they are, whether they are copies of the scans it learned from; into its trust.json."""

    job: ClassVar[str] = "calibrate-synthesize"
    split: Literal["auto", "train", "val", "test", "all"] = option("auto", "The held-out scans; auto: val. Those of train are what the prior learned from.")
    n: int = option(400, "Images drawn, with the labels in the shares of the training scans; the intervals want 2000.", ge=24, le=100_000)
    guidance: float = option(1.5, "Weight of the label, as synthesize takes it.", ge=0, le=20)


class EvaluateDetect(Evaluation):
    """How well a prior tells healthy scans from others in a labelled folder, beside plain scores."""

    job: ClassVar[str] = "evaluate-detect"
    healthy: str | None = option(None, HEALTHY_OPTION)
    alpha: float = option(0.05, "The false-positive rate that is promised.", gt=0, lt=1)
    baselines: Literal["all", "quick"] = option("all", "Plain detectors beside ours; quick leaves out PatchCore and PaDiM, which need features of every scan.")


class EvaluateAugment(Evaluation):
    """Is it worth it? Train with and without generated images, with equal steps and controls of equal count, and say in plain words: use them or not."""

    job: ClassVar[str] = "evaluate-augment"
    auto_split: ClassVar[str] = "test"
    private: ClassVar[tuple[str, ...]] = (*Evaluation.private, "generated")
    prior: str = option("", "The prior that generates: a bundled name or the folder of your own; none with --generated.")
    split: Literal["auto", "train", "val", "test", "all"] = option(
        "test", "Which scans judge; val leaves test untouched. The ratio is chosen on val in any case."
    )
    generated: Path | None = option(None, "Folder of generated images instead of a prior: sub-folders are labels; of a segmentation scans.csv names the masks.")
    how: Literal["vary", "synthesize"] = option(
        "vary",
        "vary the labelled scans, or synthesize: new images of each label on the prior's card; of a segmentation new pairs, by a joint prior.",
    )
    strengths: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = option((0.5,), "vary: 0 keeps the source, 1 forgets it; several take turns.", min_length=1)
    keep_label: bool = option(False, "vary: ask the prior for each scan's own label (its card must have the labels).")
    guidance: float = option(1.0, "Weight of the label; 1 is plain.", ge=0, le=20)
    levels: int = option(6, "vary: noise levels of each variation.", ge=2, le=100)
    segment: bool = option(False, "Train a segmenter on the masks of scans.csv instead of a classifier on the labels.")
    per_class: int | None = option(None, "Low data: only so many labelled scans a class (of a segmentation: in all), drawn anew for each seed.", ge=2)
    slices: int = option(8, "Labelled slices of each training volume, evenly spaced in its middle half.", ge=1, le=64)
    seeds: int = option(5, "Trials: first weights, batches, and with --per-class which scans are labelled.", ge=2, le=1000)
    ratios: tuple[Annotated[float, Field(gt=0, le=100)], ...] = option((0.25, 0.5, 1.0, 2.0, 4.0), "Generated images for each real one.", min_length=1)
    steps: int = option(200, "Steps of each training, the same for every arm.", ge=10, le=1_000_000)
    size: int | None = option(
        None, "Largest side in pixels at which images are made and classified; default 64, or that of the scans if smaller.", ge=16, le=512
    )

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if bool(self.prior) == (self.generated is not None):
            raise ValueError("prior, generated: wanted one of the two, the prior that generates or a folder of generated images")
        if self.split in ("auto", "train", "all"):
            raise ValueError(f"split: wanted val or test, which judge and are not learned from, got {self.split}")
        return self


class Train(Request, _HasFolder):
    """Learn a prior from a folder of scans; the same command again continues."""

    job: ClassVar[str] = "train"
    name: str | None = option(None, "Name of the prior; default that of the run folder.", pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")
    preset: Literal["tiny", "small", "base", "large"] = option("small", "Size of the network.")
    minutes: float | None = option(None, "Time budget; default 10 where no steps are given.", gt=0, le=100_000)
    steps: int | None = option(None, "Steps of the optimizer, instead of a time budget.", ge=1, le=100_000_000)
    unit: str | None = option(None, "What the numbers mean where the files cannot say, e.g. HU.")
    modality: str | None = option(None, "DICOM's code (CT, MR, DX, US) where the files cannot say.")
    plane: Literal["axial", "coronal", "sagittal"] = option("axial", "How volumes are cut into slices.")
    ndim: int = option(2, "2 learns slices, 3 learns volumes whole.", ge=2, le=3)
    channels: tuple[str, ...] | None = option(None, "Which channels of a scans.csv are learned together, e.g. image and mask; default all that it names.")
    allow_synthetic: bool = option(False, "Also learn from images that are marked synthetic; written down on the card.")
    licence: str = option("", "Licence of the training data, for the card.")


class Adapt(WithPrior, _HasFolder):
    """Teach a prior a new class, organ or scanner from 5 to 50 scans; the same command again continues."""

    job: ClassVar[str] = "adapt"
    private: ClassVar[tuple[str, ...]] = (*WithPrior.private, "replay")
    name: str | None = option(None, "Name of the new prior; default that of the run folder.", pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")
    method: Literal["auto", "lora", "norm", "full"] = option("auto", "What may move: low-rank additions, normalisations, or everything; auto: lora.")
    minutes: float | None = option(None, "Time budget of the tuning; default 5 where no steps are given.", gt=0, le=100_000)
    steps: int | None = option(None, "Steps of the optimizer, instead of a time budget.", ge=1, le=100_000_000)
    rank: int = option(8, "lora: rank of the additions.", ge=1, le=1024)
    rate: float | None = option(None, "Peak learning rate; default by the method.", gt=0, le=1)
    replay: str = option("generative", "What keeps the old classes: generative (drawn by the prior itself), none, or a folder of real scans.")
    share: float = option(0.5, "Share of every batch that is replayed.", ge=0, lt=1)
    old_label: str | None = option(None, "Name for what a prior without labels knew, as a class; default none.", pattern=r"^[^/\\\x00-\x1f]{1,64}$")
    hold: float = option(0.2, "Share of the scans, from 8 on, that is not learned from but tells which step was best; 0: none.", ge=0, le=0.5)
    copies: int = option(15, "Gentle variations (turned, scaled, shifted) of each scan; 0: none.", ge=0, le=1000)
    unit: str | None = option(None, "What the numbers mean where the files cannot say, e.g. HU.")
    modality: str | None = option(None, "DICOM's code (CT, MR, DX, US) where the files cannot say.")
    licence: str = option("", "Licence of the scans, for the card.")
    allow_other: bool = option(False, "Let scans of another modality or unit than the prior's pass, with its scaling; written down in run.json.")
    allow_synthetic: bool = option(False, "Also learn from images that are marked synthetic; written down in run.json.")

    def identity(self) -> dict[str, Any]:
        """A folder of old scans is not named."""
        return {**super().identity(), "replay": self.replay if self.replay in ("generative", "none") else "real scans"}


class Scan(_HasFolder):
    """Read every file of a data set once; list what cannot be used and why; write the index."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    job: ClassVar[str] = "scan"
    out: Path | None = option(None, "Where index.json and unusable.csv go; default the folder itself.")
    unit: str | None = option(None, "What the numbers mean where the files cannot say, e.g. HU.")
    modality: str | None = option(None, "DICOM's code (CT, MR, DX, US) where the files cannot say.")
    colour: Literal["luma"] | None = option(None, "Turn colour pictures to grey instead of refusing them.")


REQUESTS: dict[str, type[Request]] = {
    r.job: r
    for r in (
        *(Reconstruct, Augment, Synthesize, Detect, Train, Adapt),
        *(EvaluateReconstruct, EvaluateDetect, EvaluateAugment),
        *(CalibrateReconstruct, CalibrateDetect, CalibrateSynthesize),
    )
}


def request_from(job: str, values: Mapping[str, Any]) -> Request:
    """A request from plain values (YAML, a form, run.json). Raises BadOption naming every wrong field, with the nearest name of an unknown one."""
    if job not in REQUESTS:
        raise BadOption(f"job: {job!r} is not known", nearest(job, list(REQUESTS)))
    try:
        return REQUESTS[job].model_validate(dict(values))
    except ValidationError as error:
        raise explained(error, list(REQUESTS[job].model_fields)) from None


def explained(error: ValidationError, names: Sequence[str] = ()) -> BadOption:
    """pydantic's findings as one line: field, what is wrong, what came. names: the known fields, for the nearest to an unknown one."""
    lines, remedy = [], ""
    for found in error.errors(include_url=False):
        name = ".".join(str(part) for part in found["loc"])
        if found["type"] == "extra_forbidden":
            lines.append(f"{name}: unknown option")
            remedy = nearest(name, list(names))
        elif found["type"] == "value_error":
            lines.append(str(found["ctx"]["error"]) if "ctx" in found else found["msg"])
        else:
            got = "" if found["type"] == "missing" else f", got {found['input']!r}"
            lines.append(f"{name}: {found['msg'][0].lower()}{found['msg'][1:]}{got}")
    return BadOption("; ".join(lines), remedy)
