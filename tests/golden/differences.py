"""Compares what the verbs leave now with what was stored, and stores anew what was changed on purpose.

A change that is meant gets its line in INTENDED. Then
OMP_NUM_THREADS=1 PYTHONPATH=src:. python -m tests.golden.differences
stores the fields that INTENDED names, and nothing else. It stops at any other difference.
"""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from tests.golden.run_records import CASES, STORED, World

SHORT = "the case is shorter than the one that was compared, which gave what it gave before"

COPIES = "copies are looked for in another way"

INTENDED: dict[str, str] = {
    "*.record.summary": "a run says its own last words",
    "*.files": "side files lie in .medprior",
    "report of two.record.*": "every verb writes the same record",
    "augment classical.record.threads": "every verb writes the same record",
    "denoise.record.request.baselines": "the plain methods beside one reconstruction are the quick ones",
    "denoise.record.metrics.methods.*best weight*": "the plain methods are the quick ones",
    "denoise.record.metrics.total_variation_weight": "the plain methods are the quick ones",
    "slice of a volume.images.*.shape": "a slice as NIfTI has three axes and the order of its source",
    "measured sinogram.images.outputs/reconstruction.*": "an NPZ measurement comes as NIfTI or PNG, too",
    "evaluate augment.record.metrics.rival": "labels that the prior saw are the strongest rival",
    "*.record.metrics.unlike": "a reconstruction says whether the prior knows such images",
    "*.low": "intervals over patients are t or Newcombe intervals",
    "*.high": "intervals over patients are t or Newcombe intervals",
    "detect*.record.metrics.twin_p_value": "the healthy twin of a flagged scan is judged, too",
    "*.calibration.named": "calibrations count patients, and say how many are named",
    "*.calibration.units": "calibrations count patients, and say so",
    "*.interval.units": "calibrations count patients, and say so",
    "*.interval.icc": "calibrations say how alike the scans of a patient are",
    "*.interval.short": "calibrations of too few patients say so",
    "info bundled.record.bundled.breast-us": "breast-us ships",
    "info bundled.record.bundled.hippocampus*": "hippocampus ships",
    "info*.caution": "caution belongs to the denoiser",
    "scan.record.metrics.further_volumes": "volumes of one series come apart",
    "scan": "scan is a run with a folder of its own",
    "train*.record.metrics.curve*": "training measures the validation loss",
    "train*.record.metrics.of_steps": "training says when it was too short",
    "adapt*.record.metrics.of_steps": "training says when it was too short",
    "train*.told": "training says when it was too short",
    "adapt*.told": "training says when it was too short",
    "augment*.record.request.*": "one scan, classical transforms and a data set are a request each",
    "augment [cs]*.record.job": "one scan, classical transforms and a data set are a request each",
    "*.record.metrics.errors.*": SHORT,
    "*.record.metrics.gates.copies*": COPIES,
    "augment set judged.*": COPIES,
    "calibrate synthesize.record.metrics.entry.drawing": "images are enlarged in another way",
    "calibrate synthesize*": COPIES,
    "synthesize*.record.metrics.proof*": COPIES,
    "synthesize*.record.metrics.copies*": COPIES,
    "*.record.metrics.beyond_limit": COPIES,
    "detect calibrated.*": "the memory holds means over patients",
    "detect another kind allowed.*": "the memory holds means over patients",
    "evaluate detect.*": "the memory holds means over patients",
    "calibrate detect*": "the calibration names how many patients are named, and keys its hashes",
    "calibrate reconstruct*": "calibration counts patients",
    "info calibrated.record.trust.detect*": "the calibration keys its hashes",
    "*.record.metrics.interval.*": "calibration counts patients",
}
"""Fields added, taken away or changed on purpose since the first records -> why. Dotted patterns."""

RELATIVE, ABSOLUTE = 2e-2, 1e-3

LOOSE = ("calibrate synthesize.*.copies.*", "evaluate augment.*.gain*")
"""Where a network of few steps decides: another processor or thread count moves these by up to 0.1."""


def differences(old: Any, new: Any, at: str) -> Iterator[str]:
    """One line for each value that is gone, new or another: its place, a colon, what differs."""
    if isinstance(old, dict) and isinstance(new, dict):
        yield from (f"{at}.{key}: gone" for key in old if key not in new)
        for key, value in new.items():
            if key in old:
                yield from differences(old[key], value, f"{at}.{key}")
            else:
                yield f"{at}.{key}: new"
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for n, (one, other) in enumerate(zip(old, new, strict=True)):
            yield from differences(one, other, f"{at}.{n}")
    elif not same(old, new, 0.1 if matches(at, LOOSE) else ABSOLUTE):
        yield f"{at}: was {old!r}, is {new!r}"


def same(old: Any, new: Any, apart: float) -> bool:
    if isinstance(old, float) or isinstance(new, float):
        both = all(isinstance(x, int | float) and not isinstance(x, bool) for x in (old, new))
        return both and math.isclose(old, new, rel_tol=RELATIVE, abs_tol=apart)
    return type(old) is type(new) and old == new


def matches(at: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(at, pattern) for pattern in patterns)


def renewed(old: Any, new: Any, at: str) -> Any:
    """The old value with the fields that INTENDED names as they are now."""
    if matches(at, tuple(INTENDED)):
        return new
    if isinstance(old, dict) and isinstance(new, dict):
        return _renewed_fields(old, new, at)
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        return [renewed(*pair, f"{at}.{n}") for n, pair in enumerate(zip(old, new, strict=True))]
    return old


def _renewed_fields(old: dict[str, Any], new: dict[str, Any], at: str) -> dict[str, Any]:
    """Of two dicts; a field that only one of them has is taken over or dropped where INTENDED names it."""
    fields = {}
    for key in sorted({*old, *new}):
        meant = matches(f"{at}.{key}", tuple(INTENDED))
        if key in old and key in new:
            fields[key] = renewed(old[key], new[key], f"{at}.{key}")
        elif (key in new) == meant:
            fields[key] = new[key] if meant else old[key]
    return fields


def main() -> None:
    stored = json.loads(STORED.read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder))
        found = {case: world.record(case) for case in CASES}
    kept = {case: renewed(stored.get(case, found[case]), found[case], case) for case in CASES}
    STORED.write_text(json.dumps(kept, indent=0) + "\n", encoding="utf-8")
    left = [line for case in CASES for line in differences(kept[case], found[case], case)]
    raise SystemExit("\n".join(left) or 0)


if __name__ == "__main__":
    main()
