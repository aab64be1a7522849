r"""How the variance of a field is spread: over wavenumbers, frequencies, EOFs and lags.

A series x_0 ... x_{N-1} on a circle or a line of time has the discrete Fourier transform X_k; its power

    P_k = |X_k|^2 / N^2, doubled for 0 < k < N/2, so that sum_k P_k = mean_j x_j^2               (1)

is the share of the mean square at wavenumber or frequency k (Parseval); k = 0 is the squared mean. EOFs are the right
singular vectors of the samples' anomalies, each point scaled by the root of its area; their variances are the squared
singular values, and fractions of the sum do not depend on the grid's density (I. T. Jolliffe 2002, Principal component
analysis, section 14.2.1).
"""

from collections.abc import Sequence

import numpy as np
import xarray as xr

from latentkit import sphere
from latentkit.scores import label, squared, weighted_mean

EARTH = 6371.0  # radius [km]


def power_spectrum(
    field: xr.DataArray, dim: str = "lon", dims: Sequence[str] | None = None, *, weights=None
) -> xr.DataArray:
    """Return the power spectrum along a dim, equation 1, averaged over other dims [the field's, squared].

    dim: "lon" for zonal wavenumbers (dim `wavenumber`), else a dim of even steps such as "time" (dim `frequency`, in
    cycles a step); dims: averaged over, all others if None; weights: such as area weights, of which the sum along
    `dim` is used. A circle or series that lacks a value does not count.

    Raises ValueError if lon is not a full circle of even steps.
    """
    if dim not in field.dims:
        raise ValueError(f"no dim {dim!r} to transform; found {field.dims}")
    n = field.sizes[dim]
    if dim == "lon":
        steps = np.diff(field[dim].values.astype(float))
        if not np.allclose(steps, 360 / n, rtol=1e-3):
            raise ValueError(f"zonal wavenumbers need a full circle of even steps; found {n} steps of {steps[:1]} ...")
        name, labels, attrs = "wavenumber", np.arange(n // 2 + 1), {"units": "1"}
    else:
        name, labels, attrs = "frequency", np.fft.rfftfreq(n), {"units": "1", "long_name": f"cycles a step of {dim}"}

    def power(x):
        p = np.abs(np.fft.rfft(x)) ** 2 / n**2  # (1)
        p[..., 1 : (n + 1) // 2] *= 2
        return p

    field = field.compute().reset_coords(drop=True)
    result = xr.apply_ufunc(power, field, input_core_dims=[[dim]], output_core_dims=[[name]], keep_attrs=False)
    result = result.assign_coords({name: (name, labels, attrs)})
    if weights is not None and dim in weights.dims:
        weights = weights.sum(dim)
    dims = [d for d in field.dims if d != dim] if dims is None else dims
    return label(weighted_mean(result, dims, weights), "power", squared(field.attrs.get("units")))


def eof_variance(
    field: xr.DataArray, sample: Sequence[str] = ("time",), *, modes: int | None = None, weights=None
) -> xr.DataArray:
    """Return the fraction of variance of each EOF [1], largest first, on the dim `mode` counted from 1.

    sample: dims whose mean is taken out, the others span the EOFs; modes: how many to return; weights: area weights.
    The attribute `total` is the weighted mean variance [the field's, squared]. Points missing in all samples are left
    out.

    Raises ValueError for points missing in part.
    """
    sample = [sample] if isinstance(sample, str) else list(sample)
    places = [d for d in field.dims if d not in sample]
    count = int(np.prod([field.sizes[d] for d in sample]))
    table = field.transpose(*sample, *places).values.reshape(count, -1).astype(float)
    gone = np.isnan(table)
    used = ~gone.all(0)
    if gone[:, used].any():
        raise ValueError(f"{int(gone[:, used].sum())} values are missing in part; fill them or select around them")
    w = np.ones(used.sum())
    if weights is not None:
        like = field.isel({d: 0 for d in sample}, drop=True)
        xr.align(like, weights, join="exact")
        w = xr.broadcast(weights, like)[0].transpose(*places).values.ravel()[used]
    table = (table[:, used] - table[:, used].mean(0)) * np.sqrt(w / w.sum() / count)
    # The smaller of the two products has the squared singular values as eigenvalues.
    product = table @ table.T if len(table) <= table.shape[1] else table.T @ table
    variance = np.clip(np.linalg.eigvalsh(product)[::-1], 0, None)
    total = variance.sum()
    if total == 0:
        raise ValueError("the field does not vary over the samples; EOFs need variance")
    result = xr.DataArray(variance / total, {"mode": np.arange(1, len(variance) + 1)}, ["mode"])
    units = squared(field.attrs.get("units"))
    return label(result[:modes], "eof_variance", "1", total=total, **({"total_units": units} if units else {}))


def autocorrelation(field: xr.DataArray, lags: Sequence[int], dim: str = "time") -> xr.DataArray:
    """Return the correlation of the field with itself some steps later [1], at every other point, on the dim `lag`.

    Pearson's correlation of the pairs that are both there, each side with its own mean.
    """
    n, lags = field.sizes[dim], [int(k) for k in lags]
    if min(lags) < 0 or max(lags) > n - 2:
        raise ValueError(f"lags are {lags}; expected 0 to {n - 2} steps of {dim}")

    def at(lag):
        first, later = (field.isel({dim: s}).drop_vars(dim, errors="ignore") for s in (slice(n - lag), slice(lag, n)))
        return xr.corr(first.reset_coords(drop=True), later.reset_coords(drop=True), dim)

    return label(xr.concat([at(k) for k in lags], xr.Variable("lag", lags)), "autocorrelation", "1")


def distance_correlation(
    field: xr.DataArray, sample: Sequence[str] = ("time",), *, step: float = 500.0, weights=None
) -> xr.DataArray:
    """Return the mean correlation of two places by how far apart they are [1], on the dim `distance` [km].

    field: (..., lat, lon); sample: dims over which two places are correlated, about their means (places that are
    constant there do not count); dims that are neither stay; step: width of the bins [km], labelled by their middle;
    weights: of area, a pair weighing the product of its two. Bins without a pair are NaN.
    """
    more = [d for d in field.dims if d not in (*sample, "lat", "lon")]
    table = field.transpose(*more, *sample, "lat", "lon").values.astype(np.float64)
    table = table.reshape(*table.shape[: len(more)], -1, field.sizes["lat"] * field.sizes["lon"])
    lead, table = table.shape[:-2], table.reshape(-1, *table.shape[-2:])
    table = table - table.mean(1, keepdims=True)
    size = np.sqrt(np.square(table).sum(1, keepdims=True))
    used = (size > 0).all((0, 1))  # NaN is not
    table = table[..., used] / size[..., used]
    like = field.isel({d: 0 for d in (*more, *sample)}, drop=True).transpose("lat", "lon")
    w = np.ones(used.size) if weights is None else xr.broadcast(weights, like)[0].transpose("lat", "lon").values.ravel()
    unit = sphere.unit(*(v.values.ravel()[used] for v in xr.broadcast(like["lat"], like["lon"])))
    bins = np.arange(0, np.pi * EARTH + step, step)
    count = len(bins) - 1
    total, mass = np.zeros((len(table), count)), np.zeros(count)
    for i in range(0, len(unit), 512):  # blocks of rows keep the square of all places out of memory
        chord = np.sqrt(np.maximum(2 - 2 * unit[i : i + 512] @ unit[i:].T, 0))
        place = np.minimum((2 * np.arcsin(np.minimum(chord / 2, 1)) * EARTH / step).astype(int), count - 1).ravel()
        pair = np.triu(np.outer(w[used][i : i + 512], w[used][i:]), 1)  # each pair once, no place with itself
        mass += np.bincount(place, pair.ravel(), count)
        for one, values in zip(total, table, strict=True):
            one += np.bincount(place, (pair * (values[:, i : i + 512].T @ values[:, i:])).ravel(), count)
    with np.errstate(invalid="ignore"):
        result = np.where(mass > 0, total / mass, np.nan)
    coords = {"distance": ("distance", (bins[1:] + bins[:-1]) / 2, {"units": "km"})}
    coords |= {d: field[d].variable for d in more if d in field.coords}
    return label(xr.DataArray(result.reshape(*lead, count), coords, [*more, "distance"]), "correlation", "1")


def correlation_length(correlation: xr.DataArray) -> float:
    """Return the distance at which a correlation by distance first falls below 1/e [km], between bins by a line.

    The correlation at distance 0 is 1. NaN where it never falls that low.
    """
    ok = correlation.notnull().values
    far = np.concatenate([[0.0], correlation["distance"].values[ok]])
    values = np.concatenate([[1.0], correlation.values[ok]])
    below = np.flatnonzero(values < np.exp(-1))
    if not below.size:
        return float("nan")
    i = below[0]
    return float(far[i - 1] + (far[i] - far[i - 1]) * (values[i - 1] - np.exp(-1)) / (values[i - 1] - values[i]))
