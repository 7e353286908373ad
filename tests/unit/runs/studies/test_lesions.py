"""The inserted-lesion test: what a method keeps and invents is counted as it is, with a deviation that was
measured on other patients.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from medprior.data.volume import Volume
from medprior.errors import BadOption
from medprior.io.write import write
from medprior.runs.ask.requests import EvaluateReconstruct, Reconstruct
from medprior.runs.core.inputs import known_prior
from medprior.runs.core.progress import silent
from medprior.runs.page.blocks import Table
from medprior.runs.rebuild import rebuild
from medprior.runs.reconstruct.simulate import Case, case_of
from medprior.runs.studies import lesions as inserted
from medprior.runs.studies.lesions import (
    deviations,
    lesion_figures,
    lesion_recovery,
    lesion_section,
    with_lesions,
)
from medprior.runs.studies.reconstruct import run_evaluate_reconstruct
from tests.unit.runs.conftest import save_tiny


def body(size: int = 96) -> np.ndarray:
    """A bright disc with a dark one inside, air around it: the lesions differ from either."""
    y, x = np.mgrid[:size, :size] / size - 0.5
    return np.where(x**2 + y**2 < 0.2, np.where((x - 0.1) ** 2 + y**2 < 0.03, 0.35, 0.7), 0.0).astype(
        np.float32
    )[None]


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prior whose images have room for lesions."""
    return save_tiny(tmp_path_factory.mktemp("priors") / "wide", frame=(16, 96))


@pytest.fixture(scope="module")
def case(wide: Path) -> tuple[Reconstruct, Case]:
    request = Reconstruct.model_validate({"input": wide, "prior": str(wide), "seed": 3, "noise": 0.1})
    return request, case_of(request, known_prior(str(wide)).prior, Volume(body()))


def test_the_second_measurement_has_the_same_noise_and_the_lesions(case: tuple[Reconstruct, Case]) -> None:
    request, plain = case
    lesioned, lesions = with_lesions(request, plain)
    assert len(lesions) == 3
    torch.testing.assert_close(
        lesioned.measurement.y - plain.measurement.y, lesioned.image - plain.image, atol=1e-5, rtol=0
    )
    changed = (lesioned.image - plain.image).abs().amax((0, 1)) > 0
    assert changed.any() and not changed[plain.image[0, 0] == 0].any(), "lesions lie in the body"
    assert [one.centre for one in with_lesions(request, plain)[1]] == [one.centre for one in lesions], (
        "the seed decides where"
    )


def test_a_perfect_method_keeps_all_and_invents_nothing_and_a_liar_is_caught(
    case: tuple[Reconstruct, Case],
) -> None:
    """perfect: the truth with a little noise. flat: the twin whatever was there. liar: a disc that never was,
    of the size of the smallest lesion and more.
    """
    request, plain = case
    lesioned, lesions = with_lesions(request, plain)
    rng = torch.Generator().manual_seed(0)
    noise = 0.01 * plain.half * torch.randn(plain.image.shape, generator=rng)
    disc = torch.zeros_like(plain.image)
    disc[..., 40:52, 40:52] = 0.5 * plain.half
    twins = {"perfect": plain.image + noise, "flat": plain.image + noise, "liar": plain.image + noise + disc}
    kept = {
        "perfect": lesioned.image + noise,
        "flat": plain.image + noise,
        "liar": lesioned.image + noise + disc,
    }
    spread = deviations(plain, twins, "perfect", torch.full_like(plain.image[0], 3.0))
    # the liar's deviation comes from patients on whom it did not lie
    honest = lesion_recovery(
        plain,
        {**twins, "liar": twins["perfect"]},
        spread,
        lesioned,
        {**kept, "liar": kept["perfect"]},
        lesions,
    )
    lying = lesion_recovery(plain, twins, spread, lesioned, kept, lesions)
    found = lesion_figures([honest, honest, lying], list(twins), [1, 2, 3])
    methods = found["methods"]
    assert found["lesions"] == 9
    assert methods["perfect"]["recovery"]["value"] == pytest.approx(1, abs=0.05)
    assert methods["flat"]["recovery"]["value"] == pytest.approx(0, abs=0.05)
    assert methods["perfect"]["blobs_per_100"]["value"] == methods["flat"]["blobs_per_100"]["value"] == 0
    assert methods["perfect"]["blobs_per_100"]["high"] == pytest.approx(70.8, abs=0.1), (
        "none in three images still allows for many"
    )
    assert methods["liar"]["blobs_per_100"]["value"] == pytest.approx(100 / 3)
    assert sum(one["n"] for one in methods["perfect"]["by_size"].values()) == 9
    assert "100% of a lesion's contrast" in lesion_section(found, "perfect").verdict


def test_the_deviation_of_one_patient_alone_is_unknown(case: tuple[Reconstruct, Case]) -> None:
    request, plain = case
    lesioned, lesions = with_lesions(request, plain)
    spread = deviations(plain, {"a": plain.image}, "", plain.image[0])
    one = lesion_recovery(plain, {"a": plain.image + 0.01}, spread, lesioned, {"a": lesioned.image}, lesions)
    found = lesion_figures([one, one], ["a"], [7, 7])
    assert found["methods"]["a"]["blobs_per_100"] is None
    table = lesion_section(found, "a").blocks[0]
    assert isinstance(table, Table) and ["a", "1.000", "too few patients", "unknown", "one patient only"] in [
        list(row) for row in table.rows
    ]


def test_the_evaluation_tells_of_them(wide: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The search for the weights of total variation and wavelets, which takes most of the time, is left out:
    two methods stand in for them.
    """
    monkeypatch.setattr(
        "medprior.runs.reconstruct.run._sparse", lambda case: (case.measurement.y, 0.9 * case.image, 1.0)
    )
    for n in range(3):
        (tmp_path / "scans").mkdir(exist_ok=True)
        write(Volume(np.roll(body(), 2 * n, axis=1)), tmp_path / "scans" / f"{n}.png", kind="converted")
    values = {
        "folder": tmp_path / "scans",
        "prior": str(wide),
        "out": tmp_path / "run",
        "fast": True,
        "lesions": True,
    }
    done = run_evaluate_reconstruct(EvaluateReconstruct.model_validate(values), silent)
    found = done.record["metrics"]["lesions"]
    assert found["images"] == 3 and set(found["methods"]) == set(done.record["metrics"]["methods"])
    assert all(at["recovery"]["n"] == 3 and at["blobs_per_100"]["n"] == 3 for at in found["methods"].values())
    page = done.report.read_text()
    assert "Inserted lesions" in page and page.count("<h2>The same with lesions</h2>") == 2
    assert rebuild(done.path).reused
    with pytest.raises(BadOption, match=r"one draw.*--fast"):
        run_evaluate_reconstruct(
            EvaluateReconstruct.model_validate(
                {**values, "fast": False, "n": 1, "steps": 2, "out": tmp_path / "other"}
            ),
            silent,
        )
    assert not (tmp_path / "other").exists()


def test_the_scales_hold_whatever_a_deviation_is() -> None:
    """A network whose deviation is a thousandth or a hundred times its error is still scaled right."""
    assert (
        inserted._SCALES[0] <= 1e-3
        and inserted._SCALES[-1] >= 100
        and float(np.diff(np.log(inserted._SCALES)).max()) < 0.11
    )
