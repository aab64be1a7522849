r"""What the ensemble methods share: anomalies, standardized innovations, inflation and rotation.

With E (m, k) an ensemble, E = mean + X, Y (m, o) what its members predict for observations y of error std,

    S = (Y - mean of Y) / std,   d = (y - mean of Y) / std                                        (1)

are dimensionless. Inflation multiplies X after the analysis. Rotation multiplies it by a random orthogonal matrix that
keeps the mean (P. Sakov and P. R. Oke 2008, Implications of the form of the ensemble transformation).
"""

import functools

import torch
from torch import Generator, Tensor

from latentkit.assimilation.observations import Observations, first_of, usable
from latentkit.finite import NotFiniteError

MANY = 16  # members from which on products are faster than decompositions


def standardized(
    Y: Tensor,  # (..., m, o)
    obs: Observations,
) -> tuple[Tensor, Tensor]:  # S (..., m, o), d (..., o)
    """Return the predicted anomalies and the innovation in units of the error: equation 1.

    Raises ValueError for one member, and what `fitting` raises.
    """
    if Y.shape[-2] < 2:
        raise ValueError("an ensemble of one member has no covariance; take two or more, or a method with one given")
    value, std = fitting(Y, obs)
    mean = Y.mean(-2)
    return (Y - mean.unsqueeze(-2)) / std, (value - mean) / std


def fitting(
    Y: Tensor,  # (..., m, o)
    obs: Observations,
) -> tuple[Tensor, Tensor]:  # (..., o), (o)
    """Return values and errors of observations, in the type of what is predicted of them.

    Raises ValueError for a prediction of another shape and observations that are not `usable`, NotFiniteError for a
    prediction that is not finite, with the row and its time.
    """
    usable(obs)
    if Y.shape[-1] != obs.value.shape[-1] or (obs.value.ndim > 1 and Y.shape[:-2] != obs.value.shape[:-1]):
        raise ValueError(
            f"predictions of shape {tuple(Y.shape)} for observations of shape {tuple(obs.value.shape)}; expected "
            "(..., m, o) for (..., o) or (o)"
        )
    if not Y.isfinite().all():
        bad = ~Y.isfinite().reshape(-1, Y.shape[-1]).all(0)
        raise NotFiniteError(f"the prediction of {first_of(obs, bad)} is not finite")
    return obs.value.to(Y), obs.std.to(Y)


def inverse_root(
    S: Tensor,  # (..., m, o)
) -> tuple[Tensor, Tensor]:  # (..., m, m) each
    """Return C^-1/2 (symmetric) and C = S S^T + (m - 1) I."""
    m = S.shape[-2]
    eye = torch.eye(m, dtype=S.dtype, device=S.device)
    C = S @ S.mT + (m - 1) * eye
    root = _iterated(C, m - 1, eye) if m >= MANY else None
    if root is None:
        values, vectors = torch.linalg.eigh(C)
        root = (vectors * values.clamp_min(m - 1).rsqrt().unsqueeze(-2)) @ vectors.mT
    return root, C


def _iterated(C: Tensor, least: float, eye: Tensor) -> Tensor | None:
    """Return C^-1/2 by the coupled iteration of Newton and Schulz, or None where it has not converged in 30 steps.

    least: lower bound of the eigenvalues. N. J. Higham (2008), Functions of matrices, equation 6.35. It is made of
    products alone, which go in stacks where decompositions go one by one.
    """
    scale = 2 / (least + torch.linalg.matrix_norm(C, 1)[..., None, None])  # eigenvalues of scale C within (0, 2)
    Y, Z = scale * C, eye.expand_as(C)
    enough, last = 50 * torch.finfo(C.dtype).eps, float("inf")
    for _ in range(30):
        product = Z @ Y
        off = float((product - eye).abs().amax())
        if off < enough or (off < 1e3 * enough and off >= last):
            return Z * scale.sqrt()
        if not off < float("inf"):
            return None
        half, last = 1.5 * eye - 0.5 * product, off
        Y, Z = Y @ half, half @ Z
    return None


def rotation(
    m: int,
    batch: tuple[int, ...],
    rng: Generator,
    like: Tensor,
) -> Tensor:  # (*batch, m, m)
    """Return random orthogonal matrices, uniformly distributed among those that keep the vector of ones."""
    draws = torch.randn(*batch, m - 1, m - 1, generator=rng, dtype=like.dtype)
    q, r = torch.linalg.qr(draws)
    q = q * r.diagonal(dim1=-2, dim2=-1).sign().unsqueeze(-2)  # so that the distribution is uniform
    free = _free(m, like.dtype)
    return (free @ q @ free.mT + 1 / m).to(like.device)


@functools.cache
def _free(m: int, dtype: torch.dtype) -> Tensor:
    """Return an orthonormal basis (m, m - 1) of what sums to 0."""
    ones, eye = torch.ones(m, 1, dtype=dtype), torch.eye(m, dtype=dtype)
    return torch.linalg.qr(torch.cat([ones, eye[:, 1:]], 1))[0][:, 1:]


def finish(
    E: Tensor,  # (..., m, k)
    rng: Generator,
    *,
    inflation: float | Tensor = 1.0,
    rotate: bool = False,
) -> Tensor:
    """Return the ensemble with its anomalies inflated and rotated, in that order; the mean stays.

    inflation: one number, or one a variable (k).
    """
    if not torch.as_tensor(inflation).min() > 0:
        raise ValueError(f"inflation is {inflation}; expected a number above 0, such as 1.02")
    if not rotate and isinstance(inflation, float | int) and inflation == 1:
        return E
    mean = E.mean(-2, keepdim=True)
    X = inflation * (E - mean)
    if rotate:
        X = rotation(E.shape[-2], tuple(E.shape[:-2]), rng, E) @ X
    return mean + X


def noise(
    m: int,
    obs: Observations,
    batch: tuple[int, ...],
    rng: Generator,
    like: Tensor,
) -> Tensor:  # (*batch, m, o)
    """Return perturbations of the observations, in units of their error, of mean 0 over the members."""
    draws = torch.randn(*batch, m, len(obs.std), generator=rng, dtype=like.dtype).to(like.device)
    return draws - draws.mean(-2, keepdim=True)
