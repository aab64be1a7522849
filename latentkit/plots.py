"""Panels: each draws labelled data or plain arrays into axes it is given, and returns what a legend or bar needs.

A figure is composed in a notebook; no function here makes one. Maps take cartopy's axes (`map_axes`) or plain ones
in degrees of longitude and latitude (fast, for explorers); coastlines come from the archive and need no network.
"""

import functools
import string
import warnings

import matplotlib as mpl
import numpy as np
from matplotlib.collections import LineCollection

from latentkit.sources import archive

# One color table a variable, and one a kind of quantity derived from any of them.
COLORS = {
    "tas": "cmo.thermal",
    "ta": "cmo.thermal",
    "psl": "cmo.haline",
    "pr": "cmo.rain",
    "rlut": "cmo.solar_r",
    "rsds": "cmo.solar",
    "anomaly": "cmo.balance",
    "spread": "cmo.amp",
    "ratio": "cmo.speed",
    "latent": "cmo.curl",
}
INK = "0.15"
MEMBERS = "tab10"


def colors(kind: str):
    """Return the color table of a variable, or of "anomaly", "spread", "ratio" or "latent"."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of matplotlib's, about how the tables are built
        import cmocean  # noqa: F401, it registers its tables with matplotlib

    return mpl.colormaps[COLORS.get(kind, "viridis")]


def map_axes(fig, rows: int = 1, columns: int = 1, index: int = 1, *, longitude: float = 0.0):
    """Add axes for a world map (Robinson) to a figure or subfigure, at one place of a grid.

    longitude: of the middle of the map [degrees east].
    """
    import cartopy.crs as ccrs

    return fig.add_subplot(rows, columns, index, projection=ccrs.Robinson(central_longitude=longitude))


def map_panel(ax, field, *, kind=None, low=None, high=None, title="", label=None, bar=True):
    """Draw a field on the globe with coastlines; return the mesh.

    ax: from `map_axes`, or plain axes; field: DataArray (lat, lon), longitudes 0 to 360; kind: a key of COLORS, by
    default the field's name; low, high: ends of the color scale, by default the 1st and 99th percentile (symmetric
    about zero for an anomaly or a latent coordinate); label: of the color bar, by default long name and units.

    Raises ValueError for a field that is not on (lat, lon) or has no finite value.
    """
    if set(field.dims) != {"lat", "lon"}:
        raise ValueError(f"a map is drawn from a field on (lat, lon); found {field.dims}; select or average the rest")
    values = np.asarray(field.transpose("lat", "lon"), dtype=float)
    if not np.isfinite(values).any():
        raise ValueError(f"the field {field.name!r} has no finite value to draw")
    kind = kind or field.name
    low, high = _ends(values, low, high, symmetric=kind in ("anomaly", "latent"))
    style = {"cmap": colors(kind), "vmin": low, "vmax": high, "shading": "nearest", "rasterized": True}
    if hasattr(ax, "projection"):
        import cartopy.crs as ccrs

        mesh = ax.pcolormesh(field["lon"], field["lat"], values, transform=ccrs.PlateCarree(), **style)
        ax.set_global()
        lines = _projected(ax.projection)
    else:
        mesh = ax.pcolormesh(field["lon"], field["lat"], values, **style)
        lines = [line + [shift, 0] for line in archive.coastline() for shift in (0.0, 360.0)]
        ax.set(xlim=(0, 360), ylim=(-90, 90), xlabel="longitude [°E]", ylabel="latitude [°N]")
    ax.add_collection(LineCollection(lines, colors=INK, linewidths=0.5))
    ax.set_title(title)
    if bar:
        name = field.attrs.get("long_name", field.name or "")
        text = label if label is not None else f"{name} [{field.attrs.get('units', '')}]"
        outside = {(True, False): "max", (False, True): "min", (True, True): "both", (False, False): "neither"}
        extend = outside[bool(np.nanmax(values) > high), bool(np.nanmin(values) < low)]
        where = "horizontal" if hasattr(ax, "projection") else "vertical"
        ax.figure.colorbar(mesh, ax=ax, orientation=where, shrink=0.8, pad=0.04, extend=extend, label=text)
    return mesh


def mark(ax, lon, lat, **style) -> None:
    """Mark a place, or several (n), on a map panel: lon in 0 to 360 [degrees east], lat [degrees north]."""
    style = {"marker": "o", "ms": 8, "mfc": "none", "mec": "crimson", "mew": 2, "ls": "none"} | style
    if hasattr(ax, "projection"):
        import cartopy.crs as ccrs

        style["transform"] = ccrs.PlateCarree()
    ax.plot(np.atleast_1d(lon), np.atleast_1d(lat), **style)


def latent_panel(ax, z, values, *, kind="latent", label="", names=None, size=3.0, limit=6000, rng=None):
    """Scatter latent codes in two or three dimensions; return the scatter.

    z (n, k): codes, the first two or three coordinates drawn (three where the axes are 3-D); values (n): a number,
    drawn by color, or an integer group where `names` gives a name to each (for a legend); limit: points drawn at most,
    a random choice; rng: numpy generator, which also shuffles the points so that no group hides the others. Three-
    dimensional axes leave out the outermost half percent of each coordinate.
    """
    z, values = np.asarray(z), np.asarray(values)
    keep = (rng or np.random.default_rng(0)).permutation(len(z))[:limit]
    z, values = z[keep], values[keep]
    deep = hasattr(ax, "get_zlim")
    table = mpl.colormaps[MEMBERS] if names is not None else colors(kind)
    style = {"s": size, "linewidths": 0, "alpha": 0.7, "rasterized": True, "cmap": table}
    if deep:
        ends = np.percentile(z[:, :3], [0.5, 99.5], axis=0)
        inside = ((z[:, :3] >= ends[0]) & (z[:, :3] <= ends[1])).all(1)
        z, values = z[inside], values[inside]
    drawn = ax.scatter(*z[:, : 3 if deep else 2].T, c=values % 10 if names is not None else values, **style)
    if names is not None:
        drawn.set_clim(-0.5, 9.5)
        for i, name in enumerate(names):
            ax.scatter(*([np.nan],) * (3 if deep else 2), color=table(i % 10), s=20, label=name)
    elif label:
        bar = ax.figure.colorbar(drawn, ax=ax, shrink=0.7, pad=0.1 if deep else 0.02, label=label)
        bar.solids.set(alpha=1)
    ax.set(xlabel="$z_1$", ylabel="$z_2$")
    if deep:
        ax.set_zlabel("$z_3$", labelpad=-8)
        ax.set(xticklabels=[], yticklabels=[], zticklabels=[])
        ax.tick_params(pad=-4)
        ax.set_box_aspect(None, zoom=1.1)
    return drawn


def places_panel(ax, z, *, filled: int) -> None:
    """Draw the codes of some places in all members, a color a place: the first `filled` as dots, the rest as squares.

    z (member, place, k): the first two coordinates are drawn; no more than ten of each kind tell their colors apart.
    """
    for place in range(z.shape[1]):
        dot = place < filled
        color = mpl.colormaps[MEMBERS](place if dot else place - filled)
        style = {"color": color, "mfc": color if dot else "none", "ms": 5, "ls": "none"}
        ax.plot(z[:, place, 0], z[:, place, 1], "o" if dot else "s", **style)
    ax.set(xlabel="$z_1$", ylabel="$z_2$")


def series_panel(ax, ensemble, *, color="tab:blue", label="", lines=False):
    """Draw the mean of an ensemble of series and the band of its members; return the line of the mean.

    ensemble: DataArray (member, time) or (time); lines: draw each member thinly instead of a band from the lowest
    to the highest.
    """
    time = ensemble["time"].values
    if "member" not in ensemble.dims:
        (line,) = ax.plot(time, ensemble.values, color=color, lw=1.2, label=label)
    else:
        values = ensemble.transpose("member", "time").values
        if lines:
            ax.plot(time, values.T, color=color, lw=0.5, alpha=0.5)
        else:
            ax.fill_between(time, values.min(0), values.max(0), color=color, alpha=0.2, lw=0)
        (line,) = ax.plot(time, values.mean(0), color=color, lw=1.4, label=label)
    ax.set_ylabel(f"{ensemble.attrs.get('long_name', ensemble.name or '')} [{ensemble.attrs.get('units', '')}]")
    ax.margins(x=0)
    return line


def training_panel(ax, history, *, part="total", label="", color=None) -> None:
    """Draw one part of a training's loss over steps, a line a model of the stack."""
    values = history.values[part]  # (rows, s)
    steps = history.every * np.arange(1, len(values) + 1)
    for i, column in enumerate(values.T):
        ax.plot(steps, column, lw=1, color=color, label=label if i == 0 else None)
    ax.set(xlabel="training step", ylabel=part)


