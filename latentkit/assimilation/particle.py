r"""A bootstrap particle filter, for small systems.

N. J. Gordon, D. J. Salmond and A. F. M. Smith (1993), Novel approach to nonlinear/non-Gaussian Bayesian state
estimation. Members are weighted by their likelihood,

    w_i proportional to exp(-|(y - y_i) / std|^2 / 2)                                              (1)

and drawn again by their weights, evenly spaced (G. Kitagawa 1996). Where the model has no noise, copies stay copies
for ever; *jitter* sets them apart by a kernel of so many times the optimal bandwidth for a Gaussian.
"""

import torch
from torch import Generator, Tensor

from latentkit.assimilation.ensemble import fitting
from latentkit.assimilation.observations import Observations


def weights(
    Y: Tensor,  # (..., m, o)
    obs: Observations,
) -> Tensor:  # (..., m)
    """Return the normalized weights of equation 1; raise as `ensemble.fitting` does."""
    value, std = fitting(Y, obs)
    return torch.softmax(-0.5 * ((value.unsqueeze(-2) - Y) / std).square().sum(-1), -1)


def resample(
    w: Tensor,  # (..., m)
    rng: Generator,
) -> Tensor:  # (..., m) rows
    """Return the members drawn by their weights, at evenly spaced steps from one random start."""
    m = w.shape[-1]
    start = torch.rand(*w.shape[:-1], 1, generator=rng, dtype=w.dtype).to(w.device)
    steps = (torch.arange(m, device=w.device) + start) / m
    return torch.searchsorted(w.cumsum(-1).contiguous(), steps).clamp(max=m - 1)


def bootstrap(
    E: Tensor,  # (..., m, k)
    Y: Tensor,  # (..., m, o)
    obs: Observations,
    rng: Generator,
    *,
    jitter: float = 0.0,
) -> Tensor:  # (..., m, k)
    """Analyze by drawing members anew.

    jitter: of the kernel that sets copies apart; 0 for none, 1 for the bandwidth of B. W. Silverman (1986), which needs
    more members than variables.
    """
    m, k = E.shape[-2:]
    made = E.gather(-2, resample(weights(Y, obs), rng).unsqueeze(-1).expand_as(E))
    if not jitter:
        return made
    width = jitter * (4 / (m * (k + 2))) ** (1 / (k + 4))
    mean = made.mean(-2, keepdim=True)
    X = made - mean
    cov = X.mT @ X / (m - 1)
    about = torch.finfo(E.dtype)
    floor = 10 * k * about.eps * cov.diagonal(dim1=-2, dim2=-1).mean(-1)[..., None, None] + about.tiny
    root = torch.linalg.cholesky(cov + floor * torch.eye(k, dtype=E.dtype, device=E.device))
    draws = torch.randn(*E.shape, generator=rng, dtype=E.dtype).to(E.device) @ root.mT
    return mean + (X + width * draws) / (1 + width**2) ** 0.5  # mean and covariance stay, but for chance
