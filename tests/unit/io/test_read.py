"""The one door: content decides, never the name; what is no file is never opened; a choice that would be
ignored is refused.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import medprior
from medprior.errors import BadOption, FileProblem, TooLarge, Truncated, Unsupported
from medprior.io.disk.archives import extract
from medprior.io.disk.limits import Limits
from medprior.io.read import kind_of, read
from tests.corpus import other

KINDS = {
    "a.nii": "nifti",
    "b.nii.gz": "nifti",
    "c.nii": "nifti",
    "d.png": "picture",
    "f.tif": "picture",
    "h.jpg": "picture",
}
KINDS |= {"i.npz": "npz", "k.zip": "zip", "l.h5": "hdf5"}


@pytest.mark.parametrize("name", sorted(KINDS))
def test_the_kind_is_told_by_content_whatever_the_name(tmp_path: Path, name: str) -> None:
    for disguise in (name, "scan", "scan.dcm", "scan.txt"):
        (tmp_path / disguise).write_bytes(other.seeds()[name])
        assert kind_of(tmp_path / disguise) == KINDS[name]


def test_dicom_is_told_with_and_without_its_preamble(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(bytes(128) + b"DICM" + bytes(100))
    (tmp_path / "b").write_bytes(b"\x08\0\x05\0\x0a\0\0\0ISO_IR 100")
    (tmp_path / "c").write_bytes(b"\0\x08\0\x05\0\0\0\x0aISO_IR 100")
    assert [kind_of(tmp_path / name) for name in "abc"] == ["dicom"] * 3
    assert kind_of(tmp_path) == "dicom", "a folder is a series"


def test_a_choice_that_does_not_fit_the_file_is_refused_not_ignored(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(other.png())
    (tmp_path / "a.nii").write_bytes(other.nifti())
    with pytest.raises(BadOption, match=r"time: no option for a picture .*colour"):
        read(tmp_path / "a.png", time=0)
    with pytest.raises(BadOption, match="series, colour: no option for NIfTI"):
        read(tmp_path / "a.nii", colour="luma", series="1.2")
    with pytest.raises(BadOption, match="unit: no option for DICOM"):
        read(tmp_path, unit="HU")
    assert read(tmp_path / "a.nii", unit="HU", modality="CT", time=0).unit == "HU"


def test_a_zip_of_one_scan_is_read_and_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "private").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "private"))
    (tmp_path / "a.zip").write_bytes(other.zipped(("x/scan.nii", other.nifti())))
    volume = read(tmp_path / "a.zip", unit="HU")
    assert np.array_equal(volume.data[0], other.VOXELS)
    assert volume.provenance.sources == (tmp_path / "a.zip",)
    assert volume.provenance.history[0] == "expanded from a zip archive of 1 files"
    (tmp_path / "b.zip").write_bytes(other.zipped(("a", b"x"), ("../evil", b"x")))
    with pytest.raises(FileProblem):
        read(tmp_path / "b.zip")
    assert list((tmp_path / "private").iterdir()) == []


def test_a_fault_inside_of_an_archive_names_the_archive_and_the_member(tmp_path: Path) -> None:
    """The folder it was expanded to is gone when the message is read."""
    (tmp_path / "a.zip").write_bytes(other.zipped(("x/cut.nii", other.nifti()[:-9])))
    with pytest.raises(Truncated, match=r"a\.zip: x/cut\.nii in it: ends 9 bytes") as caught:
        read(tmp_path / "a.zip")
    assert caught.value.path == tmp_path / "a.zip" and "medprior-" not in str(caught.value)


def test_limits_hold_for_the_list_of_an_archive_too(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(other.zipped(("x/a.nii", other.nifti()), ("x/b.nii", other.nifti())))
    with pytest.raises(TooLarge, match="lists 2 members, the limit is 1"):
        kind_of(tmp_path / "a.zip", Limits(files=1))


def test_nothing_of_a_refused_archive_is_written(tmp_path: Path) -> None:
    """B4: the whole archive is judged before its first byte is expanded."""
    (tmp_path / "a.zip").write_bytes(other.zipped(("good.nii", other.nifti()), ("sub/../../evil.nii", b"x")))
    (tmp_path / "out").mkdir()
    with pytest.raises(FileProblem, match="leave the folder"):
        extract(tmp_path / "a.zip", tmp_path / "out", Limits())
    assert list((tmp_path / "out").iterdir()) == []


def test_names_of_strangers_are_escaped_in_messages(tmp_path: Path) -> None:
    """A12: a name with control characters cannot write to the terminal."""
    path = tmp_path / "a\x1b[2J\n.nii"
    path.write_bytes(b"no scan")
    with pytest.raises(Unsupported) as caught:
        read(path)
    assert "\x1b" not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "\\x1b" in str(caught.value)


def test_links_are_followed_to_plain_files_and_no_further(tmp_path: Path) -> None:
    (tmp_path / "a.nii").write_bytes(other.nifti())
    (tmp_path / "link").symlink_to(tmp_path / "a.nii")
    assert read(tmp_path / "link").shape == other.VOXELS.shape
    os.mkfifo(tmp_path / "p")
    (tmp_path / "to-a-pipe").symlink_to(tmp_path / "p")
    with pytest.raises(FileProblem, match="not opened"):
        read(tmp_path / "to-a-pipe")


def test_a_file_that_may_not_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.nii").write_bytes(other.nifti())
    (tmp_path / "a.nii").chmod(0)
    if os.access(tmp_path / "a.nii", os.R_OK):
        pytest.skip("this user may read everything")
    with pytest.raises(FileProblem, match="cannot be read"):
        read(tmp_path / "a.nii")


@pytest.mark.parametrize(
    ("name", "heavy"),
    [
        ("a.nii", {"torch", "monai", "highdicom", "h5py"}),
        ("d.png", {"torch", "monai", "highdicom", "pydicom"}),
    ],
)
def test_a_format_is_read_without_the_libraries_of_others(tmp_path: Path, name: str, heavy: set[str]) -> None:
    (tmp_path / name).write_bytes(other.seeds()[name])
    code = "import sys; from medprior.io.read import read; read(sys.argv[1]); print(*sys.modules)"
    environment = {**os.environ, "PYTHONPATH": str(Path(medprior.__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / name)],
        capture_output=True,
        text=True,
        env=environment,
        check=True,
    )
    assert heavy & set(done.stdout.split()) == set()
