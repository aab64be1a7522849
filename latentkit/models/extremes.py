r"""Generalized extreme values as latents: samples by the quantile function, and a divergence in closed form.

A. F. Jenkinson (1955), The frequency distribution of the annual maximum (or minimum) values of meteorological elements;
S. Coles (2001), An introduction to statistical modeling of extreme values, chapter 3. With location mu, scale s > 0 and
shape x (x > 0: a heavy tail to the right; x < 0: an end there; scipy's genextreme has c = -x),

    F(z) = exp(-t),  t = (1 + x (z - mu) / s)^(-1 / x),  exp(-(z - mu) / s) for x = 0                             (1)
    z = mu + s (t^-x - 1) / x,  t ~ Exponential(1)                                                                 (2)
    mean = mu + s (G(1 - x) - 1) / x  (x < 1),   variance = s^2 (G(1 - 2x) - G(1 - x)^2) / x^2  (x < 1/2)          (3)
    entropy = log s + g (1 + x) + 1,   G the gamma function, g = 0.57722                                           (4)

so (2) is a reparameterization with exact derivatives in mu, s and x. The divergence from a standard normal prior,

    KL = -entropy + log(2 pi) / 2 + (variance + mean^2) / 2   (x < 1/2),                                          (5)

is never 0: for the best mu and s it is 0.054 at x = -0.5, 0.091 at 0 and 0.330 at 0.2.

The *moment* version is that of S. Jiwa, J. Li and Y. Yin, Latent space physical coupling (LLAAE, section 2),

    z = mean + variance e,  e ~ N(0, 1)                                                                            (6)

kept by name for the record: it is a Gaussian, whose deviation is what (3) calls the variance. Neither tail nor end of
(1) are in it; its divergence is that of this Gaussian.

Near x = 0 all of (3) are differences of nearly equal numbers. With a(x) = log G(1 - x) and zeta numbers Z,

    a(x) = g x + sum_k Z(k) x^k / k,   a(2x) - 2 a(x) = sum_k Z(k) (2^k - 2) x^k / k,   k from 2 on              (7)

they are products of functions without such differences, (exp(y) - 1) / y among them.
"""

import math

import torch
from torch import Generator, Tensor

EULER = 0.5772156649015329
ZETA = (1.6449340668482264, 1.2020569031595942, 1.0823232337111382, 1.03692775514337, 1.0173430619844491,
        1.008349277381923, 1.0040773561979443, 1.0020083928260822, 1.000994575127818, 1.0004941886041194,
        1.000246086553308, 1.0001227133475785)  # fmt: skip
NEAR = 0.1  # shapes below take the series (7), whose rest is then less than 1e-8
LOW, HIGH = -0.5, 0.4  # between which a learned shape is kept: below, densities have no finite information; above 1/2
# there is no variance


def sample(
    location: Tensor,  # (...)
    scale: Tensor,
    shape: Tensor | float,
    rng: Generator,
) -> Tensor:
    """Draw from (1), one number for each location: equation 2."""
    t = torch.empty(location.shape, dtype=location.dtype).exponential_(generator=rng).to(location.device)
    return _at(t.log(), location, scale, shape)


def quantile(u: Tensor, location: Tensor | float, scale: Tensor | float, shape: Tensor | float) -> Tensor:
    """Return the values that are exceeded with probability 1 - u.

    Raises ValueError for probabilities that are not between 0 and 1.
    """
    if not ((u > 0) & (u < 1)).all():
        raise ValueError(f"probabilities from {float(u.min()):g} to {float(u.max()):g}; expected above 0 and below 1")
    return _at((-u.log()).log(), location, scale, shape)


def log_density(z: Tensor, location: Tensor | float, scale: Tensor | float, shape: Tensor | float) -> Tensor:
    """Return the logarithm of the density of (1), -inf beyond an end."""
    y = (z - torch.as_tensor(location)) / scale
    shape = torch.as_tensor(shape, dtype=y.dtype, device=y.device).expand(y.shape)
    inside = 1 + shape * y > 0
    ratio = torch.where(inside, shape * y, 0.0)
    log_t = -y * _log_ratio(ratio)  # -log(1 + x y) / x
    value = (1 + shape) * log_t - log_t.exp() - torch.as_tensor(scale, dtype=y.dtype).log()
    return torch.where(inside, value, -math.inf)


def mean(location: Tensor, scale: Tensor, shape: Tensor | float) -> Tensor:
    """Return the mean: equation 3.

    Raises ValueError for a shape of 1 or more.
    """
    shape = _checked(shape, location, 1.0)
    return location + scale * _log_gamma_ratio(shape) * _growth(shape * _log_gamma_ratio(shape))


