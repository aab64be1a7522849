"""Scores against closed forms, against other libraries, and by hand."""

import numpy as np
import ot
import pytest
import scipy.stats
import xarray as xr

from latentkit import cells, scores


def make(*sizes, dims=("member", "time", "lat", "lon"), seed=0, units="K"):
    values = np.random.default_rng(seed).standard_normal(sizes)
    coords = {"lat": [-45.0, 0.0, 45.0], "lon": np.arange(4) * 90.0}
    a = xr.DataArray(values, dims=dims, name="tas", attrs={"units": units})
    return a.assign_coords({d: v for d, v in coords.items() if d in dims and len(v) == a.sizes[d]})


def test_errors_by_hand():
    f = xr.DataArray([[1.0, 2.0], [3.0, 5.0]], {"lat": [0.0, 60.0]}, ("lat", "lon"), attrs={"units": "mm day-1"})
    y = xr.DataArray([[0.0, 2.0], [1.0, np.nan]], {"lat": [0.0, 60.0]}, ("lat", "lon"), attrs={"units": "mm day-1"})
    w = xr.DataArray([2.0, 1.0], {"lat": [0.0, 60.0]}, "lat")
    # errors 1, 0, 2 with weights 2, 2, 1; the fourth point is missing
    assert float(scores.mse(f, y, weights=w)) == pytest.approx(6 / 5)
    assert float(scores.rmse(f, y, weights=w)) == pytest.approx((6 / 5) ** 0.5)
    assert float(scores.bias(f, y, weights=w)) == pytest.approx(4 / 5)
    mean = (2 * 0 + 2 * 2 + 1) / 5
    variance = 2 * mean**2 + 2 * (2 - mean) ** 2 + (1 - mean) ** 2
    assert float(scores.r2(f, y, weights=w)) == pytest.approx(1 - 6 / variance)
    np.testing.assert_allclose(scores.mse(f, y, "lon", weights=w), [0.5, 4])
    np.testing.assert_allclose(scores.mse(f, y, ()), [[1, 0], [4, np.nan]])
    assert scores.mse(f, y).attrs["units"] == "mm2 day-2" and scores.bias(f, y).attrs["units"] == "mm day-1"
    assert scores.rmse(f, y).attrs["units"] == "mm day-1" and scores.r2(f, y).attrs["units"] == "1"


def test_weights_are_rescaled_and_float32_is_summed_in_double():
    f, y = make(5, 6, 3, 4), make(5, 6, 3, 4, seed=1)
    w = cells.area_weights(f)
    xr.testing.assert_allclose(scores.mse(f, y, weights=w), scores.mse(f, y, weights=7 * w))
    same = xr.ones_like(w)
    xr.testing.assert_allclose(scores.mse(f, y, weights=same), scores.mse(f, y))
    one = xr.DataArray(np.full(3_000_000, 0.1, np.float32), dims="time")
    assert float(scores.bias(one, 0 * one)) == pytest.approx(np.float32(0.1), rel=1e-12)


def test_r2_of_the_mean_is_zero_and_of_the_truth_one():
    y = make(3, 8, 3, 4)
    w = cells.area_weights(y)
    mean = y.weighted(w).mean() + 0 * y
    assert float(scores.r2(mean, y, weights=w)) == pytest.approx(0, abs=1e-12)
    assert float(scores.r2(y, y, weights=w)) == 1


def test_spread_is_unbiased_and_the_ratio_is_one_for_exchangeable_truth():
    many = make(5, 4000, 3, 4)
    w = cells.area_weights(many)
    assert float(scores.spread(many, weights=w) ** 2) == pytest.approx(1, abs=0.02)
    truth = make(4000, 3, 4, dims=("time", "lat", "lon"), seed=1)
    assert float(scores.spread_error_ratio(many, truth, weights=w)) == pytest.approx(1, abs=0.02)
    assert float(scores.spread_error_ratio(0.5 * many, truth, weights=w)) < 0.6
    assert scores.spread(many, ("lat", "lon"), weights=w).dims == ("time",)
    draws = many.rename(member="draw")
    xr.testing.assert_allclose(scores.spread(draws, dim="draw"), scores.spread(many))


def test_ratio_takes_spread_and_error_at_the_same_points():
    many, truth = make(5, 50, 3, 4), make(50, 3, 4, dims=("time", "lat", "lon"), seed=1)
    wild = many.where(many["lat"] != 0, 1e3 * many)
    masked = truth.where(truth["lat"] != 0)
    expected = scores.spread_error_ratio(many.isel(lat=[0, 2]), truth.isel(lat=[0, 2]))
    xr.testing.assert_allclose(scores.spread_error_ratio(wild, masked), expected)
    lost = many.copy()
    lost[0, 3] = np.nan
    expected = scores.spread_error_ratio(many.drop_isel(time=3), truth.drop_isel(time=3))
    xr.testing.assert_allclose(scores.spread_error_ratio(lost, truth), expected)


