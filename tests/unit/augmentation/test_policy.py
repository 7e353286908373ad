"""What is legal for whom: nothing illegal passes, each refusal has a name, a reason and a remedy, and what
was overruled is written down.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from medprior.augmentation import TRANSFORMS, Frame, Policy, draw_record
from medprior.augmentation.policies import ALIASES, MODALITIES, SENSITIVE
from medprior.errors import BadOption, WrongKind

EVERY = [*filter(None, MODALITIES), *ALIASES, "PT", "OT", ""]


@pytest.mark.parametrize("modality", EVERY)
@pytest.mark.parametrize("sides_matter", [True, False])
def test_every_transform_is_allowed_or_refused_with_a_reason(modality: str, sides_matter: bool) -> None:
    policy = Policy.of(modality, sides_matter=sides_matter)
    assert set(policy.allowed) | set(policy.refused) == set(TRANSFORMS) and not set(policy.allowed) & set(
        policy.refused
    )
    assert all(len(why) > 15 for why in policy.refused.values())
    for name, s in policy.allowed.items():
        least, most = TRANSFORMS[name].limits
        assert least <= s.low <= s.high <= most and 0 < s.probability <= 1
    assert ("flip_left_right" in policy.allowed) is not sides_matter


@pytest.mark.parametrize("name", ["gamma", "contrast", "brightness", "lighting", "bias_field"])
def test_hounsfield_values_keep_their_scale(name: str) -> None:
    with pytest.raises(
        BadOption, match=rf"^{name}: refused for CT in HU: Hounsfield values are a physical scale.*because="
    ):
        Policy.of("CT").allowing(name, *(TRANSFORMS[name].limits))


@pytest.mark.parametrize("unit", ["SUV", "mm2/s", "ms"])
def test_measurements_in_any_unit_keep_their_scale(unit: str) -> None:
    refused = Policy.of("MR", unit=unit).refused
    assert {"gamma", "contrast", "brightness", "bias_field", "lighting"} <= set(refused) and unit in refused[
        "gamma"
    ]


@pytest.mark.parametrize(
    "facts",
    [
        {},
        {"sides_matter": True},
        {"sides_matter": False, "text": True},
        {"sides_matter": False, "label": "left lung nodule"},
    ],
)
def test_mirroring_is_refused_where_sides_matter(facts: dict) -> None:
    for modality in EVERY:
        with pytest.raises(BadOption, match="flip_left_right: refused"):
            Policy.of(modality, **facts).check("flip_left_right")


@pytest.mark.parametrize("modality", EVERY)
@pytest.mark.parametrize("name", ["flip_front_back", "flip_head_foot"])
def test_nobody_is_upside_down(modality: str, name: str) -> None:
    with pytest.raises(BadOption, match=name):
        Policy.of(modality, sides_matter=False).check(name)


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("Cardiomegaly", "scale"),
        ("brain atrophy", "elastic"),
        ("rib_fracture", "blur"),
        ("ground-glass opacity", "gamma"),
        ("motion artefact", "noise"),
    ],
)
def test_a_label_refuses_what_would_make_it_wrong(label: str, name: str) -> None:
    Policy.of("DX").check(name)
    with pytest.raises(BadOption, match=rf"{name}: refused .*label {label}"):
        Policy.of("DX", label=label).check(name)


def test_a_word_inside_a_word_is_no_word() -> None:
    assert Policy.of("DX", label="bright outside leftover").refused.keys() == Policy.of("DX").refused.keys()


def test_every_sensitive_name_is_a_transform() -> None:
    assert {name for rule in SENSITIVE for name in rule.transforms} <= set(TRANSFORMS)


@pytest.mark.parametrize("modality", EVERY)
@pytest.mark.parametrize("label", [None, "left effusion", "nodule"])
def test_nothing_refused_is_ever_drawn(modality: str, label: str | None) -> None:
    policy = Policy.of(modality, label=label)
    frame = Frame((24, 20), unit=policy.unit, modality=modality)
    drawn = {step["name"] for n in range(60) for step in draw_record(policy, frame, 5, n).steps}
    assert drawn and drawn <= set(policy.allowed)


def test_strengths_outside_of_the_limits_are_refused() -> None:
    for low, high, probability in [(0.1, 0.6, 0.5), (0.3, 0.1, 0.5), (float("nan"), 0.1, 0.5), (0, 0.1, 1.5)]:
        with pytest.raises(BadOption, match=r"policy, elastic: wanted 0 <= low <= high <= 0\.4"):
            Policy.of("DX").allowing("elastic", low, high, probability)


def test_an_unknown_name_hears_the_nearest() -> None:
    with pytest.raises(BadOption, match="did you mean 'rotate'"):
        Policy.of("DX").without("rotat")


def test_a_reason_overrules_and_goes_into_every_record() -> None:
    policy = (
        Policy.of("CT").only("rotate").allowing("gamma", 0.9, 1.1, 1.0, because="windowed pictures, not HU")
    )
    assert "gamma" not in policy.refused and set(policy.allowed) == {"rotate", "gamma"}
    assert draw_record(policy, Frame((8, 8), unit="HU"), 0).overrides == ("gamma: windowed pictures, not HU",)


def test_a_policy_is_plain_data() -> None:
    text = """
    modality: MR
    label: glioma
    sides_matter: false
    without: [spike, ghost]
    outside: edge
    transforms:
      rotate: {low: -5, high: 5}
      flip_head_foot: {low: 0, high: 1, probability: 0.5, because: "patches without an up"}
    """
    policy = Policy.from_dict(yaml.safe_load(text))
    assert (
        policy.allowed["rotate"].high == 5
        and policy.allowed["rotate"].probability == Policy.of("MR").allowed["rotate"].probability
    )
    assert "flip_head_foot" in policy.allowed and "spike" in policy.refused and policy.outside == "edge"


@pytest.mark.parametrize(
    ("stated", "what"),
    [
        ({}, "wanted modality"),
        ({"modality": "CT", "side_matters": True}, "did you mean 'sides_matter'"),
        ({"modality": "CT", "sides_matter": "no"}, "true or false"),
        ({"modality": "CT", "transforms": {"gamma": {"low": 0.9, "high": 1.1}}}, "gamma: refused"),
        ({"modality": "CT", "transforms": {"rotate": {"degrees": 3}}}, "policy, rotate: wanted low, high"),
        ({"modality": "CT", "transforms": {"rotate": {"low": "a"}}}, "policy, rotate: wanted"),
        ({"modality": "CT", "outside": "zeros"}, "outside"),
        ({"modality": "CT", "unit": "label"}, "mask"),
    ],
)
def test_a_wrong_file_is_refused_by_name(stated: dict, what: str) -> None:
    with pytest.raises(BadOption, match=what):
        Policy.from_dict(stated)


def test_a_policy_is_for_its_modality_and_unit() -> None:
    Policy.of("DX").fits(Frame((8, 8), unit="a.u.", modality="CR"))
    Policy.of("DX").fits(Frame((8, 8)))
    for frame in (Frame((8, 8), modality="CT"), Frame((8, 8), unit="HU"), Frame((8, 8), unit="label")):
        with pytest.raises(WrongKind, match="policy: it is for DX"):
            draw_record(Policy.of("DX"), frame, 0)


def test_a_flip_needs_to_know_the_axis() -> None:
    policy = Policy.of("MR", sides_matter=False).allowing("flip_left_right", 0, 1, 1.0)
    assert draw_record(policy, Frame((8, 8, 8), codes="PLS"), 0).steps[-1] != ()
    assert [
        s["axis"]
        for s in draw_record(policy, Frame((8, 8, 8), codes="PLS"), 0).steps
        if s["name"] == "flip_left_right"
    ] == [1]
    with pytest.raises(BadOption, match="flip_left_right: no axis of this image runs left-right"):
        draw_record(policy, Frame((8, 8, 8)), 0)
    with pytest.raises(BadOption, match="its axes point to IP"):
        draw_record(policy, Frame((8, 8), codes="IP"), 0)


def test_the_page_shows_the_table_as_it_is() -> None:
    """docs/augment.md: range and probability of each transform, by modality."""
    page = (Path(__file__).resolve().parents[3] / "docs" / "augment.md").read_text(encoding="utf-8")
    head = next(line for line in page.splitlines() if line.startswith("| transform |"))
    columns = [cell.strip() for cell in head.split("|")[3:-1]]
    assert columns == [*(m for m in MODALITIES if m), "others"]
    for name, transform in TRANSFORMS.items():
        if name.startswith("flip"):
            assert f"`{name}`" in page
            continue
        cells = [
            cell.strip()
            for cell in next(line for line in page.splitlines() if line.startswith(f"| `{name}` |")).split(
                "|"
            )[2:-1]
        ]
        strengths = [MODALITIES["" if m == "others" else m].allowed.get(name) for m in columns]
        assert cells == [
            transform.unit,
            *("no" if s is None else f"{s.low:g} to {s.high:g}, {s.probability:g}" for s in strengths),
        ]


def test_the_policy_of_the_page_is_one() -> None:
    page = (Path(__file__).resolve().parents[3] / "docs" / "augment.md").read_text(encoding="utf-8")
    stated = yaml.safe_load(page.split("```yaml\n")[1].split("```")[0])
    policy = Policy.from_dict(stated)
    assert {"flip_left_right", "noise"} <= set(policy.allowed) and "spike" in policy.refused
