"""Explorers: controls above a picture that is drawn again when one of them moves.

The picture is an image widget whose bytes are replaced. Nothing is captured from standard output, because widgets
that capture stall at random when a notebook is executed without a browser.
"""

import html
import io

import ipywidgets
import numpy as np
from matplotlib.figure import Figure

from latentkit import plots


def explorer(draw, *, figsize=(10.0, 4.0), dpi=100, **controls) -> ipywidgets.VBox:
    """Return controls and the picture they steer.

    draw: called as draw(fig, **values) with a fresh figure and the controls' values; figsize [inches]; controls:
    ipywidgets with a `value`, by the name draw takes it under. An error in draw is shown below the picture, which
    then keeps its last state.
    """
    image = ipywidgets.Image(format="png")
    image.layout.max_width = "100%"
    message = ipywidgets.HTML()

    def render(_=None):
        fig = Figure(figsize=figsize, dpi=dpi, layout="constrained")
        try:
            draw(fig, **{name: control.value for name, control in controls.items()})
            buffer = io.BytesIO()
            fig.savefig(buffer, format="png")
        except Exception as error:  # a widget's callback has no cell to raise into
            message.value = f"<pre>{html.escape(f'{type(error).__name__}: {error}')}</pre>"
        else:
            message.value = ""
            image.value = buffer.getvalue()

    for control in controls.values():
        control.observe(render, "value")
    render()
    return ipywidgets.VBox([ipywidgets.HBox(list(controls.values())), image, message])


