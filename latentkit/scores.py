"""Scores of labelled fields against labelled fields: errors, spread, CRPS, distances of distributions.

Every score takes and returns DataArrays. `dims` are averaged away, all that there are if None, none if empty: scores
are maps or series as easily as numbers. `weights` (`cells.area_weights`) need not cover all dims and are rescaled to
sum to 1 over the points that count: where nothing is missing, in the forecast or in the truth. Units go along in
attrs. With forecast f, truth y, weights w, members 1 ... m, ensemble mean and unbiased variance s^2 over members:

    mse = sum w (f - y)^2        bias = sum w (f - y)        r2 = 1 - mse / sum w (y - sum w y)^2
    spread = (sum w s^2)^(1/2)   spread-error ratio = ((m + 1) / m)^(1/2) spread / rmse(ensemble mean)           (1)
    crps = mean |f_i - y| - mean |f_i - f_j| / 2, the last mean over all pairs, or over i != j if fair            (2)
    W_p = (integral over q in (0, 1) of |F^-1(q) - G^-1(q)|^p)^(1/p)                                              (3)

(1) is 1 in expectation if the truth could be a member: V. Fortin et al. (2014), Why should ensemble spread match the
RMSE of the ensemble mean? (2): C. A. T. Ferro (2014), Fair scores for ensemble forecasts: the fair form has the
expectation of an infinite ensemble, the other one that of the m members as they are. (3) is the Wasserstein distance
of order p between two distributions on a line; along random lines: N. Bonneel et al. (2015), Sliced and Radon
Wasserstein barycenters of measures.
"""

import re
from collections.abc import Sequence

import numpy as np
import xarray as xr

from latentkit.layout import names

BLOCK = 500_000  # points scored at a time, so that temporaries stay small
LAZY = {"dask": "parallelized", "output_dtypes": [float], "dask_gufunc_kwargs": {"allow_rechunk": True}}


def mse(forecast: xr.DataArray, truth: xr.DataArray, dims: Sequence[str] | None = None, *, weights=None):
    """Return the mean squared error [the field's, squared]."""
    error = weighted_mean(np.square(_difference(forecast, truth)), dims, weights)
    return label(error, "mse", squared(_units(forecast, truth)))


def rmse(forecast: xr.DataArray, truth: xr.DataArray, dims: Sequence[str] | None = None, *, weights=None):
    """Return the root mean squared error [the field's]."""
    return label(np.sqrt(mse(forecast, truth, dims, weights=weights)), "rmse", _units(forecast, truth))


def bias(forecast: xr.DataArray, truth: xr.DataArray, dims: Sequence[str] | None = None, *, weights=None):
    """Return the mean of forecast minus truth [the field's]."""
    return label(weighted_mean(_difference(forecast, truth), dims, weights), "bias", _units(forecast, truth))


def r2(forecast: xr.DataArray, truth: xr.DataArray, dims: Sequence[str] | None = None, *, weights=None):
    """Return the share of the truth's variance over dims that the forecast explains [1]; 1 at best, below 0 at will."""
    square = np.square(_difference(forecast, truth))
    truth = (truth + 0 * square).where(square.notnull())
    variance = weighted_mean(np.square(truth - weighted_mean(truth, dims, weights)), dims, weights)
    return label(1 - weighted_mean(square, dims, weights) / variance, "r2", "1")


def spread(ensemble: xr.DataArray, dims: Sequence[str] | None = None, *, dim: str = "member", weights=None):
    """Return the root of the mean unbiased variance over `dim` [the field's]; a point counts if no member lacks it."""
    _members(ensemble, dim)
    return label(np.sqrt(weighted_mean(_variance(ensemble, dim), dims, weights)), "spread", ensemble.attrs.get("units"))


def spread_error_ratio(
    ensemble: xr.DataArray, truth: xr.DataArray, dims: Sequence[str] | None = None, *, dim: str = "member", weights=None
):
    """Return equation 1 [1]: below 1 the ensemble is overconfident, above 1 it is too wide."""
    m = _members(ensemble, dim)
    error = np.square(_difference(ensemble.mean(dim, skipna=False), truth))
    variance = _variance(ensemble, dim).where(error.notnull())
    ratio = np.sqrt((m + 1) / m * weighted_mean(variance, dims, weights) / weighted_mean(error, dims, weights))
    return label(ratio, "spread_error_ratio", "1")


def crps(
    ensemble: xr.DataArray,
    truth: xr.DataArray,
    dims: Sequence[str] | None = None,
    *,
    fair: bool,
    dim: str = "member",
    weights=None,
):
    """Return the continuous ranked probability score, equation 2 [the field's]; fair must be stated."""
    _members(ensemble, dim, least=2 if fair else 1)
    error = _difference(ensemble, truth)  # the score sees differences alone; this keeps digits
    score = xr.apply_ufunc(_crps, error, kwargs={"fair": fair}, input_core_dims=[[dim]], **LAZY)
    return label(weighted_mean(score, dims, weights), "crps", _units(ensemble, truth), fair=str(fair))


