"""Spectra keep the variance, EOFs find the rank, autocorrelations the memory that was put in."""

import numpy as np
import pytest
import xarray as xr

from latentkit import cells, spectra


def make(nt=40, ny=6, nx=16, seed=0):
    values = np.random.default_rng(seed).standard_normal((nt, ny, nx))
    lat = (np.arange(ny) + 0.5) * 180 / ny - 90
    coords = {"time": np.arange(nt), "lat": lat, "lon": np.arange(nx) * 360 / nx}
    return xr.DataArray(values, coords, ("time", "lat", "lon"), "tas", {"units": "K"})


@pytest.mark.parametrize("nx", [16, 15])
def test_zonal_spectrum_adds_up_to_the_mean_square(nx):
    a = make(nx=nx) + 3
    w = cells.area_weights(a)
    power = spectra.power_spectrum(a, weights=w)
    assert float(power.sum()) == pytest.approx(float((w * a**2).sum(("lat", "lon")).mean("time")))
    assert power.dims == ("wavenumber",) and power.attrs["units"] == "K2"
    local = spectra.power_spectrum(a, dims=())
    np.testing.assert_allclose(local.sum("wavenumber"), (a**2).mean("lon"))
    np.testing.assert_allclose(local.isel(wavenumber=0), a.mean("lon") ** 2)


def test_waves_stand_where_they_belong():
    a = make()
    x = np.deg2rad(a["lon"])
    wave = (5 + 3 * np.cos(2 * x + 0.4) + np.cos(8 * x) + 0 * a).assign_attrs(a.attrs)
    expected = np.zeros(9)
    expected[[0, 2, 8]] = 25, 9 / 2, 1
    np.testing.assert_allclose(spectra.power_spectrum(wave), expected, atol=1e-12)
    cycle = np.sin(2 * np.pi * a["time"] / 8) + 0 * a
    power = spectra.power_spectrum(cycle, "time")
    assert float(power.sel(frequency=1 / 8)) == pytest.approx(0.5) and float(power.sum()) == pytest.approx(0.5)
    gap = cycle.where((a["lat"] > 0) | (a["time"] > 0))
    assert float(spectra.power_spectrum(gap, "time").sum()) == pytest.approx(0.5)


def test_eofs_of_a_field_of_known_rank():
    # Orthonormal patterns in the area metric and orthonormal series: the variances are those put in.
    a = make(nt=50)
    w = cells.area_weights(a)
    rng = np.random.default_rng(1)
    series = np.linalg.qr(np.column_stack([np.ones(50), rng.standard_normal((50, 3))]))[0][:, 1:]  # no mean
    patterns = np.linalg.qr(rng.standard_normal((w.size, 3)))[0] / np.sqrt(w.values.ravel())[:, None]
    variance = np.array([4.0, 2.0, 0.5])
    values = (np.sqrt(50 * variance) * series) @ patterns.T
    field = a.copy(data=values.reshape(a.shape)) + 7
    found = spectra.eof_variance(field, weights=w, modes=5)
    np.testing.assert_allclose(found, [*(variance / variance.sum()), 0, 0], atol=1e-10)
    assert found.attrs["total"] == pytest.approx(6.5) and found.attrs["total_units"] == "K2"
    assert float((w * field.var("time")).sum()) == pytest.approx(6.5)


@pytest.mark.parametrize("nt", [10, 200])  # fewer and more samples than points
def test_eof_variance_is_that_of_the_singular_values(nt):
    a = make(nt=nt)
    table = a.values.reshape(nt, -1)
    square = np.linalg.svd(table - table.mean(0), compute_uv=False) ** 2
    found = spectra.eof_variance(a)
    np.testing.assert_allclose(found, square[: len(found)] / square.sum(), atol=1e-12)
    members = xr.concat([a, make(nt=nt, seed=1)], "member")
    assert spectra.eof_variance(members, ("member", "time")).sizes["mode"] == min(2 * nt, 96)
    masked = a.where(a["lat"] > 0)
    xr.testing.assert_allclose(spectra.eof_variance(masked), spectra.eof_variance(a.sel(lat=slice(0, None))))


