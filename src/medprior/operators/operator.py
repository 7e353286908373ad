"""The algebra of measurements: write ``apply`` and ``adjoint``, get ``A(x)``, ``A @ B``, ``A + B``, ``c *
A``, ``A.H``, ``A.gram`` and ``stack``.

Inner product: <a, b> = Re sum conj(a) b. With it a complex measurement of a real image has a real adjoint,
and every law reads the same for real and for complex operators.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields, replace
from math import prod

import torch
from torch import Tensor

from ..errors import BadOption, ShapeMismatch

__all__ = ["Adjoint", "Composed", "Identity", "Operator", "Scaled", "Stack", "Sum", "identity", "stack"]


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Operator(ABC):
    """A linear map from images to measurements.

    domain, codomain: shapes without the batch, (C, i, j[, k]) for images. domain_is_complex, is_complex:
    whether the image, and whether the measurement, is complex. observed: bool, broadcasts over the codomain:
    entries that can be anything but zero (a mask's kept pixels); None = all.

    Tensors inside follow the input to its device and precision; ``to`` moves them once and for all.
    """

    domain: tuple[int, ...]
    codomain: tuple[int, ...]
    is_complex: bool = False
    domain_is_complex: bool = False
    observed: Tensor | None = None

    @abstractmethod
    def apply(self, x: Tensor) -> Tensor:
        """(B, *domain) -> (B, *codomain), differentiable, with the adjoint as its vector-Jacobian product."""

    @abstractmethod
    def adjoint(self, y: Tensor) -> Tensor:
        """(B, *codomain) -> (B, *domain)."""

    def __call__(self, x: Tensor) -> Tensor:
        """``apply`` with both shapes checked. Raises ShapeMismatch that names the member of the chain."""
        _check(self.entrance, "input", x, self.domain, self.domain_is_complex)
        y = self.apply(x)
        _check(self.name, "output", y, self.codomain, self.is_complex)
        return y

    @property
    def name(self) -> str:
        return type(self).__name__

    @property
    def entrance(self) -> str:
        """Who complains about a wrong input."""
        return self.name

    @property
    def H(self) -> Operator:
        """The adjoint as an operator."""
        return Adjoint(
            of=self,
            domain=self.codomain,
            codomain=self.domain,
            is_complex=self.domain_is_complex,
            domain_is_complex=self.is_complex,
        )

    @property
    def gram(self) -> Operator:
        """x -> A^H A x."""
        return self.H @ self

    def __matmul__(self, other: Operator) -> Operator:
        """self after other. Raises ShapeMismatch where the measurement of one is no image of the other."""
        if (self.domain, self.domain_is_complex) != (other.codomain, other.is_complex):
            wanted, got = _kind(self.domain, self.domain_is_complex), _kind(other.codomain, other.is_complex)
            raise ShapeMismatch(
                f"{self.name} @ {other.name}, what {self.entrance} takes from {other.name}", wanted, got
            )
        return Composed(
            members=_members(self) + _members(other),
            domain=other.domain,
            codomain=self.codomain,
            is_complex=self.is_complex,
            domain_is_complex=other.domain_is_complex,
            observed=self.passes(other.observed),
        )

    def passes(self, observed: Tensor | None) -> Tensor | None:
        """What is observed after this operator, given what was before it. Only one that keeps each entry in
        its place says more than its own ``observed``.
        """
        return self.observed

    def __add__(self, other: Operator) -> Operator:
        """x -> self(x) + other(x). Raises ShapeMismatch unless both have the same domain and codomain."""
        mine, others = ((o.domain, o.codomain, o.domain_is_complex, o.is_complex) for o in (self, other))
        if mine != others:
            raise ShapeMismatch(
                f"{self.name} + {other.name}", f"{_arrow(self)} twice", f"{_arrow(self)} and {_arrow(other)}"
            )
        both = (
            None
            if self.observed is None or other.observed is None
            else self.observed | other.observed.to(self.observed.device)
        )
        return Sum(
            terms=(self, other),
            domain=self.domain,
            codomain=self.codomain,
            is_complex=self.is_complex,
            domain_is_complex=self.domain_is_complex,
            observed=both,
        )

    def __mul__(self, factor: float) -> Operator:
        """x -> factor * self(x) for a real number; an array of weights is ``diagonal(weights) @ A``."""
        if not isinstance(factor, int | float):
            raise BadOption(
                f"factor * {self.name}: wanted a real number, got {type(factor).__name__}",
                "use diagonal(weights) @ A for an array of weights",
            )
        return Scaled(
            factor=float(factor),
            of=self,
            domain=self.domain,
            codomain=self.codomain,
            is_complex=self.is_complex,
            domain_is_complex=self.domain_is_complex,
            observed=self.observed,
        )

    __rmul__ = __mul__

    def to(self, device: torch.device | str) -> Operator:
        """The same operator with its tensors on ``device``."""
        return replace(
            self, **{f.name: _moved(getattr(self, f.name), device) for f in fields(self) if f.init}
        )

    def __repr__(self) -> str:
        return f"{self.name}: {_arrow(self)}"


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Identity(Operator):
    """x -> x: denoising, and the neutral element of ``@``."""

    def passes(self, observed: Tensor | None) -> Tensor | None:
        return observed

    def apply(self, x: Tensor) -> Tensor:
        return x

    def adjoint(self, y: Tensor) -> Tensor:
        return y


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Composed(Operator):
    """members[0] after members[1] after ...; made by ``@``."""

    members: tuple[Operator, ...]

    def apply(self, x: Tensor) -> Tensor:
        for member in reversed(self.members):
            x = member(x)
        return x

    def adjoint(self, y: Tensor) -> Tensor:
        for member in self.members:
            y = member.adjoint(y)
        return y

    def passes(self, observed: Tensor | None) -> Tensor | None:
        for member in reversed(self.members):
            observed = member.passes(observed)
        return observed

    @property
    def name(self) -> str:
        return " @ ".join(f"({m.name})" if isinstance(m, Sum) else m.name for m in self.members)

    @property
    def entrance(self) -> str:
        return f"{self.members[-1].name} in {self.name}"


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Sum(Operator):
    """x -> sum of the terms; made by ``+``."""

    terms: tuple[Operator, ...]

    def apply(self, x: Tensor) -> Tensor:
        return torch.stack([t(x) for t in self.terms]).sum(0)

    def adjoint(self, y: Tensor) -> Tensor:
        return torch.stack([t.adjoint(y) for t in self.terms]).sum(0)

    @property
    def name(self) -> str:
        return " + ".join(t.name for t in self.terms)


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Scaled(Operator):
    """x -> factor * of(x); made by ``c * A``."""

    factor: float
    of: Operator

    def apply(self, x: Tensor) -> Tensor:
        return self.factor * self.of(x)

    def adjoint(self, y: Tensor) -> Tensor:
        return self.factor * self.of.adjoint(y)

    def passes(self, observed: Tensor | None) -> Tensor | None:
        return self.of.passes(observed)

    @property
    def name(self) -> str:
        return f"{self.factor:g} * ({self.of.name})"


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Adjoint(Operator):
    """y -> of^H y; made by ``A.H``, and its own ``.H`` acts as A again."""

    of: Operator

    def apply(self, x: Tensor) -> Tensor:
        return self.of.adjoint(x)

    def adjoint(self, y: Tensor) -> Tensor:
        return self.of(y)

    @property
    def name(self) -> str:
        return f"({self.of.name}).H"


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Stack(Operator):
    """Several measurements of one image, flattened one after the other; made by ``stack``."""

    parts: tuple[Operator, ...]

    def apply(self, x: Tensor) -> Tensor:
        return torch.cat([self.row(p(x)) for p in self.parts], dim=1)

    def adjoint(self, y: Tensor) -> Tensor:
        return torch.stack(
            [p.adjoint(piece) for p, piece in zip(self.parts, self.split(y), strict=True)]
        ).sum(0)

    def split(self, y: Tensor) -> list[Tensor]:
        """(B, n) -> each part's measurement in its own shape."""
        rows = y.split([_length(p, self.is_complex) for p in self.parts], dim=1)
        return [_unrow(row, p, self.is_complex) for row, p in zip(rows, self.parts, strict=True)]

    def row(self, y: Tensor) -> Tensor:
        """One part's measurement (B, ...) -> (B, n) as it stands in the whole."""
        return (torch.view_as_real(y) if y.is_complex() and not self.is_complex else y).flatten(1)

    @property
    def name(self) -> str:
        return f"stack({', '.join(p.name for p in self.parts)})"


def identity(shape: tuple[int, ...]) -> Operator:
    """Denoising: the measurement is the image, (C, i, j[, k])."""
    return Identity(domain=tuple(shape), codomain=tuple(shape))


def stack(*operators: Operator) -> Stack:
    """Several measurements of one image as one: codomain (n,), all parts flattened.

    It is complex where every part is; complex parts among real ones become pairs (real, imaginary).
    Raises ShapeMismatch for unequal domains, BadOption for none.
    """
    if not operators:
        raise BadOption("stack: wanted at least one operator, got none")
    first = operators[0]
    for other in operators[1:]:
        if (other.domain, other.domain_is_complex) != (first.domain, first.domain_is_complex):
            wanted, got = (
                _kind(first.domain, first.domain_is_complex),
                _kind(other.domain, other.domain_is_complex),
            )
            raise ShapeMismatch(f"stack, domain of {other.name}", wanted, got)
    is_complex = all(o.is_complex for o in operators)
    return Stack(
        parts=operators,
        domain=first.domain,
        codomain=(sum(_length(o, is_complex) for o in operators),),
        is_complex=is_complex,
        domain_is_complex=first.domain_is_complex,
        observed=_stacked_observed(operators, is_complex),
    )


def _stacked_observed(operators: tuple[Operator, ...], is_complex: bool) -> Tensor | None:
    if all(o.observed is None for o in operators):
        return None
    rows = []
    for o in operators:
        seen = (
            torch.ones(o.codomain, dtype=torch.bool)
            if o.observed is None
            else o.observed.cpu().expand(o.codomain)
        )
        rows.append(seen.flatten().repeat_interleave(_length(o, is_complex) // prod(o.codomain)))
    return torch.cat(rows)


def _length(operator: Operator, is_complex: bool) -> int:
    return prod(operator.codomain) * (2 if operator.is_complex and not is_complex else 1)


def _unrow(row: Tensor, part: Operator, is_complex: bool) -> Tensor:
    if part.is_complex and not is_complex:
        return torch.view_as_complex(row.reshape(-1, *part.codomain, 2).contiguous())
    return row.reshape(-1, *part.codomain)


def _members(operator: Operator) -> tuple[Operator, ...]:
    return operator.members if isinstance(operator, Composed) else (operator,)


def _moved(value: object, device: torch.device | str) -> object:
    if isinstance(value, Tensor | Operator):
        return value.to(device)
    if isinstance(value, tuple) and value and isinstance(value[0], Tensor | Operator):
        return tuple(_moved(v, device) for v in value)
    return value


def _check(who: str, what: str, x: Tensor, shape: tuple[int, ...], is_complex: bool) -> None:
    if tuple(x.shape[1:]) != shape or x.ndim == 0 or x.is_complex() != is_complex:
        raise ShapeMismatch(
            f"{who}, {what}", f"(B, {_kind(shape, is_complex)[1:]}", _kind(tuple(x.shape), x.is_complex())
        )


def _kind(shape: tuple[int, ...], is_complex: bool) -> str:
    return f"({', '.join(map(str, shape))}) {'complex' if is_complex else 'real'}"


def _arrow(operator: Operator) -> str:
    return (
        f"{_kind(operator.domain, operator.domain_is_complex)} -> "
        f"{_kind(operator.codomain, operator.is_complex)}"
    )
