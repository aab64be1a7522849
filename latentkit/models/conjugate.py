"""Conjugate gradients for many systems side by side.

M. R. Hestenes and E. Stiefel (1952), Methods of conjugate gradients for solving linear systems. Of A = R + H V H^T,
with noise R and a covariance V, a few rounds solve what the largest variances decide, and what is left is small beside
R; with the inverse of a matrix that is nearly A (`like`) a few rounds solve all of it.
"""

import warnings
from collections.abc import Callable

import torch
from torch import Tensor


def conjugate(
    product: Callable[[Tensor], Tensor],
    b: Tensor,
    rounds: int,
    *,
    least: float = 0.0,
    near: float = 0.0,
    like: Callable[[Tensor], Tensor] = lambda r: r,
) -> Tensor:
    """Return v with product(v) = b (s, n, ...), system by system, after at most so many rounds of conjugate gradients.

    least: of v.product(v) / v.v where `product` is R and a covariance. A system stops where it is less: the derivative
    of a network is no covariance there, as happens near t = 1. near: of |product(v) - b|, at which all are done; a
    warning says so where they are not. like: the inverse of a matrix like that of `product`, symmetric and positive,
    which makes the rounds fewer.
    """
    axes = tuple(range(2, b.ndim))
    inner = lambda p, q: (p * q).sum(axes, keepdim=True)  # noqa: E731
    v, r = torch.zeros_like(b), b
    p = like(r)
    square = inner(r, p)
    going = torch.ones_like(square, dtype=torch.bool)
    for _ in range(rounds):
        if bool((inner(r, r) <= near**2).all()):
            break
        moved = product(p)
        curved = inner(p, moved)
        going = going & (curved >= 0.99 * least * inner(p, p)) & (curved > 0)
        length = torch.where(going, square / curved, 0)
        v, r = v + length * p, r - length * moved
        next_v = like(r)
        last, square = square, inner(r, next_v)
        p = next_v + square / last.clamp_min(1e-30) * p
    else:
        if near and bool((square := inner(r, r).max()) > near**2):
            warnings.warn(
                f"{rounds} rounds of conjugate gradients leave a residual of {float(square.sqrt()):.3g}; expected "
                f"{near:.3g} or less: give more rounds",
                stacklevel=2,
            )
    return v
