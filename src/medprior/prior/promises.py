"""The promises of a prior: what was measured of it on patients that it had not learned from."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from types import UnionType
from typing import Any, ClassVar, Self, get_args, get_origin, get_type_hints

from ..data.plain import JsonObject
from ..errors import BadOption

__all__ = [
    "AGGREGATED",
    "RECOGNISED",
    "Audit",
    "AuditControl",
    "Calibration",
    "DetectPromise",
    "Estimate",
    "IntervalPromise",
    "MeasurementKind",
    "Promises",
    "ReconstructionMethod",
    "patients_named",
    "patients_needed",
]

RECOGNISED = (
    "whoever holds a healthy scan can recognise it in healthy.safetensors and trust.json: share these where "
    "you may share the scans"
)
"""What a prior gives away whose memory holds places of single scans, as older versions made it."""

AGGREGATED = (
    "whoever holds a scan that calibrated can recognise it in trust.json; healthy.safetensors holds means "
    "over patients"
)
"""What is said of others: exact p-values need the scores of each patient."""

_SHARE, _HEARD, _SIZE = 1.15, 1.4, 1.5
"""How far another measurement may be from the calibrated kind, as factors: numbers a voxel, precision, side
of the image.
"""

_LOCAL = 2.0
"""The same factor for the precision in one direction of frequency (of 8 from 0 to 180 degrees), and in one
part of the image (of 4 along each side): random lines differ by up to 1.4 there (of every fourth or eighth;
of every sixteenth by more than 2 at times); a box instead of scattered holes, or a limited angle, by far
more."""


def patients_needed(alpha: float) -> int:
    """How many patients an error rate needs: the least n with 1 / (n + 1) <= alpha, e.g. 9 at 10 %. Raises
    BadOption unless 0 < alpha < 1.
    """
    if not 0 < alpha < 1:
        raise BadOption(
            f"alpha: wanted a rate between 0 and 1, got {alpha}", "0.05 flags one healthy patient in twenty"
        )
    return max(1, math.ceil(1 / alpha - 1e-9) - 1)


def patients_named(named: int | None, n: int) -> str:
    """ "patients: named 3 of 5": of n scans; "" where it was not written down."""
    return "" if named is None else f"patients: named {named} of {n}"


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number with its interval: level 0.95 means it is meant to hold the truth 95 times in 100; n: how many
    independent units (patients) stand behind it.
    """

    value: float
    low: float
    high: float
    level: float
    n: int

    def __str__(self) -> str:
        return (
            f"{self.value:.4g} ({100 * self.level:g} % interval {self.low:.4g} to {self.high:.4g}, n = "
            f"{self.n})"
        )


@dataclass(frozen=True, slots=True)
class MeasurementKind:
    """What a calibration must know of a measurement, in network units; one of another kind has other errors.

    operator: its name. share: real numbers measured for each voxel. white, smooth: noise that would be left
    in an image of white noise, and in one whose amplitude falls as 1 / frequency as anatomy's does: (x . A^H
    C^-1 A x / x . x)^(-1/2). side: voxels of the longest side. ndim: 2 or 3. sectors: what is left of white
    noise in each of 8 directions of frequency, in the plane of the first two axes. worst: in that part of the
    image, of 4 along each side, that was measured worst.
    """

    operator: str
    share: float
    white: float
    smooth: float
    side: int
    ndim: int
    sectors: Sequence[float] = ()
    worst: float = 0.0

    def apart(self, other: MeasurementKind) -> str:
        """Why an interval of this kind does not serve ``other``; "" where it does."""
        if self.operator != other.operator:
            return f"it is for {self.operator}, this is {other.operator}"
        if self.ndim != other.ndim:
            return f"it is for {self.ndim}-D images"
        limits = {"share": _SHARE, "white": _HEARD, "smooth": _HEARD, "side": _SIZE}
        said = {
            "share": "measured numbers a voxel",
            "white": "noise on fine detail",
            "smooth": "noise on broad shapes",
            "side": "voxels a side",
        }
        for name, most in limits.items():
            mine, others = getattr(self, name), getattr(other, name)
            if not _near(mine, others, most):
                return f"it is for {mine:.3g} {said[name]}, here are {others:.3g}"
        if len(self.sectors) != len(other.sectors) or not all(
            _near(a, b) for a, b in zip(self.sectors, other.sectors, strict=True)
        ):
            return "it is for frequencies measured in other directions"
        if not _near(self.worst, other.worst):
            return "it is for other parts of the image left out"
        return ""


def _near(mine: float, other: float, most: float = _LOCAL) -> bool:
    return mine / most <= other <= mine * most


