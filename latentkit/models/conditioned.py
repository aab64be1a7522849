r"""Windows of the prior of `zonal`, given observations: exact draws, and their mean.

With the prior's covariance C = B B^T, what is seen H x + h, and errors R, a draw x of the prior is moved by the rule of
G. Matheron (A. G. Journel and C. J. Huijbregts 1978, Mining geostatistics, chapter 7) to observations y with an error
drawn beside them,

    x + B w,   (I + B^T J B) w = B^T H^T R^-1 (y + e - H x - h),   J = H^T R^-1 H,   e ~ N(0, R)                    (1)

by conjugate gradients. Their rounds are few, since the mean of J around circles of latitude,

    G(p, q; d) = mean_x J((p, x + d), (q, x))      p, q: channel and latitude, on each day                           (2)

makes I + B^T G B a Hermitian matrix a zonal wavenumber, as the prior is, whose inverse is at hand. Where observations
are as dense all around the Earth, it is nearly that of (1).
"""

import math
from collections.abc import Sequence

import torch
from torch import Generator, Tensor

from latentkit.models.conjugate import conjugate
from latentkit.models.nets import normal
from latentkit.models.zonal import Zonal

NEAR = 0.03  # of a deviation of the posterior: what the error of w is at most, root mean square, when rounds end


def posterior(prior: Zonal, seen, y: Tensor, std: Tensor, *, rng: Sequence[Generator], rounds: int = 100) -> Tensor:
    """Draw n windows (s, n, days k, y, x) given what is seen of them: equation 1.

    seen: a `readout.Seen`; y (1 or s, n, days, o): NaN where nothing was seen; std (o): of its errors; rounds: of
    conjugate gradients, at most, and a warning says where they were too few; rng: one generator a model.
    """
    there, x = torch.isfinite(y), prior.sample(y.shape[1], rng)
    found = seen(x)
    gap = torch.where(there, y + std * normal(found.shape[1:], rng, found) - found, 0)
    return x + _moved(prior, seen, gap, std, there, rounds)


def mean(prior: Zonal, seen, y: Tensor, std: Tensor, *, rounds: int = 100) -> Tensor:
    """Return the mean (s, n, days k, y, x) of the windows that `posterior` draws."""
    there, m = torch.isfinite(y), prior.center
    gap = torch.where(there, y - seen(m), 0)
    return m + _moved(prior, seen, gap, std, there, rounds)


def _moved(prior: Zonal, seen, gap: Tensor, std: Tensor, there: Tensor, rounds: int) -> Tensor:
    """Return B w of equation 1."""
    precision = std.square().reciprocal() * there

    def real(v: Tensor) -> Tensor:
        return torch.view_as_real(prior.whitened(v))

    def product(w: Tensor) -> Tensor:
        return w + real(seen.pull(precision * seen.push(prior.colored(torch.view_as_complex(w)))))

    root = _factored(prior, seen.around(precision.flatten(0, -2).mean(0)))

    def like(r: Tensor) -> Tensor:  # (s, n, m, d, 2)
        solved = torch.cholesky_solve(torch.view_as_complex(r).permute(0, 2, 3, 1), root)
        return torch.view_as_real(solved.permute(0, 3, 1, 2).contiguous())

    b = real(seen.pull(precision * gap))
    # With S = I + B^T J B and a residual r the error e = S^-1 r has e.S e = r.S^-1 r, at most r.r since S >= I.
    w = conjugate(product, b, rounds, near=NEAR * math.sqrt(math.prod(prior.shape)), like=like)
    return prior.colored(torch.view_as_complex(w))


def _factored(prior: Zonal, around: Tensor) -> Tensor:  # (s, k y, k y, x) -> (s, m, d, d)
    """Return the root of I + B^T G B by A.-L. Cholesky's method, a wavenumber each."""
    G = torch.fft.rfft(around).movedim(-1, 1)  # (s, m, k y, k y)
    scaled = prior.vectors * prior.values.sqrt()[..., None, :]
    days = scaled.unflatten(2, (prior.shape[0], -1))  # (s, m, days, k y, d)
    square = scaled.mH @ (G[:, :, None] @ days).flatten(2, 3)
    square = 0.5 * (square + square.mH)
    square.diagonal(dim1=-2, dim2=-1).add_(1)
    return torch.linalg.cholesky(square)
