r"""Minimization of many costs at once: L-BFGS with a line search of its own for every row.

J. Nocedal (1980), Updating quasi-Newton matrices with limited storage. Rows share nothing but the batched evaluation: a
row that has converged, or finds no better point, is not evaluated again, and one that has its step begins the next
while others still look for theirs. Near a minimum costs differ by their rounding alone, and a step is judged by the
slope at its end (W. W. Hager and H. Zhang 2005, A new conjugate gradient method with guaranteed descent and an
efficient line search, equation 1.3):

    (2 c - 1) slope >= slope at the end,   c = 1e-4 of the usual condition, cost <= cost + c step slope            (1)

Otherwise a minimum is found to the root of the rounding only.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from latentkit.finite import NotFiniteError

PATIENCE = 10  # steps
TRIES = 25  # points that are tried for a step

Cost = Callable[[Tensor, Tensor], Tensor]  # points (r, n), and of which rows they are (r): costs (r)


class Minimum(NamedTuple):
    """Hold the points found (r, n), their costs (r), and how many batches of points were tried."""

    point: Tensor
    cost: Tensor
    evaluations: int


def lbfgs(
    cost: Cost,
    start: Tensor,  # (r, n)
    *,
    iterations: int = 50,
    memory: int = 10,
    tolerance: float = 1e-8,
) -> Minimum:
    """Minimize r costs side by side, each of n numbers.

    cost: points of some rows, and the rows' numbers, to their costs, each of its own point alone; where it is not
    finite, or it raises NotFiniteError, a step was too long; iterations: at most; memory: pairs kept; tolerance: a row
    ends where its cost falls by less than so much of itself, or its gradient is that small; 0 to go on where costs are
    level to rounding, until its gradient has not been halved in PATIENCE steps.

    Raises NotFiniteError where the cost is not finite at the start, with the row, and ValueError for one that is not a
    number a row, or a memory below 1.
    """
    if memory < 1:
        raise ValueError(f"memory is {memory}; expected 1 pair or more")
    x = start.detach().clone()
    f, g = (part.clone() for part in _value(cost, x, torch.arange(len(x), device=x.device)))  # written into below
    evaluations = 1
    if not f.isfinite().all():
        raise NotFiniteError(f"the cost of row {int((~f.isfinite()).nonzero()[0])} is not finite at the start")
    pairs = _Pairs(memory, g)
    least, taken, tries, idle = g.abs().amax(1), *torch.zeros(3, len(g), dtype=torch.long, device=g.device)
    active = (least > tolerance) & (iterations > 0)
    # The first step has no curvature to go by: it is kept to length one.
    p, slope, size = -g, -g.square().sum(1), (1 / g.norm(dim=1)).clamp(max=1.0)
    while active.any():
        rows = active.nonzero()[:, 0]
        trial = x[rows] + size[rows, None] * p[rows]
        value, gradient = _tried(cost, trial, rows)
        evaluations += 1
        rounding = 4 * torch.finfo(f.dtype).eps * f[rows].abs()
        enough = value <= f[rows] + 1e-4 * size[rows] * slope[rows]
        flat = (gradient * p[rows]).sum(1) <= (2e-4 - 1) * slope[rows]  # (1)
        good = value.isfinite() & (enough | flat & (value <= f[rows] + rounding))

        # Those without a step yet try the minimum of the parabola through what is known, within bounds.
        on = rows[~good]
        now, down = size[on], slope[on]
        curve = (value[~good] - f[on] - now * down).clamp_min(torch.finfo(f.dtype).tiny)
        best = torch.where(value[~good].isfinite(), -0.5 * down * now.square() / curve, now / 10)
        size[on] = torch.minimum(torch.maximum(best, now / 10), now / 2).to(size)
        tries[on] += 1
        active[on] = tries[on] < TRIES

        # Those with one begin the next.
        rows, trial, value, gradient = rows[good], trial[good], value[good], gradient[good]
        pairs.add(rows, trial - x[rows], gradient - g[rows])
        left, gain = gradient.abs().amax(1), f[rows] - value
        idle[rows] = torch.where((left < 0.5 * least[rows]) | (gain > rounding[good]), 0, idle[rows] + 1)
        least[rows] = torch.minimum(least[rows], left)
        gained = gain > tolerance * f[rows].abs().clamp_min(1e-30) if tolerance else idle[rows] < PATIENCE
        taken[rows] += 1
        active[rows] = gained & (left > tolerance) & (taken[rows] < iterations)
        x[rows], f[rows], g[rows], size[rows], tries[rows] = trial, value, gradient, 1.0, 0
        ahead = -pairs.product(rows, gradient)
        sinking = (gradient * ahead).sum(1, keepdim=True) < 0
        p[rows] = torch.where(sinking, ahead, -gradient)
        slope[rows] = (gradient * p[rows]).sum(1)
    return Minimum(x, f, evaluations)


def _tried(cost: Cost, x: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return costs and gradients, infinite and 0 of rows whose model breaks down: they are found by halves."""
    try:
        return _value(cost, x, rows)
    except NotFiniteError:
        if len(rows) == 1:
            return x.new_full((1,), torch.inf), torch.zeros_like(x)
        parts = [_tried(cost, *some) for some in zip(x.tensor_split(2), rows.tensor_split(2), strict=True)]
        return tuple(torch.cat(part) for part in zip(*parts, strict=True))


def _value(cost: Cost, x: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    with torch.enable_grad():
        x = x.detach().requires_grad_(True)
        f = cost(x, rows)
        if f.shape != x.shape[:1]:
            raise ValueError(f"the cost has shape {tuple(f.shape)}; expected one number a row, ({len(x)},)")
        (g,) = torch.autograd.grad(f.sum(), x)
    return f.detach(), g


class _Pairs:
    """Hold the latest steps s and changes y of the gradient of each row, the newest last, and 1 / s.y, 0 if useless."""

    def __init__(self, memory: int, like: Tensor):
        self.s, self.y = like.new_zeros(2, memory, *like.shape)
        self.rho, self.count = like.new_zeros(memory, len(like)), 0  # of pairs of the row that has most, at least

    def add(self, rows: Tensor, s: Tensor, y: Tensor) -> None:
        """Note a pair of each of some rows."""
        self.count += 1
        sy = (s * y).sum(1)
        useful = sy > 1e-10 * s.norm(dim=1) * y.norm(dim=1)
        rho = torch.where(useful, 1 / torch.where(useful, sy, 1.0), 0.0)
        for kept, new in ((self.s, s), (self.y, y), (self.rho, rho)):
            kept[:-1, rows] = kept[1:, rows]
            kept[-1, rows] = new

    def product(self, rows: Tensor, g: Tensor) -> Tensor:
        """Return the estimate of the inverse Hessian of some rows times their gradients."""
        filled = range(len(self.rho) - min(self.count, len(self.rho)), len(self.rho))
        some = [(self.s[i, rows], self.y[i, rows], self.rho[i, rows]) for i in filled]
        q, alphas, scale = g, [], torch.ones_like(g[:, 0])
        for s, y, rho in reversed(some):
            alpha = rho * (s * q).sum(1)
            q = q - alpha[:, None] * y
            alphas.append(alpha)
        for s, y, rho in some:  # of the latest useful pair of each row
            scale = torch.where(rho > 0, (s * y).sum(1) / y.square().sum(1).clamp_min(1e-300), scale)
        q = q * scale[:, None]
        for (s, y, rho), alpha in zip(some, reversed(alphas), strict=True):
            q = q + (alpha - rho * (y * q).sum(1))[:, None] * s
        return q
