"""Classical augmentation: medprior beside other libraries, the same transforms, one thread, in one run.

Three tasks: 2-D 256 x 256 (affine, brightness, contrast, gamma), 3-D 128^3 (affine, noise), and the same with
gamma and a bias field. Every library draws its own parameters from the same ranges for every image;
medprior's time contains the record that replays it. The libraries take turns, 20 images (one volume) at a
time as a loader would, and what is printed is the median of repeated pairs: seconds of CPU of this process,
since the machine may be busy. What is not installed is named and left out. OpenCV moves the pixels for
albumentations and rounds where it looks to 1/32 of a pixel: what that costs is printed, too.

    python bench/augment_speed.py [--rounds2 200] [--rounds3 15]
"""

from __future__ import annotations

import argparse
import importlib
import statistics
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
import torch

from medprior.augmentation import Frame, Policy, apply_record, draw_record
from medprior.augmentation.geometry import mapping, resample_image

DEGREES, SCALE, SHIFT = 10.0, (0.9, 1.11), 0.05
GAMMA, CONTRAST, BRIGHT, NOISE, BIAS = (0.8, 1.25), (0.8, 1.25), 0.1, 0.05, 0.3

Call = Callable[[], object]


def image(shape: tuple[int, ...]) -> torch.Tensor:
    """(1, ...) smooth, 0 to 1."""
    coarse = torch.rand((1, 1, *[9] * len(shape)), generator=torch.Generator().manual_seed(0))
    return torch.nn.functional.interpolate(
        coarse, shape, mode="bilinear" if len(shape) == 2 else "trilinear"
    )[0]


def ours(x: torch.Tensor, names: tuple[str, ...]) -> Call:
    strengths = {
        "rotate": (-DEGREES, DEGREES),
        "scale": SCALE,
        "shift": (-SHIFT, SHIFT),
        "brightness": (-BRIGHT, BRIGHT),
        "contrast": CONTRAST,
        "gamma": GAMMA,
        "bias_field": (0.1, BIAS),
        "noise": (0.01, NOISE),
    }
    policy = Policy.of("MR").only("rotate")
    for name in names:
        policy = policy.allowing(name, *strengths[name], 1.0, because="the same transforms as the others")
    policy = replace(policy, outside="edge")  # as the others: the border is repeated
    frame, count = Frame(tuple(x.shape[1:])), iter(range(10**9))
    return lambda: apply_record(draw_record(policy, frame, 0, next(count)), x)


def with_albumentations(x: torch.Tensor, names: tuple[str, ...]) -> Call | None:
    import albumentations as A  # pyright: ignore[reportMissingImports]
    import cv2  # pyright: ignore[reportMissingImports]

    cv2.setNumThreads(0)
    if x.ndim == 4:
        return None
    affine = A.Affine(
        rotate=(-DEGREES, DEGREES),
        scale=SCALE,
        translate_percent=(-SHIFT, SHIFT),
        border_mode=cv2.BORDER_REPLICATE,
        p=1,
    )
    steps = [affine, A.RandomBrightnessContrast(BRIGHT, 0.2, p=1), A.RandomGamma((80, 125), p=1)]
    pipeline, data = A.Compose(steps), np.ascontiguousarray(x[0].numpy()[..., None])
    return lambda: pipeline(image=data)["image"]


def with_kornia(x: torch.Tensor, names: tuple[str, ...]) -> Call | None:
    import kornia.augmentation as K  # pyright: ignore[reportMissingImports]

    if x.ndim == 3:
        steps = [
            K.RandomAffine(DEGREES, (SHIFT, SHIFT), SCALE, padding_mode="border", p=1.0),
            K.RandomBrightness((1 - BRIGHT, 1 + BRIGHT), p=1.0),
            K.RandomContrast(CONTRAST, p=1.0),
            K.RandomGamma(GAMMA, p=1.0),
        ]
    elif "bias_field" in names:
        return None
    else:
        turn = (DEGREES, DEGREES, DEGREES)
        steps = [
            K.RandomAffine3D(turn, (SHIFT, SHIFT, SHIFT), SCALE, p=1.0),
            K.RandomGaussianNoise(std=NOISE, p=1.0),
        ]
        noise = steps[1]
        move = steps[0]
        return lambda: noise(move(x[None])[:, 0])
    pipeline = K.AugmentationSequential(*steps, data_keys=["input"])
    return lambda: pipeline(x[None])


