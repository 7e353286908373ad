"""Identity canaries stand in every text element of every format; no byte that a verb writes holds one, but
where a derived image of the same patient has it by the stated list.
"""

from __future__ import annotations

import gzip
import hashlib
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import h5py
import nibabel as nib
import numpy as np
import pydicom
import pytest
from nibabel.nifti1 import Nifti1Extension
from PIL import Image, PngImagePlugin
from pydicom.datadict import DicomDictionary, keyword_for_tag
from pydicom.dataset import Dataset

from medprior.cli import main
from medprior.io.dataset.index import Item
from medprior.io.dataset.store import load_index
from medprior.io.dicom.write.marks import COPIED_IDENTITY
from tests.corpus.dicom_parts import ct_slice, radiograph, save, uid
from tests.unit.io.test_arrays import XML
from tests.unit.runs.conftest import blobs, scene

CANARY = "ZQCANARY"
SPACE = {"CS": 16, "SH": 16, "LO": 64, "PN": 64, "AE": 16, "AS": 4, "UC": 64, "ST": 64, "LT": 64, "UT": 64}
NEEDED = {
    *("Modality", "PhotometricInterpretation", "RescaleType", "SpecificCharacterSet", "ImageType", "Units"),
    *("PresentationLUTShape", "PixelPresentation", "VolumetricProperties", "FrameType", "CorrectedImage"),
    *("LossyImageCompression", "SyntheticData", "BurnedInAnnotation", "DecayCorrection", "CountsSource"),
    *("ModalityLUTType", "LUTExplanation", "TimezoneOffsetFromUTC", "PatientAge", "PatientSex"),
}
"""Elements that say how pixels are to be read."""


def marked(image: Dataset) -> Dataset:
    """A canary in every text element that the standard knows for an image, and in a private one."""
    for tag, (vr, vm, _, retired, keyword) in DicomDictionary.items():
        group = tag >> 16
        usable = vr in SPACE and not retired and keyword and keyword not in NEEDED and vm[:1] == "1"
        if usable and group in (0x0008, 0x0010, 0x0012, 0x0018, 0x0020, 0x0032, 0x0038, 0x0040):
            setattr(image, keyword, f"{CANARY}{keyword_for_tag(tag)}"[: SPACE[vr]].upper())
    image.private_block(0x0099, CANARY, create=True).add_new(1, "LO", CANARY)
    return image


def written(path: Path) -> Iterator[tuple[str, bytes]]:
    """(name, bytes) of a file and of what is packed in it."""
    content = path.read_bytes()
    yield path.name, content
    if content[:2] == b"\x1f\x8b":
        yield path.name, gzip.decompress(content)
    elif content[:2] == b"PK":
        with zipfile.ZipFile(path) as archive:
            yield from ((name, archive.read(name)) for name in archive.namelist())
    elif content[:8] == b"\x89PNG\r\n\x1a\n":
        with Image.open(path) as picture:
            yield path.name, repr(picture.info).encode()


def found(folder: Path) -> list[str]:
    """Where a canary stands: in a name, or in the bytes of a file."""
    return sorted(
        {
            str(path.relative_to(folder))
            for path in folder.rglob("*")
            if path.is_file()
            for name, content in written(path)
            if CANARY.lower() in f"{path.relative_to(folder)} {name}".lower()
            or CANARY.lower().encode() in content.lower()
        }
    )


def png(path: Path) -> None:
    text = PngImagePlugin.PngInfo()
    for key in ("Author", "Description", "Comment", "Title", "Source"):
        text.add_text(key, f"{CANARY} {key}")
        text.add_itxt(f"i{key}", f"{CANARY} {key}")
    Image.fromarray(blobs()[0].astype("u1")).save(path, "PNG", pnginfo=text)


def tiff(path: Path) -> None:
    tags = dict.fromkeys((269, 270, 271, 272, 285, 305, 315, 316, 33432), CANARY)
    Image.fromarray(blobs()[0].astype("u1")).save(path, "TIFF", tiffinfo=tags)


def jpeg(path: Path) -> None:
    exif = Image.Exif()
    for tag in (0x010E, 0x010F, 0x0110, 0x013B, 0x8298):
        exif[tag] = CANARY
    Image.fromarray(blobs()[0].astype("u1")).save(path, "JPEG", exif=exif, comment=CANARY, quality=95)


def nifti(path: Path) -> None:
    image = nib.Nifti1Image(blobs()[0].astype("i2"), np.diag((-1.0, -1, 1, 1)))
    for name in ("descrip", "aux_file", "intent_name", "db_name"):
        image.header[name] = CANARY.encode()
    image.header.extensions.append(Nifti1Extension("comment", CANARY.encode()))
    nib.save(image, path)


def npz(path: Path) -> None:
    np.savez(path, images=blobs(), labels=np.array([CANARY]), patient=np.array([CANARY]))


