"""Foreign nets behind our one face: exact where the exact prediction is known, and equal to their own
library's arithmetic.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from medprior.errors import BadOption, ShapeMismatch
from medprior.prior import Condition
from medprior.prior.adopt import adopt
from medprior.prior.error_table import ErrorTable
from medprior.prior.rings import BINS
from medprior.sampling import flow, log_levels
from tests.golden.world import SHAPE, judged, seeded, smooth_prior

ALPHAS = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64), 0)
PRIOR = smooth_prior()


def sigma_of(t: Tensor) -> Tensor:
    """The net's own clock, between whole numbers as well: ln sigma runs straight from one time to the
    next.
    """
    table = (torch.log((1 - ALPHAS) / ALPHAS) / 2).numpy()
    low = t.floor().long().clamp(0, 998)
    share = t - low
    lines = torch.from_numpy(table)
    return torch.exp(lines[low] + share * (lines[low + 1] - lines[low]))


def parts(x_t: Tensor, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """What a perfect net knows of x_t: sigma, x0, epsilon."""
    sigma = sigma_of(t)
    s = sigma.reshape(-1, 1, 1, 1)
    x = x_t * torch.sqrt(1 + s**2)
    x0 = PRIOR(x, sigma)
    return s, x0, (x - x0) / s


def epsilon(x_t: Tensor, t: Tensor) -> Tensor:
    return parts(x_t, t)[2]


def v(x_t: Tensor, t: Tensor) -> Tensor:
    s, x0, noise = parts(x_t, t)
    return (noise - s * x0) / torch.sqrt(1 + s**2)


def clean(x_t: Tensor, t: Tensor) -> Tensor:
    return parts(x_t, t)[1]


ADOPTED = {
    "epsilon": adopt(epsilon, ALPHAS),
    "v": adopt(v, ALPHAS, "v_prediction"),
    "x0": adopt(clean, ALPHAS, "sample"),
}


@pytest.mark.parametrize("kind", ADOPTED)
@pytest.mark.parametrize("sigma", [0.02, 0.1, 0.7, 3.0, 50.0])
def test_a_perfect_net_becomes_the_exact_denoiser(kind: str, sigma: float) -> None:
    """Whatever it predicts, at any level between the first and the last of its own."""
    x = torch.randn((3, *SHAPE), generator=seeded(0), dtype=torch.float64) * (1 + sigma)
    level = torch.full((3,), sigma, dtype=torch.float64)
    assert float((ADOPTED[kind](x, level) - PRIOR(x, level)).abs().max()) < 1e-6


def test_levels_of_a_batch_may_differ() -> None:
    x = torch.randn((3, *SHAPE), generator=seeded(0), dtype=torch.float64)
    levels = torch.tensor([0.05, 1.0, 20.0], dtype=torch.float64)
    assert float((ADOPTED["v"](x, levels) - PRIOR(x, levels)).abs().max()) < 1e-8


def test_an_adopted_net_samples_its_prior() -> None:
    """Through the same loop as our own."""
    x = 20 * torch.randn((3000, *SHAPE), generator=seeded(1), dtype=torch.float64) + PRIOR.mean.reshape(SHAPE)
    found = judged(
        flow(ADOPTED["epsilon"], x, log_levels(20, low=0.012, high=20.0)), PRIOR.mean, PRIOR.covariance, PRIOR
    )
    assert found.mean < 0.05 and 0.88 < found.ratios.min() and found.ratios.max() < 1.12, str(found)


def test_beyond_its_levels_a_net_gets_the_end_of_its_clock() -> None:
    times: list[float] = []
    adopted = adopt(lambda x, t: times.append(float(t[0])) or x, ALPHAS, "sample")
    for sigma in (0.0, 1e-5, 1e4):
        assert bool(adopted(torch.zeros(1, *SHAPE), torch.tensor([sigma])).isfinite().all())
    assert times == [0.0, 0.0, 999.0]


def test_errors_are_the_measured_ones_or_the_bound() -> None:
    sigma = torch.tensor([0.1, 1.0])
    assert torch.allclose(
        adopt(v, ALPHAS, "v_prediction", sigma_data=0.5).error(sigma), sigma**2 * 0.25 / (sigma**2 + 0.25)
    )
    table = ErrorTable(64, (0.1, 1.0), (0.004, 0.02), ((1.5,) * BINS, (0.5,) * BINS))
    measured = adopt(v, ALPHAS, "v_prediction", errors=table)
    assert torch.allclose(measured.error(sigma), torch.tensor([0.004, 0.02]))
    assert torch.allclose(measured.spectrum(sigma, (8, 8)).mean((1, 2)), torch.tensor([1.5, 0.5]))


@pytest.mark.parametrize(
    "table",
    [
        torch.tensor([0.9]),
        torch.tensor([0.5, 0.6]),
        torch.tensor([0.9, 0.0]),
        torch.tensor([1.0, 0.5]),
        torch.rand(2, 2),
    ],
)
def test_a_table_that_is_none_is_refused(table: Tensor) -> None:
    with pytest.raises(BadOption, match="alphas_cumprod"):
        adopt(epsilon, table)


def test_an_unknown_prediction_names_the_nearest() -> None:
    with pytest.raises(BadOption, match="did you mean 'epsilon'"):
        adopt(torch.nn.Identity(), ALPHAS, "epsilom")


@pytest.mark.parametrize("predicts", ["epsilon", "v_prediction", "sample"])
def test_a_prediction_of_another_shape_is_refused(predicts: str) -> None:
    """Nets that learn their variance give twice the channels; for grey images arithmetic would spread one
    over both in silence.
    """
    with pytest.raises(
        ShapeMismatch, match=r"prediction: wanted \(2, 1, 8, 8\), got \(2, 2, 8, 8\).*first half"
    ):
        adopt(lambda x, t: torch.cat([x, x], dim=1), ALPHAS, predicts)(torch.zeros(2, 1, 8, 8), torch.ones(2))


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
def test_monai_agrees_with_its_own_scheduler(prediction: str) -> None:
    """D at a whole time is the ``pred_original_sample`` of MONAI's own DDIM step, labels included."""
    nets = pytest.importorskip("monai.networks.nets")
    schedulers = pytest.importorskip("monai.networks.schedulers")
    torch.manual_seed(0)
    net = nets.DiffusionModelUNet(
        2, 1, 1, (1, 1), (8, 8), (False, False), norm_num_groups=4, num_class_embeds=3
    ).eval()
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    scheduler = schedulers.DDIMScheduler(
        num_train_timesteps=100, prediction_type=prediction, clip_sample=False
    )
    scheduler.set_timesteps(100)
    adopted = adopt(net, scheduler.alphas_cumprod, prediction, called="monai")
    for t in (3, 50, 98):
        x_t, label = torch.randn((2, 1, 16, 16), generator=seeded(t)), torch.tensor([0, 2])
        with torch.no_grad():
            _, wanted = scheduler.step(net(x_t, torch.tensor([t, t]), class_labels=label), t, x_t)
            a = float(scheduler.alphas_cumprod[t])
            found = adopted(x_t / a**0.5, torch.full((2,), ((1 - a) / a) ** 0.5), Condition(label=label))
        assert float((found - wanted).abs().max()) < 2e-3 * float(wanted.abs().max().clamp_min(1)), t


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
def test_monai_with_other_channels_is_refused_before_it_is_asked() -> None:
    nets = pytest.importorskip("monai.networks.nets")
    schedulers = pytest.importorskip("monai.networks.schedulers")
    net = nets.DiffusionModelUNet(2, 1, 1, (1, 1), (8, 8), (False, False), norm_num_groups=4)
    with pytest.raises(ShapeMismatch, match=r"adopted network: wanted \(B, 1, ...\), got \(2, 3, 16, 16\)"):
        adopt(net, schedulers.DDPMScheduler(100).alphas_cumprod, called="monai", channels=net.in_channels)(
            torch.zeros(2, 3, 16, 16), torch.ones(2)
        )