def variance(scale: Tensor, shape: Tensor | float) -> Tensor:
    """Return the variance: equation 3.

    Raises ValueError for a shape of 1/2 or more.
    """
    shape = _checked(shape, scale, 0.5)
    second = _second(shape)
    return scale.square() * (2 * shape * _log_gamma_ratio(shape)).exp() * second * _growth(shape.square() * second)


def entropy(scale: Tensor, shape: Tensor | float) -> Tensor:
    """Return the entropy [nat]: equation 4."""
    return scale.log() + EULER * (1 + torch.as_tensor(shape, dtype=scale.dtype)) + 1


def divergence(location: Tensor, scale: Tensor, shape: Tensor | float) -> Tensor:
    """Return the divergence from a standard normal distribution [nat]: equation 5.

    Raises ValueError for a shape of 1/2 or more.
    """
    square = variance(scale, shape) + mean(location, scale, shape).square()
    return 0.5 * (math.log(2 * math.pi) + square) - entropy(scale, shape)


def moment_sample(location: Tensor, scale: Tensor, shape: Tensor | float, rng: Generator) -> Tensor:
    """Draw from the moment version: equation 6."""
    e = torch.randn(location.shape, generator=rng, dtype=location.dtype).to(location.device)
    return mean(location, scale, shape) + variance(scale, shape) * e


def moment_divergence(location: Tensor, scale: Tensor, shape: Tensor | float) -> Tensor:
    """Return the divergence of the moment version from a standard normal distribution [nat]."""
    deviation = variance(scale, shape)
    return 0.5 * (deviation.square() + mean(location, scale, shape).square() - 1) - deviation.log()


def bounded(raw: Tensor, low: float = LOW, high: float = HIGH) -> Tensor:
    """Return shapes between two bounds, by a logistic function of numbers without bounds; 0 becomes the middle.

    Raises ValueError for bounds in the wrong order, or an upper one that leaves no variance.
    """
    if not low < high < 0.5:
        raise ValueError(f"bounds of shapes are {low} and {high}; expected the lower one first, and both below 1/2")
    return low + (high - low) * torch.sigmoid(raw)


def _at(log_t: Tensor, location, scale, shape) -> Tensor:
    """Return equation 2, from log t: (exp(-x log t) - 1) / x is -log t times a growth."""
    shape = torch.as_tensor(shape, dtype=log_t.dtype, device=log_t.device)
    return location - scale * log_t * _growth(-shape * log_t)


def _growth(y: Tensor) -> Tensor:
    """Return (exp(y) - 1) / y, to rounding also near 0."""
    small = y.abs() < 1e-2
    safe = torch.where(small, 1.0, y)
    series = 1 + y / 2 * (1 + y / 3 * (1 + y / 4 * (1 + y / 5 * (1 + y / 6 * (1 + y / 7)))))
    return torch.where(small, series, torch.expm1(safe) / safe)


def _log_ratio(y: Tensor) -> Tensor:
    """Return log(1 + y) / y, to rounding also near 0."""
    small = y.abs() < 1e-2
    safe = torch.where(small, 1.0, y)
    series = 1 + y * (-1 / 2 + y * (1 / 3 + y * (-1 / 4 + y * (1 / 5 + y * (-1 / 6 + y * (1 / 7 - y / 8))))))
    return torch.where(small, series, torch.log1p(safe) / safe)


def _log_gamma_ratio(x: Tensor) -> Tensor:
    """Return log G(1 - x) / x: equation 7."""
    small = x.abs() < NEAR
    safe, near = torch.where(small, -1.0, x), torch.where(small, x, 0.0)
    series = torch.zeros_like(x)
    for k in reversed(range(2, len(ZETA) + 2)):
        series = (series + ZETA[k - 2] / k) * near
    return torch.where(small, EULER + series, torch.lgamma(1 - safe) / safe)


def _second(x: Tensor) -> Tensor:
    """Return (log G(1 - 2x) - 2 log G(1 - x)) / x^2: equation 7."""
    small = x.abs() < NEAR
    safe, near = torch.where(small, -1.0, x), torch.where(small, x, 0.0)
    series = torch.zeros_like(x)
    for k in reversed(range(3, len(ZETA) + 2)):
        series = (series + ZETA[k - 2] * (2**k - 2) / k) * near
    exact = (torch.lgamma(1 - 2 * safe) - 2 * torch.lgamma(1 - safe)) / safe.square()
    return torch.where(small, ZETA[0] + series, exact)


def _checked(shape, like: Tensor, bound: float) -> Tensor:
    shape = torch.as_tensor(shape, dtype=like.dtype, device=like.device)
    if not (shape < bound).all():
        what = "mean" if bound == 1 else "variance"
        raise ValueError(
            f"shapes reach {float(shape.max()):g}; expected less than {bound:g}, from which on there is no {what}: "
            "fix a smaller one, or learn it by `bounded`"
        )
    return shape
