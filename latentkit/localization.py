"""Localization: how far two points are apart on a ring or a torus, and the taper that ends a covariance at a distance.

G. Gaspari and S. E. Cohn (1999), Construction of correlation functions in two and three dimensions. Distances on the
sphere are in `sphere`.
"""

import torch
from torch import Tensor

# Reach of a taper, in radii of localization as P. N. Raanes (2018) has them: 0.63 at a radius, a Gaussian has 0.61.
RADII = 3.64


def periodic(
    a: Tensor,  # (n, d)
    b: Tensor,  # (m, d)
    lengths: Tensor | float,  # (d) or one number: period of each coordinate, inf for none
) -> Tensor:  # (n, m)
    """Return distances between points on a ring, a torus, a cylinder or a plane, in the units of the coordinates."""
    gap = (a[:, None] - b).abs()
    lengths = torch.as_tensor(lengths, dtype=gap.dtype, device=gap.device).expand(gap.shape[-1])
    inner = gap % lengths
    gap = torch.where(lengths.isinf(), gap, torch.minimum(inner, lengths - inner))
    return gap.square().sum(-1).sqrt()


def taper(
    distance: Tensor,  # any shape [rad]
    reach: float,
) -> Tensor:
    """Return the correlation of Gaspari and Cohn (1999), equation 4.10: 1 at distance 0, and 0 from `reach` on."""
    r = 2 * distance / reach
    near = ((-r / 4 + 1 / 2) * r + 5 / 8) * r**3 - 5 / 3 * r**2 + 1
    s = r.clamp_min(1)
    far = ((((s / 12 - 1 / 2) * s + 5 / 8) * s + 5 / 3) * s - 5) * s + 4 - 2 / (3 * s)
    return torch.where(r <= 1, near, torch.where(r < 2, far, torch.zeros_like(r)))