def test_autocorrelation_of_a_cycle_and_of_a_memory():
    a = make(nt=48)
    cycle = np.cos(2 * np.pi * a["time"] / 12) + 0 * a
    np.testing.assert_allclose(spectra.autocorrelation(cycle, [0, 6, 12]).isel(lat=0, lon=0), [1, -1, 1])
    n, phi = 4000, 0.7
    noise = make(nt=n).values
    values = np.empty_like(noise)
    values[0] = noise[0] / np.sqrt(1 - phi**2)
    for t in range(1, n):
        values[t] = phi * values[t - 1] + noise[t]
    red = make(nt=n).copy(data=values)
    found = spectra.autocorrelation(red, [1, 2, 3]).mean(("lat", "lon"))
    np.testing.assert_allclose(found, phi ** np.arange(1, 4), atol=0.01)
    holes = red.where(np.random.default_rng(2).random(red.shape) > 0.3)
    np.testing.assert_allclose(spectra.autocorrelation(holes, [1]).mean(), phi, atol=0.01)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda a: spectra.power_spectrum(a.isel(lon=slice(0, 8))), "full circle of even steps"),
        (lambda a: spectra.power_spectrum(a, "day"), "no dim 'day'"),
        (lambda a: spectra.eof_variance(a.where(a > 0)), "missing in part"),
        (lambda a: spectra.eof_variance(0 * a), "does not vary"),
        (lambda a: spectra.autocorrelation(a, [39]), "expected 0 to 38"),
    ],
)
def test_spectra_say_what_is_wrong(change, words):
    with pytest.raises(ValueError, match=words):
        change(make())


def test_correlation_by_distance_of_a_known_kernel():
    lat, lon = np.linspace(-85, 85, 18), np.arange(0, 360, 10.0)
    grid = [np.deg2rad(v.ravel()) for v in np.meshgrid(lat, lon, indexing="ij")]
    unit = np.stack([np.cos(grid[0]) * np.cos(grid[1]), np.cos(grid[0]) * np.sin(grid[1]), np.sin(grid[0])], 1)
    chord = np.linalg.norm(unit[:, None] - unit, axis=-1)
    lower = np.linalg.cholesky(np.exp(-chord / 0.5) + 1e-9 * np.eye(len(unit)))
    values = (lower @ np.random.default_rng(0).standard_normal((len(unit), 2000))).T.reshape(2000, 18, 36)
    field = xr.DataArray(values, {"lat": lat, "lon": lon}, ("time", "lat", "lon"))
    weights = xr.DataArray(np.cos(np.deg2rad(lat)), {"lat": lat}, ("lat",))
    found = spectra.distance_correlation(field, step=1000.0, weights=weights)
    middle = found["distance"].values / spectra.EARTH
    expected = np.exp(-2 * np.sin(middle / 2) / 0.5)
    ok = found.notnull().values & (middle > 0.2)
    np.testing.assert_allclose(found.values[ok], expected[ok], atol=0.05)
    halves = xr.concat([field.isel(time=slice(0, 1000)), field.isel(time=slice(1000, None))], "draw")
    each = spectra.distance_correlation(halves, step=1000.0, weights=weights)
    assert each.dims == ("draw", "distance")
    alone = spectra.distance_correlation(halves.isel(draw=0), step=1000.0, weights=weights)
    np.testing.assert_allclose(each.isel(draw=0), alone)
    length = spectra.correlation_length(found)
    assert length == pytest.approx(2 * np.arcsin(0.25) * spectra.EARTH, rel=0.1)


def test_white_noise_has_no_length_and_constant_places_do_not_count():
    values = np.random.default_rng(0).standard_normal((200, 6, 12))
    values[:, 2] = 3.0
    coords = {"lat": np.linspace(-75, 75, 6), "lon": np.arange(12) * 30.0}
    found = spectra.distance_correlation(xr.DataArray(values, coords, ("time", "lat", "lon")), step=2000.0)
    assert np.nanmax(abs(found)) < 0.1 and spectra.correlation_length(found) < 1500
    flat = xr.DataArray([0.9, 0.8], {"distance": [500.0, 1500.0]}, ["distance"])
    assert np.isnan(spectra.correlation_length(flat))
