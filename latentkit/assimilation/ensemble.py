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
from latentkit.finite import NotFiniteError, finite

MANY = 16  # rows from which on products are faster than decompositions


def standardized(
    Y: Tensor,  # (..., m, o)
    obs: Observations,
) -> tuple[Tensor, Tensor]:  # S (..., m, o), d (..., o)
    """Return the predicted anomalies and the innovation in units of the error: equation 1.

    Raises ValueError for one member, and what `fitting` raises.
    """
    value, std = fitting(Y, obs, least=2)
    mean = Y.mean(-2)
    return (Y - mean.unsqueeze(-2)) / std, (value - mean) / std


def fitting(
    Y: Tensor,  # (..., m, o)
    obs: Observations,
    least: int = 1,
) -> tuple[Tensor, Tensor]:  # (..., o), (o)
    """Return values and errors of observations, in the type of what is predicted of them.

    Raises ValueError for fewer members than `least`, a prediction of another shape and observations that are not
    `usable`, NotFiniteError for a prediction that is not finite, with the row and its time.
    """
    if Y.shape[-2] < least:
        raise ValueError("an ensemble of one member has no covariance; take two or more, or a method with one given")
    usable(obs)
    if Y.shape[-1] != obs.value.shape[-1] or (obs.value.ndim > 1 and Y.shape[:-2] != obs.value.shape[:-1]):
        raise ValueError(
            f"predictions of shape {tuple(Y.shape)} for observations of shape {tuple(obs.value.shape)}; expected "
            "(..., m, o) for (..., o) or (o)"
        )
    if not finite(Y):
        bad = ~Y.isfinite().reshape(-1, Y.shape[-1]).all(0)
        raise NotFiniteError(f"the prediction of {first_of(obs, bad)} is not finite")
    return obs.value.to(Y), obs.std.to(Y)


def factors(
    C: Tensor,  # (..., q, q) symmetric
    least: float,
) -> tuple[Tensor, Tensor]:  # (..., q, q) each
    """Return V and U: C^-1/2 = V U^T is symmetric, and C^-1 = U U^T; least: lower bound of the eigenvalues of C."""
    if C.shape[-1] >= MANY:
        eye = torch.eye(C.shape[-1], dtype=C.dtype, device=C.device)
        root = _iterated(C, least, eye)
        if root is not None:
            return eye.expand_as(C), root
    values, vectors = torch.linalg.eigh(C)
    return vectors, vectors * values.clamp_min(least).rsqrt().unsqueeze(-2)


def _iterated(C: Tensor, least: float, eye: Tensor) -> Tensor | None:
    """Return C^-1/2 by the coupled iteration of Newton and Schulz, or None where it has not converged in 30 steps.

    N. J. Higham (2008), Functions of matrices, equation 6.35. It is made of products alone, which go in stacks where
    decompositions go one by one.
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


def free(m: int, like: Tensor) -> Tensor:
    """Return an orthonormal basis (m, m - 1) of what sums to 0 over members, in the type and place of a tensor."""
    return _free(m, like.dtype, like.device)


def aside(m: int, like: Tensor) -> Tensor:
    """Return `free` with the mean over members in a column (m, m) behind it."""
    return _aside(m, like.dtype, like.device)


@functools.cache
def _aside(m: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    with torch.inference_mode(False):
        return torch.cat([_free(m, dtype, device), torch.full((m, 1), 1 / m, dtype=dtype, device=device)], 1)


@functools.cache
def _free(m: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    with torch.inference_mode(False):  # it is kept, and may be asked for a derivative later
        ones, eye = torch.ones(m, 1, dtype=dtype), torch.eye(m, dtype=dtype)
        return torch.linalg.qr(torch.cat([ones, eye[:, 1:]], 1))[0][:, 1:].to(device)


def turned(
    X: Tensor,  # (..., m - 1, k)
    rng: Generator,
) -> Tensor:  # (..., m - 1, k)
    """Return anomalies in the basis `free` after a random rotation, uniformly distributed, each run its own."""
    draws = torch.randn(*X.shape[:-1], X.shape[-2], generator=rng, dtype=X.dtype)
    q, r = torch.linalg.qr(draws)
    sign = r.diagonal(dim1=-2, dim2=-1).sign().unsqueeze(-2)  # so that the distribution is uniform
    return (q * sign).to(X.device) @ X


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
    positive(inflation)
    if not rotate and isinstance(inflation, float | int) and inflation == 1:
        return E
    mean = E.mean(-2, keepdim=True)
    X = inflation * (E - mean)
    if rotate:
        basis = free(E.shape[-2], E)
        X = basis @ turned(basis.mT @ X, rng)
    return mean + X


def positive(inflation: float | Tensor) -> None:
    """Raise ValueError for an inflation that is not above 0."""
    if not torch.as_tensor(inflation).min() > 0:
        raise ValueError(f"inflation is {inflation}; expected a number above 0, such as 1.02")


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