def brute_crps(x, y, fair):
    m = len(x)
    pairs = np.abs(x[:, None] - x[None]).sum((0, 1)) / (m * (m - 1) if fair else m * m)
    return np.abs(x - y).mean(0) - pairs / 2


@pytest.mark.parametrize("fair", [True, False])
def test_crps_is_equation_2(fair, monkeypatch):
    monkeypatch.setattr(scores, "BLOCK", 7)
    x = 288 + make(6, 5, 3, 4).astype(np.float32)
    y = 288 + make(5, 3, 4, dims=("time", "lat", "lon"), seed=1).astype(np.float32)
    expected = brute_crps(x.values.astype(float), y.values.astype(float), fair)
    found = scores.crps(x, y, (), fair=fair)
    np.testing.assert_allclose(found, expected, atol=1e-12)
    assert found.attrs == {"units": "K", "fair": str(fair)}
    lazy = scores.crps(x.chunk(member=2, time=2), y, (), fair=fair)
    np.testing.assert_allclose(lazy, expected, atol=1e-12)
    hole = scores.crps(x.where(x["lat"] > 0), y, fair=fair)
    assert float(hole) == pytest.approx(expected[:, 2].mean())


def test_crps_of_a_gaussian_has_its_closed_form():
    # For N(mu, s): s (z (2 Phi(z) - 1) + 2 phi(z) - 1 / sqrt(pi)), z = (y - mu) / s.
    y, mu, s = xr.DataArray([-1.0, 0.0, 2.5], dims="place"), 0.3, 1.7
    z = (y.values - mu) / s
    exact = s * (z * (2 * scipy.stats.norm.cdf(z) - 1) + 2 * scipy.stats.norm.pdf(z) - 1 / np.sqrt(np.pi))
    quantiles = scipy.stats.norm.ppf((np.arange(20_000) + 0.5) / 20_000, mu, s)
    x = xr.DataArray(quantiles, dims="member")
    np.testing.assert_allclose(scores.crps(x, y, (), fair=False), exact, atol=1e-3)
    few = mu + s * make(3, 40_000, dims=("member", "place"))
    y = xr.DataArray(np.full(40_000, 2.5), dims="place")
    assert float(scores.crps(few, y, fair=True)) == pytest.approx(exact[2], abs=0.02)  # fair: three members will do
    assert float(scores.crps(few, y, fair=False)) > exact[2] + 0.2


def test_wasserstein_of_a_shift_is_the_shift():
    a = make(4, 50, 3, 4)
    for order in (1, 2):
        found = scores.wasserstein(a, a + 1.5, ("member", "time"), order=order)
        np.testing.assert_allclose(found, np.full((3, 4), 1.5))
        assert found.dims == ("lat", "lon") and found.attrs["units"] == "K"
        assert float(scores.pooled_wasserstein(a, a - 2, order=order)) == pytest.approx(2)
    sliced = scores.sliced_wasserstein(a, a + 1.5, ("member", "time"), rng(), projections=4000)
    assert float(sliced) == pytest.approx(1.5, rel=0.05)


def rng():
    return np.random.default_rng(5)


@pytest.mark.parametrize(("n", "m"), [(7, 7), (6, 9), (1, 5), (8, 3)])
@pytest.mark.parametrize("order", [1, 2])
def test_wasserstein_agrees_with_other_libraries(n, m, order):
    a, b = make(n, 3, 4, dims=("time", "lat", "lon")), 2 * make(m, 3, 4, dims=("draw", "lat", "lon"), seed=1)
    found = scores.wasserstein(a, b, ("time", "draw"), order=order)
    peer = ot.wasserstein_1d(a.values.reshape(n, -1), b.values.reshape(m, -1), p=order) ** (1 / order)
    np.testing.assert_allclose(found.values.ravel(), peer)
    here = scipy.stats.wasserstein_distance(a[:, 1, 2], b[:, 1, 2])
    assert float(scores.wasserstein(a, b, ("time", "draw"))[1, 2]) == pytest.approx(here)


def test_pooled_wasserstein_agrees_with_scipy_and_ignores_places():
    a, b = make(20, 3, 4, dims=("time", "lat", "lon")), 2 * make(30, 3, 4, dims=("time", "lat", "lon"), seed=1)
    w = cells.area_weights(a)
    peer = scipy.stats.wasserstein_distance(
        a.values.ravel(), b.values.ravel(), np.tile(w.values.ravel(), 20), np.tile(w.values.ravel(), 30)
    )
    assert float(scores.pooled_wasserstein(a, b, weights=w)) == pytest.approx(peer)
    moved = a.roll(lon=2, roll_coords=False)
    assert float(scores.pooled_wasserstein(a, moved, weights=w)) == pytest.approx(0, abs=1e-12)
    assert float(scores.wasserstein(a, moved, "time").mean()) > 0.1
    masked = a.where(a["lat"] > 0)
    assert float(scores.pooled_wasserstein(masked, masked + 1, weights=w)) == pytest.approx(1)


