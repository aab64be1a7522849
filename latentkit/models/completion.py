r"""Completion of latent codes: from the codes of neighbors to the code of a place, and on to its series.

J. A. Shelton et al. (2025), Latent-constrained conditional VAEs for augmenting climate ensembles, section 5. With
z_r(x) the code of place x in realization r and x^(1) ... x^(K) the observed places nearest to x,

    F_r(x) = [z_r(x^(1)), ..., z_r(x^(K))]                                                       (5)
    z_r(x) ~ f(F_r(x)) + noise, f a Gaussian process a latent coordinate (`models.latent_gp`)    (6)
    y_r(x) ~ p(y | x, f(F_r(x)))                                                                 (7)

What (6) does not know of a code goes through the decoder with it: codes are drawn, decoded, and the decoder's own
noise is added to the variance of what comes out.
"""

from collections.abc import Callable, Sequence

from torch import Generator, Tensor

from latentkit.models.nets import normal


def features(
    z: Tensor,  # (..., n, k) codes of all places; those of unobserved ones are not looked at
    near: Tensor,  # (n, K) rows of the observed neighbors of each place, nearest first
) -> Tensor:  # (..., n, K k)
    """Return the neighbors' codes, side by side, of each place: equation 5."""
    return z[..., near, :].flatten(-2)


def decode_codes(
    decode: Callable[[Tensor], Tensor],
    mean: Tensor,  # (s, n, k) predicted codes
    variance: Tensor,  # (s, n, k) of the prediction
    noise: Tensor,  # (s, 1, 1) standard deviation of the decoder
    rng: Sequence[Generator],
    *,
    draws: int = 50,
) -> tuple[Tensor, Tensor]:  # (s, n, t) each
    """Return mean and variance of the series that uncertain codes stand for: equation 7.

    decode: codes (s, n, k) to series (s, n, t); rng: one generator a model. The law of total variance over `draws`
    codes: the variance of the decoded series plus that of the decoder's noise. With draws=0 the predicted code alone
    is decoded and the variance is that of the noise.
    """
    if draws == 0:
        series = decode(mean)
        return series, noise.square().expand_as(series)
    total = square = 0.0
    for _ in range(draws):  # in turn: s n t numbers at a time, not draws times as many
        series = decode(mean + variance.sqrt() * normal(mean.shape[1:], rng, mean))
        total, square = total + series, square + series.square()
    first = total / draws
    return first, (square / draws - first.square()).clamp_min(0) * draws / max(1, draws - 1) + noise.square()