def dicom(path: Path) -> None:
    save(path, marked(radiograph()))


FORMATS: dict[str, Callable[[Path], None]] = {
    ".png": png,
    ".tif": tiff,
    ".jpg": jpeg,
    ".nii.gz": nifti,
    ".npz": npz,
    ".dcm": dicom,
}


def command(*words: object) -> None:
    assert main([str(word) for word in words]) == 0


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_made_picture_has_nothing_of_its_source(suffix: str, tiny: Path, tmp_path: Path) -> None:
    scan = tmp_path / f"{CANARY}{suffix}"
    FORMATS[suffix](scan)
    out, given = tmp_path / "out", ("--modality", "DX") if suffix in (".png", ".tif", ".jpg", ".npz") else ()
    command("augment-classical", scan, "--n", 1, "--out", out / "a", *given)
    command(
        "augment", scan, "--prior", tiny, "--n", 1, "--strength", 0.2, "--allow-other", "--out", out / "b"
    )
    assert found(out) == []


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_derived_picture_has_what_is_stated_alone(suffix: str, tiny: Path, tmp_path: Path) -> None:
    scan = tmp_path / f"{CANARY}{suffix}"
    FORMATS[suffix](scan)
    command("detect", scan, "--prior", tiny, "--allow-other", "--out", tmp_path / "out")
    dicoms = list((tmp_path / "out").rglob("*.dcm"))
    assert found(tmp_path / "out") == sorted(str(path.relative_to(tmp_path / "out")) for path in dicoms)
    assert bool(dicoms) == (suffix == ".dcm")
    for path in dicoms:
        assert carriers(pydicom.dcmread(path)) <= {*COPIED_IDENTITY, "SeriesDescription", *TECHNIQUE}


TECHNIQUE = {"BodyPartExamined", "ViewPosition", "PatientOrientation", "PatientPosition"}


def carriers(image: Dataset) -> set[str]:
    """Keywords of the elements that hold a canary, at every depth."""
    return {
        element.keyword
        for element in image.iterall()
        if element.VR != "SQ" and CANARY in f"{element.value!r}".upper()
    }


def test_raw_data_gives_its_picture_no_name(tiny: Path, tmp_path: Path) -> None:
    scan, rng = tmp_path / f"{CANARY}.h5", np.random.default_rng(0)
    subject = f"<subjectInformation><patientName>{CANARY}</patientName></subjectInformation>"
    with h5py.File(scan, "w") as file:
        file["kspace"] = rng.normal(size=(1, 2, 32, 32, 2)).astype("f4").view("c8")[..., 0]
        file["ismrmrd_header"] = XML.replace("<encoding>", subject + "<encoding>", 1)
        file.attrs["patient_id"] = CANARY
    command("reconstruct", scan, "--prior", tiny, "--fast", "--allow-other", "--out", tmp_path / "out")
    assert found(tmp_path / "out") == []


def _digests_in(folder: Path, items: Sequence[Item]) -> list[str]:
    """Files of a folder that hold a digest of a single scan, of its pixels or its file. Whoever holds a scan
    could ask such a file whether it was among them.
    """
    sources = sorted((folder.parent / "scans").rglob("*.dcm"))
    digests = [item.digest for item in items]
    digests += [hashlib.sha256(path.read_bytes()).hexdigest() for path in sources]
    words = [word for one in digests for word in (one[:16].encode(), bytes.fromhex(one)[:8])]
    shared = [path for path in folder.rglob("*") if path.is_file()]
    return [path.name for path in shared if any(word in path.read_bytes() for word in words)]


def test_what_was_learned_from_is_not_named_in_the_folder_that_is_shared(tmp_path: Path) -> None:
    """Folder of patients and file names are identity, too; the index of them lies beside the run."""
    for n in range(6):
        folder = tmp_path / "scans" / f"{CANARY}-{n}"
        folder.mkdir(parents=True)
        made = marked(ct_slice((16 * scene(n, 64)[0]).astype(np.uint16)))
        made.PatientID, made.StudyInstanceUID = f"{CANARY}-{n}", uid("study", n)
        made.SeriesInstanceUID, made.SOPInstanceUID = uid("series", n), uid("instance", n)
        save(folder / f"{CANARY}-{n}.dcm", made)
    out = tmp_path / "run"
    command("train", tmp_path / "scans", "--preset", "tiny", "--steps", 2, "--out", out)
    assert found(out) == [] and (tmp_path / "run.private" / "index.sqlite").is_file()
    items = load_index(tmp_path / "run.private").items
    assert _digests_in(out, items) == [] and "index.sqlite" in _digests_in(tmp_path / "run.private", items)
    command("scan", tmp_path / "scans", "--out", tmp_path / "seen")
    named = {Path(name).name for name in found(tmp_path / "seen")}
    assert named <= {"index.json", "unusable.csv", "report.html", "page.json"}, "files are named, nobody else"
