"""Panels draw what they are given: numbers in the artists equal the data, maps need no network."""

import socket

import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure

from latentkit import plots
from latentkit.models.train import History


def field(units="K", name="tas"):
    lat, lon = np.linspace(-80, 80, 9), np.arange(0, 360, 20.0)
    values = np.add.outer(lat, 0.1 * lon)
    return xr.DataArray(values, {"lat": lat, "lon": lon}, ("lat", "lon"), name, {"units": units, "long_name": "t"})


@pytest.fixture
def offline(monkeypatch):
    def refuse(*_):
        raise OSError("no network in this test")

    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.mark.parametrize("globe", [True, False])
def test_map_is_drawn_offline_with_its_values_and_coastlines(offline, globe):
    fig = Figure()
    ax = plots.map_axes(fig) if globe else fig.subplots()
    mesh = plots.map_panel(ax, field(), low=-50, high=50, title="A map")
    fig.canvas.draw()
    drawn = np.sort(np.ma.compressed(mesh.get_array()))
    assert set(np.unique(field().values)) <= set(drawn)
    assert sum(type(c).__name__ == "LineCollection" for c in ax.collections) == 1
    assert fig.axes[1].get_ylabel() + fig.axes[1].get_xlabel() == "t [K]"
    assert mesh.get_clim() == (-50, 50)


def test_transposed_field_draws_the_same():
    meshes = [plots.map_panel(Figure().subplots(), f, bar=False) for f in (field(), field().transpose())]
    np.testing.assert_array_equal(meshes[0].get_array(), meshes[1].get_array())


def test_anomalies_have_a_scale_symmetric_about_zero():
    mesh = plots.map_panel(Figure().subplots(), field() + 10, kind="anomaly", bar=False)
    low, high = mesh.get_clim()
    assert low == -high


def test_coastlines_of_a_turned_globe_do_not_cross_it():
    import cartopy.crs as ccrs

    turned = ccrs.Robinson(central_longitude=200)
    width = turned.x_limits[1] - turned.x_limits[0]
    assert all(np.abs(np.diff(line[:, 0])).max() < 0.3 * width for line in plots._projected(turned))


def test_a_field_that_is_no_map_is_named():
    with pytest.raises(ValueError, match=r"on \(lat, lon\); found \('time', 'lat', 'lon'\)"):
        plots.map_panel(Figure().subplots(), field().expand_dims("time"))
    with pytest.raises(ValueError, match="no finite value"):
        plots.map_panel(Figure().subplots(), field() * np.nan)


def test_series_panel_draws_mean_and_range():
    time = np.arange("2000-01", "2000-07", dtype="datetime64[M]").astype("datetime64[ns]")
    values = np.arange(18.0).reshape(3, 6)
    series = xr.DataArray(values, {"time": time}, ("member", "time"), attrs={"units": "K", "long_name": "t"})
    ax = Figure().subplots()
    line = plots.series_panel(ax, series)
    np.testing.assert_allclose(line.get_ydata(), values.mean(0))
    band = ax.collections[0].get_paths()[0].vertices[:, 1]
    assert band.min() == 0 and band.max() == 17 and ax.get_ylabel() == "t [K]"


@pytest.mark.parametrize("projection", [None, "3d"])
def test_latent_panel_draws_every_group_or_a_random_part(projection):
    z = np.random.default_rng(0).normal(size=(500, 3))
    ax = Figure().add_subplot(projection=projection)
    drawn = plots.latent_panel(ax, z, np.arange(500) % 4, names=list("abcd"), limit=200, rng=np.random.default_rng(1))
    assert ax.get_legend_handles_labels()[1] == list("abcd")
    assert 190 <= len(drawn.get_offsets()) <= 200 and set(drawn.get_array()) == {0, 1, 2, 3}
    plots.latent_panel(ax, z, z[:, 0], label="z")
    assert len(ax.figure.axes) == 2


def test_curves_and_bars_show_mean_and_spread():
    fig, ax = plt.subplots(1, 4)
    values = np.array([[1.0, 2.0], [3.0, 6.0]])
    plots.curve_panel(ax[0], [0, 1], values)
    np.testing.assert_allclose(ax[0].lines[0].get_ydata(), [2, 4])
    plots.bar_panel(ax[1], ["a", "b"], values)
    assert [bar.get_width() for bar in ax[1].patches] == [2, 4] and len(ax[1].lines) == 2
    plots.training_panel(ax[2], History({"total": values}))
    assert len(ax[2].lines) == 2
    plots.spread_skill_panel(ax[3], [1, 2], [2, 1])
    plots.letter(ax)
    assert [a.texts[-1].get_text() for a in ax] == ["(a)", "(b)", "(c)", "(d)"]
    plt.close(fig)


def test_every_color_table_exists():
    assert all(plots.colors(kind).N for kind in plots.COLORS)


def test_places_panel_fills_the_first_and_colors_by_place():
    ax = Figure().subplots()
    z = np.random.default_rng(0).normal(size=(4, 5, 3))
    plots.places_panel(ax, z, filled=2)
    assert [line.get_marker() for line in ax.lines] == list("oosss")
    np.testing.assert_allclose(ax.lines[3].get_xdata(), z[:, 3, 0])
    assert ax.lines[0].get_color() == ax.lines[2].get_color() != ax.lines[1].get_color()
    assert ax.lines[2].get_markerfacecolor() == "none"


def test_several_places_are_marked_at_once():
    ax = Figure().subplots()
    plots.mark(ax, np.array([10.0, 350.0]), np.array([0.0, 60.0]))
    np.testing.assert_allclose(ax.lines[0].get_ydata(), [0, 60])
    plots.mark(ax, 5.0, 5.0)
    assert len(ax.lines[1].get_xdata()) == 1