def curve_panel(ax, x, values, *, label="", color=None) -> None:
    """Draw the mean over seeds with a band from the lowest to the highest.

    x (n): what is varied; values (seeds, n).
    """
    values = np.asarray(values, dtype=float)
    (line,) = ax.plot(x, values.mean(0), marker="o", ms=4, lw=1.4, label=label, color=color)
    ax.fill_between(x, values.min(0), values.max(0), color=line.get_color(), alpha=0.2, lw=0)


def bar_panel(ax, names, values, *, label="", colors=None) -> None:
    """Draw one horizontal bar a name, the mean over seeds, its number beside it, and a dot for each seed.

    names (n); values (seeds, n); the first name stands on top.
    """
    values = np.asarray(values, dtype=float)
    rows = np.arange(len(names))
    ax.barh(rows, values.mean(0), color=colors or "0.75", height=0.65)
    for row, mean, end in zip(rows, values.mean(0), values.max(0), strict=True):
        ax.annotate(f"{mean:.2g}", (end, row), (6, 0), textcoords="offset points", va="center", fontsize=8)
    ax.margins(x=0.12)
    for seed in values:
        ax.plot(seed, rows, ".", color=INK, ms=4)
    ax.set_yticks(rows, names)
    ax.invert_yaxis()
    ax.set_xlabel(label)