def test_an_unknown_way_of_calling_names_the_nearest() -> None:
    with pytest.raises(BadOption, match="did you mean 'monai'"):
        adopt(epsilon, ALPHAS, called="monia")  # pyright: ignore[reportArgumentType]


def test_diffusers_agrees_with_its_own_scheduler() -> None:
    """The same against diffusers, where it is installed."""
    diffusers = pytest.importorskip("diffusers")
    torch.manual_seed(0)
    net = diffusers.UNet2DModel(
        16,
        1,
        1,
        layers_per_block=1,
        block_out_channels=(8, 8),
        norm_num_groups=4,
        down_block_types=("DownBlock2D",) * 2,
        up_block_types=("UpBlock2D",) * 2,
    ).eval()
    scheduler = diffusers.DDPMScheduler(100, clip_sample=False)
    adopted = adopt(net, scheduler.alphas_cumprod, called="diffusers")
    t, x_t = 40, torch.randn((2, 1, 16, 16), generator=seeded(0))
    with torch.no_grad():
        wanted = scheduler.step(net(x_t, t).sample, t, x_t).pred_original_sample
        a = float(scheduler.alphas_cumprod[t])
        found = adopted(x_t / a**0.5, torch.full((2,), ((1 - a) / a) ** 0.5))
    assert float((found - wanted).abs().max()) < 2e-3 * float(wanted.abs().max())