def test_missing_values_make_local_distances_missing():
    a = make(9, 3, 4, dims=("time", "lat", "lon"))
    found = scores.wasserstein(a.where((a["lat"] > 0) | (a["lon"] > 0)), a + 1, "time")
    assert int(found.isnull().sum()) == 2
    np.testing.assert_allclose(found.isel(lon=slice(1, None)), 1)


def test_sliced_wasserstein_sees_what_single_points_cannot():
    # Same distribution at every point, another correlation between points.
    one = make(400, 1, dims=("time", "lon"))
    together = xr.concat([one.isel(lon=0)] * 6, "lon").transpose("time", "lon")
    apart = make(400, 6, dims=("time", "lon"), seed=2)
    fresh = make(400, 6, dims=("time", "lon"), seed=3)
    sliced = [float(scores.sliced_wasserstein(x, fresh, "time", rng())) for x in (together, apart)]
    assert sliced[0] > 3 * sliced[1]
    local = [float(scores.wasserstein(x, fresh, "time", order=2).mean()) for x in (together, apart)]
    assert local[0] < 1.5 * local[1]


def test_sliced_wasserstein_weighs_places_and_repeats():
    a = make(30, 3, 4, dims=("time", "lat", "lon"))
    w = cells.area_weights(a)
    shift = 2 * (a["lat"] == 0)
    moved = a + shift
    found = scores.sliced_wasserstein(a, moved, "time", rng(), projections=5000, weights=w)
    assert float(found) == pytest.approx(float((w * shift**2).sum() ** 0.5), rel=0.05)
    again = scores.sliced_wasserstein(a, moved, "time", rng(), projections=5000, weights=w)
    assert float(found) == float(again)
    land = a["lat"] >= 0
    masked = scores.sliced_wasserstein(a.where(land), moved.where(land), "time", rng(), projections=5000)
    assert float(masked) == pytest.approx(2**0.5, rel=0.05)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda a: scores.mse(a, a.assign_attrs(units="degC")), "units differ: 'K' and 'degC'"),
        (lambda a: scores.mse(a, a.assign_coords(lat=[-44, 0, 45])), "coordinates differ"),
        (lambda a: scores.mse(a, a, "day"), "cannot average over .'day'."),
        (lambda a: scores.mse(a, a, weights=cells.area_weights(a.isel(lat=[0, 1]))), "coordinates differ"),
        (lambda a: scores.spread(a.isel(member=[0])), "expected 2 or more along 'member'"),
        (lambda a: scores.crps(a.isel(member=[0]), a.isel(member=0), fair=True), "expected 2 or more"),
        (lambda a: scores.wasserstein(a, a, "draw"), "must each hold some of"),
        (lambda a: scores.sliced_wasserstein(a, a.isel(lon=0), "time", rng()), "differ at most in the sample dims"),
        (lambda a: scores.sliced_wasserstein(a.where(a > 0), a, "time", rng()), "missing in part"),
    ],
)
def test_scores_say_what_is_wrong(change, words):
    with pytest.raises(ValueError, match=words):
        change(make(3, 5, 3, 4))


def test_crps_wants_fair_stated():
    with pytest.raises(TypeError, match="fair"):
        scores.crps(make(3, 5, 3, 4), make(5, 3, 4, dims=("time", "lat", "lon")))


def test_gaussian_crps_and_coverage_are_those_of_many_draws():
    rng = np.random.default_rng(0)
    mean = xr.DataArray(rng.standard_normal((4, 5)), dims=("lat", "lon"), attrs={"units": "K"})
    deviation = xr.DataArray(rng.uniform(0.5, 2, (4, 5)), dims=("lat", "lon"))
    truth = mean + deviation * rng.standard_normal((4, 5))
    truth.attrs["units"] = "K"
    draws = mean + deviation * xr.DataArray(rng.standard_normal(4000), dims="member")
    closed = scores.crps_gaussian(mean, deviation, truth)
    assert closed.item() == pytest.approx(scores.crps(draws.assign_attrs(units="K"), truth, fair=True).item(), rel=0.02)
    assert closed.attrs["units"] == "K"
    assert scores.crps_gaussian(mean, 0 * deviation, truth).item() == pytest.approx(abs(mean - truth).mean().item())
    many = (mean + deviation * xr.DataArray(rng.standard_normal(4000), dims="time")).assign_attrs(units="K")
    assert scores.coverage(mean, deviation, many, 0.9).item() == pytest.approx(0.9, abs=0.01)
    assert scores.coverage(mean, 2 * deviation, many, 0.9).item() > 0.99


def test_the_level_of_an_interval_is_a_probability():
    x = xr.DataArray([1.0], dims="lat")
    with pytest.raises(ValueError, match="level of an interval is 90"):
        scores.coverage(x, x, x, 90)
