"""The climate model behind the archive: the recipe as code, the build of the archive, and a check of the rebuild.

Model: JAX-GCM 3.0.0 (package `jcm`, extra `gcm`) with the SPEEDY physics of Molteni (2003, Climate Dynamics 20,
175-191) and Kucharski, Molteni and Bracco (2006, Climate Dynamics 26, 79-91): triangular truncation 21 (32 x 64
Gaussian grid), eight sigma layers, steps of 40 minutes, terrain interpolated from the package's T63 file, analytic
ozone. All inputs are files inside the package, so nothing is downloaded.

Forcing: the packaged T30 climatology, month by month, with stamps 14 days after each month's first, linear in between;
to its sea-surface temperature the packaged observed anomaly of the same month is added (zero before 1979).

Members differ only in their start: member i starts from isothermal rest on 1978-07-01 plus 5 i days. Runs go in pieces
of 30 days, each resumed from the last; daily means are kept; what lies before 1979-01-01 is spin-up.

    tas = surface_flux.t0                                    [K]
    pr = 86400 surface_exchange.precipitation                [mm day-1]
    rlut = longwave_rad.ftop, rsds = shortwave_rad.rsds      [W m-2]
    ta = temperature on the eight levels                     [K]
    psl = ps (1 + L z / T0)^(g / (R L)), T0 = T_lowest (1 + 0.05 L R / g)                                  (1)

with ps = 1e5 normalized_surface_pressure [Pa], z the model's orography [m], T_lowest the temperature of the lowest
layer (sigma 0.95) [K], all daily means, and L, R, g below. Over high ground (1) is an extrapolation.

A rebuild on the same processor and versions gives the same bits: the number of threads and an interruption change
nothing. Another processor rounds otherwise, and weather is chaotic. Measured: rms difference over the first ten days,
largest of all runs, of runs whose start is disturbed by 1e-7 of itself (six draws, two members); of runs compiled for
other instruction sets (SSE 4.2, AVX, AVX2, or without optimization, instead of AVX-512; two members); and, to hold
these against, of what is no rebuild: run 1 in the place of run 0, steps of 30 minutes, sea 0.1 K warmer.

                            tas [K]                 psl [Pa]              pr [mm day-1]
        days           1-4      5     10       1-4     5    10       1-4      5     10
    disturbed       0.00004 0.0004  0.020     0.01  0.04   2.0   0.000006  0.018  0.66
    instructions     0.0032 0.0020  0.019     0.16  0.14   2.0     0.0004  0.023  0.66
    run 1 for 0        0.20   0.21   0.24      8.3   9.7    15      0.012  0.063  0.71
    30 minutes        0.055  0.028  0.024       26    13   7.5      0.009  0.084  0.57
    warmer sea        0.063  0.070  0.089      2.0   2.5   4.6      0.010  0.097  0.61

From day 5 on a shower falls here and not there, so later days are compared by statistics only. There the disturbed and
recompiled runs part by at most 0.003 K, 0.05 Pa and 0.016 mm day-1 in the global mean, and by 0.02, 0.004 and 2 per
cent in the standard deviation over the globe. The rule (`ALLOWED`) leaves a factor of about five on all of these
(more on the first days' rain, where one early shower would weigh 0.02 mm day-1).
"""

from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from textwrap import fill

import numpy as np
import xarray as xr

from latentkit.sources import archive, climate_build, climate_files

VERSION = "3.0.0"  # of jcm
TRUNCATION, LAYERS, TIME_STEP = 21, 8, 40  # total wavenumber, count, min
LAPSE, GAS, GRAVITY = 0.0065, 287.04, 9.80665  # K m-1, J kg-1 K-1, m s-2
RECIPE = (
    f"JAX-GCM (jcm {VERSION}), SPEEDY physics, T{TRUNCATION}, {LAYERS} sigma layers, {TIME_STEP}-minute step; SST: "
    "packaged climatology plus packaged observed monthly anomalies, linear in time"
)


@dataclass(frozen=True)
class Allowed:
    """Hold what a variable may differ by, in its units; std is a ratio less one."""

    same: float  # largest difference on any day: about ten steps of float32
    rms: float  # days 1 to EARLY
    mean: float  # of global means, later days
    std: float  # of standard deviations over the globe, later days