def crps_gaussian(
    mean: xr.DataArray, deviation: xr.DataArray, truth: xr.DataArray, dims: Sequence[str] | None = None, *, weights=None
):
    """Return the CRPS of a Gaussian forecast, equation 2 in closed form [the field's]; |error| where it is certain."""
    import scoringrules

    def score(error, spread):
        certain = spread == 0
        width = np.where(certain, 1, spread)
        return np.where(certain, abs(error), scoringrules.crps_normal(0 * error, error, width, backend="numpy"))

    result = xr.apply_ufunc(score, _difference(mean, truth), deviation, **LAZY)
    return label(weighted_mean(result, dims, weights), "crps", _units(mean, truth))


def coverage(
    mean: xr.DataArray,
    deviation: xr.DataArray,
    truth: xr.DataArray,
    level: float,
    dims: Sequence[str] | None = None,
    *,
    weights=None,
):
    """Return how often the central interval of a Gaussian forecast holds the truth [1]; `level` where it is right.

    level: the interval's probability, between 0 and 1.
    """
    if not 0 < level < 1:
        raise ValueError(f"the level of an interval is {level}; expected a number between 0 and 1")
    from scipy.stats import norm

    error = abs(_difference(mean, truth))
    inside = (error <= norm.ppf((1 + level) / 2) * deviation).where(error.notnull())
    return label(weighted_mean(inside, dims, weights), "coverage", "1", level=level)


def wasserstein(a: xr.DataArray, b: xr.DataArray, dims: Sequence[str], *, order: int = 1):
    """Return the exact distance W_order, equation 3, of the values along dims, at every other point [the field's].

    Each array pools those of dims that it has, so that draws can stand against members; the other dims are shared.
    NaN where any value is missing.
    """
    dims = names(dims)
    pools = [[d for d in x.dims if d in dims] for x in (a, b)]
    if not all(pools) or set(a.dims) - set(dims) != set(b.dims) - set(dims):
        raise ValueError(f"dims {a.dims} and {b.dims} must each hold some of {dims} and else be the same")
    pooled = ["values of a", "values of b"]
    both = [
        x.reset_coords(drop=True).stack({name: pool}, create_index=False).drop_vars(pool, errors="ignore")
        for x, name, pool in zip((a, b), pooled, pools, strict=True)
    ]
    _align(*both)
    result = xr.apply_ufunc(
        _transport, *both, kwargs={"order": order}, input_core_dims=[[pooled[0]], [pooled[1]]], **LAZY
    )
    return label(result, "wasserstein", _units(a, b), order=order)


def pooled_wasserstein(a: xr.DataArray, b: xr.DataArray, *, weights=None, order: int = 1):
    """Return W_order, equation 3, of all values of a and all of b, wherever and whenever they occur [the field's].

    It says whether values are as frequent as they should be, not whether they are in the right place. Missing values
    do not count.
    """
    pair = []
    for x in (a, b):
        if weights is not None:
            _align(x, weights)
        w = xr.ones_like(x, dtype=float) if weights is None else xr.broadcast(weights, x)[0].transpose(*x.dims)
        values, w = x.values.ravel(), w.values.ravel()
        ok = np.isfinite(values)
        order_of = np.argsort(values[ok])
        pair.append((values[ok][order_of].astype(float), np.cumsum(w[ok][order_of])))
    (u, cu), (v, cv) = pair
    cu, cv = cu / cu[-1], cv / cv[-1]
    levels = np.sort(np.concatenate([cu, cv]))
    step = np.diff(levels, prepend=0)
    at = [np.minimum(np.searchsorted(c, levels), len(c) - 1) for c in (cu, cv)]
    distance = (step * np.abs(u[at[0]] - v[at[1]]) ** order).sum() ** (1 / order)
    return label(xr.DataArray(distance), "pooled_wasserstein", _units(a, b), order=order)


