"""Other people's networks as a Denoiser: variance-preserving, discrete-time nets that predict epsilon, v or
x0.

Such a net was trained on x_t = sqrt(a_t) x0 + sqrt(1 - a_t) n with a_t = alphas_cumprod[t]. With sigma =
sqrt((1 - a_t) / a_t) this is x / sqrt(1 + sigma^2) for our x = x0 + sigma n. So only the time has to be
looked up, linearly in ln sigma (Karras et al. 2022, appendix C.3.4). The time that a net gets may lie between
two whole numbers; a net that takes whole ones only is adopted as ``lambda x, t: net(x, t.round().long())``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from ..errors import BadOption, ShapeMismatch, did_you_mean
from .denoiser import Condition, Denoiser, broadcast_level
from .error_table import ErrorTable

__all__ = ["adopt"]


def _from_epsilon(x: Tensor, sigma: Tensor, epsilon: Tensor) -> Tensor:
    return x - sigma * epsilon


def _from_v(x: Tensor, sigma: Tensor, v: Tensor) -> Tensor:
    """x0 = sqrt(a) x_t - sqrt(1 - a) v (Salimans and Ho 2022, eq. in section 4)."""
    return x / (1 + sigma**2) - sigma * (1 + sigma**2).rsqrt() * v


def _from_x0(x: Tensor, sigma: Tensor, x0: Tensor) -> Tensor:
    return x0


_MEANS = {"epsilon": _from_epsilon, "v_prediction": _from_v, "sample": _from_x0}


class _Adopted(Denoiser):
    """channels: of the images it takes, None where only the network itself knows."""

    def __init__(
        self,
        predict: Callable[[Tensor, Tensor, Condition], Tensor],
        alphas_cumprod: Tensor,
        prediction: str,
        sigma_data: float,
        errors: ErrorTable | None,
        channels: int | None = None,
    ) -> None:
        if prediction not in _MEANS:
            raise BadOption(
                f"prediction: {prediction!r} is not known", did_you_mean(prediction, list(_MEANS))
            )
        alphas = alphas_cumprod.detach().double().cpu()
        if (
            alphas.ndim != 1
            or len(alphas) < 2
            or not bool(((alphas > 0) & (alphas < 1)).all() and (alphas[1:] < alphas[:-1]).all())
        ):
            raise BadOption(
                "alphas_cumprod: wanted at least two falling numbers between 0 and 1",
                "a last one of exactly 0 (zero terminal SNR) is left out",
            )
        self.predict, self.mean, self.sigma_data, self.errors = (
            predict,
            _MEANS[prediction],
            sigma_data,
            errors,
        )
        self.channels = channels
        self.table = torch.log((1 - alphas) / alphas).numpy() / 2

    def __call__(self, x: Tensor, sigma: Tensor, condition: Condition | None = None) -> Tensor:
        """Raises ShapeMismatch for other channels than the network's, and for a prediction that is not shaped
        as x.
        """
        if self.channels and x.shape[1] != self.channels:
            raise ShapeMismatch("adopted network", f"(B, {self.channels}, ...)", tuple(x.shape))
        sigma = sigma.expand(len(x)).to(x.dtype)
        s = broadcast_level(sigma, x)
        predicted = self.predict(x * (1 + s**2).rsqrt(), self.time(sigma).to(x), condition or Condition())
        if predicted.shape != x.shape:
            # one image channel would be broadcast over the others without a word
            raise ShapeMismatch(
                "adopted network, prediction",
                tuple(x.shape),
                tuple(predicted.shape),
                "a net that learns its variance: adopt its first half",
            )
        return self.mean(x, s, predicted)

    def time(self, sigma: Tensor) -> Tensor:
        """(B,) -> (B,): where on the net's own clock; its ends beyond what it was trained for."""
        at = np.log(sigma.detach().double().clamp_min(1e-8).cpu().numpy())
        return torch.from_numpy(np.interp(at, self.table, np.arange(len(self.table))))

    def error(self, sigma: Tensor) -> Tensor:
        if self.errors is None:
            return sigma**2 * self.sigma_data**2 / (sigma**2 + self.sigma_data**2)
        return self.errors.mean(sigma)

    def spectrum(self, sigma: Tensor, size: tuple[int, ...]) -> Tensor:
        return super().spectrum(sigma, size) if self.errors is None else self.errors.at(sigma, size)


def adopt(
    net: Callable[..., Any],
    alphas_cumprod: Tensor,
    predicts: str = "epsilon",
    *,
    called: Literal["plain", "monai", "diffusers"] = "plain",
    channels: int | None = None,
    sigma_data: float = 0.5,
    errors: ErrorTable | None = None,
) -> Denoiser:
    """Another library's diffusion network as a denoiser, for every job that takes one.

    alphas_cumprod: (T,), falling from near 1 to near 0; a scheduler's attribute of that name. predicts:
    "epsilon" (Ho et al. 2020), "v_prediction" (Salimans and Ho 2022) or "sample" (the clean image), a
    scheduler's ``prediction_type``. called: "plain" calls ``net(x, t)``; "monai" passes ``timesteps`` and
    ``class_labels``; "diffusers" passes ``class_labels`` and takes ``.sample``. channels: of the images, if
    they shall be checked before the network is called. sigma_data: standard deviation of the training images.
    errors: measured on images that the network has not seen; without them rules use an upper bound.

    Raises BadOption for an unknown prediction or another table of alphas.
    """
    if called not in _CALLS:
        raise BadOption(f"called: {called!r} is not known", did_you_mean(called, list(_CALLS)))
    call = _CALLS[called]
    return _Adopted(
        lambda x, t, condition: call(net, x, t, condition),
        alphas_cumprod, predicts, sigma_data, errors, channels,
    )  # fmt: skip


_CALLS: dict[str, Callable[[Callable[..., Any], Tensor, Tensor, Condition], Tensor]] = {
    "plain": lambda net, x, t, _: net(x, t),
    "monai": lambda net, x, t, condition: net(x, timesteps=t, class_labels=condition.label),
    "diffusers": lambda net, x, t, condition: net(x, t, class_labels=condition.label).sample,
}