def spread_skill_panel(ax, spread, error, *, label="", color=None) -> None:
    """Draw error against spread, both (n) in one unit, with the line on which they are equal."""
    ax.plot(spread, error, "o", ms=4, label=label, color=color)
    top = 1.05 * max(np.nanmax(spread), np.nanmax(error))
    ax.plot([0, top], [0, top], color="0.6", lw=1, zorder=0)
    ax.set(xlim=(0, top), ylim=(0, top), xlabel="spread", ylabel="error of the mean", aspect="equal")


def letter(axes) -> None:
    """Put panel letters (a), (b), ... at the upper left of axes, in their order."""
    for ax, name in zip(axes, string.ascii_lowercase, strict=False):
        text = ax.text2D if hasattr(ax, "text2D") else ax.text
        text(0.0, 1.02, f"({name})", transform=ax.transAxes, fontweight="bold", ha="right", va="bottom")


def _ends(values, low, high, symmetric):
    found = np.nanpercentile(values, [1, 99])
    if symmetric:
        top = np.abs(found).max()
        found = -top, top
    low, high = found[0] if low is None else low, found[1] if high is None else high
    return (low, high) if high > low else (low - 0.5, low + 0.5)


@functools.lru_cache(maxsize=8)
def _projected(projection) -> list:
    """Return the coastlines in a map's own coordinates, cut where they jump across its edge."""
    import cartopy.crs as ccrs

    lines = []
    for line in archive.coastline():
        points = projection.transform_points(ccrs.PlateCarree(), line[:, 0], line[:, 1])[:, :2]
        jumps = np.abs(np.diff(points[:, 0])) > 0.3 * (projection.x_limits[1] - projection.x_limits[0])
        lines += [piece for piece in np.split(points, np.flatnonzero(jumps) + 1) if len(piece) > 1]
    return lines
