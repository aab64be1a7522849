r"""Interpolation of trajectories in their parameters by a Gaussian kernel: kriging, or an emulator.

J. Sacks, W. J. Welch, T. J. Mitchell and H. P. Wynn (1989), Design and analysis of computer experiments. With n runs at
parameters u_i, each scaled to [-1, 1], of mean y, and

    K_ij = exp(-|u_i - u_j|^2 / (2 length^2)) + nugget delta_ij,    y(u) = mean + k(u)^T K^-1 (y - mean)            (1)

every number of a run has the same weights, so that they are found once. What run i has left of the others' answer at
its own parameters is, without fitting n times (G. Wahba 1990, Spline models for observational data, section 4.2),

    y_i - y_(-i)(u_i) = (K^-1 (y - mean))_i / (K^-1)_ii                                                             (2)

whose mean square chooses length and nugget. A Gaussian kernel takes y for smooth, as runs from smooth starts are.
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
    """Return length and nugget of the smallest mean square of equation 2.

    Raises ValueError for fewer than two runs, and parameters that do not go with the values.
    """
    if len(known) < 2 or len(values) != len(known):
        raise ValueError(f"{len(known)} parameters and {len(values)} runs; expected as many, and two or more")
    values = values.to(torch.double)
    found = {}
    for length in lengths:
        for nugget in nuggets:
            found[length, nugget] = float((left_out(known, length, nugget) @ values).square().mean())
    return min(found, key=found.get)


def shares(known: Tensor, wanted: Tensor, length: float, nugget: float) -> Tensor:  # (n, q), (m, q) -> (m, n)
    """Return what each run counts for each wanted one, which sum to 1: equation 1."""
    part = torch.linalg.solve(_among(known, length, nugget), _kernel(known, wanted, length)).mT
    return (part + (1 - part.sum(1, keepdim=True)) / len(known)).to(known)


def slopes(known: Tensor, wanted: Tensor, length: float, nugget: float) -> Tensor:  # (n, q), (m, q) -> (m, q, n)
    """Return the derivatives of `shares` with respect to each parameter."""
    off = (known.double()[:, None] - wanted.double()) / length**2  # (n, m, q)
    changed = (_kernel(known, wanted, length)[..., None] * off).flatten(1)
    part = torch.linalg.solve(_among(known, length, nugget), changed).unflatten(1, off.shape[1:]).movedim(0, -1)
    return (part - part.mean(-1, keepdim=True)).to(known)


def left_out(known: Tensor, length: float, nugget: float) -> Tensor:  # (n, q) -> (n, n)
    """Return the weights of runs in what the others leave of each one, a row a run: equation 2, in double precision."""
    inverse = torch.linalg.inv(_among(known, length, nugget))
    rows = inverse / inverse.diagonal()[:, None]
    return rows - rows.mean(1, keepdim=True)


def _among(known: Tensor, length: float, nugget: float) -> Tensor:
    kernel = _kernel(known, known, length)
    return kernel + nugget * torch.eye(len(kernel), dtype=kernel.dtype, device=kernel.device)


def _kernel(a: Tensor, b: Tensor, length: float) -> Tensor:
    return torch.exp(-0.5 * torch.cdist(a.double(), b.double()).square() / length**2)
