r"""Interpolation of observed series to other places, without a latent space: what every completion stands beside.

*Kriging* (G. Matheron 1963, Principles of geostatistics; simple kriging, the mean being known) takes the values of all
times as independent draws of one Gaussian process over places on the unit sphere,

    y(x, t) ~ GP(0, s M(|x - x'| / length)) + e,  e ~ N(0, nugget)                               (1)

with M the Matern kernel of smoothness 3/2 on the chord |x - x'| (which is positive definite on the sphere; on the arc
it is not), and s, length, nugget of largest marginal likelihood. *Inverse distance* (D. Shepard 1968) weights the
nearest series by the inverse square of their distance.
"""

import warnings
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from latentkit import sphere


class Kernel(NamedTuple):
    """Hold the parameters of equation 1: variance, length [rad, a chord], nugget."""

    variance: float
    length: float
    nugget: float


def fit_kernel(
    x: Tensor,  # (o, 3) observed places
    y: Tensor,  # (o, t) observed series, of mean 0
    rng: np.random.Generator,
    *,
    limit: tuple[int, int] = (300, 24),
) -> Kernel:
    """Return the kernel of largest marginal likelihood of equation 1, of so many places and times at random at most.

    Raises ValueError for series that are 0 everywhere.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.gaussian_process import GaussianProcessRegressor, kernels

    some = torch.from_numpy(rng.permutation(len(x))[: limit[0]])
    x, y = x[some].double(), y[some][:, rng.permutation(y.shape[1])[: limit[1]]].double()
    scale = float(y.square().mean())
    if not scale > 0:
        raise ValueError("the observed series are 0 everywhere; there is nothing to fit a kernel to")
    form = kernels.ConstantKernel(0.9, (1e-2, 1e2)) * kernels.Matern(0.3, (1e-2, 10), nu=1.5)
    form += kernels.WhiteKernel(0.1, (1e-6, 10))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a nugget of none ends at its lower bound
        k = GaussianProcessRegressor(form, alpha=1e-10).fit(x.cpu().numpy(), y.cpu().numpy() / scale**0.5).kernel_
    return Kernel(float(k.k1.k1.constant_value) * scale, float(k.k1.k2.length_scale), float(k.k2.noise_level) * scale)


def covariance(
    kernel: Kernel,
    a: Tensor,  # (n, 3)
    b: Tensor,  # (m, 3)
) -> Tensor:  # (n, m)
    """Return the covariance of equation 1 between places, without the nugget."""
    scaled = 3**0.5 * torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist") / kernel.length
    return kernel.variance * (1 + scaled) * torch.exp(-scaled)


def krige(
    kernel: Kernel,
    x: Tensor,  # (n, 3) places to predict
    x_observed: Tensor,  # (o, 3)
    y_observed: Tensor,  # (o, t) of mean 0
) -> tuple[Tensor, Tensor]:  # (n, t), (n, 1)
    """Return mean and variance of series at places, as of a new observation there (nugget included): equation 1."""
    dtype = y_observed.dtype
    x, x_observed, y_observed = x.double(), x_observed.double(), y_observed.double()
    eye = torch.eye(len(x_observed), dtype=x.dtype, device=x.device)
    among = covariance(kernel, x_observed, x_observed) + kernel.nugget * eye
    cross = covariance(kernel, x, x_observed)
    mean, variance = condition_on(among, cross, torch.tensor(kernel.variance + kernel.nugget), y_observed)
    return mean.to(dtype), variance.to(dtype)


def condition_on(
    among: Tensor,  # (o, o) covariance of the observations, their noise included
    cross: Tensor,  # (n, o) covariance of the targets with them
    prior: Tensor,  # (n) or () variance of the targets
    y: Tensor,  # (o, t) observed, of mean 0
) -> tuple[Tensor, Tensor]:  # (n, t), (n, 1)
    """Return mean and variance of Gaussian targets given observations."""
    eye = torch.eye(len(among), dtype=among.dtype, device=among.device)
    lower = torch.linalg.cholesky(among + 1e-9 * among.diagonal().mean() * eye)
    mean = cross @ torch.cholesky_solve(y, lower)
    explained = torch.linalg.solve_triangular(lower, cross.mT, upper=False).square().sum(0)
    return mean, (prior - explained).clamp_min(1e-12)[:, None]


def inverse_distance(
    x: Tensor,  # (n, 3) all places
    y: Tensor,  # (n, t) series; those of unobserved places are not looked at
    observed: Tensor,  # (o) rows of x
    *,
    neighbors: int = 4,
) -> Tensor:  # (n, t)
    """Return the mean of the nearest observed series, weighted by their inverse squared distance."""
    near = sphere.nearest(x, observed, min(neighbors, len(observed) - 1))
    weight = (x[:, None] - x[near]).square().sum(-1).clamp_min(1e-12).reciprocal()  # (n, K)
    return torch.einsum("nk,nkt->nt", weight / weight.sum(1, keepdim=True), y[near])
