r"""The ensemble Kalman filter with perturbed observations, and the serial square-root filter.

G. Burgers, P. J. van Leeuwen and G. Evensen (1998), Analysis scheme in the ensemble Kalman filter; J. S. Whitaker and
T. M. Hamill (2002), Ensemble data assimilation without perturbed observations. In the notation of `ensemble`,

    E_i <- E_i + X^T S (S^T S + (m - 1) I)^-1 (d_i + e_i),   e_i ~ N(0, I), mean over members 0       (1)

where d_i is the innovation of member i. The serial filter takes one observation after the other: with s (m) a column of
S, q = s^T s + m - 1 and a = 1 / (1 + sqrt((m - 1) / q)),

    mean <- mean + X^T s d / q,   X <- X - a s (s^T X) / q                                         (2)
"""

import torch
from torch import Generator, Tensor

from latentkit.assimilation.ensemble import finish, noise, standardized
from latentkit.assimilation.observations import Observations


def perturbed(
    E: Tensor,  # (..., m, k)
    Y: Tensor,  # (..., m, o)
    obs: Observations,
    rng: Generator,
    *,
    inflation: float = 1.0,
    rotate: bool = False,
) -> Tensor:  # (..., m, k)
    """Analyze with perturbed observations: equation 1, solved where the matrix is smaller."""
    S, d = standardized(Y, obs)
    m, o = S.shape[-2:]
    D = d.unsqueeze(-2) - S + noise(m, obs, tuple(E.shape[:-2]), rng, S)  # (..., m, o)
    X = E - E.mean(-2, keepdim=True)
    eye = torch.eye(min(m, o), dtype=S.dtype, device=S.device)
    if o <= m:
        step = torch.linalg.solve(S.mT @ S + (m - 1) * eye, D.mT).mT @ (S.mT @ X)  # (1)
    else:
        step = (D @ S.mT) @ torch.linalg.solve(S @ S.mT + (m - 1) * eye, X)
    return finish(E + step, rng, inflation=inflation, rotate=rotate)


def serial(
    E: Tensor,  # (..., m, k)
    Y: Tensor,  # (..., m, o)
    obs: Observations,
    rng: Generator,
    *,
    weights: Tensor | None = None,
    inflation: float = 1.0,
    rotate: bool = False,
) -> Tensor:  # (..., m, k)
    """Analyze with one observation after the other: equation 2.

    weights (k + o, o): localization of the gain, of variables and then of observations, none if None.
    """
    S, d = standardized(Y, obs)
    m, k = E.shape[-2:]
    mean = E.mean(-2)
    X = torch.cat([E - mean.unsqueeze(-2), S], -1)  # (..., m, k + o): observations not yet used are updated, too
    center = torch.cat([mean, -d], -1)  # what is left of the innovation, negative
    for j in range(S.shape[-1]):
        s = X[..., k + j]  # (..., m)
        q = s.square().sum(-1, keepdim=True) + m - 1
        gain = (s.unsqueeze(-2) @ X).squeeze(-2) / q  # (..., k + o)
        if weights is not None:
            gain = gain * weights[:, j]
        a = 1 / (1 + ((m - 1) / q).sqrt())
        center = center - gain * center[..., k + j, None]
        X = X - (a * s).unsqueeze(-1) * gain.unsqueeze(-2)  # (2)
    E = center[..., :k].unsqueeze(-2) + X[..., :k]
    return finish(E, rng, inflation=inflation, rotate=rotate)
