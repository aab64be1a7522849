r"""The ensemble transform Kalman filter, global and local.

C. H. Bishop, B. J. Etherton and S. J. Majumdar (2001), Adaptive sampling with the ensemble transform Kalman filter;
B. R. Hunt, E. J. Kostelich and I. Szunyogh (2007), Efficient data assimilation for spatiotemporal chaos. In the
notation of `ensemble`, with m members,

    C = S S^T + (m - 1) I                                                                         (1)
    w = C^-1 S d,   W = sqrt(m - 1) C^-1/2 (symmetric)                                            (2)
    E = mean + (w + W) X                                                                          (3)

The local filter does this for every variable of the state with the observations near it, each column of S and entry of
d times the root of its taper: the precision of an observation falls with its distance. All variables, and all leading
axes of the ensemble, are solved as one stack.
"""

import torch
from torch import Generator, Tensor

from latentkit.assimilation.ensemble import finish, roots, standardized
from latentkit.assimilation.observations import Observations
from latentkit.localization import RADII, taper


def transform(
    S: Tensor,  # (..., m, o)
    d: Tensor,  # (..., o)
) -> Tensor:  # (..., m, m)
    """Return w + W of equation 2: row i makes member i from the anomalies."""
    inverse, root, _ = roots(S)  # (1)
    w = (inverse @ (S @ d.unsqueeze(-1))).mT  # (..., 1, m)
    return w + (S.shape[-2] - 1) ** 0.5 * root  # (2)


def etkf(
    E: Tensor,  # (..., m, k)
    Y: Tensor,  # (..., m, o)
    obs: Observations,
    rng: Generator,
    *,
    inflation: float = 1.0,
    rotate: bool = False,
) -> Tensor:  # (..., m, k)
    """Analyze an ensemble with all observations: equation 3, then inflation and rotation."""
    mean = E.mean(-2, keepdim=True)
    return finish(mean + transform(*standardized(Y, obs)) @ (E - mean), rng, inflation=inflation, rotate=rotate)


class Local:
    """Analyze each variable of the state with the observations near it; the same network again needs no new set-up.

    distance (k, o): between variables and observations; a variable of distance 0 to all, such as a parameter, is
    analyzed with every one at full precision; radius: of the taper, at which it has fallen to 0.63.

    Raises ValueError for a radius that is not above 0.
    """

    def __init__(self, distance: Tensor, radius: float, *, inflation: float = 1.0, rotate: bool = False):
        if not radius > 0:
            raise ValueError(f"the radius of localization is {radius}; expected a number above 0 (inf for none)")
        weight = torch.ones_like(distance) if radius == float("inf") else taper(distance, RADII * radius)
        self.inflation, self.rotate = inflation, rotate
        self.groups = []  # variables with about as many observations in reach go together, so that little is padding
        reached = (weight > 1e-3).sum(1)
        order = torch.argsort(reached)
        for rows in order.chunk(max(1, min(8, len(order) // 64))):
            most = int(reached[rows].max())
            if most:
                best = weight[rows].topk(most, dim=1)
                self.groups.append((rows, best.indices, best.values.sqrt()))

    def __call__(self, E: Tensor, Y: Tensor, obs: Observations, rng: Generator) -> Tensor:
        """Return the analysis (..., m, k); variables out of reach of all observations keep their values."""
        S, d = standardized(Y, obs)
        mean = E.mean(-2, keepdim=True)
        X, made = E - mean, E.clone()
        for rows, near, root in self.groups:
            local = S.mT[..., near, :] * root.to(S)[..., None]  # (..., r, l, m)
            T = transform(local.mT, d[..., near] * root.to(S))  # (..., r, m, m)
            made[..., rows] = mean[..., rows] + torch.einsum("...rij,...jr->...ir", T, X[..., rows])
        return finish(made, rng, inflation=self.inflation, rotate=self.rotate)
