r"""Heavy values in numbers: upper quantiles point by point, and return levels of the maxima of blocks.

*Quantiles.* At each point, days of all members are pooled, and the quantile Q(q) of what a model gives is compared with
that of the truth at the same point. Points are never pooled: a model that rains too much in one place and too little in
another would come out right.

    rms = mean over levels of (sum_p w_p (Q_p(q) - Q*_p(q))^2)^(1/2),   sum_p w_p = 1                              (1)
    ratio(q) = sum_p w_p Q_p(q) / sum_p w_p Q*_p(q)                                                                (2)

*Return levels.* The largest values of n blocks, such as winters, follow a generalized extreme value distribution
(`models.extremes`, equation 1), here fitted by L-moments (J. R. M. Hosking, J. R. Wallis and E. F. Wood,
1985, Estimation of the generalized extreme-value distribution by the method of probability-weighted moments; Hosking,
1990, L-moments). With ordered values x_(1) <= ... <= x_(n) and b_r = mean_i x_(i) binom(i - 1, r) / binom(n - 1, r),

    l1 = b0,   l2 = 2 b1 - b0,   l3 = 6 b2 - 6 b1 + b0,   t3 = l3 / l2                                             (3)
    t3 = 2 (1 - 3^x) / (1 - 2^x) - 3          solved for the shape x;   2 log 3 / log 2 - 3 at x = 0               (4)
    s = -l2 x / (G(1 - x) (1 - 2^x)),   mu = l1 - s (G(1 - x) - 1) / x                                             (5)
    level exceeded once in T blocks = mu + s ((-log(1 - 1/T))^-x - 1) / x                                          (6)

A dozen blocks say nearly nothing of a shape at one point. *Regional* levels take l1 at each point and one pair
(l2 / l1, t3), the mean over points by weight: "index flood" (Hosking and Wallis, 1997, Regional frequency
analysis, chapter 6).
"""

import numpy as np

SHAPES = (-5.0, 0.99)  # between which equation 4 is solved: t3 from -0.92 to 0.98
FEWEST = 5  # blocks, of which three moments are taken


def quantiles(values: np.ndarray, levels) -> np.ndarray:  # (n, p), (q) -> (q, p)
    """Return quantiles over days at each point.

    Raises ValueError for levels that are not between 0 and 1 or are beyond what the days can say, and for numbers that
    are not finite.
    """
    values, levels = np.asarray(values), np.asarray(levels, float)
    if values.ndim != 2:
        raise ValueError(f"values of shape {values.shape}; expected days by points")
    most = 1 - 1 / len(values)
    if not ((levels > 0) & (levels <= most)).all():
        told = ", ".join(f"{level:g}" for level in levels)
        raise ValueError(
            f"levels {told} of {len(values)} days; expected above 0 and at most {most:.4g}, one day's share"
        )
    _finite(values, "values")
    x = np.sort(np.ascontiguousarray(values.T), axis=1)  # days side by side: several times faster than np.quantile
    place = levels * (x.shape[1] - 1)
    low = np.minimum(place.astype(int), x.shape[1] - 2)
    return (x[:, low] + (place - low) * (x[:, low + 1] - x[:, low])).T


def quantile_errors(found: np.ndarray, true: np.ndarray, weights: np.ndarray) -> dict:  # (q, p), (q, p), (p)
    """Return the errors of quantiles, equations 1 and 2: rms in the field's unit, ratio (q) [1].

    Raises ValueError for other levels or points, and where the truth's quantiles are all 0.
    """
    found, true, w = (np.asarray(a, float) for a in (found, true, weights))
    if found.shape != true.shape or found.ndim != 2 or w.shape != found.shape[1:]:
        shapes = f"quantiles {found.shape}, the truth's {true.shape} and weights {w.shape}"
        raise ValueError(f"{shapes}; expected levels by points twice, and a weight for each point")
    w = w / w.sum()
    if not (true @ w > 0).all():
        raise ValueError("a quantile of the truth is 0 on average; no ratio to it is known: take higher levels")
    return {"rms": float(np.sqrt((found - true) ** 2 @ w).mean()), "ratio": (found @ w) / (true @ w)}  # (1), (2)


def maxima(values: np.ndarray, blocks: np.ndarray) -> np.ndarray:  # (n, p), (n) -> (b, p)
    """Return the largest value of each block at each point; days of a block below 0 are left out.

    Raises ValueError where the numbers of days differ, or no block is left.
    """
    values, blocks = np.asarray(values), np.asarray(blocks)
    if len(values) != len(blocks) or not (blocks >= 0).any():
        raise ValueError(f"{len(values)} days and {len(blocks)} blocks' numbers; expected as many, some from 0 on")
    return np.stack([values[blocks == b].max(0) for b in np.unique(blocks[blocks >= 0])])


