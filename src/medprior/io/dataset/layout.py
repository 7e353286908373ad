"""How the folder of a data set says which scan is whose, and what is listed of each file."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from ...errors import BadOption
from ..groups import UNTOLD, Tags

__all__ = [
    "AS_MASK",
    "CHANNEL_NAME",
    "EXPORTED",
    "INDEX",
    "KEY",
    "LEARN",
    "OWN_FILES",
    "PLAIN",
    "SPLITS",
    "THUMBS",
    "UNUSABLE",
    "Layout",
    "Listed",
    "Listing",
    "stem",
]

SPLITS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
"""Names of folders (and of the split column) that say which part of a data set something belongs to."""

LEARN = "learn"
"""The split of what a layout gives for training, with no validation set: it becomes train and val."""

INDEX, EXPORTED, UNUSABLE, KEY = "index.sqlite", "index.json", "unusable.csv", ".medprior-key"
THUMBS = "index.thumbs"
OWN_FILES = (INDEX, THUMBS, EXPORTED, UNUSABLE, KEY)
"""What a scan writes; side files (in .medprior, of older versions NAME.medprior.json) are ours, too."""

CHANNEL_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,31}")

AS_MASK = "name it as the mask of its scan in a scans.csv, or as an image there"


@dataclass(frozen=True, slots=True)
class Layout:
    """Where labels and patients are read from, where the folder alone does not say it.

    labels: a table (CSV, TSV) of one row a file. path_column, label_column, patient_column: its columns;
    known titles are found without. patient_pattern: a regular expression searched in each file name; its
    first group is the patient. folders: whether the first sub-folders are labels or patients; auto refuses
    labels that look like patients. unnamed: files that the table does not name stay, without label.

    Raises BadOption for columns without a table, and for a pattern that is no regular expression.
    """

    labels: Path | None = None
    path_column: str | None = None
    label_column: str | None = None
    patient_column: str | None = None
    patient_pattern: str | None = None
    folders: Literal["auto", "labels", "patients"] = "auto"
    unnamed: bool = False

    def __post_init__(self) -> None:
        columns = ("path_column", "label_column", "patient_column")
        said = [name for name in columns if getattr(self, name) is not None]
        if said and self.labels is None:
            raise BadOption(
                f"{', '.join(said)}: no option without a table of labels", "name it: --labels FILE.csv"
            )
        try:
            re.compile(self.patient_pattern or "")
        except re.error as error:
            raise BadOption(
                f"patient_pattern: {self.patient_pattern!r} is no regular expression ({error})",
                r"for 00000001_000.png write '^(\d+)_'",
            ) from None

    def __str__(self) -> str:
        """What an index keeps of it: another text, and every scan is looked at again. It holds no path."""
        fields = (self.path_column, self.label_column, self.patient_column, self.patient_pattern)
        stays = ("unnamed",) if self.unnamed else ()
        return "|".join(
            (self.folders, "labels" if self.labels else "", *(text or "" for text in fields), *stays)
        )


PLAIN = Layout()
"""The folder alone says it."""


@dataclass(frozen=True, slots=True)
class Listed:
    """One file to look at. path: in the folder. fault: why it cannot even be opened, or "". stated: a table
    names it, and says the tags.

    guessed: the patient is only the name of a folder, so a patient that the file itself names counts more.
    called: the name of its channel. beside: (name, relative path) of other channels of the same patient on
    the same grid. numbers: (name, value). members: (part, entry) of images in the file that a table of labels
    names by themselves, as in file.npz#3; None without such a table.
    """

    path: Path
    label: str = ""
    patient: str = ""
    split: str = ""
    mask: str = ""
    fault: str = ""
    stated: bool = False
    tags: Tags = UNTOLD
    called: str = "image"
    beside: tuple[tuple[str, str], ...] = ()
    numbers: tuple[tuple[str, float], ...] = ()
    guessed: bool = False
    members: tuple[tuple[str, Listed], ...] | None = None

    def of(self, part: str) -> Listed:
        """The entry of one image in the file."""
        return dict(self.members or ()).get(part, self)


@dataclass(frozen=True, slots=True)
class Listing:
    """files: to look at. passed: relative paths of documents and hidden files. left_out: (path, reason, what
    to do) of sound files that are no images to learn from. layout: its name. notes: what a person should
    know, one sentence each.
    """

    files: tuple[Listed, ...]
    passed: tuple[str, ...] = ()
    left_out: tuple[tuple[Path, str, str], ...] = ()
    layout: str = "folders"
    notes: tuple[str, ...] = ()


def stem(path: PurePosixPath) -> str:
    """A file name without .nii.gz, .png, ...; a name that is only a suffix stays."""
    name = re.sub(r"\.gz$", "", path.name, flags=re.IGNORECASE)
    return name.rpartition(".")[0] or name
