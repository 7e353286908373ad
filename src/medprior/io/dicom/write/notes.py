"""Two small objects beside results: a picture with burned-in words for viewers that know nothing else, and
the note that withdraws older results.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
from highdicom import ko, sr
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from .... import __version__
from ...disk.files import write_file
from ...disk.limits import Limits
from ..read.open import dicom_errors, open_dicom
from .highdicom_parts import complete_header, finalize
from .instances import headers_taken_over, save_instance

__all__ = ["write_rejection_note", "write_secondary_capture"]


def write_secondary_capture(
    picture: NDArray[np.uint8], path: Path, scan: Path, what: str, prior_hash: str, seed: int | None
) -> None:
    """A colour picture in the study of ``scan`` (PS3.3 section A.8.1). The words in it are said to be burned
    in.

    picture: (rows, columns, 3), 0..255. what: one word for its series. The same picture gives the same bytes.
    Raises FileProblem.
    """
    source = _complete(scan)
    digest = hashlib.sha256(picture.tobytes()).hexdigest()
    entropy = [digest, str(source.SOPInstanceUID), prior_hash, str(seed)]
    with headers_taken_over(path):
        made: Any = highdicom.sc.SCImage.from_ref_dataset(
            source,
            pixel_array=picture,
            photometric_interpretation="RGB",
            bits_allocated=8,
            coordinate_system="PATIENT",
            patient_orientation=("L", "F"),
            series_instance_uid=generate_uid(entropy_srcs=["capture series", *entropy]),
            series_number=9903,
            sop_instance_uid=generate_uid(entropy_srcs=["capture", *entropy]),
            instance_number=1,
            manufacturer="medprior",
            transfer_syntax_uid=ExplicitVRLittleEndian,
        )
        for keyword in ("DateOfSecondaryCapture", "TimeOfSecondaryCapture"):
            if keyword in made:
                delattr(made, keyword)
        made.BurnedInAnnotation, made.PatientOrientation = "YES", ""
        made.SeriesDescription = f"AI {what}"
        made.ImageType = ["DERIVED", "SECONDARY"]
        finalize(made, what, synthetic=True, prior_hash=prior_hash, seed=seed, entropy=entropy)
        write_file(path, lambda temporary: save_instance(made, temporary))


def write_rejection_note(withdrawn: Sequence[Path], path: Path, reason: str) -> None:
    """A Key Object Selection that takes back older results of one study (IHE Imaging Object Change
    Management: 113001, Rejected for Quality Reasons).

    reason: one sentence without a name. Raises FileProblem.
    """
    old = [_complete(file) for file in withdrawn]
    entropy = sorted(str(one.SOPInstanceUID) for one in old)
    device = sr.DeviceObserverIdentifyingAttributes(
        uid=generate_uid(entropy_srcs=["device", "medprior", __version__]), name="medprior"
    )
    with headers_taken_over(path):
        content = ko.KeyObjectSelection(
            codes.DCM.RejectedForQualityReasons,
            referenced_objects=old,
            observer_device_context=sr.ObserverContext(codes.DCM.Device, device),
            description=reason,
        )
        made = ko.KeyObjectSelectionDocument(
            evidence=old,
            content=content,
            series_instance_uid=generate_uid(entropy_srcs=["rejection series", *entropy]),
            series_number=9904,
            sop_instance_uid=generate_uid(entropy_srcs=["rejection", *entropy]),
            instance_number=1,
            manufacturer="medprior",
        )
        made.SeriesDescription = "AI results withdrawn"
        finalize(made, "rejection note", synthetic=False, prior_hash="", seed=None, entropy=entropy)
        write_file(path, lambda temporary: save_instance(made, temporary))


def _complete(path: Path) -> Dataset:
    with dicom_errors(path):
        return complete_header(open_dicom(path, Limits()))
