"""What an index of a data set holds, and how its images are read again."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

from ...data.volume import Volume
from ...errors import BadOption, Corrupt, FileProblem, WrongKind, did_you_mean, file_faults
from ..disk.limits import Limits
from ..groups import UNTOLD, Tags
from ..pictures import ahead
from ..read import kind_of, read
from .layout import OWN_FILES, UNUSABLE

__all__ = [
    "LEAST_SIDE",
    "Index",
    "Item",
    "Unusable",
    "digest_of",
    "one_each",
    "patients_of",
    "private",
    "read_item",
]

LEAST_SIDE = 4
"""Pixels a side of a picture: with fewer, no network has a resolution to work at."""


@dataclass(frozen=True, slots=True)
class Item:
    """One image or volume of a data set.

    id: opaque. path: relative to the folder, a file or the folder of a DICOM series. part: image number of an
    NPZ, series of a DICOM folder, else "". label, patient, split, mask: "" if not stated; patient is a keyed
    hash, never the id itself. shape: spatial; channels. unit, modality, spacing_mm: as read. digest: of the
    pixels. thumb: see twins.py; an index that was read has none. bucket: 0 to 99, decides the split where
    none is given. leaks: shares its patient or its pixels with a stricter split (test over val over train).
    signature: size and time of the files, so that an unchanged file is not decoded again. files: of a DICOM
    series, its files relative to path, so that it is read whatever else lies there; empty for one file.
    tags: sex, age band, scanner, and site and protocol as keyed hashes, each "" if not stated. called: name
    of its channel. beside: (name, relative path) of other channels on its grid. numbers: (name, value), as
    the table says. classes: the values above 0 of its mask. others: digest of the pixels of its mask and its
    other channels, "" where it has none. synthetic: one of its files is marked so, be it the mask alone.
    values: lowest and highest. volume: its name among the volumes of its series or 4-D file. later: not the
    first of these; it is listed and can be read, but nothing is learned from it.
    """

    id: str
    path: str
    part: str
    label: str
    patient: str
    split: str
    mask: str
    kind: str
    shape: tuple[int, ...]
    channels: int
    unit: str
    modality: str
    spacing_mm: tuple[float, ...] | None
    synthetic: bool
    digest: str
    thumb: str = field(compare=False)
    bucket: int
    given: bool
    leaks: bool
    signature: str
    warnings: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    tags: Tags = UNTOLD
    called: str = "image"
    beside: tuple[tuple[str, str], ...] = ()
    numbers: tuple[tuple[str, float], ...] = ()
    classes: tuple[int, ...] = ()
    others: str = ""
    values: tuple[float, float] | None = None
    volume: str = ""
    later: bool = False

    @property
    def owner(self) -> str:
        """Whose scan it is; a scan whose patient is not named counts as a patient of its own."""
        return self.patient or self.id


@dataclass(frozen=True, slots=True)
class Unusable:
    """A file that cannot be used, or is left out: relative path, reason, what to do."""

    path: str
    reason: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Index:
    """What ``scan`` found. ``duplicates`` and ``near_duplicates`` hold ids; ``crossing`` the (opaque)
    patients that lie in more than one split.

    passed_over: documents and hidden files. left_out: what is sound but no image to learn from (label maps,
    localizers, reports), and why. layout: how the folder was understood. notes: what a person should know of
    it, one sentence each.
    """

    folder: Path
    items: tuple[Item, ...]
    unusable: tuple[Unusable, ...] = ()
    passed_over: tuple[str, ...] = ()
    left_out: tuple[Unusable, ...] = ()
    duplicates: tuple[tuple[str, ...], ...] = ()
    near_duplicates: tuple[tuple[str, str], ...] = ()
    crossing: tuple[str, ...] = ()
    options: dict[str, str] = field(default_factory=dict)
    layout: str = "folders"
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        named, patients = self.named()
        who = f"{patients} patients" if named == len(self.items) else f"patients named for {named}"
        kinds = "/".join(sorted({item.modality or "unknown modality" for item in self.items}))
        labels = f", labels {', '.join(self.labels)}" if self.labels else ""
        splits = ", ".join(f"{name} {n}" for name, n in self.counts().items())
        return f"Index of {len(self.items)} scans ({kinds}), {who}{labels}; {splits}"

    def named(self) -> tuple[int, int]:
        """(scans whose patient is known, how many patients these are)."""
        known = [item.patient for item in self.items if item.patient]
        return len(known), len(set(known))

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels in use, sorted."""
        return tuple(sorted({item.label for item in self.items} - {""}))

    def counts(self) -> dict[str, int]:
        """Items a split."""
        return dict(sorted(Counter(item.split for item in self.items).items()))

    def usable(
        self, split: str | None = None, *, allow_synthetic: bool = False, most_bad: float = 0.05
    ) -> tuple[Item, ...]:
        """The items to work with, of one split or all: without leaks, the first volume of each series, and
        one of each group of exact twins in a split.

        Twins have the same pixels in all channels and in the mask: two maps of one image are two examples.

        Raises FileProblem when nothing is left or more than ``most_bad`` of the data set is unusable,
        WrongKind when items are marked synthetic.
        """
        if split is not None and split not in ("train", "val", "test"):
            raise BadOption(f"split: wanted train, val or test, got {split!r}")
        bad, total = len(self.unusable), len(self.unusable) + len(self.items)
        if bad > most_bad * total:
            first = "; ".join(f"{u.path}: {u.reason}" for u in self.unusable[:3])
            raise FileProblem(
                self.folder,
                f"{bad} of {total} files are unusable, more than {most_bad:.0%}: {first}",
                f"see {UNUSABLE}; mend or remove them",
            )
        made = [item for item in self.items if item.synthetic]
        if made and not allow_synthetic:
            raise WrongKind(
                f"{len(made)} of {len(self.items)} scans are marked synthetic, the first is {made[0].path}",
                "remove them, or allow synthetic data by name: a prior that learns from its own output "
                "drifts",
            )
        fit = [item for item in self.items if not (item.leaks or item.later)]
        chosen = [item for item in fit if split in (None, item.split)]
        once = {(item.digest, item.others, item.split): item for item in reversed(chosen)}
        kept = tuple(item for item in chosen if once[item.digest, item.others, item.split] is item)
        if not kept:
            raise FileProblem(
                self.folder,
                f"holds no usable scan{f' in split {split}' if split else ''}",
                "check the folder with medprior scan",
            )
        return kept

    def without_test(self, *, allow_synthetic: bool = False) -> tuple[Item, ...]:
        """The usable items but those of a test split that the folder states: these must stay unseen. Raises
        what ``usable`` raises, and FileProblem where that leaves none.
        """
        items = self.usable(allow_synthetic=allow_synthetic)
        if kept := tuple(item for item in items if not (item.given and item.split == "test")):
            return kept
        raise FileProblem(
            self.folder,
            f"holds no scan outside of its test split, which stays unseen ({len(items)} lie in it)",
            "add scans under train or val, or rename the folder test",
        )

    def volumes(self, items: Iterable[Item]) -> Iterator[tuple[Item, Volume]]:
        """Each item with its Volume, in the given order; neighbours in one NPZ are read together. Raises what
        ``read`` raises.
        """
        begun = ahead(items, lambda item: self.folder / item.path)
        for (path, kind), run in groupby(begun, key=lambda item: (item.path, item.kind)):
            if kind == "npz":
                yield from _stack_volumes(self.folder / path, list(run), self.options)
            else:
                for item in run:
                    yield item, self.load(item)

    def load(self, item: Item) -> Volume:
        """One item as a Volume. Raises what ``read`` raises."""
        if item.kind == "npz":
            return next(_stack_volumes(self.folder / item.path, [item], self.options))[1]
        if item.files:
            from ..dicom.read.series import read_files  # pydicom is heavy: other formats are read without it

            return read_files([self.folder / item.path / name for name in item.files])
        if item.kind == "dicom":
            return read(self.folder / item.path, series=item.part or None)
        if item.kind == "nifti" and item.volume:
            unit, modality = self.options.get("unit"), self.options.get("modality")
            return read(self.folder / item.path, volume=item.volume, unit=unit, modality=modality)
        return read_item(self.folder / item.path, item.kind, self.options, None)

    def mask(self, item: Item) -> Volume | None:
        """The mask that scans.csv names for an item, or None."""
        return read(self.folder / item.mask, unit="label") if item.mask else None

    def beside(self, item: Item, name: str) -> Volume:
        """Another channel of an item, on the item's own array grid. Raises BadOption for a name that it has
        not, and what ``read`` raises.
        """
        paths = dict(item.beside) | ({"mask": item.mask} if item.mask else {})
        if name not in paths:
            raise BadOption(
                f"channel: {item.path} has no {name!r}",
                did_you_mean(name, list(paths)) if paths else "name its file in a scans.csv",
            )
        path = self.folder / paths[name]
        return (
            read(path, unit="label") if name == "mask" else read_item(path, kind_of(path), self.options, None)
        )