def sliced_wasserstein(
    a: xr.DataArray,
    b: xr.DataArray,
    sample: Sequence[str],
    rng: np.random.Generator,
    *,
    projections: int = 200,
    order: int = 2,
    weights=None,
):
    """Return the distance of two sets of fields, by W_order along random directions [the field's].

    sample: dims that count the fields of a set (each array uses those it has); all others span the field. Scaled so
    that moving one set by a field d gives, for order 2 and many projections, the weighted root mean square of d.
    Points missing in every field of both are left out.

    Raises ValueError for points missing in part.
    """
    sample, units, tables = names(sample), _units(a, b), []
    features = [d for d in a.dims if d not in sample]
    if set(features) != {d for d in b.dims if d not in sample} or not all(set(sample) & set(x.dims) for x in (a, b)):
        raise ValueError(f"dims {a.dims} and {b.dims} must differ at most in the sample dims {sample}")
    _align(*(x.isel({d: 0 for d in x.dims if d in sample}, drop=True) for x in (a, b)))
    for x in (a, b):
        first = [d for d in x.dims if d in sample]
        size = int(np.prod([x.sizes[d] for d in first]))
        tables.append(x.transpose(*first, *features).values.reshape(size, -1).astype(float))
    gone = [np.isnan(t) for t in tables]
    used = ~(gone[0].all(0) & gone[1].all(0))
    if any(g[:, used].any() for g in gone):
        raise ValueError(f"{sum(int(g[:, used].sum()) for g in gone)} values are missing in part; fill or select first")
    w = np.ones(used.sum())
    if weights is not None:
        like = a.isel({d: 0 for d in a.dims if d in sample}, drop=True).transpose(*features)
        _align(like, weights)
        w = xr.broadcast(weights, like)[0].transpose(*features).values.ravel()[used]
    theta = rng.standard_normal((used.sum(), projections))
    theta *= np.sqrt(w / w.mean())[:, None] / np.linalg.norm(theta, axis=0)
    along = [(t[:, used] @ theta).T for t in tables]
    distance = (_transport(*along, order=order) ** order).mean() ** (1 / order)
    return label(xr.DataArray(distance), "sliced_wasserstein", units, order=order, projections=projections)


def _crps(error, fair: bool) -> np.ndarray:
    """Return equation 2 of ensembles (..., m) against 0."""
    import scoringrules

    estimator = "pwm" if fair else "qd"  # sorted forms of the two lines of equation 2: no m x m differences
    table = error.reshape(-1, error.shape[-1])
    score = np.empty(len(table))
    for i in range(0, len(table), BLOCK):
        part, zero = table[i : i + BLOCK].astype(float), np.zeros(len(score[i : i + BLOCK]))
        score[i : i + BLOCK] = scoringrules.crps_ensemble(zero, part, estimator=estimator, backend="numpy")
    return score.reshape(error.shape[:-1])


def _transport(a, b, order: int) -> np.ndarray:
    """Return equation 3 of equally weighted values a (..., n) and b (..., m)."""
    missing = np.isnan(a).any(-1) | np.isnan(b).any(-1)
    a, b = np.sort(a, -1), np.sort(b, -1)
    n, m = a.shape[-1], b.shape[-1]
    # Both inverses are constant between the levels i / n and j / m; n m times those are whole numbers.
    levels = np.union1d(np.arange(1, n + 1) * m, np.arange(1, m + 1) * n)
    step = np.diff(levels, prepend=0) / (n * m)
    gap = np.abs(a[..., (levels - 1) // m] - b[..., (levels - 1) // n]).astype(float)
    return np.where(missing, np.nan, (gap**order @ step) ** (1 / order))


def _members(ensemble: xr.DataArray, dim: str, least: int = 2) -> int:
    if dim not in ensemble.dims or ensemble.sizes[dim] < least:
        raise ValueError(f"expected {least} or more along {dim!r}; found {dict(ensemble.sizes)}")
    return ensemble.sizes[dim]


def _variance(ensemble, dim) -> xr.DataArray:
    return ensemble.var(dim, ddof=1, skipna=False)


def _align(*arrays) -> None:
    try:
        xr.align(*arrays, join="exact")
    except ValueError as error:
        raise ValueError(f"coordinates differ; select the same points or regrid first ({error})") from error


def _difference(forecast, truth) -> xr.DataArray:
    _align(forecast, truth)
    _units(forecast, truth)
    return forecast - truth


def weighted_mean(x: xr.DataArray, dims, weights) -> xr.DataArray:
    """Return the weighted mean over dims (all if None) of the points that are there."""
    dims = list(x.dims if dims is None else names(dims))
    if set(dims) - set(x.dims):
        raise ValueError(f"cannot average over {sorted(set(dims) - set(x.dims))}; the dims are {x.dims}")
    if not dims:
        return x
    if weights is None:
        return x.mean(dims, dtype=float)
    _align(x, weights)
    return x.weighted(weights).mean(dims)


def _units(a, b) -> str | None:
    u, v = a.attrs.get("units"), b.attrs.get("units")
    if None not in (u, v) and u != v:
        raise ValueError(f"units differ: {u!r} and {v!r}; convert one of them")
    return u or v


def squared(units: str | None) -> str | None:
    """Return units squared, each symbol's exponent doubled: "mm day-1" becomes "mm2 day-2"."""
    if units is None or units == "1":
        return units
    parts = [re.fullmatch(r"([^\W\d]+)(-?\d+)?", part) for part in units.split()]
    if not all(parts):
        return f"({units})2"
    return " ".join(f"{p[1]}{2 * int(p[2] or 1)}" for p in parts)


def label(x: xr.DataArray, name: str, units: str | None, **attrs) -> xr.DataArray:
    """Return a score under its own name and attributes, not those of the field."""
    x = x.rename(name)
    x.attrs = attrs if units is None else {"units": units, **attrs}
    return x