def with_monai(x: torch.Tensor, names: tuple[str, ...]) -> Call:
    import monai.transforms as M

    n, radians = x.ndim - 1, float(np.deg2rad(DEGREES))
    turn = [radians] if n == 2 else [radians] * 3
    shift, grow = [SHIFT * size for size in x.shape[1:]], [(SCALE[0] - 1, SCALE[1] - 1)] * n
    made: dict[str, Any] = {
        "brightness": M.RandShiftIntensity(BRIGHT, prob=1),
        "contrast": M.RandScaleIntensity(0.2, prob=1),
        "gamma": M.RandAdjustContrast(1.0, GAMMA),
        "bias_field": M.RandBiasField(prob=1, coeff_range=(0.0, BIAS)),
        "noise": M.RandGaussianNoise(prob=1, std=NOISE),
    }
    affine = M.RandAffine(
        prob=1,
        rotate_range=turn,
        translate_range=shift,
        scale_range=grow,
        padding_mode="border",
        cache_grid=True,
        spatial_size=x.shape[1:],
    )
    return _called(M.Compose([affine, *(step for name, step in made.items() if name in names)]), x)


def with_torchio(x: torch.Tensor, names: tuple[str, ...]) -> Call:
    import SimpleITK as sitk
    import torchio as tio  # pyright: ignore[reportMissingImports]

    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    flat = x.ndim == 3
    turn = (0, 0, 0, 0, -DEGREES, DEGREES) if flat else DEGREES
    shift = tuple(SHIFT * n for n in x.shape[1:]) + ((0,) if flat else ())
    made: dict[str, Any] = {
        "gamma": tio.RandomGamma(log_gamma=(np.log(GAMMA[0]), np.log(GAMMA[1]))),
        "bias_field": tio.RandomBiasField(BIAS),
        "noise": tio.RandomNoise(std=(0.01, NOISE)),
    }
    affine = tio.RandomAffine(
        scales=SCALE, degrees=turn, translation=shift, isotropic=True, default_pad_value="minimum"
    )
    pipeline = tio.Compose([affine, *(step for name, step in made.items() if name in names)])
    return _called(pipeline, x[..., None] if flat else x)


def with_batchgeneratorsv2(x: torch.Tensor, names: tuple[str, ...]) -> Call | None:
    from batchgeneratorsv2.transforms.intensity.brightness import MultiplicativeBrightnessTransform  # pyright: ignore[reportMissingImports]
    from batchgeneratorsv2.transforms.intensity.contrast import BGContrast, ContrastTransform  # pyright: ignore[reportMissingImports]
    from batchgeneratorsv2.transforms.intensity.gamma import GammaTransform  # pyright: ignore[reportMissingImports]
    from batchgeneratorsv2.transforms.intensity.gaussian_noise import GaussianNoiseTransform  # pyright: ignore[reportMissingImports]
    from batchgeneratorsv2.transforms.spatial.spatial import SpatialTransform  # pyright: ignore[reportMissingImports]
    from batchgeneratorsv2.transforms.utils.compose import ComposeTransforms  # pyright: ignore[reportMissingImports]

    if "bias_field" in names:
        return None
    radians = float(np.deg2rad(DEGREES))
    affine = SpatialTransform(
        tuple(x.shape[1:]),
        0,
        random_crop=False,
        p_rotation=1,
        rotation=(-radians, radians),
        p_scaling=1,
        scaling=SCALE,
        p_synchronize_scaling_across_axes=1,
    )
    made: dict[str, Any] = {
        "brightness": MultiplicativeBrightnessTransform((1 - BRIGHT, 1 + BRIGHT), synchronize_channels=False),
        "contrast": ContrastTransform(BGContrast(CONTRAST), preserve_range=True, synchronize_channels=False),
        "gamma": GammaTransform(
            BGContrast(GAMMA), p_invert_image=0, synchronize_channels=False, p_per_channel=1, p_retain_stats=0
        ),
        "noise": GaussianNoiseTransform((1e-4, NOISE**2)),
    }
    pipeline = ComposeTransforms([affine, *(step for name, step in made.items() if name in names)])
    return lambda: pipeline(image=x)["image"]


def with_torch(x: torch.Tensor, names: tuple[str, ...]) -> Call:
    """affine_grid and grid_sample as one writes them by hand, then the pointwise part."""
    F, n = torch.nn.functional, x.ndim - 1

    def call() -> torch.Tensor:
        theta = torch.eye(n, n + 1)[None] + 0.05 * torch.randn(1, n, n + 1)
        y = F.grid_sample(
            x[None],
            F.affine_grid(theta, [1, *x.shape], align_corners=False),
            padding_mode="border",
            align_corners=False,
        )[0]
        for name in names:
            if name == "brightness":
                y = y + BRIGHT * torch.rand(())
            elif name == "contrast":
                y = (y - y.mean()) * 1.1 + y.mean()
            elif name == "gamma":
                low, high = y.min(), y.max()
                y = ((y - low) / (high - low)) ** 1.1 * (high - low) + low
            elif name == "noise":
                y = y + NOISE * torch.randn(y.shape)
        return y

    return call


