"""Derivatives of a linear map that automatic differentiation cannot see into: those of its own adjoint."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

__all__ = ["Linear"]


class Linear(torch.autograd.Function):
    """A linear map whose vector-Jacobian product is the adjoint that was given, to any order of
    differentiation.
    """

    @staticmethod
    def forward(x: Tensor, there: Callable[[Tensor], Tensor], back: Callable[[Tensor], Tensor]) -> Tensor:
        return there(x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.maps = inputs[1:]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Any, None, None]:
        there, back = ctx.maps
        return Linear.apply(grads[0], back, there), None, None

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Any:
        there, back = ctx.maps
        return Linear.apply(tangents[0], there, back)
