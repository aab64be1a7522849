"""Areas add up to the sphere, and means over blocks of cells keep them."""

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from made import ensemble as make

from latentkit import cells


def grid(lat, lon=None):
    lon = np.arange(36) * 10.0 if lon is None else lon
    return xr.DataArray(np.zeros((len(lat), len(lon))), {"lat": lat, "lon": lon}, ("lat", "lon"))


@settings(max_examples=100, deadline=None)
@given(st.sets(st.floats(-90, 90), min_size=1, max_size=9), st.sets(st.floats(0, 359), min_size=1, max_size=9))
def test_area_weights_are_positive_and_sum_to_one(lat, lon):
    lat, lon = sorted(lat), sorted(lon)
    if min([1, *np.diff(lat), *np.diff(lon)]) < 1e-3:
        return
    w = cells.area_weights(grid(lat, lon))
    assert (w > 0).all() and abs(float(w.sum()) - 1) < 1e-12
    xr.testing.assert_allclose(cells.area_weights(grid(lat[::-1], lon)).sortby("lat"), w)


def test_area_weights_are_exact_where_bounds_are_known():
    edges = np.linspace(-90, 90, 37)
    w = cells.area_weights(grid((edges[1:] + edges[:-1]) / 2))
    np.testing.assert_allclose(w.sum("lon"), np.diff(np.sin(np.deg2rad(edges))) / 2, rtol=1e-12)
    with_poles = cells.area_weights(grid(np.linspace(-90, 90, 19))).sum("lon")
    assert float(with_poles[0]) == pytest.approx((1 - np.sin(np.deg2rad(85))) / 2)
    region = cells.area_weights(grid([40.0, 42.0, 44.0], [350.0, 355.0, 0.0, 5.0]))
    exact = np.diff(np.sin(np.deg2rad([39, 41, 43, 45])))
    np.testing.assert_allclose(region.sum("lon"), exact / exact.sum())
    np.testing.assert_allclose(region.sum("lat"), 0.25)  # a region across Greenwich is no gap of 345 degrees
    sorted_region = cells.area_weights(grid([40.0, 42.0, 44.0], [0.0, 5.0, 350.0, 355.0]))
    np.testing.assert_allclose(sorted_region.sum("lat"), 0.25)
    np.testing.assert_allclose(cells.area_weights(grid([12.0])).values, 1 / 36)


def test_area_weights_integrate_smooth_functions_to_second_order():
    # The mean over the sphere of sin(lat)^2 is 1/3, of exp(sin(lat)) it is sinh(1).
    errors = []
    for n in (16, 32, 64, 128):
        lat = (np.arange(n) + 0.5) * 180 / n - 90
        w = cells.area_weights(grid(lat)).sum("lon")
        s = np.sin(np.deg2rad(w["lat"]))
        errors.append([abs(float((w * s**2).sum()) - 1 / 3), abs(float((w * np.exp(s)).sum()) - np.sinh(1))])
    rates = np.log2(np.divide(errors[:-1], errors[1:]))
    assert (rates > 1.9).all()


@pytest.mark.parametrize("n", [32, 64])
def test_area_weights_are_close_to_gaussian_ones(n):
    # Gaussian weights are no areas: the rows at the poles differ by 6 percent, the others by less than 0.2 percent.
    points, gauss = np.polynomial.legendre.leggauss(n)
    w = cells.area_weights(grid(np.rad2deg(np.arcsin(points)))).sum("lon")
    off = abs(w.values / (gauss / 2) - 1)
    assert off.max() < 0.06 and off[1:-1].max() < 0.002


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda: cells.area_weights(make().isel(lat=0, lon=0)), "need lat or lon among the dims"),
        (lambda: cells.area_weights(grid([0.0, 10.0, 5.0])), "sort it"),
        (lambda: cells.area_weights(grid([0.0, 95.0])), "between -90 and 90"),
        (lambda: cells.coarsen(make(), 0), "expected 1 or more"),
    ],
)
def test_grids_say_what_is_wrong(change, words):
    with pytest.raises(ValueError, match=words):
        change()


def test_coarsening_keeps_area_means_and_skips_what_is_missing():
    a = make((2, 3, 8, 12), dtype=np.float64)
    w = cells.area_weights(a)
    coarse = cells.coarsen(a, 4)
    assert coarse.sizes == {"member": 2, "time": 3, "lat": 2, "lon": 3} and coarse.attrs == a.attrs
    assert "forcing" in coarse.coords
    block = w.coarsen(lat=4, lon=4).sum()  # area of each block of fine cells
    np.testing.assert_allclose((coarse * block).sum(("lat", "lon")), (a * w).sum(("lat", "lon")))
    holed = a.where(a["lon"] > 10)
    rest = {"lat": slice(4), "lon": slice(1, 4)}
    expected = (a * w).isel(rest).sum(("lat", "lon")) / w.isel(rest).sum()
    np.testing.assert_allclose(cells.coarsen(holed, 4).isel(lat=0, lon=0), expected)
    assert cells.coarsen(a.where(a["lon"] > 150), 4).isnull().sum() == 2 * 3 * 2
    odd = cells.coarsen(a, 5)
    assert odd.sizes["lat"] == 2 and odd.sizes["lon"] == 3 and odd.notnull().all()
    assert cells.coarsen(a, 1) is a


def test_coarsening_takes_each_variable_of_a_dataset():
    a = make((2, 3, 8, 8))
    both = xr.Dataset({"tas": a, "twice": 2 * a}, attrs={"title": "made"})
    found = cells.coarsen(both, 2)
    xr.testing.assert_identical(found["tas"], cells.coarsen(a, 2))
    assert found.attrs == both.attrs and found["twice"].sizes == found["tas"].sizes