def _called(transform: Callable[[Any], object], x: torch.Tensor) -> Call:
    return lambda: transform(x)


PEERS: dict[str, Callable[[torch.Tensor, tuple[str, ...]], Call | None]] = {
    "albumentations": with_albumentations,
    "kornia": with_kornia,
    "monai": with_monai,
    "torchio": with_torchio,
    "batchgeneratorsv2": with_batchgeneratorsv2,
    "torch": with_torch,
}

TASKS: dict[str, tuple[tuple[int, ...], tuple[str, ...]]] = {
    "2-D 256x256: affine, brightness, contrast, gamma": (
        (256, 256),
        ("rotate", "scale", "shift", "brightness", "contrast", "gamma"),
    ),
    "3-D 128x128x128: affine, noise": ((128, 128, 128), ("rotate", "scale", "shift", "noise")),
    "3-D 128x128x128: affine, gamma, bias field, noise": (
        (128, 128, 128),
        ("rotate", "scale", "shift", "gamma", "bias_field", "noise"),
    ),
}


def seconds(call: Call, images: int) -> float:
    """CPU seconds of one image."""
    start = time.process_time()
    for _ in range(images):
        call()
    return (time.process_time() - start) / images


def interval(values: list[float]) -> tuple[float, float, float]:
    """Median, and its 95 % bootstrap interval."""
    rng = np.random.default_rng(0)
    medians = np.median(rng.choice(values, (2000, len(values))), axis=1)
    low, high = np.quantile(medians, (0.025, 0.975))
    return statistics.median(values), float(low), float(high)


def compare(name: str, shape: tuple[int, ...], names: tuple[str, ...], rounds: int) -> None:
    print(f"{name}, {rounds} interleaved rounds")
    x = image(shape)
    calls: dict[str, Call] = {"medprior": ours(x, names)}
    for who, made in PEERS.items():
        try:
            importlib.import_module(who)
        except ImportError as error:
            print(f"  {who}: not installed ({error})")
            continue
        call = made(x, names)
        if call is None:
            print(f"  {who}: has not all of these")
        else:
            calls[who] = call
    times: dict[str, list[float]] = {who: [] for who in calls}
    for n in range(rounds + 2):  # the first two warm up
        for who, call in calls.items():
            spent = seconds(call, 20 if len(shape) == 2 else 1)
            if n >= 2:
                times[who].append(spent)
    for who, spent in sorted(times.items(), key=lambda item: statistics.median(item[1])):
        ratio, low, high = interval([b / a for a, b in zip(times["medprior"], spent, strict=True)])
        try:
            edition = version(who)
        except PackageNotFoundError:
            edition = ""
        middle = statistics.median(spent)
        print(
            f"  {who + ' ' + edition:28s} {1000 * middle:8.2f} ms  {1 / middle:7.1f} / s   {ratio:6.2f} x medprior's time ({low:.2f} to {high:.2f})"
        )


def rounded() -> str:
    """How far OpenCV's linear resampling, and ours, lie from the same in double precision: a turn of 7
    degrees of white noise, its range 1.
    """
    try:
        import cv2  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        return f"how exactly the image is moved: not measured ({error})"
    x = torch.rand((1, 256, 256), generator=torch.Generator().manual_seed(0))
    where = mapping([{"name": "rotate", "degrees": [7.0]}], Frame((256, 256)))
    if where is None:
        raise RuntimeError("a rotation that moves nothing")
    (a, b), (c, d) = where.matrix.tolist()
    i, j = (where.centre - where.matrix @ where.centre + where.offset).tolist()
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    theirs = cv2.warpAffine(
        x[0].numpy(),
        np.array([[d, c, j], [b, a, i]]),
        (256, 256),
        flags=flags,
        borderMode=cv2.BORDER_REPLICATE,
    )
    exact = resample_image(x.double(), where)[0]
    errors = {
        "OpenCV " + cv2.__version__: torch.from_numpy(theirs) - exact,
        "medprior": resample_image(x, where)[0] - exact,
    }
    said = "; ".join(
        f"{who}: rms {float((e**2).mean().sqrt()):.1e}, largest {float(e.abs().max()):.1e}"
        for who, e in errors.items()
    )
    return f"distance to the same turn in double precision, white noise of range 1: {said}"


def main() -> None:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--rounds2", type=int, default=60)
    options.add_argument("--rounds3", type=int, default=15)
    chosen = options.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    for name, (shape, names) in TASKS.items():
        compare(name, shape, names, chosen.rounds2 if len(shape) == 2 else chosen.rounds3)
    print(rounded())


if __name__ == "__main__":
    main()
