"""A held-out realization never reaches the numbers it is judged by; signal and noise are found in what they made."""

import numpy as np
import pytest
import torch
import xarray as xr

from latentkit import realizations


@pytest.fixture
def ensemble():
    rng = np.random.default_rng(0)
    time = np.arange("2000-01", "2003-01", dtype="datetime64[M]").astype("datetime64[ns]")
    coords = {"member": list("abcd"), "time": time, "lat": [-45.0, 0.0, 45.0], "lon": [0.0, 120.0, 240.0]}
    values = 280 + 5 * rng.normal(size=(4, 36, 3, 3)) + 10 * np.sin(np.arange(36) * np.pi / 6)[None, :, None, None]
    field = xr.DataArray(values, coords, tuple(coords), "tas", {"units": "K", "long_name": "t"})
    return field.assign_coords(forcing=("member", ["all", "all", "none", "none"]), run=("member", list("wxyz")))


@pytest.mark.parametrize("inputs", realizations.INPUTS)
def test_seen_series_do_not_depend_on_the_held_out_member(ensemble, inputs):
    first = realizations.hold_out(ensemble, "b", inputs)
    changed = ensemble.where(ensemble["member"] != "b", 999.0)
    second = realizations.hold_out(changed, "b", inputs)
    assert torch.equal(first.seen, second.seen)
    assert first.seen.shape == (27, 36) and first.unseen.shape == (9, 36)


@pytest.mark.parametrize("inputs", realizations.INPUTS)
def test_restore_is_the_way_back(ensemble, inputs):
    split = realizations.hold_out(ensemble, "b", inputs)
    back = split.restore(split.unseen, unseen=True)
    xr.testing.assert_allclose(back.drop_attrs(), ensemble.sel(member=["b"]).drop_attrs(), rtol=1e-5)
    assert back.attrs["units"] == "K"
    xr.testing.assert_allclose(
        split.restore(split.seen).drop_attrs(), ensemble.drop_sel(member="b").drop_attrs(), rtol=1e-5
    )


def test_anomalies_have_no_climate_left(ensemble):
    split = realizations.hold_out(ensemble, "b", "anomalies")
    series = split.seen.reshape(3, 9, 3, 12)  # member, place, year, month
    assert series.mean((0, 2)).abs().max() < 1e-5


def test_groups_are_words_that_sort_members(ensemble):
    groups = realizations.member_groups(ensemble)
    assert list(groups) == ["forcing"] and groups["forcing"].tolist() == ["all", "all", "none", "none"]


def test_mistakes_are_named(ensemble):
    with pytest.raises(ValueError, match="'z' is not in the ensemble"):
        realizations.hold_out(ensemble, "z", "raw")
    with pytest.raises(ValueError, match="expected one of"):
        realizations.hold_out(ensemble, "a", "anomaly")
    with pytest.raises(ValueError, match="ensemble of 2"):
        realizations.hold_out(ensemble.isel(member=[0, 1]), "a", "raw")
    with pytest.raises(ValueError, match="has 2 members .* and 3 or more are needed"):
        realizations.at_least(3, ensemble.isel(member=[0, 1]))
    assert realizations.at_least(4, ensemble) is ensemble


def test_signal_and_noise_are_found_without_bias():
    rng = np.random.default_rng(0)
    signal = np.sqrt(2.0) * rng.normal(size=(4000, 1))
    values = signal + rng.normal(size=(5, 4000, 40))
    found = realizations.signal_and_noise(xr.DataArray(values, dims=("member", "time", "place")))
    assert [round(float(v.mean()), 1) for v in found] == [2.0, 1.0]
    nothing = realizations.signal_and_noise(xr.DataArray(values - signal, dims=("member", "time", "place")))[0]
    assert abs(float(nothing.mean())) < 0.01


def test_a_climatology_removed_does_not_bias_the_signal():
    rng = np.random.default_rng(1)
    values = np.sqrt(2.0) * rng.normal(size=(1, 8, 500)) + rng.normal(size=(10, 8, 500))  # 8 years of 500 months
    values -= values.mean((0, 1))
    anomalies = xr.DataArray(values.reshape(10, -1), dims=("member", "time"))
    signal, noise = (float(v) for v in realizations.signal_and_noise(anomalies, years=8))
    assert abs(signal - 2) < 0.1 and abs(noise - 1) < 0.05
    assert float(realizations.signal_and_noise(anomalies)[0]) < 1.85


def test_members_that_share_weather_stand_out_from_flipped_signs():
    rng = np.random.default_rng(2)
    time = np.arange("2000-01", "2008-01", dtype="datetime64[M]").astype("datetime64[ns]")
    values = rng.normal(size=(6, 96, 4, 5))
    coords = {"member": range(6), "time": time, "lat": [-60.0, -20.0, 20.0, 60.0], "lon": np.arange(0.0, 360.0, 72.0)}
    field = xr.DataArray(values, coords, tuple(coords))
    weights = xr.ones_like(field.isel(member=0, time=0, drop=True)) / 20
    found = realizations.pair_correlations(field, weights)
    assert found.shape == (15,) and abs(found.mean() + 1 / 5) < 0.01
    null = max(realizations.pair_correlations(field, weights, np.random.default_rng(i)).max() for i in range(20))
    assert found.max() < null + 0.03
    values[1] = 0.7 * values[0] + 0.7 * values[1]
    assert realizations.pair_correlations(field.copy(data=values), weights).max() > null + 0.1
