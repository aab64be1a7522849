r"""4DEnVar: the smoothing analysis in the space of an ensemble, with localization and outer loops.

C. Liu, Q. Xiao and B. Wang (2008), An ensemble-based four-dimensional variational data assimilation scheme. In the
notation of `ensemble`, S and d over a whole window and Z = X / sqrt(m - 1), the analysis x = mean + w Z minimizes

    J(w) = |w|^2 / 2 + |(y - predicted(mean + w Z)) / std|^2 / 2                                  (1)
    w <- (I + G)^-1 (Zo d_j + G w),   Zo = S_j / sqrt(m - 1),   G = Zo Zo^T                       (2)

where outer loop j puts the anomalies around its mean and predicts anew. Members are made by the square root in its gain
form (L. Lei, J. S. Whitaker and C. Bishop 2018, Improving assimilation of radiance observations by implementing model
space localization in an ensemble Kalman filter),

    X <- X - (S Zo^T) V F V^T Z,   G = V diag(g) V^T,   F = (1 - (1 + g)^-1/2) / g                 (3)

*Localization* multiplies the covariance by L L^T: members are replaced by their products with the columns of L, of
which there are many times as many. For observations in a window the same L is taken where they are: localization does
not move with the flow.
"""

from collections.abc import Callable

import torch
from torch import Generator, Tensor

from latentkit.assimilation.ensemble import finish, standardized
from latentkit.assimilation.observations import Observations


def envar(
    E: Tensor,  # (..., m, k) at the window's start
    predict: Callable[[Tensor], Tensor],
    obs: Observations,
    rng: Generator,
    *,
    outer: int = 1,
    modes: tuple[Tensor, Tensor] | None = None,
    inflation: float = 1.0,
    rotate: bool = False,
) -> Tensor:  # (..., m, k)
    """Analyze an ensemble at a window's start, with all observations of the window.

    predict: ensemble to what its members predict (..., m, o); outer: loops of equation 2; modes: columns of L at the
    variables (k, q) and at the observations (o, q), see `localization_modes`, None for no localization.

    Raises ValueError for fewer than one loop, and modes of other shapes.
    """
    if outer < 1:
        raise ValueError(f"{outer} outer loops; expected 1 or more")
    m, k = E.shape[-2:]
    if modes is not None and (modes[0].shape[0] != k or modes[1].shape[0] != len(obs.time)):
        raise ValueError(
            f"modes have {modes[0].shape[0]} variables and {modes[1].shape[0]} observations; expected {k} and "
            f"{len(obs.time)}"
        )
    mean = first = E.mean(-2, keepdim=True)
    X = E - first
    Z = _modulated(X / (m - 1) ** 0.5, modes and modes[0])  # (..., p, k)
    w = torch.zeros_like(Z[..., :1, :1].mT.expand(*Z.shape[:-2], 1, Z.shape[-2]))
    for _ in range(outer):
        S, d = standardized(predict(mean + X), obs)
        Zo = _modulated(S / (m - 1) ** 0.5, modes and modes[1])  # (..., p, o)
        G = Zo @ Zo.mT
        eye = torch.eye(G.shape[-1], dtype=G.dtype, device=G.device)
        w = torch.linalg.solve(eye + G, (Zo @ d.unsqueeze(-1)) + G @ w.mT).mT  # (2)
        mean = first + w @ Z
    g, V = torch.linalg.eigh(G)
    g = g.clamp_min(0)
    root = (1 + g).sqrt()
    F = 1 / (root * (1 + root))  # (1 - 1 / root) / g without its difference of near numbers
    X = X - (((S @ Zo.mT) @ V) * F.unsqueeze(-2)) @ V.mT @ Z  # (3)
    return finish(mean + X, rng, inflation=inflation, rotate=rotate)


def localization_modes(
    correlation: Tensor,  # (k + o, k + o) taper between variables and observations
    variables: int,
    *,
    share: float = 0.99,
) -> tuple[Tensor, Tensor]:  # (k, q), (o, q)
    """Return the columns of L that hold so much of the trace of a correlation, scaled to ones on its diagonal.

    A parameter's rows have to make a correlation together with the others: ones beside a taper do not. A share below 1
    also widens the taper a little.

    Raises ValueError for a share outside (0, 1], and a matrix that is no correlation.
    """
    if not 0 < share <= 1:
        raise ValueError(f"the share of the trace is {share}; expected a number above 0, 1 at most")
    values, vectors = torch.linalg.eigh(correlation)
    if values.clamp_max(0).sum() < -0.01 * values.clamp_min(0).sum():
        raise ValueError(
            f"the matrix has an eigenvalue of {float(values[0]):.2g}, which no correlation has. Ones for a parameter "
            "do not go with a taper: leave localization out, or narrow the parameter's"
        )
    values, vectors = values.flip(0).clamp_min(0), vectors.flip(1)
    q = int((values.cumsum(0) < share * values.sum()).sum()) + 1
    L = vectors[:, :q] * values[:q].sqrt()
    L = L / L.norm(dim=1, keepdim=True)
    return L[:variables], L[variables:]


def _modulated(Z: Tensor, L: Tensor | None) -> Tensor:
    """Return the products of members (..., m, k) with columns of L (k, q): (..., m q, k)."""
    return Z if L is None else (Z.unsqueeze(-2) * L.mT.to(Z)).flatten(-3, -2)
