"""What each modality allows, how strongly, and why not the rest: data, not code. docs/augment.md prints the
same table with its sources.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from .transforms import Strength

__all__ = ["ALIASES", "MODALITIES", "SENSITIVE", "Modality", "Sensitive"]


@dataclass(frozen=True, slots=True)
class Modality:
    """allowed: name -> strength. refused: name -> reason. Every transform is in one of the two, in
    ``policy.OTHERS``.
    """

    allowed: Mapping[str, Strength]
    refused: Mapping[str, str] = field(default_factory=dict)
    outside: str = "edge"


_BEAM_FROM_TOP = "the beam comes from the top of an ultrasound image, and shadows fall away from it"
_HOUNSFIELD = (
    "Hounsfield values are a physical scale: -1000 is air, 0 is water, and a change of them is another tissue"
)
_UNKNOWN = "the numbers of an unknown modality have no known meaning: state the modality"

# nnU-Net's ranges (Isensee et al., Nat. Methods 18, 2021, supplement) where it has them, narrower where a
# protocol positions the patient.
MODALITIES: dict[str, Modality] = {
    "DX": Modality(
        {
            "rotate": Strength(-10, 10, 0.5),
            "scale": Strength(0.85, 1.18, 0.5),
            "shift": Strength(-0.05, 0.05, 0.5),
            "elastic": Strength(0, 0.1, 0.2),
            "contrast": Strength(0.75, 1.33, 0.3),
            "gamma": Strength(0.7, 1.5, 0.3),
            "brightness": Strength(-0.15, 0.15, 0.3),
            "lighting": Strength(0, 0.2, 0.2),
            "blur": Strength(0.3, 1.0, 0.2),
            "low_resolution": Strength(0.5, 1.0, 0.15),
            "noise": Strength(0, 0.03, 0.3),
        }
    ),
    "MG": Modality(
        {
            "rotate": Strength(-10, 10, 0.5),
            "scale": Strength(0.9, 1.11, 0.5),
            "shift": Strength(-0.05, 0.05, 0.5),
            "contrast": Strength(0.8, 1.25, 0.3),
            "gamma": Strength(0.8, 1.25, 0.3),
            "brightness": Strength(-0.1, 0.1, 0.3),
            "noise": Strength(0, 0.03, 0.3),
        },
        {
            "elastic": "architectural distortion is a sign of cancer, and an elastic field makes it",
            "blur": "microcalcifications are a few pixels wide, and blurring takes them away while the label "
            "stays",
            "low_resolution": "microcalcifications are a few pixels wide, and coarser pixels take them away "
            "while the label stays",
            "lighting": "the density of a breast is read from its brightness across the image",
        },
        outside="background",
    ),
    "CT": Modality(
        {
            "rotate": Strength(-15, 15, 0.3),
            "scale": Strength(0.8, 1.25, 0.3),
            "shift": Strength(-0.05, 0.05, 0.3),
            "elastic": Strength(0, 0.15, 0.2),
            "blur": Strength(0.3, 1.0, 0.2),
            "low_resolution": Strength(0.5, 1.0, 0.15),
            "dose": Strength(0.25, 1.0, 0.1),
            "noise": Strength(0, 0.02, 0.3),
        },
        dict.fromkeys(("contrast", "gamma", "brightness", "lighting", "bias_field"), _HOUNSFIELD),
        outside="background",
    ),
    "MR": Modality(
        {
            "rotate": Strength(-15, 15, 0.3),
            "scale": Strength(0.8, 1.25, 0.3),
            "shift": Strength(-0.05, 0.05, 0.3),
            "elastic": Strength(0, 0.15, 0.2),
            "contrast": Strength(0.75, 1.33, 0.2),
            "gamma": Strength(0.7, 1.5, 0.3),
            "brightness": Strength(-0.1, 0.1, 0.15),
            "bias_field": Strength(0.1, 0.5, 0.3),
            "motion": Strength(1, 5, 0.1),
            "ghost": Strength(0.1, 0.4, 0.1),
            "spike": Strength(0.02, 0.1, 0.05),
            "blur": Strength(0.3, 1.0, 0.2),
            "low_resolution": Strength(0.5, 1.0, 0.25),
            "rician_noise": Strength(0, 0.05, 0.3),
        },
        {
            "noise": "a magnitude image has Rician noise: use rician_noise",
            "lighting": "uneven brightness of MR comes from receive coils: use bias_field",
        },
        outside="background",
    ),
    "US": Modality(
        {
            "rotate": Strength(-10, 10, 0.3),
            "scale": Strength(0.85, 1.18, 0.5),
            "shift": Strength(-0.05, 0.05, 0.5),
            "elastic": Strength(0, 0.1, 0.2),
            "contrast": Strength(0.75, 1.33, 0.3),
            "gamma": Strength(0.7, 1.5, 0.3),
            "brightness": Strength(-0.1, 0.1, 0.3),
            "lighting": Strength(0, 0.4, 0.3),
            "speckle": Strength(0.02, 0.08, 0.3),
            "blur": Strength(0.3, 1.0, 0.2),
        },
        {
            "flip_head_foot": _BEAM_FROM_TOP,
            "flip_front_back": _BEAM_FROM_TOP,
            "noise": "noise of ultrasound is speckle, which has grains: use speckle",
            "low_resolution": "coarser pixels turn speckle into blur: use blur",
        },
        outside="background",
    ),
    "": Modality(
        {
            "rotate": Strength(-10, 10, 0.5),
            "scale": Strength(0.9, 1.11, 0.5),
            "shift": Strength(-0.05, 0.05, 0.5),
            "noise": Strength(0, 0.03, 0.3),
        },
        {
            **dict.fromkeys(
                (
                    "contrast",
                    "gamma",
                    "brightness",
                    "lighting",
                    "bias_field",
                    "blur",
                    "low_resolution",
                    "elastic",
                ),
                _UNKNOWN,
            ),
            **dict.fromkeys(("motion", "ghost", "spike", "rician_noise", "dose", "speckle"), _UNKNOWN),
        },
    ),
}
"""By DICOM's code; "" is what is left for every other modality."""

