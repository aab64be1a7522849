r"""Minimization of many costs at once: L-BFGS with a line search of its own for every row.

J. Nocedal (1980), Updating quasi-Newton matrices with limited storage. Rows share nothing but the batched evaluation: a
row that has converged, or finds no better point, stays where it is while others go on, and is not evaluated again; nor
is one that has its step while others look for theirs. Near a minimum costs differ by their rounding alone, and a step
is judged by the slope at its end (W. W. Hager and H. Zhang 2005, A new conjugate gradient method with guaranteed
descent and an efficient line search, equation 1.3):

    (2 c - 1) slope >= slope at the end,   c = 1e-4 of the usual condition, cost <= cost + c step slope            (1)

Otherwise a minimum is found to the root of the rounding only.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from latentkit.finite import NotFiniteError

PATIENCE = 10  # steps

Cost = Callable[[Tensor, Tensor], Tensor]  # points (r, n), and of which rows they are (r): costs (r)


class Minimum(NamedTuple):
    """Hold the points found (r, n), their costs (r), and how many batched evaluations it took."""

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

    Raises ValueError where the cost is not finite at the start, with the row.
    """
    x = start.detach().clone()
    f, g = _value(cost, x, torch.arange(len(x), device=x.device))
    evaluations = 1
    if not f.isfinite().all():
        raise NotFiniteError(f"the cost of row {int((~f.isfinite()).nonzero()[0])} is not finite at the start")
    pairs: list[tuple[Tensor, Tensor, Tensor]] = []
    least, idle = g.abs().amax(1), torch.zeros(len(g), dtype=torch.long, device=g.device)
    active = least > tolerance
    for i in range(iterations):
        if not active.any():
            break
        p = -_two_loops(g, pairs)
        slope = (g * p).sum(1)
        wrong = slope >= 0
        p = torch.where(wrong[:, None], -g, p)
        slope = torch.where(wrong, -g.square().sum(1), slope)
        # The first step has no curvature to go by: it is kept to length one.
        size = torch.where(active, (1 / g.norm(dim=1)).clamp(max=1.0) if i == 0 else torch.ones_like(f), 0.0)
        waiting = active.clone()
        new_x, new_f, new_g = x.clone(), f.clone(), g.clone()
        rounding = 4 * torch.finfo(f.dtype).eps * f.abs()
        for _ in range(25):
            rows = waiting.nonzero()[:, 0]
            trial = x[rows] + size[rows, None] * p[rows]
            try:
                value, gradient = _value(cost, trial, rows)
            except NotFiniteError:  # a model broke down, of one row at least: all that wait take a shorter step
                value, gradient = torch.full_like(f[rows], torch.inf), torch.zeros_like(trial)
            evaluations += 1
            enough = value <= f[rows] + 1e-4 * size[rows] * slope[rows]
            flat = (gradient * p[rows]).sum(1) <= (2e-4 - 1) * slope[rows]  # (1)
            good = value.isfinite() & (enough | flat & (value <= f[rows] + rounding[rows]))
            new_x[rows[good]], new_f[rows[good]], new_g[rows[good]] = trial[good], value[good], gradient[good]
            waiting[rows[good]] = False
            if good.all():
                break
            # The minimum of the parabola through what is known, within bounds.
            rows, value = rows[~good], value[~good]
            now, down = size[rows], slope[rows]
            curve = (value - f[rows] - now * down).clamp_min(torch.finfo(f.dtype).tiny)
            best = torch.where(value.isfinite(), -0.5 * down * now.square() / curve, now / 10)
            size[rows] = torch.minimum(torch.maximum(best, now / 10), now / 2)
        s, y = new_x - x, new_g - g
        sy = (s * y).sum(1)
        useful = sy > 1e-10 * s.norm(dim=1) * y.norm(dim=1)
        # A row without a useful pair gets one that changes nothing.
        rho = torch.where(useful, 1 / torch.where(useful, sy, torch.ones_like(sy)), torch.zeros_like(sy))
        pairs = [*pairs[-(memory - 1) :], (s, y, rho)] if memory > 1 else [(s, y, rho)]
        left = new_g.abs().amax(1)
        idle = torch.where((left < 0.5 * least) | (f - new_f > rounding), 0, idle + 1)
        least = torch.minimum(least, left)
        gained = f - new_f > tolerance * f.abs().clamp_min(1e-30) if tolerance else idle < PATIENCE
        active = active & ~waiting & gained & (left > tolerance)
        x, f, g = new_x, new_f, new_g
    return Minimum(x, f, evaluations)


def _value(cost: Cost, x: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    with torch.enable_grad():
        x = x.detach().requires_grad_(True)
        f = cost(x, rows)
        if f.shape != x.shape[:1]:
            raise ValueError(f"the cost has shape {tuple(f.shape)}; expected one number a row, ({len(x)},)")
        (g,) = torch.autograd.grad(f.sum(), x)
    return f.detach(), g


def _two_loops(g: Tensor, pairs: list[tuple[Tensor, Tensor, Tensor]]) -> Tensor:
    """Return the inverse Hessian's estimate times the gradient, row by row."""
    q, alphas = g, []
    for s, y, rho in reversed(pairs):
        alpha = rho * (s * q).sum(1)
        q = q - alpha[:, None] * y
        alphas.append(alpha)
    scale = torch.ones_like(g[:, 0])
    for s, y, rho in pairs:  # of the latest useful pair of each row
        scale = torch.where(rho > 0, (s * y).sum(1) / y.square().sum(1).clamp_min(1e-300), scale)
    q = q * scale[:, None]
    for (s, y, rho), alpha in zip(pairs, reversed(alphas), strict=True):
        q = q + (alpha - rho * (y * q).sum(1))[:, None] * s
    return q