def moments(largest: np.ndarray) -> np.ndarray:  # (b, ...) -> (3, ...)
    """Return l1, l2 and t3, equation 3, of the maxima of blocks; t3 is 0 where all are equal.

    Raises ValueError for fewer than five blocks, and for numbers that are not finite.
    """
    x = np.sort(np.asarray(largest, float), axis=0)
    n = len(x)
    if n < FEWEST:
        raise ValueError(f"maxima of {n} blocks; expected {FEWEST} or more: take shorter blocks, or more members")
    _finite(x, "maxima")
    i = np.arange(n, dtype=float).reshape(-1, *[1] * (x.ndim - 1))
    b0, b1, b2 = x.mean(0), (x * i).mean(0) / (n - 1), (x * i * (i - 1)).mean(0) / ((n - 1) * (n - 2))
    l2, l3 = 2 * b1 - b0, 6 * b2 - 6 * b1 + b0
    there = l2 > 1e-12 * np.abs(b0)
    return np.stack([b0, l2, np.where(there, l3 / np.where(there, l2, 1), 0.0)])


def fit(l1, l2, t3) -> np.ndarray:  # (...) each -> (3, ...)
    """Return location, scale and shape of the distribution with these L-moments: equations 4 and 5.

    Raises ValueError for a t3 that no shape between `SHAPES` has.
    """
    from scipy.special import gamma

    l1, l2, t3 = np.broadcast_arrays(*(np.asarray(a, float) for a in (l1, l2, t3)))
    ends = [float(_skewness(np.array(s))) for s in SHAPES]
    if not ((t3 > ends[0]) & (t3 < ends[1])).all():
        found = f"{float(np.min(t3)):.3g} to {float(np.max(t3)):.3g}"
        raise ValueError(f"L-skewness from {found}; expected {ends[0]:.2f} to {ends[1]:.2f}: take more blocks")
    low, high = (np.full(t3.shape, s) for s in SHAPES)
    for _ in range(60):  # t3 rises with the shape
        middle = (low + high) / 2
        below = _skewness(middle) < t3
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    shape = (low + high) / 2
    shape = np.where(np.abs(shape) < 1e-6, 1e-6, shape)  # where (5) is a ratio of nothing to nothing
    scale = -l2 * shape / (gamma(1 - shape) * -np.expm1(shape * np.log(2)))
    return np.stack([l1 - scale * (gamma(1 - shape) - 1) / shape, scale, shape])


def level(periods, location, scale, shape) -> np.ndarray:  # (t), (...) each -> (t, ...)
    """Return the values that are exceeded once in so many blocks, on average: equation 6.

    Raises ValueError for periods of one block or less.
    """
    periods = np.asarray(periods, float)
    if not (periods > 1).all():
        raise ValueError(f"return periods from {periods.min():g} blocks on; expected more than 1")
    location, scale, shape = np.broadcast_arrays(*(np.asarray(a, float) for a in (location, scale, shape)))
    log_t = np.log(-np.log1p(-1 / periods)).reshape(-1, *[1] * location.ndim)
    flat = np.abs(shape) < 1e-9
    safe = np.where(flat, 1.0, shape)
    return location + scale * np.where(flat, -log_t, np.expm1(-safe * log_t) / safe)


def regional(largest: np.ndarray, periods, weights: np.ndarray) -> dict:
    """Return return levels with one shape for all points.

    largest (b, p): maxima of blocks, none below 0; periods (t) [blocks]; weights (p).

    levels (t, p): 0 where all maxima are; shape [1]. Raises ValueError as `moments`, `fit` and `level` do, for negative
    maxima, and where no point with weight has a maximum above 0.
    """
    largest, w = np.asarray(largest, float), np.asarray(weights, float)
    l1, l2, t3 = moments(largest)
    if largest.min() < 0:
        raise ValueError(f"maxima down to {largest.min():g}; expected none below 0, as they are divided by their mean")
    w = np.where((l1 > 0) & (l2 > 0), w, 0.0)
    if not w.sum() > 0:
        raise ValueError("no point has maxima that vary; expected some above 0")
    share = w / w.sum()
    found = fit(1.0, np.where(l1 > 0, l2 / np.where(l1 > 0, l1, 1), 0) @ share, t3 @ share)
    return {"levels": level(periods, *found)[:, None] * l1, "shape": float(found[2])}


def _skewness(shape: np.ndarray) -> np.ndarray:
    """Return t3 of a shape: equation 4."""
    flat = np.abs(shape) < 1e-8
    safe = np.where(flat, 1.0, shape)
    ratio = np.expm1(safe * np.log(3)) / np.expm1(safe * np.log(2))
    return 2 * np.where(flat, np.log(3) / np.log(2), ratio) - 3


def _finite(x, what: str) -> None:
    if not np.isfinite(x).all():
        raise ValueError(f"{what} have {int((~np.isfinite(x)).sum())} numbers that are not finite; leave them out")