ALIASES = {"CR": "DX", "RF": "DX", "XA": "DX", "RG": "DX", "IVUS": "US"}
"""Modalities that are judged as another one."""


@dataclass(frozen=True, slots=True)
class Sensitive:
    """A label that a transform would make wrong. words: any of them, whole, in the label; transforms: the
    names refused; reason: why.
    """

    words: tuple[str, ...]
    transforms: tuple[str, ...]
    reason: str


SENSITIVE: tuple[Sensitive, ...] = (
    Sensitive(
        ("left", "right", "situs", "dextrocardia", "laterality", "lateral", "side"),
        ("flip_left_right",),
        "the label names a side",
    ),
    Sensitive(
        (
            "cardiomegaly",
            "enlarged",
            "enlargement",
            "hypertrophy",
            "atrophy",
            "size",
            "volume",
            "dilated",
            "dilation",
            "growth",
            "age",
            "hydrocephalus",
        ),
        ("scale", "elastic"),
        "the label is a size, which this changes",
    ),
    Sensitive(
        ("fracture", "scoliosis", "distortion", "deformity", "shift", "deviation", "displacement"),
        ("elastic",),
        "the label is a shape, which this bends",
    ),
    Sensitive(
        (
            "density",
            "opacity",
            "emphysema",
            "oedema",
            "edema",
            "effusion",
            "glass",
            "calcification",
            "haemorrhage",
            "hemorrhage",
            "fat",
            "iron",
        ),
        ("gamma", "lighting", "bias_field"),
        "the label is read from brightness, which this bends",
    ),
    Sensitive(
        (
            "nodule",
            "microcalcification",
            "microcalcifications",
            "pneumothorax",
            "fracture",
            "microbleed",
            "microbleeds",
            "interstitial",
        ),
        ("blur", "low_resolution"),
        "the finding is as fine as what this takes away",
    ),
    Sensitive(
        ("quality", "artefact", "artifact", "motion", "noise", "noisy", "blurred"),
        (
            "motion",
            "ghost",
            "spike",
            "noise",
            "rician_noise",
            "dose",
            "blur",
            "low_resolution",
            "speckle",
            "bias_field",
        ),
        "the label is the quality of the image, which this changes",
    ),
)
"""Judgement, with its reason in every refusal; extend it with ``Policy.without``, overrule it with a reason
of your own.
"""