EARLY = 4
ALLOWED = {
    "tas": Allowed(same=3e-4, rms=0.02, mean=0.01, std=0.001),
    "psl": Allowed(same=0.1, rms=1.0, mean=0.25, std=0.0002),
    "pr": Allowed(same=1e-4, rms=0.02, mean=0.08, std=0.1),
}
RULE = (
    "rule: same numbers, if no day differs by more than "
    + ", ".join(f"{each.same:g} ({name})" for name, each in ALLOWED.items())
    + f"; same runs on another processor, if days 1 to {EARLY} differ by an rms of at most "
    + ", ".join(f"{each.rms:g}" for each in ALLOWED.values())
    + " and later days by at most "
    + ", ".join(f"{each.mean:g}" for each in ALLOWED.values())
    + " in the global mean and "
    + ", ".join(f"{100 * each.std:g} %" for each in ALLOWED.values())
    + " in the standard deviation; else not the recipe"
)


def sea_level_pressure(ps, lowest, orography):
    """Reduce surface pressure to sea level by equation (1).

    ps (..., y, x) [Pa]; lowest (..., y, x) [K]: temperature of the lowest layer; orography (y, x) [m].
    Return psl (..., y, x) [Pa].
    """
    at_surface = lowest * (1 + 0.05 * LAPSE * GAS / GRAVITY)
    return ps * (1 + LAPSE * orography / at_surface) ** (GRAVITY / (GAS * LAPSE))


def forcing(folder: Path) -> xr.Dataset:
    """Lay out the monthly forcing of January 1978 to December 1995 from the package's files.

    folder: the package's data/bc. Return stl, icec, sst, soilw_am, snowc (lon, lat, time) and alb (lon, lat), latitude
    ascending, time stamps 14 days after each month's first.
    """
    with xr.open_dataset(folder / "t30/clim/forcing.nc") as data:
        climatology = data.drop_vars("lev", errors="ignore").load().sortby("lat")
    with xr.open_dataset(folder / "t30/anom/sea_surface_temperature_anomaly.nc") as data:
        anomaly = data["ssta"].load().sortby("lat")
    months = np.arange("1978-01", "1996-01", dtype="datetime64[M]")
    month_of_year = months.astype(int) % 12
    firsts = months.astype("datetime64[ns]")
    laid = climatology.isel(time=month_of_year).assign_coords(time=firsts)
    added = anomaly.reindex(time=firsts, fill_value=0)  # before 1979: zero
    laid["sst"] = laid["sst"] + added.transpose("lon", "lat", "time").values
    laid = laid.assign_coords(time=firsts + np.timedelta64(14, "D"))
    return laid.transpose("lon", "lat", "time")


