"""Measured files from the command line to an image: coils, orientation, geometry, and what is refused because
it is missing.
"""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from medprior.cli import main
from medprior.data.acquisitions import Sinogram
from medprior.data.seeds import generator
from medprior.data.volume import Volume
from medprior.errors import BadOption, MedpriorError
from medprior.io.write import write
from medprior.operators import (
    ComplexGaussian,
    Poisson,
    cartesian_lines,
    mri,
    parallel_ct,
    simulate,
    simulated_coils,
    view_angles,
)
from medprior.prior.image_kind import ImageKind
from medprior.runs.ask.requests import Reconstruct, request_from
from medprior.runs.core.inputs import known_prior, scan_of
from medprior.runs.core.progress import Event
from medprior.runs.execute import execute
from medprior.runs.reconstruct.scanner_files import (
    Acquired,
    acquired,
    fitting_total_variation,
    fitting_wavelets,
    oriented,
)
from medprior.training.folder import load, save
from tests.unit.runs.conftest import blobs, save_tiny


@pytest.fixture(scope="module")
def priors(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("priors")
    ct = {"modality": "CT", "unit": "HU", "scaling": "fixed", "low": -1024.0, "high": 1024.0}
    return {
        "MR": save_tiny(folder / "mr", modality="MR", scaling="foreground"),
        "CT": save_tiny(folder / "ct", **ct),
    }


def head(size: int = 64) -> torch.Tensor:
    """(1, 1, size, size): a bright ellipse with two darker holes, no symmetry."""
    i, j = np.mgrid[0:size, 0:size] / size - 0.5
    image = (
        1.0 * (i**2 / 0.16 + j**2 / 0.09 < 1)
        - 0.5 * ((i + 0.1) ** 2 + (j - 0.1) ** 2 < 0.008)
        - 0.3 * ((i - 0.2) ** 2 + j**2 < 0.01)
    )
    return torch.from_numpy(image.astype(np.float32))[None, None]


def write_kspace(
    path: Path, n_coils: int, acceleration: float = 2.0, centre: float | None = 0.3
) -> torch.Tensor:
    x = head()
    maps = (
        simulated_coils(n_coils, (64, 64), generator(0, "coils"))
        if n_coils > 1
        else torch.full((1, 64, 64), 1.0) * torch.exp(torch.tensor(0.7j))
    )
    mask = cartesian_lines((64, 64), acceleration, generator(0, "mask"), centre_fraction=centre)
    y = simulate(x, mri(mask, maps), ComplexGaussian(0.02), generator(0, "noise")).y
    if path.suffix == ".npz":
        np.savez(path, kspace=y[0].numpy())
    else:
        with h5py.File(path, "w") as file:
            file["kspace"] = y.numpy()
            file["reconstruction_rss"] = x[:, 0].numpy()
    return x


def like(a: np.ndarray, b: torch.Tensor) -> float:
    return float(np.corrcoef(a.ravel(), b.numpy().ravel())[0, 1])


@pytest.mark.parametrize(("name", "n_coils"), [("knee7.npz", 1), ("knee8.h5", 4)])
def test_kspace_becomes_an_image(name: str, n_coils: int, priors: dict[str, Path], tmp_path: Path) -> None:
    """No task, no coil maps, no noise given: all is found in the file, and the page says that nothing was
    simulated.
    """
    truth = write_kspace(tmp_path / name, n_coils)
    asked = {
        "input": tmp_path / name,
        "prior": str(priors["MR"]),
        "n": 2,
        "steps": 3,
        "out": tmp_path / "run",
        "baselines": "all" if n_coils == 1 else "quick",
    }
    done = execute(request_from("reconstruct", asked))
    metrics = done.record["metrics"]
    assert (
        "simulated" not in metrics
        and f"{n_coils} coil" in metrics["measured"]
        and "estimated" in metrics["measured"]
    )
    plain = {"zero-filled, coils combined"} | (
        {"total variation, weight by the noise", "wavelets, weight by the noise"} if n_coils == 1 else set()
    )
    assert {*plain, "medprior, mean of 2 draws"} == set(metrics["methods"])
    assert ("psnr_db" in metrics["methods"]["medprior, mean of 2 draws"]) == (name == "knee8.h5"), (
        "only the HDF5 brings an image along"
    )
    case = acquired(
        Reconstruct.model_validate(asked),
        known_prior(str(priors["MR"])).prior,
        scan_of(Reconstruct.model_validate(asked)),  # pyright: ignore[reportArgumentType]
    )
    assert not case.measurement.simulated
    for fitting in (fitting_total_variation, fitting_wavelets):
        x, _ = fitting(case)
        assert like(x.numpy(), truth) > 0.9 and 0.5 < float(case.measurement.misfit(x)[0]) < 1.5
    page = done.report.read_text()
    assert "MEASURED" in page and "SIMULATED" not in page and "Misfit to the data" in page
    assert name.split(".")[0] not in (done.path / "run.json").read_text()
    assert {"reconstruction", "draws", "spread"} == {p.name.split(".")[0] for p in done.outputs}
    viewable = [p.name for p in done.outputs if p.name.endswith((".nii.gz", ".png"))]
    assert any(viewed.startswith("reconstruction.") for viewed in viewable), "other software can open it"


def test_a_folder_of_measured_files_is_done_slice_by_slice(priors: dict[str, Path], tmp_path: Path) -> None:
    """As each alone; another job names what they are."""
    folder, prior = tmp_path / "raw", str(priors["MR"])
    folder.mkdir()
    write_kspace(folder / "a.npz", 1)
    write_kspace(folder / "one.h5", 1)
    with h5py.File(folder / "one.h5") as one, h5py.File(folder / "b.h5", "w") as two:
        values = one["kspace"]
        assert isinstance(values, h5py.Dataset)
        two["kspace"] = np.concatenate([values[:], 0.5 * values[:]])
    (folder / "one.h5").rename(folder / "c.h5")
    asked = {"prior": prior, "n": 2, "steps": 3, "baselines": "quick", "pages": "none"}
    done = execute(request_from("reconstruct", {"input": folder, "out": tmp_path / "all", **asked}))
    rows = [json.loads(line) for line in (done.path / "rows.jsonl").read_text().splitlines()]
    assert [(row["path"], row["error"]) for row in rows] == [
        *(("a.npz", ""), ("b.h5#0", ""), ("b.h5#1", ""), ("c.h5", ""))
    ]
    del asked["pages"]
    alone = execute(
        request_from("reconstruct", {"input": folder / "b.h5", "index": 1, "out": tmp_path / "b", **asked})
    )
    there = done.path / rows[2]["folder"] / "outputs"
    assert {p.name: p.read_bytes() for p in alone.outputs} == {
        p.name: p.read_bytes() for p in there.iterdir() if p.is_file() and p.name[0] != "."
    }
    other = execute(
        request_from("reconstruct", {**asked, "input": folder, "out": tmp_path / "no", "task": "sr2"})
    )
    errors = [json.loads(line)["error"] for line in (other.path / "rows.jsonl").read_text().splitlines()]
    assert all("no option for a measured file" in error for error in errors) and len(errors) == 4
    refused = execute(request_from("detect", {"input": folder, "prior": prior, "out": tmp_path / "detect"}))
    errors = [json.loads(line)["error"] for line in (refused.path / "rows.jsonl").read_text().splitlines()]
    assert all("holds a measurement" in error for error in errors) and len(errors) == 4


@pytest.mark.parametrize("turn", [0, 90, 180, 270])
@pytest.mark.parametrize("mirror", [False, True])
def test_turned_kspace_is_the_turned_image(turn: int, mirror: bool) -> None:
    """On the grid, exactly, for even and odd sides; the mask turns along, its centre stays the centre."""
    x = head()[..., :63, :52]
    mask = cartesian_lines((63, 52), 3, generator(1, "m"))
    y = mri(mask)(x)[0]
    turned, seen = oriented(y, mask, turn=turn, mirror=mirror)
    wanted = torch.rot90(x, turn // 90, (-2, -1))
    wanted = wanted.flip(-1) if mirror else wanted
    assert torch.allclose(turned, mri(seen)(wanted)[0], atol=1e-5)
    assert int(seen.sum()) == int(mask.sum())


def test_an_oversampled_readout_is_cut_to_the_image(priors: dict[str, Path], tmp_path: Path) -> None:
    wide = torch.nn.functional.pad(head(), (0, 0, 32, 32))
    y = mri(torch.ones(128, 64, dtype=torch.bool))(wide) + 0.01 * torch.randn(
        1, 1, 128, 64, dtype=torch.complex64, generator=generator(0, "n")
    )
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["kspace"], file["reconstruction_rss"] = y.numpy(), head()[0].numpy()
    asked = Reconstruct.model_validate({"input": tmp_path / "a.h5", "prior": "p"})
    case = acquired(asked, known_prior(str(priors["MR"])).prior, scan_of(asked))  # pyright: ignore[reportArgumentType]
    assert (
        case.grid.shape == (64, 64)
        and like(case.baselines["zero-filled, coils combined"].numpy(), head()) > 0.99
    )


def test_an_image_on_another_grid_judges_nothing_and_says_why(
    priors: dict[str, Path], tmp_path: Path
) -> None:
    write_kspace(tmp_path / "a.h5", 1)
    with h5py.File(tmp_path / "a.h5", "a") as file:
        del file["reconstruction_rss"]
        file["reconstruction_rss"] = np.pad(head()[0].numpy(), ((0, 0), (0, 0), (8, 8)))
    asked = Reconstruct.model_validate({"input": tmp_path / "a.h5", "prior": "p"})
    case = acquired(asked, known_prior(str(priors["MR"])).prior, scan_of(asked))  # pyright: ignore[reportArgumentType]
    assert case.reference is None
    assert "an image of 64 x 80 along, but its k-space makes one of 64 x 64" in case.warnings[0]


@pytest.mark.parametrize(
    ("n_coils", "size", "dtype"), [(3, (64, 51), np.complex128), (1, (63, 80), np.complex64)]
)
def test_a_fully_sampled_scan_judges_a_part_of_itself(
    n_coils: int, size: tuple[int, int], dtype: type, priors: dict[str, Path], tmp_path: Path
) -> None:
    """SIMULATED whole k-space, odd sizes, one or several coils, either precision: it reconstructs as it is,
    and with --undersample the image of all samples, which is the truth but for noise, is what every method is
    compared with, turned as they are."""
    x = torch.nn.functional.interpolate(head(), size)
    maps = (
        simulated_coils(n_coils, size, generator(0, "coils"))
        if n_coils > 1
        else torch.ones(1, *size, dtype=torch.complex64)
    )
    y = simulate(
        x, mri(torch.ones(size, dtype=torch.bool), maps), ComplexGaussian(0.01), generator(0, "noise")
    ).y[0]
    np.savez(tmp_path / "k.npz", kspace=y.numpy().astype(dtype))
    prior = known_prior(str(priors["MR"])).prior

    def case(**options: object) -> Acquired:
        asked = Reconstruct.model_validate({"input": tmp_path / "k.npz", "prior": "p", **options})
        return acquired(asked, prior, scan_of(asked))  # pyright: ignore[reportArgumentType]

    whole = case()
    assert whole.reference is None and like(whole.baselines["zero-filled, coils combined"].numpy(), x) > 0.99
    part = case(undersample=2.0, turn=90)
    assert part.reference is not None and like(torch.rot90(part.reference, -1).numpy(), x) > 0.99
    assert (
        "UNDERSAMPLED AFTERWARDS" in part.sentences[0]
        and part.measurement.count < 0.6 * whole.measurement.count
    )
    if n_coils > 1:
        asked = {
            "input": tmp_path / "k.npz",
            "prior": str(priors["MR"]),
            "undersample": 2,
            "fast": True,
            "baselines": "quick",
            "out": tmp_path / "run",
        }
        done = execute(request_from("reconstruct", asked))
        assert done.record["metrics"]["methods"]["zero-filled, coils combined"]["psnr_db"] > 15
        page = done.report.read_text()
        assert "the image of all samples" in page and "No known image judges this" not in page


def test_a_part_cannot_judge_itself(
    priors: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_kspace(tmp_path / "k.npz", 4)
    write_sinogram(tmp_path / "s.npz", beam="parallel", bin_spacing_mm=2.0)
    for name, kind, words in (
        ("k.npz", "MR", "wanted fully sampled k-space"),
        ("s.npz", "CT", "no options for a sinogram"),
    ):
        assert (
            main(
                [
                    "reconstruct",
                    str(tmp_path / name),
                    "--prior",
                    str(priors[kind]),
                    "--undersample",
                    "2",
                    "--out",
                    str(tmp_path / "run"),
                ]
            )
            == 2
        )
        assert words in capsys.readouterr().err and not (tmp_path / "run").exists()


def broken(kind: str) -> dict[str, np.ndarray]:
    """Arrays of an NPZ of k-space with one thing wrong."""
    y = np.ones((2, 32, 32), np.complex64)
    not_finite = y.copy()
    not_finite[0, 3, 4] = np.nan
    return {
        "nothing measured": {"kspace": 0 * y},
        "empty mask": {"kspace": y, "mask": np.zeros((32, 32), bool)},
        "mask of another size": {"kspace": y, "mask": np.ones((32, 31), bool)},
        "real numbers": {"kspace": y.real},
        "not finite": {"kspace": not_finite},
        "no noise": {
            "kspace": y * (np.hypot(*np.mgrid[-16:16, -16:16]) < 8),
            "mask": np.ones((32, 32), bool),
        },
        "too many axes": {"kspace": y[None]},
    }[kind]


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("nothing measured", "got none"),
        ("empty mask", "got none"),
        ("mask of another size", "mask: wanted (32, 32), got (32, 31)"),
        ("real numbers", "kspace: wanted complex numbers"),
        ("not finite", "are NaN or infinite"),
        ("no noise", "wanted noise in every coil"),
        ("too many axes", "wanted complex numbers (coils, kx, ky)"),
    ],
)
def test_broken_kspace_is_refused_by_name(
    kind: str, words: str, priors: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """From the command line, in one line that says what is wrong, before anything is written."""
    np.savez(tmp_path / "k.npz", allow_pickle=False, **broken(kind))
    assert (
        main(
            [
                "reconstruct",
                str(tmp_path / "k.npz"),
                "--prior",
                str(priors["MR"]),
                "--out",
                str(tmp_path / "run"),
            ]
        )
        == 2
    )
    said = capsys.readouterr().err
    assert words in said and "Traceback" not in said and not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"sinogram": np.full((40, 70), np.nan, np.float32)}, "are NaN or infinite"),
        ({"sinogram": np.ones((40, 70), np.complex64)}, "wanted sinogram"),
        ({"angles_deg": np.zeros(39)}, "one angle a view"),
        ({"sinogram": np.zeros((40, 70), np.float32)}, "wanted a measurement with noise in it"),
        ({"geometry_json": np.array("{")}, "not valid JSON"),
    ],
)
def test_broken_sinograms_are_refused_by_name(
    change: dict, words: str, priors: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_sinogram(tmp_path / "s.npz", beam="parallel", bin_spacing_mm=2.0)
    with np.load(tmp_path / "s.npz") as file:
        arrays = {**file, **change}
    np.savez(tmp_path / "s.npz", allow_pickle=False, **arrays)
    assert (
        main(
            [
                "reconstruct",
                str(tmp_path / "s.npz"),
                "--prior",
                str(priors["CT"]),
                "--out",
                str(tmp_path / "run"),
            ]
        )
        == 2
    )
    said = capsys.readouterr().err
    assert words in said and "Traceback" not in said and not (tmp_path / "run").exists()


def test_noise_of_zero_is_refused(
    priors: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In Python where it is stated, on the command line before the file is read."""
    with pytest.raises(MedpriorError, match="wanted a positive finite number"):
        ComplexGaussian(0.0)
    write_kspace(tmp_path / "k.npz", 1)
    assert (
        main(
            [
                "reconstruct",
                str(tmp_path / "k.npz"),
                "--prior",
                str(priors["MR"]),
                "--noise",
                "0",
                "--out",
                str(tmp_path / "run"),
            ]
        )
        == 2
    )
    assert "noise: input should be greater than 0" in capsys.readouterr().err


def write_sinogram(path: Path, **geometry: object) -> None:
    disc = torch.from_numpy(0.02 * (blobs(48, 48) / 255))[None]
    operator = parallel_ct((1, 48, 48), view_angles(40), 70, spacing=2.0)
    y = simulate(disc, operator, Poisson(1e5), generator(0, "noise")).y
    arrays = {"sinogram": y[0, 0].numpy(), "angles_deg": view_angles(40).numpy()}
    if geometry:
        arrays["geometry_json"] = np.array(json.dumps(geometry))
    np.savez(path, allow_pickle=False, **arrays)


def test_a_sinogram_becomes_an_image_in_hounsfield_units(priors: dict[str, Path], tmp_path: Path) -> None:
    write_sinogram(tmp_path / "s.npz", beam="parallel", bin_spacing_mm=2.0)
    asked = {
        "input": tmp_path / "s.npz",
        "prior": str(priors["CT"]),
        "fast": True,
        "pixels": 70,
        "baselines": "quick",
        "out": tmp_path / "run",
    }
    done = execute(request_from("reconstruct", asked))
    assert (
        "parallel beam, 40 views" in done.record["metrics"]["measured"]
        and "photons" in done.record["metrics"]["measured"]
    )
    case = acquired(
        Reconstruct.model_validate(asked),
        known_prior(str(priors["CT"])).prior,
        scan_of(Reconstruct.model_validate(asked)),  # pyright: ignore[reportArgumentType]
    )
    tv, _ = fitting_total_variation(case)
    truth = 1000 * (0.02 * blobs(48, 48)[0] / 255 / 0.0193 - 1)
    assert float((tv[0, 0, 11:59, 11:59] - torch.from_numpy(truth)).abs().median()) < 60, (
        "Hounsfield units, not shifted, not scaled"
    )


@pytest.mark.parametrize(
    ("geometry", "words"),
    [
        ({}, "beam not stated"),
        ({"beam": "fan", "bin_spacing_mm": 1.0}, "source_to_axis_mm, source_to_detector_mm not stated"),
        ({"beam": "parallel", "bin_spacing_mm": "wide"}, "wanted a length in mm"),
        ({"beam": "parallel", "bin_spacing_mm": -1.0}, "positive spacings"),
        ({"beam": "parallel", "bin_spacing_mm": 1.0, "distanceUnit": "cm"}, "wanted millimetres, got cm"),
        (
            {"beam": "parallel", "bin_spacing_mm": 1.0, "rotation": "left"},
            "rotation is clockwise or counterclockwise",
        ),
    ],
)
def test_an_unknown_geometry_is_named(
    geometry: dict, words: str, priors: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_sinogram(tmp_path / "s.npz", **geometry)
    assert (
        main(
            [
                "reconstruct",
                str(tmp_path / "s.npz"),
                "--prior",
                str(priors["CT"]),
                "--out",
                str(tmp_path / "run"),
            ]
        )
        == 2
    )
    assert words in capsys.readouterr().err and not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--task", "mri"], "task: no option for a measured file"),
        (["--pixels", "32"], "pixels: no option for k-space"),
        (["--unit", "HU"], "unit: no option for a measured file"),
        (["--index", "3"], "index"),
        (["--factor", "2"], "factor: no option"),
        (["--turn", "45"], "turn: input should be a multiple of 90"),
        (["--turn", "90", "--mirror", "--index", "1"], "index: wanted 0"),
        (["--prior", "CT"], "this was measured by MR"),
    ],
)
def test_options_that_do_not_fit_measured_data(
    options: list[str],
    words: str,
    priors: dict[str, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_kspace(tmp_path / "k.npz", 1)
    prior = priors["CT" if "CT" in options else "MR"]
    given = [] if "CT" in options else options
    assert (
        main(
            [
                "reconstruct",
                str(tmp_path / "k.npz"),
                "--prior",
                str(prior),
                *given,
                "--out",
                str(tmp_path / "run"),
            ]
        )
        == 2
    )
    assert words in capsys.readouterr().err and not (tmp_path / "run").exists()


def test_coils_without_a_sampled_centre_cannot_be_mapped(priors: dict[str, Path], tmp_path: Path) -> None:
    write_kspace(tmp_path / "k.npz", 4, acceleration=4, centre=0.0)
    with pytest.raises(MedpriorError, match=r"fully sampled centre|zero frequency"):
        execute(
            request_from(
                "reconstruct",
                {"input": tmp_path / "k.npz", "prior": str(priors["MR"]), "out": tmp_path / "run"},
            )
        )
    assert not (tmp_path / "run").exists()


def test_other_verbs_say_what_to_do_with_measured_data(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_kspace(tmp_path / "k.npz", 1)
    assert main(["detect", str(tmp_path / "k.npz"), "--prior", str(tiny)]) == 2
    assert "medprior reconstruct" in capsys.readouterr().err
    picture = tmp_path / "p.npz"
    np.savez(picture, images=blobs(), labels=np.array([0]))
    with pytest.raises(BadOption, match="no option for an image"):
        execute(request_from("reconstruct", {"input": picture, "prior": str(tiny), "turn": 90}))


def test_the_geometry_of_a_challenge_is_known(real_data: Path, priors: dict[str, Path]) -> None:
    """Measured fan-beam sinogram of the Helsinki Tomography Challenge: distances, rotation and side of the
    detector, by its own reference.
    """
    path = real_data / "ct_projections_htc2022" / "val" / "htc2022_ta_limited30deg.npz"
    asked = Reconstruct.model_validate({"input": path, "prior": "p", "pixels": 64})
    source = scan_of(asked)
    assert isinstance(source, Sinogram)
    case = acquired(asked, known_prior(str(priors["CT"])).prior, source)
    found = case.baselines["least squares, 20 iterations"]
    file = np.load(path)
    # the reference has 512 pixels of its own size in the middle of a field of view of 560 bins
    n = round(64 * 512 / 560)
    first = (64 - n) // 2
    truth = torch.nn.functional.interpolate(
        torch.from_numpy(file["ground_truth"]).float()[None, None], size=(n, n), mode="area"
    )
    cut = found[..., first : first + n, first : first + n]
    turned = [like(torch.rot90(cut, k, (-2, -1)).numpy(), truth) for k in range(4)]
    assert turned[0] == max(turned) and turned[0] > 0.45


@pytest.fixture
def with_kind(priors: dict[str, Path], tmp_path: Path) -> Path:
    """The MR prior, and what its training images looked like: noise."""
    prior, rng = load(priors["MR"]), torch.Generator().manual_seed(0)
    prior.kind = ImageKind.fitted([torch.rand(1, 64, 64, generator=rng) for _ in range(40)])
    save(prior, tmp_path / "prior")
    return tmp_path / "prior"


def test_images_that_the_prior_does_not_know_are_said_and_the_plain_one_stands_first(
    with_kind: Path, tmp_path: Path
) -> None:
    """On the terminal, on the page, in run.json and in the files."""
    write_kspace(tmp_path / "k.npz", 1)
    asked = {"input": tmp_path / "k.npz", "prior": str(with_kind), "fast": True, "out": tmp_path / "run"}
    heard: list[Event] = []
    done = execute(request_from("reconstruct", asked), heard.append)
    assert any(one.kind == "warning" and "does not know such images" in one.text for one in heard)
    record, page = done.record, done.report.read_text()
    assert record["metrics"]["unlike"] and "does not know such images" in record["summary"]["headline"][0]
    verdict, first, ours = (
        page.index(words)
        for words in ("does not know such images", "Total variation, weight by the noise", "medprior, point")
    )
    assert verdict < page.index("<figure") < page.index("Zero-filled") and first < ours
    assert "Total variation, weight by the noise stands first: no prior is in it." in page
    assert any(path.name.startswith("plain") for path in done.outputs)


def test_known_images_raise_no_warning(
    with_kind: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ImageKind, "unlike", lambda *_: "")
    write_kspace(tmp_path / "k.npz", 1)
    asked = {"input": tmp_path / "k.npz", "prior": str(with_kind), "fast": True, "out": tmp_path / "run"}
    done = execute(request_from("reconstruct", asked))
    assert done.record["metrics"]["unlike"] == "" and len(done.record["metrics"]["methods"]) == 2
    assert "does not know" not in done.report.read_text()
    assert not any(path.name.startswith("plain") for path in done.outputs)


def test_a_simulated_measurement_is_judged_in_the_same_way(with_kind: Path, tmp_path: Path) -> None:
    """Quick comparisons say what they leave out; a prior without a kind says that it does not know."""
    picture = tmp_path / "scan.png"
    write(Volume(blobs(), modality="MR"), picture, kind="converted")
    told = {}
    for name, prior in (("known", with_kind), ("silent", save_tiny(tmp_path / "silent", modality="MR"))):
        asked = {
            "input": picture, "prior": str(prior), "modality": "MR", "task": "mri", "fast": True,
            "out": tmp_path / f"{name}-run",
        }  # fmt: skip
        told[name] = execute(request_from("reconstruct", asked))
    warned, silent = (told[name].report.read_text() for name in ("known", "silent"))
    assert "does not know such images" in warned and "stands first" in warned
    assert "total variation, best weight for this image" in told["known"].record["metrics"]["methods"]
    assert "were not run: --baselines all" in silent and "were not run" not in warned
    assert "does not say what its training images look like" in silent