def digest_of(items: Iterable[Item]) -> str:
    """SHA-256 of a set of scans by their pixels, in any order. A card and an audit name a data set by it."""
    return hashlib.sha256("\n".join(sorted(item.digest for item in items)).encode()).hexdigest()


def patients_of(items: Iterable[Item]) -> dict[str, int]:
    """Owner -> 1, 2, ... in the order of the scans."""
    return {name: n for n, name in enumerate(dict.fromkeys(item.owner for item in items), start=1)}


def one_each(items: Iterable[Item], *, unlabelled: bool = False) -> list[Item]:
    """The first scan of each patient and label: patients, not scans, are the independent units. unlabelled:
    keep scans without a label, too.
    """
    found: dict[tuple[str, str], Item] = {}
    for item in items:
        if item.label or unlabelled:
            found.setdefault((item.owner, item.label), item)
    return list(found.values())


def read_item(path: Path, kind: str, options: dict[str, str], limits: Limits | None) -> Volume:
    """One file that is no DICOM, with what the options of the index say about it."""
    colour = options.get("colour") if kind == "picture" else None
    stated = (
        {name: options.get(name) for name in ("unit", "modality")}
        if kind in ("picture", "nifti", "npz")
        else {"unit": None, "modality": None}
    )
    return read(path, colour=colour, unit=stated["unit"], modality=stated["modality"], limits=limits)


def _stack_volumes(
    path: Path, items: Sequence[Item], options: dict[str, str]
) -> Iterator[tuple[Item, Volume]]:
    from ..arrays import read_stack

    if not items[0].part:
        yield items[0], read_item(path, "npz", options, None)
        return
    images = read_stack(path, unit=options.get("unit"), modality=options.get("modality")).images
    for item in items:
        if int(item.part) >= len(images):
            raise Corrupt(
                path,
                f"holds {len(images)} images, the index knows number {item.part}",
                "scan the folder again",
            )
        yield item, images[int(item.part)]


def private(out: Path) -> Path:
    """The folder beside a run's, for its owner only, where the index of its scans lies: the run's folder is
    passed on, and an index holds file names. One that an older version left in ``out`` is moved there.
    """
    whole = out.absolute()
    folder = whole.with_name(f"{whole.name}.private")
    with file_faults(folder):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name in OWN_FILES:
            if (whole / name).is_file() and not (folder / name).exists():
                (whole / name).rename(folder / name)
    return folder
