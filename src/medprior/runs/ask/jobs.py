"""What may be asked of one scan, of a data set or of a prior: the jobs, training, and a look at a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from .request import HasFolder, OneScan, Request, WithPrior, option

__all__ = [
    "DATA_SET_ONLY",
    "KNOBS",
    "TASKS",
    "Adapt",
    "Augment",
    "Detect",
    "Reconstruct",
    "Scan",
    "Synthesize",
    "Train",
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


class Detect(OneScan):
    """Find what looks unlike the healthy scans that a prior knows: map, score, p-value, healthy twin."""

    job: ClassVar[str] = "detect"
    n_twins: int = option(1, "Healthy twins that are averaged.", ge=1, le=64)


class Augment(OneScan):
    """Vary a scan, or each scan of a data set, by a prior or by classical transforms: new images with its
    label, grid and unit, marked synthetic.
    """

    job: ClassVar[str] = "augment"
    private: ClassVar[tuple[str, ...]] = (*OneScan.private, "policy", "mask", "paint")
    input: Path = Field(
        description="A scan (DICOM file or folder, NIfTI, PNG, TIFF, JPEG, NPZ, zip), or a data set: "
        "sub-folders are labels, or a scans.csv."
    )
    prior: str = option(
        "",
        "Name of a bundled prior (chest-xray, brain-t1, chest-ct) or the folder of your own; none with "
        "--classical.",
    )
    classical: bool = option(
        False, "Rotation, scale, contrast, noise and what else is legal for the modality, instead of a prior."
    )
    policy: Path | None = option(
        None,
        "classical: YAML file that says what is allowed and how strongly (docs/augment.md); default by "
        "modality and label.",
    )
    mask: Path | None = option(
        None,
        "classical: a label map on the scan's grid, moved along with it; of a data set its scans.csv names "
        "them.",
    )
    n: int = option(4, "How many variations of a scan.", ge=1, le=10_000)
    strength: float = option(0.3, "0 keeps the source, 1 forgets it; 0.3 is gentle, 0.6 bold.", gt=0, lt=1)
    label: str | None = option(
        None,
        "The scan's own label, so that the variations keep it; classical: what would make it wrong is "
        "refused.",
    )
    guidance: float = option(1.0, "Weight of the label; 1 is plain.", ge=0, le=20)
    paint: Path | None = option(
        None,
        "A mask on the scan's grid: only this region is drawn anew, given the rest, which stays as it is to "
        "the last bit.",
    )
    box: tuple[int, int, int, int] | None = option(
        None, "The region as a box instead (first row, first column, rows, columns)."
    )
    split: Literal["train", "val", "test", "all"] = option("train", "data set: which scans are varied.")
    fill: Literal["balanced"] | Annotated[int, Field(ge=1, le=1_000_000)] | None = option(
        None,
        "data set: instead of --n for each scan, as many as each label lacks: to the largest label's number "
        "(balanced), or to this number.",
    )
    fill_by: Literal["variations", "synthesis"] = option(
        "variations", "fill: by variations of the label's own scans, or by new images of the prior's label."
    )
    judge: Literal["auto", "on", "off"] = option(
        "auto",
        "data set: a classifier that has seen neither an image nor its patient refuses what has lost its "
        "label; auto: with a prior and two labels.",
    )
    alpha: float = option(0.1, "judge: the share of real scans that it would refuse, too.", gt=0, lt=1)
    keep_copies: bool = option(
        False,
        "data set: keep variations that are near copies of a real scan: for your own training, never for "
        "release.",
    )
    tries: int = option(
        3, "data set: how often a refused image is drawn again before it is left out.", ge=1, le=100
    )
    allow_synthetic: bool = option(
        False, "data set: also vary images that are marked synthetic; written down in run.json."
    )
    unproven: bool = option(
        False,
        "fill-by synthesis: write images of a prior that no audit has passed; written down in run.json.",
    )

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if not self.classical and not self.prior:
            raise ValueError("prior: wanted a prior, or --classical, which needs none")
        other = (
            ("prior", "strength", "guidance", "allow_other", "paint", "box", "fill_by")
            if self.classical
            else ("policy", "mask")
        )
        self._refuse(other, f"no option {'with' if self.classical else 'without'} --classical")
        if self.paint is not None and self.box is not None:
            raise ValueError("paint, box: wanted one of them")
        if self.paint is not None or self.box is not None:
            self._refuse(("strength", *DATA_SET_ONLY), "no option where a region of one scan is drawn anew")
        if self.fill is not None:
            self._refuse(("n",), "no option with --fill, which says how many")
        elif self.fill_by != "variations":
            raise ValueError("fill_by: no option without --fill")
        if self.unproven and self.fill_by != "synthesis":
            raise ValueError(
                "unproven: no option without --fill-by synthesis: variations are refused one by one where "
                "they are copies"
            )
        return self

    def _refuse(self, names: tuple[str, ...], why: str) -> None:
        if given := [name for name in names if getattr(self, name) != type(self).model_fields[name].default]:
            raise ValueError(f"{', '.join(given)}: {why}")


DATA_SET_ONLY = (
    "split",
    "fill",
    "fill_by",
    "judge",
    "alpha",
    "keep_copies",
    "tries",
    "allow_synthetic",
    "unproven",
)
"""What only the augmentation of a whole data set can be told."""


class Synthesize(WithPrior):
    """New images from nothing but the prior, or from a known channel of a joint one; marked synthetic."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, populate_by_name=True)
    job: ClassVar[str] = "synthesize"
    private: ClassVar[tuple[str, ...]] = (*WithPrior.private, "data", "given")
    n: int = option(16, "How many images.", ge=1, le=100_000)
    label: str | None = option(None, "A class of the prior's card; default any.")
    mix: str | None = option(
        None,
        "How many of each label: shares (normal=0.5,pneumonia=0.5), counts (normal=10,pneumonia=30) or "
        "balanced; kept to the image.",
    )
    number: tuple[str, ...] = option(
        (),
        "What the prior was trained to be told, age=60, or shares of ranges, age=20..40:0.5,60..80:0.5; once "
        "for each name.",
    )
    given: tuple[Path, ...] = option(
        (),
        "A known channel of a joint prior: a label map, another contrast; what is missing is drawn, on its "
        "grid.",
    )
    as_: tuple[str, ...] = option(
        (), "What the given file is: mask, T1, ...; once for each --given, in their order.", alias="as"
    )
    slices: int | None = option(
        None, "A volume of so many slices by a prior of slices, neighbours alike.", ge=2, le=2048
    )
    size: tuple[int, int] | None = option(
        None,
        "Rows and columns; default the size the prior was trained to show. A 3-D prior draws that size only.",
    )
    guidance: float = option(1.5, "Weight of the label; 1 is plain, above it exaggerates.", ge=0, le=20)
    number_guidance: float = option(
        1.0,
        "Weight of the numbers asked for, not of a height; 1 is plain, above it exaggerates, chance too.",
        ge=0,
        le=20,
    )
    data: Path | None = option(
        None,
        "The data set the prior learned from: its train split is searched for copies, its val split says "
        "what is usual.",
    )
    unproven: bool = option(
        False, "Write images that no audit has passed; written down in run.json and in the report."
    )
    format: Literal["png", "nii.gz", "npz", "dcm"] | None = option(
        None, "Format; default that of what is given, else png, of volumes nii.gz."
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
        return self


class Reconstruct(OneScan):
    """Reconstruct an image from a poor measurement: measured k-space or a sinogram, or SIMULATED from an
    image, which then judges the result.
    """

    job: ClassVar[str] = "reconstruct"
    task: Task | None = option(
        None,
        "Which measurement to simulate of an image, default denoise; a file of k-space or a sinogram is "
        "measured and takes none.",
    )
    n: int = option(
        8, "Draws from the posterior; their mean is the result, their spread the uncertainty.", ge=1, le=256
    )
    fast: bool = option(False, "One point estimate from seven network evaluations; no draws.")
    label: str | None = option(None, "Condition on a class of the prior's card.")
    slice: int | None = option(
        None, "Which slice of a volume, counted from 0 along the prior's axis; default the middle one.", ge=0
    )
    volume: bool = option(
        False,
        "All slices of a volume at once, neighbours tied to each other; a 3-D prior takes the volume whole "
        "anyway.",
    )
    noise: float | None = option(
        None,
        "Noise, as a share of half the intensity range; default 0.3 for denoise, else 0.02; of a measured "
        "file estimated from itself.",
        gt=0,
        le=10,
    )
    turn: int = option(
        0,
        "measured k-space: degrees (0, 90, 180, 270) by which the image is turned counterclockwise, to stand "
        "as the prior knows it.",
        ge=0,
        le=270,
        multiple_of=90,
    )
    mirror: bool = option(False, "measured k-space: mirror the image left to right, after turning.")
    undersample: float | None = option(
        None,
        "measured k-space, fully sampled: keep one of so many lines, as if no more had been measured; all of "
        "them then judge the result.",
        gt=1,
        le=64,
    )
    pixels: int | None = option(
        None,
        "measured sinogram: pixels a side of the image; default the detector's bins, at most 256.",
        ge=16,
        le=2048,
    )
    factor: int = option(4, "superres: voxels of the measurement are this many times larger.", ge=2, le=16)
    fraction: float = option(0.7, "inpaint: share of the pixels that is missing.", gt=0, lt=1)
    box: tuple[int, int, int, int] | None = option(
        None, "inpaint: a missing box instead (first row, first column, rows, columns)."
    )
    acceleration: float = option(4.0, "mri: one of so many lines of k-space is measured.", ge=1, le=64)
    centre_fraction: float | None = option(
        None,
        "mri: share of the lines that is measured in the centre; default 0.32 / acceleration.",
        ge=0,
        le=1,
    )
    pattern: Literal["random", "variable", "equispaced", "poisson"] = option(
        "random",
        "mri: which lines: at random, likelier near the centre, evenly spaced; poisson: points of a Poisson "
        "disc instead, as of two phase encodings.",
    )
    partial: float | None = option(
        None, "mri: only this share of each line is measured (partial Fourier), e.g. 0.75.", gt=0.5, lt=1
    )
    coils: int = option(1, "mri: coils of an array round the patient, their maps known.", ge=1, le=64)
    views: int = option(60, "ct: number of views, evenly over the arc.", ge=2, le=4096)
    beam: Literal["parallel", "fan"] = option(
        "parallel",
        "ct: parallel rays, or a fan on a flat detector (595 mm from source to axis, 1086 to detector).",
    )
    arc: float | None = option(
        None,
        "ct: degrees over which the views are spread; default 180, of a fan 360; fewer leave a limited "
        "angle.",
        gt=0,
        le=360,
    )
    photons: float = option(
        100_000.0,
        "ct: photons a detector bin receives with nothing in the beam (fewer = lower dose).",
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
    ] = option(
        "proximal",
        "How the measurement enters; all but the default are for comparison (docs/reconstruct.md).",
    )
    steps: int = option(40, "Noise levels, from coarse to fine.", ge=2, le=1000)
    baselines: Literal["all", "quick"] = option(
        "all", "Plain methods beside the result; quick leaves out total variation with its best weight."
    )

    @model_validator(mode="after")
    def _knobs_fit_the_task(self) -> Self:
        every = {name for names in (*KNOBS.values(), MEASURED) for name in names}
        # without a task the file decides: an image is denoised, a measurement may be turned
        allowed = KNOBS[self.task] if self.task else (*KNOBS["denoise"], *MEASURED)
        wrong = sorted(
            (self.model_fields_set & every) - set(allowed) - {n for n in every if self._is_default(n)}
        )
        if wrong:
            raise ValueError(
                f"{', '.join(wrong)}: no option for task {self.task or 'denoise'}, whose options are "
                f"{', '.join(allowed)}"
            )
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
"""The measurements that an evaluation simulates, by name: comparable from one place to another, since nothing
of them can be turned.
"""


class Train(Request, HasFolder):
    """Learn a prior from a folder of scans; the same command again continues."""

    job: ClassVar[str] = "train"
    name: str | None = option(
        None, "Name of the prior; default that of the run folder.", pattern=r"^[a-z0-9][a-z0-9-]{0,63}$"
    )
    preset: Literal["tiny", "small", "base", "large"] = option("small", "Size of the network.")
    minutes: float | None = option(
        None, "Time budget; default 10 where no steps are given.", gt=0, le=100_000
    )
    steps: int | None = option(
        None, "Steps of the optimizer, instead of a time budget.", ge=1, le=100_000_000
    )
    unit: str | None = option(None, "What the numbers mean where the files cannot say, e.g. HU.")
    modality: str | None = option(None, "DICOM's code (CT, MR, DX, US) where the files cannot say.")
    plane: Literal["axial", "coronal", "sagittal"] = option("axial", "How volumes are cut into slices.")
    ndim: int = option(2, "2 learns slices, 3 learns volumes whole.", ge=2, le=3)
    channels: tuple[str, ...] | None = option(
        None,
        "Which channels of a scans.csv are learned together, e.g. image and mask; default all that it names.",
    )
    allow_synthetic: bool = option(
        False, "Also learn from images that are marked synthetic; written down on the card."
    )
    licence: str = option("", "Licence of the training data, for the card.")


class Adapt(WithPrior, HasFolder):
    """Teach a prior a new class, organ or scanner from 5 to 50 scans; the same command again continues."""

    job: ClassVar[str] = "adapt"
    private: ClassVar[tuple[str, ...]] = (*WithPrior.private, "replay")
    name: str | None = option(
        None, "Name of the new prior; default that of the run folder.", pattern=r"^[a-z0-9][a-z0-9-]{0,63}$"
    )
    method: Literal["auto", "lora", "norm", "full"] = option(
        "auto", "What may move: low-rank additions, normalisations, or everything; auto: lora."
    )
    minutes: float | None = option(
        None, "Time budget of the tuning; default 5 where no steps are given.", gt=0, le=100_000
    )
    steps: int | None = option(
        None, "Steps of the optimizer, instead of a time budget.", ge=1, le=100_000_000
    )
    rank: int = option(8, "lora: rank of the additions.", ge=1, le=1024)
    rate: float | None = option(None, "Peak learning rate; default by the method.", gt=0, le=1)
    replay: str = option(
        "generative",
        "What keeps the old classes: generative (drawn by the prior itself), none, or a folder of real "
        "scans.",
    )
    share: float = option(0.5, "Share of every batch that is replayed.", ge=0, lt=1)
    old_label: str | None = option(
        None,
        "Name for what a prior without labels knew, as a class; default none.",
        pattern=r"^[^/\\\x00-\x1f]{1,64}$",
    )
    hold: float = option(
        0.2,
        "Share of the scans, from 8 on, that is not learned from but tells which step was best; 0: none.",
        ge=0,
        le=0.5,
    )
    copies: int = option(
        15, "Gentle variations (turned, scaled, shifted) of each scan; 0: none.", ge=0, le=1000
    )
    unit: str | None = option(None, "What the numbers mean where the files cannot say, e.g. HU.")
    modality: str | None = option(None, "DICOM's code (CT, MR, DX, US) where the files cannot say.")
    licence: str = option("", "Licence of the scans, for the card.")
    allow_other: bool = option(
        False,
        "Let scans of another modality or unit than the prior's pass, with its scaling; written down in "
        "run.json.",
    )
    allow_synthetic: bool = option(
        False, "Also learn from images that are marked synthetic; written down in run.json."
    )

    def identity(self) -> dict[str, Any]:
        """A folder of old scans is not named."""
        return {
            **super().identity(),
            "replay": self.replay if self.replay in ("generative", "none") else "real scans",
        }


class Scan(HasFolder):
    """Read every file of a data set once; list what cannot be used and why; write the index."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    job: ClassVar[str] = "scan"
    out: Path | None = option(None, "Where index.json and unusable.csv go; default the folder itself.")
    unit: str | None = option(None, "What the numbers mean where the files cannot say, e.g. HU.")
    modality: str | None = option(None, "DICOM's code (CT, MR, DX, US) where the files cannot say.")
    colour: Literal["luma"] | None = option(None, "Turn colour pictures to grey instead of refusing them.")
