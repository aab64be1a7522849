"""Conjugate gradients for many systems side by side.

M. R. Hestenes and E. Stiefel (1952), Methods of conjugate gradients for solving linear systems. A few rounds solve what
the largest variances decide; what is left is small where the noise R of A = R + H V H^T is not.
"""

from collections.abc import Callable

import torch
from torch import Tensor


def conjugate(
    product: Callable[[Tensor], Tensor], b: Tensor, rounds: int, *, least: float = 0.0, near: float = 0.0
) -> Tensor:
    """Return v with product(v) = b (s, n, ...), system by system, after at most so many rounds of conjugate gradients.

    least: of v.product(v) / v.v where `product` is R and a covariance. A system stops where it is less: the derivative
    of a network is no covariance there, as happens near t = 1. near: of |product(v) - b| / |b|, at which all are done.
    """
    axes = tuple(range(2, b.ndim))
    inner = lambda p, q: (p * q).sum(axes, keepdim=True)  # noqa: E731
    v, r = torch.zeros_like(b), b
    p, square = r, inner(r, r)
    going = torch.ones_like(square, dtype=torch.bool)
    enough = near**2 * square
    for _ in range(rounds):
        if bool((square <= enough).all()):
            break
        moved = product(p)
        curved = inner(p, moved)
        going = going & (curved >= 0.99 * least * inner(p, p)) & (curved > 0)
        length = torch.where(going, square / curved, 0)
        v, r = v + length * p, r - length * moved
        last, square = square, inner(r, r)
        p = r + square / last.clamp_min(1e-30) * p
    return v