@dataclass(frozen=True, slots=True)
class ReconstructionMethod:
    """The settings of a reconstruction that its errors depend on; of a point estimate (``fast``) none but
    that it is one, and caution.

    caution, method: an entry without them was made before there was either.
    """

    fast: bool
    n: int
    rule: str
    n_steps: int
    high: float
    low: float
    caution: bool = False
    method: int = 1

    @property
    def said(self) -> str:
        """What a person chooses of it, as the command line calls it."""
        return "--fast" if self.fast else f"--n {self.n} --steps {self.n_steps}"

    def apart(self, other: ReconstructionMethod) -> str:
        """Why an interval measured so does not serve ``other``."""
        if self.method != other.method:
            return f"it was made by method {self.method} of medprior, this is {other.method}"
        if self.fast != other.fast:
            return f"it is for {'the point estimate' if self.fast else f'{self.n} draws'}"
        names = ("caution",) if self.fast else ("n", "rule", "n_steps", "high", "low", "caution")
        wrong = [
            f"{name} {getattr(self, name)}" for name in names if getattr(self, name) != getattr(other, name)
        ]
        return f"it is for {', '.join(wrong)}" if wrong else ""


@dataclass(frozen=True, slots=True)
class Calibration:
    """What was measured on n scans of ``patients`` patients that the prior had not learned from.

    level: share of the voxels of a new scan that lie within mean +- scale * deviation, in the mean over scans
    and patients. error: mean squared error over mean squared deviation that a new scan of a new patient does
    not exceed with probability ``level``. Both by conformal risk control, for scans that come as those of the
    calibration did. units: what counted as independent, "patients" or "slices"; "", as slices, in folders of
    older versions.
    icc: share of the variance of log error that lies between patients, None where no patient has two scans.
    named: how many of the n scans name their patient, None where it was not written down.
    """

    level: float
    scale: float
    n: int
    error: float
    patients: int
    units: str = ""
    icc: float | None = None
    named: int | None = None

    @property
    def missing(self) -> int:
        """How many more patients the level needs; 0 where it holds for a new patient."""
        return max(0, patients_needed(1 - self.level) - self.patients)

    @property
    def basis(self) -> str:
        """What the numbers rest on, e.g. "100 images of 4 patients (units: slices, ICC 0.31)"."""
        said = "" if self.units == "patients" or self.n == self.patients else "units: slices"
        alike = "" if self.icc is None else f"ICC {self.icc:.2f}"
        notes = ", ".join(filter(None, (said, alike, patients_named(self.named, self.n))))
        return f"{self.n} images of {self.patients} patients" + (f" ({notes})" if notes else "")

    @property
    def short(self) -> str:
        """Why nothing is promised for a new patient; "" where it is."""
        if not self.missing:
            return ""
        return (
            f"{self.level:.0%} for a new patient needs {patients_needed(1 - self.level)} patients, "
            f"{self.missing} are missing"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Record:
    """more: keys that this version does not read, kept as they stood. order: the keys as they stood."""

    more: Mapping[str, Any] = field(default_factory=dict)
    order: tuple[str, ...] = field(default=(), compare=False, repr=False)
    later: ClassVar[tuple[str, ...]] = ()
    """Keys that are written once they hold something."""

    @classmethod
    def from_json(cls, stored: Any) -> Self:
        """Raises BadOption where a value is missing or of another kind."""
        return _decoded(cls, stored, "promises")

    def to_json(self) -> JsonObject:
        """The keys in the order in which they stood. A record that was read lacks what it lacked then."""
        values = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("more", "order")}
        default = {f.name: f.default for f in fields(self)}
        values = {
            name: _encoded(value)
            for name, value in values.items()
            if name in self.order
            or (value if name in self.later else not self.order or value not in (default[name], {}))
        } | dict(self.more)
        first = {name: values[name] for name in self.order if name in values}
        return first | values


@dataclass(frozen=True, slots=True)
class IntervalPromise(_Record):
    """Intervals of one kind of measurement, reconstructed in one way. title: the measurement in words.
    median_width: of the intervals in network units. psnr_db: mean over the calibration scans.
    data: digest of these.
    """

    title: str
    kind: MeasurementKind
    how: ReconstructionMethod
    calibration: Calibration
    median_width: float = 0.0
    psnr_db: float = 0.0
    simulated: bool = True
    data: str = ""
    date: str = ""


@dataclass(frozen=True, slots=True)
class DetectPromise(_Record):
    """What held-out healthy patients look like to the prior, for p-values and the scale of the map.

    method: version of the evidence. evidence, plain: one value a patient, by name. peaks, slice_peaks: the
    highest value of each map, of each slice. kind: parts of each patient's acquisition. usual: the value that
    most of a healthy map stays below. map_high: None for too few patients. memory: fingerprint of the healthy
    scans that were learned, learned_from of them. n_kind: patients that the gate knows. scans: keyed hashes
    of all of these scans, by the secret that key_name names; plain digests in folders of older versions.
    patients: how many scans name theirs, in words. measured: what labelled test patients showed.
    aggregated: whether the memory holds means over patients, not places of single scans.
    """

    later: ClassVar[tuple[str, ...]] = ("measured", "key_name", "patients", "aggregated")
    method: int = 0
    evidence: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    peaks: tuple[float, ...] = ()
    slice_peaks: tuple[tuple[float, ...], ...] = ()
    kind: tuple[tuple[float, ...], ...] = ()
    usual: float = 0.0
    n_healthy: int = 0
    map_high: float | None = None
    plain: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    memory: str = ""
    n_kind: int = 0
    calibrated_on: str = "healthy patients"
    learned_from: int = 0
    data: str = ""
    date: str = ""
    scans: tuple[str, ...] = ()
    key_name: str = ""
    patients: str = ""
    measured: Mapping[str, Any] = field(default_factory=dict)
    aggregated: bool = False

    @property
    def recognised(self) -> str:
        """What whoever holds a scan can tell of it, in words."""
        return AGGREGATED if self.aggregated else RECOGNISED

    def estimates(self) -> dict[str, Estimate]:
        """Those of ``measured`` that have an interval."""
        return {
            name: _decoded(Estimate, {"level": 0.95, **at}, f"measured {name}")
            for name, at in self.measured.items()
            if isinstance(at, Mapping) and {"value", "low", "high", "n"} <= set(at)
        }