def slider(description: str, values) -> ipywidgets.SelectionSlider:
    """Return a slider over given values that answers when let go, starting in the middle."""
    values = list(values)
    shown = [(f"{v:.4g}" if isinstance(v, float) else str(v), v) for v in values]
    return ipywidgets.SelectionSlider(
        description=description, options=shown, value=values[len(values) // 2], continuous_update=False
    )


def menu(description: str, options) -> ipywidgets.Dropdown:
    """Return a menu of options: names, or (name, value) pairs."""
    return ipywidgets.Dropdown(description=description, options=list(options))


def place_controls(field) -> dict:
    """Return sliders `lat` and `lon` over the cells of a field."""
    return {
        "lat": slider("latitude", np.round(field["lat"].values.astype(float), 2).tolist()),
        "lon": slider("longitude", np.round(field["lon"].values.astype(float), 2).tolist()),
    }


def place_explorer(field, rebuilt, codes, background) -> ipywidgets.VBox:
    """Return an explorer of one place of one member: where it lies, its series, its point in the latent space.

    field, rebuilt: DataArrays (member, time, lat, lon) in the same units; codes: (member, lat, lon, mode), two modes
    or more; background: (lat, lon), drawn under the place.
    """
    points = codes.stack(n=("member", "lat", "lon")).transpose("n", "mode").values
    latitude = np.broadcast_to(codes["lat"].values[None, :, None], codes.shape[:3]).ravel()

    def draw(fig, member, lat, lon):
        where = {"member": member, "lat": lat, "lon": lon}
        ax = fig.subplots(1, 3, width_ratios=[1.2, 1.4, 1])
        plots.map_panel(ax[0], background, bar=False, title=f"{lat:.1f} °N, {lon:.1f} °E")
        plots.mark(ax[0], lon, lat)
        here = field.sel(where, method="nearest")
        plots.series_panel(ax[1], here, color="0.4", label=f"member {member}")
        plots.series_panel(ax[1], rebuilt.sel(where, method="nearest"), color="crimson", label="from its latent code")
        ax[1].set_ylabel(f"{field.name} [{here.attrs.get('units', '')}]")
        ax[1].legend(loc="upper right", fontsize=8)
        ax[1].tick_params(axis="x", rotation=30)
        plots.latent_panel(ax[2], points, latitude, kind="tas", label="latitude [°N]", limit=3000)
        spot = codes.sel(where, method="nearest").values
        ax[2].plot(spot[0], spot[1], "o", ms=10, mfc="none", mec="crimson", mew=2)
        ax[2].set_title("its latent code")

    members = menu("member", field["member"].values.tolist())
    return explorer(draw, figsize=(12, 3.6), member=members, **place_controls(field))


def ensemble_explorer(anomalies, ratio) -> ipywidgets.VBox:
    """Return an explorer of what the members of an ensemble share at a place, and what they do not.

    anomalies: DataArray (member, time, lat, lon); ratio: signal-to-noise ratio (lat, lon).
    """

    def draw(fig, lat, lon, smooth):
        ax = fig.subplots(1, 2, width_ratios=[1, 1.6])
        plots.map_panel(ax[0], ratio, kind="ratio", label="signal-to-noise ratio", title=f"{lat:.1f} °N, {lon:.1f} °E")
        plots.mark(ax[0], lon, lat)
        here = anomalies.sel(lat=lat, lon=lon, method="nearest").rolling(time=smooth, center=True).mean()
        here = here.assign_attrs(anomalies.attrs).dropna("time", how="all")
        plots.series_panel(ax[1], here, lines=True, label="ensemble mean: the forced signal")
        ax[1].set_title(f"members (thin), running mean over {smooth} time steps")
        ax[1].legend(loc="upper left", fontsize=8)

    lengths = [n for n in (1, 3, 6, 12, 24) if n < anomalies.sizes["time"] // 2]
    controls = place_controls(anomalies) | {"smooth": menu("smoothing", lengths)}
    return explorer(draw, figsize=(12, 3.6), **controls)


def latent_explorer(clouds: dict, groups: dict, codes: dict) -> ipywidgets.VBox:
    """Return an explorer of latent spaces in three dimensions: which input, colored by what, seen from where.

    clouds: name of an input to codes (n, 3); groups: name of a coloring to (values (n), names or None), as
    `plots.latent_panel` takes them; codes: name of an input to codes (member, place, 3), of which one place can be
    followed through all members.
    """
    places = next(iter(codes.values())).shape[1]

    def draw(fig, space, coloring, angle, place):
        ax = fig.add_subplot(projection="3d")
        values, names = groups[coloring]
        plots.latent_panel(ax, clouds[space], values, label="" if names else coloring, names=names, limit=4000)
        spot = codes[space][:, place].T
        ax.plot(*spot, "k-o", ms=5, lw=0.8, label="one place in all members")
        ax.view_init(25, angle)
        ax.set_title(f"{space}, colored by {coloring}")
        ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=7, markerscale=2)

    controls = {
        "space": menu("input", clouds),
        "coloring": menu("color", groups),
        "angle": slider("angle", range(0, 360, 15)),
        "place": slider("place", range(0, places, max(1, places // 100))),
    }
    return explorer(draw, figsize=(8, 5), **controls)


def anchor_explorer(codes: dict, anchors: dict, latitude, names, told: dict) -> ipywidgets.VBox:
    """Return an explorer of codes tied at anchors: how strongly, at how many, colored by what, seen from where.

    codes: (weight, number of anchors) to codes (member, place, 3); a weight of 0 with any number is the untied space;
    anchors: number to the rows of those places; latitude (place); names: of the members; told: as codes, to a line of
    text for the title.
    """

    def draw(fig, weight, count, coloring, angle):
        key = (weight, count) if (weight, count) in codes else (weight, next(n for w, n in codes if w == weight))
        z, rows = codes[key], anchors[count]
        ax = fig.add_subplot(projection="3d")
        who = np.repeat(np.arange(len(z)), z.shape[1])
        values = (who, names) if coloring == "realization" else (np.tile(latitude, len(z)), None)
        flat = z.reshape(-1, z.shape[-1])
        plots.latent_panel(ax, flat, values[0], names=values[1], kind="tas", label="latitude [°N]", limit=3000)
        for place in rows[:: max(1, len(rows) // 8)]:  # one anchor in all members: a knot where they agree
            ax.plot(*z[:, place].T, "k-o", ms=4, lw=0.8)
        ax.view_init(25, angle)
        ax.set_title(told[key] + "; black: eight anchors, each in all members", fontsize=9)
        if coloring == "realization":
            ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=7, markerscale=2)

    controls = {
        "weight": slider("weight λ", sorted({w for w, _ in codes})),
        "count": slider("anchors", sorted(anchors)),
        "coloring": menu("color", ["realization", "latitude"]),
        "angle": slider("angle", range(0, 360, 15)),
    }
    return explorer(draw, figsize=(8, 5), **controls)


def completion_explorer(truth, guesses: dict, observed) -> ipywidgets.VBox:
    """Return an explorer of a completed realization: a month on the map, and the series of a place with its band.

    truth: DataArray (time, lat, lon); guesses: name of a method to (mean, standard deviation), as truth; observed:
    DataArray (lat, lon) of bools. The band is the central 90 % interval.
    """
    where = observed.stack(n=("lat", "lon"))
    where = where[where.values]
    top, units = float(np.nanpercentile(np.abs(truth), 99)), truth.attrs.get("units", "")

    def draw(fig, method, month, lat, lon):
        mean, deviation = guesses[method]
        left, right = fig.subfigures(1, 2, width_ratios=[1, 1.2])
        ax = left.subplots(2, 1)
        for a, (name, shown) in zip(ax, {"truth": truth, method: mean}.items(), strict=True):
            field = shown.isel(time=month)
            plots.map_panel(a, field, kind="anomaly", low=-top, high=top, title=name, label=units)
            plots.mark(a, lon, lat)
        plots.mark(ax[0], where["lon"].values, where["lat"].values, ms=1.5, mec="k", mew=0.5)
        a = right.subplots()
        here = [x.sel(lat=lat, lon=lon, method="nearest") for x in (truth, mean, deviation)]
        plots.series_panel(a, here[0], color="0.2", label="truth")
        plots.series_panel(a, here[1], color="crimson", label=method)
        band = 1.645 * here[2].values
        a.fill_between(here[1]["time"].values, here[1] - band, here[1] + band, color="crimson", alpha=0.2, lw=0)
        seen = bool(observed.sel(lat=lat, lon=lon, method="nearest"))
        a.set_title(f"{lat:.1f} °N, {lon:.1f} °E: {'observed' if seen else 'not observed'}")
        a.set_ylabel(f"anomaly [{units}]")
        a.legend(loc="upper right", fontsize=8)

    controls = {"method": menu("method", guesses), "month": slider("time step", range(truth.sizes["time"]))}
    return explorer(draw, figsize=(12, 4.6), **controls, **place_controls(truth))