class Speedy:
    """Step the recipe's model (a stepper in the sense of `climate_build`)."""

    @staticmethod
    def identity() -> dict:
        """Return the recipe and the versions the numbers depend on.

        Raises ImportError where jcm is missing or of another version.
        """
        remedy = 'in the checkout, pip install -e ".[gcm]"'
        try:
            found = metadata.version("jcm")
        except metadata.PackageNotFoundError:
            raise ImportError(f"the climate model needs the package jcm {VERSION}, which is not installed: "
                              f"{remedy}") from None
        if found != VERSION:
            raise ImportError(f"the recipe is of jcm {VERSION}, and {found} is installed: {remedy}")
        return {"recipe": RECIPE} | {name: metadata.version(name) for name in ("jcm", "dinosaur", "jax", "jaxlib")}

    def __init__(self):
        import jax
        import jcm
        from jcm.forcing import ForcingData
        from jcm.model import Model
        from jcm.physics.speedy.speedy_coords import get_speedy_coords
        from jcm.terrain import TerrainData

        inputs = Path(jcm.__file__).parent / "data" / "bc"  # by name the package would download them
        coords = get_speedy_coords(layers=LAYERS, spectral_truncation=TRUNCATION)
        terrain = TerrainData.from_coords(coords, terrain_file=inputs / "t63/terrain.nc", interpolate=True)
        # the package's default physics is SPEEDY, and a sigma grid has analytic ozone
        self.model = Model(coords=coords, terrain=terrain, time_step=TIME_STEP)
        self.forcing = ForcingData.from_dataset(forcing(inputs), coords=coords, align_mode="by_date_interp",
                                                persist="hold")
        self.lat, self.lon = (np.rad2deg(np.asarray(a)) for a in (coords.horizontal.latitudes,
                                                                 coords.horizontal.longitudes))
        self.level = np.asarray(coords.vertical.centers)
        self.orography = np.asarray(terrain.orog).T
        self.tree = jax.tree_util.tree_structure(self._rest())

    def _rest(self):
        self.model.bootstrap_state()
        return self.model.run_state

    def start(self, member: int) -> dict:
        """Return the state of isothermal rest on the member's first day."""
        from jcm.date import to_datetime

        rest = self._rest().replace(time=to_datetime(str(climate_build.start_date(member))))
        return self._pack(rest)

    def advance(self, state: dict, days: int) -> tuple[dict, dict]:
        """Step on by whole days; return the state reached and the daily means."""
        import jax

        now = jax.tree_util.tree_unflatten(self.tree, [jax.numpy.asarray(state[name]) for name in sorted(state)])
        reached, means = self.model.run_from_state_with_carry(
            now.dynamics, self.forcing, save_interval=1, total_time=days, output_averages=True,
            initial_physics_state=now.physics, initial_time=now.time, initial_step=now.step)
        air, physics = means.dynamics, means.physics

        def turned(values) -> np.ndarray:  # (..., x, y) to (..., y, x)
            return np.swapaxes(np.asarray(values), -1, -2)

        fields = {
            "tas": turned(physics["_surface_flux"].t0),
            "pr": turned(physics["surface_exchange"].precipitation) * 86400,
            "rlut": turned(physics["_longwave_rad"].ftop),
            "rsds": turned(physics["_shortwave_rad"].rsds),
            "ta": turned(air.temperature),
            "psl": sea_level_pressure(turned(air.normalized_surface_pressure) * 1e5, turned(air.temperature)[:, -1],
                                      self.orography),
        }
        return self._pack(reached), {name: values.astype(np.float32) for name, values in fields.items()}

    @staticmethod
    def _pack(run_state) -> dict:
        import jax

        return {f"{i:03d}": np.asarray(leaf) for i, leaf in enumerate(jax.tree_util.tree_leaves(run_state))}


def build(out: Path, members: int, *, days: int | None = None, years: int | None = None, progress: bool = True,
          processes: int = 1, stepper=Speedy) -> list[Path]:
    """Run the model and write the files of the archive; a build that was killed goes on from its last whole piece.

    out: a new or empty folder, or one of a build of this recipe (a longer build goes on from a shorter one).
    members: runs, numbered from 0. days: the first days of each run, as check_days.nc (float32, not packed);
    or years: from 1979 on, as monthly.nc, winter_days.nc (northern half, at most members 0 to 7), column_days.nc
    (member 0) and check_days.nc. progress: whether to say on stderr how far it is. processes: members run side by
    side. stepper: the model's class (see `climate_build`).

    Return the files written. On one core a simulated day takes about 0.35 s, after a minute of compilation.

    Raises ValueError for bad arguments or a folder that holds something else; ImportError without jcm 3.0.0;
    RuntimeError where the model yields values that are not finite.
    """
    plan = climate_build.Plan(members, days, years, processes)
    out = Path(out)
    climate_build.run(out, plan, stepper, progress)
    return climate_files.write(out, plan)


@dataclass(frozen=True)
class Comparison:
    """Hold how a rebuild compares with the archive's check days, and print as a table with a verdict.

    rows: one a variable and day (of the run, from 1): variable, day, largest [units] absolute difference, rms [units],
    correlation [1] in space, mean [units]: absolute difference of global means, std [1]: ratio of the standard
    deviations in space, less one; rms over the members, the others of the worst member.
    verdict: "same numbers", "same runs" or "not the recipe"; why: the reason.
    """

    rows: tuple[dict, ...]
    members: tuple[int, ...]
    verdict: str
    why: str

    def __str__(self) -> str:
        lines = [f"rebuild against check_days.nc, members {', '.join(map(str, self.members))}",
                 f"{'':4}{'day':>4}{'largest':>10}{'rms':>10}{'correlation':>13}{'mean':>10}{'std ratio':>11}  units"]
        for row in self.rows:
            lines.append(f"{row['variable']:4}{row['day']:4d}{row['largest']:10.2g}{row['rms']:10.2g}"
                         f"{row['correlation']:13.7f}{row['mean']:10.2g}{1 + row['std']:11.5f}  {row['units']}")
        return "\n".join([*lines, fill(RULE, 100), f"{self.verdict}: {self.why}"])


