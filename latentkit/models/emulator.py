r"""Interpolation of trajectories in their parameters by a Gaussian kernel: kriging, or an emulator.

J. Sacks, W. J. Welch, T. J. Mitchell and H. P. Wynn (1989), Design and analysis of computer experiments: ordinary
kriging. With n runs y at parameters u_i, each scaled to [-1, 1], and 1 a column of ones,

    K_ij = exp(-|u_i - u_j|^2 / (2 length^2)) + nugget delta_ij,    m = 1^T K^-1 / (1^T K^-1 1)                     (1)
    y(u) = w(u) y,    w(u) = k(u)^T K^-1 (I - 1 m) + m                                                              (2)

every number of a run has the same weights, so that they are found once. What the other runs, without run i, leave of
it follows without solving n times (O. Dubrule 1983, Cross validation of kriging in a unique neighborhood),

    y_i - y_(-i)(u_i) = (Q y)_i / Q_ii,    Q = K^-1 (I - 1 m)                                                       (3)

and its mean square chooses length and nugget. A Gaussian kernel takes y for smooth, as runs from smooth starts are.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

LENGTHS = (0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3, 0.4, 0.6, 0.8, 1.2, 1.6, 2.4)
NUGGETS = (1e-10, 1e-8, 1e-6, 1e-4)


def chosen(
    known: Tensor,  # (n, q) scaled parameters
    values: Tensor,  # (n, p) numbers of the runs, a sample of them
    lengths: Sequence[float] = LENGTHS,
    nuggets: Sequence[float] = NUGGETS,
) -> tuple[float, float]:
    """Return length and nugget of the smallest mean square of equation 3.

    Raises ValueError for fewer than two runs, parameters that do not go with the values, and values that are not
    finite, with the first run that has some.
    """
    if len(known) < 2 or len(values) != len(known):
        told = f"{len(known)} rows of parameters and {len(values)} of values"
        raise ValueError(f"{told}; expected one of each for a run, and two runs or more")
    bad = (~values.isfinite()).any(1)
    if bad.any():
        raise ValueError(f"run {int(bad.nonzero()[0])} has values that are not finite; leave it out")
    values, found = values.to(torch.double), {}
    for length in lengths:
        for nugget in nuggets:
            found[length, nugget] = float((left_out(known, length, nugget) @ values).square().mean())
    return min(found, key=found.get)


def shares(known: Tensor, wanted: Tensor, length: float, nugget: float) -> Tensor:  # (n, q), (m, q) -> (m, n)
    """Return what each run counts for each wanted one, which sum to 1: equation 2."""
    inverse, mean = _solved(known, length, nugget)
    part = _kernel(wanted, known, length) @ inverse
    return (part + (1 - part.sum(1, keepdim=True)) * mean).to(known)


def slopes(known: Tensor, wanted: Tensor, length: float, nugget: float) -> Tensor:  # (n, q), (m, q) -> (m, q, n)
    """Return the derivatives of `shares` with respect to each parameter."""
    inverse, mean = _solved(known, length, nugget)
    off = (known.double() - wanted.double()[:, None]) / length**2  # (m, n, q)
    part = (_kernel(wanted, known, length)[..., None] * off).mT @ inverse
    return (part - part.sum(-1, keepdim=True) * mean).to(known)


def left_out(known: Tensor, length: float, nugget: float) -> Tensor:  # (n, q) -> (n, n)
    """Return the weights of runs in what the others leave of each one, a row a run: equation 3, in double precision."""
    inverse, mean = _solved(known, length, nugget)
    rows = inverse - inverse.sum(1, keepdim=True) * mean
    return rows / rows.diagonal()[:, None]


def _solved(known: Tensor, length: float, nugget: float) -> tuple[Tensor, Tensor]:  # (n, n), (n)
    """Return K^-1 and m of equation 1."""
    kernel = _kernel(known, known, length)
    inverse = torch.linalg.inv(kernel + nugget * torch.eye(len(kernel), dtype=kernel.dtype, device=kernel.device))
    return inverse, inverse.sum(0) / inverse.sum()


def _kernel(a: Tensor, b: Tensor, length: float) -> Tensor:
    return torch.exp(-0.5 * torch.cdist(a.double(), b.double()).square() / length**2)
