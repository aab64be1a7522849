r"""Waves on a torus as modes of velocities: known beforehand, and taken to each other by what leaves the flow's law as
it is.

A velocity without divergence and without mean is a sum over wavevectors k of half the plane, with two real numbers for
each (U. Frisch 1995, Turbulence, chapter 2),

    v(x) = sum_k e_k (a_k sqrt(2) cos(k.x) + b_k sqrt(2) sin(k.x)),   e_k = (k_y, -k_x) / |k|                      (1)

and the mean of |v|^2 is the sum of all a^2 + b^2. Kolmogorov flow, pushed by sin(n y), has the same law after a shift
by any length along x and by multiples of 2 pi / n along y, and after a turn by half a circle (and after a mirror x to
-x with a shift by pi / n along y, which is not used here):

    shift d:  a' = a cos(k.d) - b sin(k.d),  b' = a sin(k.d) + b cos(k.d);     turn:  a' = -a,  b' = b              (2)

So one trajectory is as many as there are shifts. The covariance of all these copies couples a wave k only with waves of
the same k_x whose k_y differs by multiples of n, or with their opposites: but for a mixing among those, waves are the
modes of the flow (`modes`).
"""

import math

import torch
from torch import Tensor

from latentkit.models.modes import Modes


def waves(
    size: int,
    limit: float,
) -> tuple[Modes, Tensor]:  # of j modes; (j / 2, 2)
    """Return the modes with |k|^2 below a limit, all a before all b, and their wavevectors (k_y, k_x).

    Fields are (2, size, size): the velocities along x and y on [0, 2 pi)^2.

    Raises ValueError for a limit that leaves no wave, or waves that the grid does not resolve.
    """
    top = math.isqrt(math.ceil(limit) - 1) if limit > 1 else 0
    if not 1 <= top < size / 2:
        raise ValueError(f"|k|^2 < {limit:g} are waves up to {top}; expected 1 or more, and below {size / 2:g}")
    ky, kx = torch.meshgrid(*[torch.arange(-top, top + 1)] * 2, indexing="ij")
    k = torch.stack([ky, kx], -1).flatten(0, 1)
    k = k[(k.square().sum(1) < limit) & ((k[:, 0] > 0) | ((k[:, 0] == 0) & (k[:, 1] > 0)))]
    k = k[k.square().sum(1).argsort(stable=True)].double()
    x = torch.arange(size, dtype=torch.double) * 2 * math.pi / size
    angle = k[:, 0, None, None] * x[:, None] + k[:, 1, None, None] * x
    along = (k * torch.tensor([1.0, -1.0])) / k.norm(dim=1, keepdim=True)
    shapes = math.sqrt(2) * torch.cat([angle.cos(), angle.sin()])[:, None] * along.repeat(2, 1)[:, :, None, None]
    number = torch.arange(1, top + 1) * x[:, None]
    sides = torch.cat([torch.ones(size, 1), number.cos(), number.sin()], 1)  # (size, 2 top + 1)
    inverse = torch.linalg.pinv(sides)
    core, sides = (inverse @ shapes @ inverse.mT).float(), sides.float()
    weights = torch.full((2, size, size), 1 / size**2)
    return Modes(torch.zeros(2, size, size), core, sides, sides, weights, math.nan), k.float()


def moved(
    c: Tensor,  # (..., j)
    k: Tensor,  # (j / 2, 2)
    shift: Tensor,  # (..., 2) along y and x
    turned: Tensor,  # (...) bool
) -> Tensor:  # (..., j)
    """Return the coefficients of flows that were turned, where asked, and then shifted: equation 2."""
    a, b = c.chunk(2, -1)
    a = torch.where(turned[..., None], -a, a)
    angle = shift @ k.mT
    cos, sin = angle.cos(), angle.sin()
    return torch.cat([a * cos - b * sin, a * sin + b * cos], -1)