@dataclass(frozen=True, slots=True)
class AuditControl:
    """Copies that were hidden from the audit. found: share that it calls a copy; by_way: in each of its ways,
    of statistic 1. wanted: what it must find to be believed. turned, smallest, outside: as of
    ``jobs.synthetic.audit.Control``.
    """

    passed: bool
    name: str
    found: Estimate
    by_way: tuple[float, ...] | None = None
    wanted: float = 0.0
    turned: tuple[float, ...] | None = None
    smallest: float | None = None
    outside: bool | None = None


@dataclass(frozen=True, slots=True)
class Audit(_Record):
    """Whether n images of the prior are copies of its training scans.

    guidance, number_guidance: of labels and of the ``numbers`` that were asked for. drawing: version of the
    drawing; statistic: of the search for copies. held: held-out scans. patients: how many of all scans name
    theirs, in words. said: the verdict, line by line.
    """

    later: ClassVar[tuple[str, ...]] = ("patients",)
    n: int = 0
    guidance: float = 1.0
    number_guidance: float = 1.0
    numbers: tuple[str, ...] = ()
    drawing: int = 0
    statistic: int = 1
    held: int = 0
    patients: str = ""
    controls: tuple[AuditControl, ...] = ()
    passed: bool = False
    said: tuple[str, ...] = ()
    date: str = ""


@dataclass(frozen=True, slots=True)
class Promises(_Record):
    """Everything that trust.json holds; the newest calibration of an interval stands last."""

    reconstruct: tuple[IntervalPromise, ...] = ()
    detect: DetectPromise | None = None
    synthesize: Audit | None = None

    def to_json(self) -> JsonObject:
        """{} where nothing was measured."""
        return {name: value for name, value in super(Promises, self).to_json().items() if value}


def _encoded(value: Any) -> Any:
    if isinstance(value, _Record):
        return value.to_json()
    if is_dataclass(value):
        stored = {f.name: _encoded(getattr(value, f.name)) for f in fields(value)}
        return {name: at for name, at in stored.items() if at not in (None, "")}  # as older versions wrote it
    if isinstance(value, Mapping):
        return {key: _encoded(one) for key, one in value.items()}
    return [_encoded(one) for one in value] if isinstance(value, list | tuple) else value


def _decoded(wanted: Any, stored: Any, where: str) -> Any:
    """A value of JSON as the type says. Raises BadOption with the key."""
    kind, inner = get_origin(wanted) or wanted, get_args(wanted)
    if wanted is Any:
        return stored
    if is_dataclass(kind) and isinstance(stored, Mapping):
        return _record(kind, stored, where)
    if kind is UnionType:
        return None if stored is None else _decoded(inner[0], stored, where)
    if kind in (tuple, Sequence) and isinstance(stored, list | tuple):
        return tuple(_decoded(inner[0], one, where) for one in stored)
    if kind is Mapping and isinstance(stored, Mapping):
        return {key: _decoded(inner[1], one, f"{where}: {key}") for key, one in stored.items()}
    numeric = (int, float) if kind is float else (int,) if kind is int else ()
    if type(stored) in numeric or (kind in (bool, str) and type(stored) is kind):
        return stored
    raise BadOption(
        f"{where}: wanted {getattr(kind, '__name__', kind)}, got {type(stored).__name__}",
        "copy the whole folder again, or calibrate again",
    )


def _record(kind: Any, stored: Mapping[str, Any], where: str) -> Any:
    types = {f.name: get_type_hints(kind)[f.name] for f in fields(kind) if f.name not in ("more", "order")}
    values = {
        key: _decoded(types[key], value, f"{where}: {key}") for key, value in stored.items() if key in types
    }
    rest = {key: value for key, value in stored.items() if key not in types}
    if issubclass(kind, _Record):
        values |= {"more": rest, "order": tuple(stored)}
    try:
        return kind(**values) if issubclass(kind, _Record) else kind(**values, **rest)
    except TypeError as error:
        raise BadOption(
            f"{where}: a value is missing or unknown ({error})", "update medprior, or calibrate again"
        ) from error