def compare(out: Path, check: Path | None = None) -> Comparison:
    """Hold the first days of a build against the archive's, by the rule of this module.

    out: a folder that `build` filled; check: the days to hold it against, by default check_days.nc of the archive.

    Raises FileNotFoundError where there is no check_days.nc; ValueError where the two have no member or day in common,
    or different grids.
    """
    ours = Path(out) / "check_days.nc"
    if check is None:
        archive.verify("check_days.nc")
        check = archive.folder() / "check_days.nc"
    if not ours.is_file():
        raise FileNotFoundError(f"no {ours}: build the days first")
    with xr.open_dataset(ours, engine="netcdf4") as a, xr.open_dataset(check, engine="netcdf4") as b:
        a, b = a.load(), b.load()
    if not all(a[d].shape == b[d].shape and np.allclose(a[d], b[d], atol=1e-3) for d in ("lat", "lon")):
        raise ValueError(f"{ours} is on another grid than {check.name}: {dict(a.sizes)} and {dict(b.sizes)}")
    a, b = xr.align(a, b, join="inner", exclude=("lat", "lon"))  # the last digits of degrees may differ
    if not a.sizes["member"] * a.sizes["day"]:
        raise ValueError(f"{ours} and {check.name} have no member or no day in common")
    weight = np.cos(np.deg2rad(b.lat.values))[:, None] * np.ones(b.lon.size)
    rows = tuple({"variable": name, "day": int(day), "units": b[name].units}
                 | _numbers(a[name].sel(day=day).values.astype(float), b[name].sel(day=day).values.astype(float),
                            weight / weight.sum())
                 for name in ALLOWED for day in b.day.values)
    return Comparison(rows, tuple(b.member.values.tolist()), *_judge(rows))


def _numbers(
    a: np.ndarray,  # (m, y, x)
    b: np.ndarray,  # (m, y, x)
    weight: np.ndarray,  # (y, x) of area, sum 1
) -> dict:
    def mean(values):
        return (values * weight).sum((-2, -1), keepdims=True)

    gap, a0, b0 = a - b, a - mean(a), b - mean(b)
    std_a, std_b = mean(a0**2) ** 0.5, mean(b0**2) ** 0.5
    with np.errstate(invalid="ignore", divide="ignore"):
        none = (std_a == 0) & (std_b == 0)  # the first day of a dry start has no rain anywhere
        correlation = np.where(none, 1, mean(a0 * b0) / (std_a * std_b))
        ratio = np.where(none, 0, std_a / std_b - 1)
    return {"largest": np.abs(gap).max(), "rms": mean(gap**2).mean() ** 0.5, "correlation": correlation.min(),
            "mean": np.abs(mean(gap)).max(), "std": ratio.flat[np.abs(ratio).argmax()]}


def _judge(rows: tuple[dict, ...]) -> tuple[str, str]:
    """Return the verdict of the rule, and why."""
    if all(row["largest"] <= ALLOWED[row["variable"]].same for row in rows):
        exact = "bit for bit" if not any(row["largest"] for row in rows) else "to the rounding of float32"
        return "same numbers", f"every day agrees {exact}"
    for row in rows:
        allowed = ALLOWED[row["variable"]]
        tests = [("rms", allowed.rms)] if row["day"] <= EARLY else [("mean", allowed.mean), ("std", allowed.std)]
        for key, limit in tests:
            if not abs(row[key]) <= limit:
                return "not the recipe", (f"{row['variable']} of day {row['day']}: {key} {row[key]:.3g} where at most "
                                          f"{limit:g} was allowed")
    return "same runs", (f"days 1 to {EARLY} agree within what another processor may change, later ones in their "
                         "statistics")
