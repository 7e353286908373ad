"""What the terminal says of a calibration of detection."""

from __future__ import annotations

from medprior.prior.promises import DetectPromise
from medprior.runs.studies.calibrate_detect import detection_calibration


def test_missing_patients_are_counted() -> None:
    """16 of the 19 healthy patients that a flag at 5 % needs."""
    few = detection_calibration(DetectPromise(n_healthy=16, learned_from=77))
    assert few.headline == (
        "77 healthy scans learned, 16 healthy patients calibrate: the smallest p-value is 0.059.",
        "No flags, and the map's scale is not calibrated: 3 more healthy patients are needed.",
    )
    assert few.result.endswith("no flags")
    assert (
        "1 more healthy patient is needed"
        in detection_calibration(DetectPromise(n_healthy=18, learned_from=77)).headline[1]
    )
    enough = detection_calibration(DetectPromise(n_healthy=19, learned_from=77))
    assert len(enough.headline) == 1 and "flags" not in enough.result
