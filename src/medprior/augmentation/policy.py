"""What may be done to a scan of a modality and a label without making it a wrong one; the rest is refused by
name, with its reason.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ..data.plain import JsonObject
from ..errors import BadOption, WrongKind, did_you_mean
from .frame import Frame
from .policies import ALIASES, MODALITIES, SENSITIVE
from .transforms import TRANSFORMS, Strength, transform_named

__all__ = ["ARBITRARY", "Policy"]

ARBITRARY = ("", "a.u.")
"""Units whose scale the settings of a scanner decide. Of every other one the numbers are measurements."""

_INTENSITY = ("contrast", "gamma", "brightness", "lighting", "bias_field")
_ONE_UPRIGHT = "no scan is acquired like this: it would teach a body that does not exist"
OTHERS = {
    "bias_field": "uneven sensitivity of receive coils is MR's",
    "motion": "lines of k-space that were read while the patient moved are MR's",
    "ghost": "ghosts along the phase axis are MR's",
    "spike": "spikes in k-space are MR's",
    "rician_noise": "Rician noise is that of MR's magnitude images: use noise",
    "dose": "a share of the photons can be simulated for CT in HU alone: use noise",
    "speckle": "speckle is ultrasound's: use noise",
    "flip_front_back": _ONE_UPRIGHT,
    "flip_head_foot": _ONE_UPRIGHT,
}
"""Why a transform is refused where the table of the modality has no word about it."""


@dataclass(frozen=True, slots=True)
class Policy:
    """allowed: name -> strength; refused: name -> reason; each transform is in one of the two. because: name
    -> why somebody allowed what was refused.

    modality, unit: what it is for, as in ``Volume``. outside: "edge" or "background", what comes in where
    content moves away from the border.
    """

    modality: str
    unit: str
    allowed: Mapping[str, Strength]
    refused: Mapping[str, str]
    outside: str = "edge"
    because: Mapping[str, str] | None = None

    @classmethod
    def of(
        cls,
        modality: str,
        *,
        unit: str | None = None,
        label: str | None = None,
        sides_matter: bool = True,
        text: bool = False,
    ) -> Policy:
        """The policy of a modality (DICOM's code; another one gets what is safe everywhere).

        unit: default HU for CT, else arbitrary. label: what the image is labelled with; a label that names a
        side, a size, a brightness or the image's quality refuses what would change it. sides_matter: left and
        right differ (hearts, livers, sides in reports): mirroring is refused unless you say they do not.
        text: letters or side markers are in the pixels: mirroring is refused. Raises BadOption for a label
        map, which is a mask.
        """
        code = modality.upper()
        key = ALIASES.get(code, code)
        table = MODALITIES.get(key, MODALITIES[""])
        unit = unit if unit is not None else ("HU" if key == "CT" else "a.u.")
        allowed = dict(table.allowed)
        if unit == "label":
            raise BadOption(
                "policy: a label map is no image: its numbers are names", "give it as a mask beside its image"
            )
        refused = {
            name: table.refused.get(name, OTHERS.get(name, "")) for name in TRANSFORMS if name not in allowed
        }
        if text:
            refused["flip_left_right"] = "letters or side markers in the image would be mirrored"
        elif sides_matter:
            refused["flip_left_right"] = (
                "left and right differ in a body; if neither label nor use knows them, state "
                "sides_matter=False"
            )
        else:
            allowed["flip_left_right"] = Strength(0, 1, 0.5)
            refused.pop("flip_left_right")
        if unit not in ARBITRARY:
            refused |= {
                name: refused.get(name)
                or f"the values are measurements in {unit}, and this makes other ones of them"
                for name in _INTENSITY
            }
        if unit != "HU":
            refused["dose"] = (
                f"photons can be counted from Hounsfield values alone, and the unit is {unit or 'unknown'}"
            )
        words = set(re.findall(r"[a-z]+", (label or "").lower()))
        for rule in SENSITIVE:
            if words & set(rule.words):
                refused |= dict.fromkeys(rule.transforms, f"{rule.reason} (label {label})")
        return cls(code, unit, {n: s for n, s in allowed.items() if n not in refused}, refused, table.outside)

    @classmethod
    def from_dict(cls, stated: Mapping[str, Any]) -> Policy:
        """A policy from plain data (YAML, JSON): modality, and any of unit, label, sides_matter, text,
        outside, without, transforms.

        without: names to leave out. transforms: name -> {low, high, probability, because}, each changes or
        adds one. Raises BadOption for what is unknown or refused, naming it.
        """
        known = {"modality", "unit", "label", "sides_matter", "text", "outside", "without", "transforms"}
        for key in stated:
            if key not in known:
                raise BadOption(f"policy: unknown key {key!r}", did_you_mean(str(key), sorted(known)))
        if not isinstance(stated.get("modality"), str):
            raise BadOption("policy: wanted modality, DICOM's code", 'e.g. "modality: CT"')
        facts = {key: stated[key] for key in ("sides_matter", "text") if key in stated}
        if not all(isinstance(value, bool) for value in facts.values()):
            raise BadOption(f"policy: sides_matter and text: wanted true or false, got {facts}")
        policy = cls.of(stated["modality"], unit=stated.get("unit"), label=stated.get("label"), **facts)
        policy = policy.without(*stated.get("without", ()))
        for name, asked in (stated.get("transforms") or {}).items():
            if not isinstance(asked, Mapping) or not asked.keys() <= {
                "low",
                "high",
                "probability",
                "because",
            }:
                raise BadOption(
                    f"policy, {name}: wanted low, high, probability and because, got {asked!r}"[:300]
                )
            usual = policy.allowed.get(name, Strength(math.nan, math.nan))
            wanted = {"low": usual.low, "high": usual.high, "probability": usual.probability, **asked}
            policy = policy.allowing(name, **wanted)
        outside = stated.get("outside", policy.outside)
        if outside not in ("edge", "background"):
            raise BadOption(f"policy: outside: wanted edge or background, got {outside!r}")
        return replace(policy, outside=outside)

    def as_dict(self) -> JsonObject:
        """What it allows and refuses, for JSON."""
        allowed = {
            n: {"low": s.low, "high": s.high, "probability": s.probability} for n, s in self.allowed.items()
        }
        facts = {"modality": self.modality, "unit": self.unit, "outside": self.outside}
        return {
            **facts,
            "allowed": allowed,
            "refused": dict(self.refused),
            "because": dict(self.because or {}),
        }

    @property
    def name(self) -> str:
        """As it stands in records."""
        return f"{self.modality or 'any modality'} in {self.unit or 'a.u.'}"

    def without(self, *names: str) -> Policy:
        """The same, and these are refused. Raises BadOption for unknown names."""
        for name in names:
            transform_named(name)
        refused = {**self.refused, **dict.fromkeys(names, "this policy leaves it out")}
        return replace(
            self, allowed={n: s for n, s in self.allowed.items() if n not in names}, refused=refused
        )

    def only(self, *names: str) -> Policy:
        """The same, with these alone. Raises BadOption for names that are unknown or refused."""
        for name in names:
            self.check(name)
        return self.without(*(n for n in self.allowed if n not in names))

    def allowing(
        self, name: str, low: float, high: float, probability: float = 0.5, *, because: str = ""
    ) -> Policy:
        """The same with another strength, or with one more transform. What is refused needs a reason, which
        every record will carry.

        Raises BadOption for unknown names, strengths outside of the transform's limits, and refused names
        without a reason.
        """
        transform = transform_named(name)
        if not because.strip():
            self.check(name)
        least, most = transform.limits
        numbers = all(
            isinstance(n, int | float) and not isinstance(n, bool) for n in (low, high, probability)
        )  # they may come from a file
        if not (numbers and least <= low <= high <= most and 0 <= probability <= 1):
            wanted = f"{least:g} <= low <= high <= {most:g} ({transform.unit}) and a probability of 0 to 1"
            raise BadOption(f"policy, {name}: wanted {wanted}, got {low!r}, {high!r} and {probability!r}")
        reasons = {**(self.because or {}), **({name: because} if name in self.refused else {})}
        refused = {n: why for n, why in self.refused.items() if n != name}
        return replace(
            self,
            allowed={**self.allowed, name: Strength(low, high, probability)},
            refused=refused,
            because=reasons,
        )

    def check(self, name: str) -> None:
        """Raises BadOption where a transform is unknown or refused: its name, why, and what to do."""
        transform_named(name)
        if name in self.refused:
            remedy = "leave it out, or allow it with a reason: Policy.allowing(..., because='...')"
            raise BadOption(f"{name}: refused for {self.name}: {self.refused[name]}", remedy)

    def fits(self, frame: Frame) -> None:
        """Raises WrongKind for an image of another modality or unit than the policy is for; what an image
        does not say is believed.
        """
        other = ALIASES.get(frame.modality.upper(), frame.modality.upper())
        if frame.modality and other != ALIASES.get(self.modality, self.modality):
            raise WrongKind(
                f"policy: it is for {self.name}, and the image is {frame.modality}",
                f"take Policy.of({frame.modality!r})",
            )
        if frame.unit and frame.unit != self.unit and not {frame.unit, self.unit} <= set(ARBITRARY):
            raise WrongKind(
                f"policy: it is for {self.name}, and the image is in {frame.unit}",
                f"take Policy.of(..., unit={frame.unit!r})",
            )
