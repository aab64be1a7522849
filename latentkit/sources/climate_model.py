"""The climate model behind the archive: the recipe as code, and the build; `climate_check` compares a rebuild.

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
"""

from importlib import metadata
from pathlib import Path

import numpy as np
import xarray as xr

from latentkit.sources import climate_build, climate_files

VERSION = "3.0.0"  # of jcm
TRUNCATION, LAYERS, TIME_STEP = 21, 8, 40  # total wavenumber, count, min
LAPSE, GAS, GRAVITY = 0.0065, 287.04, 9.80665  # K m-1, J kg-1 K-1, m s-2
RECIPE = (
    f"JAX-GCM (jcm {VERSION}), SPEEDY physics, T{TRUNCATION}, {LAYERS} sigma layers, {TIME_STEP}-minute step; SST: "
    "packaged climatology plus packaged observed monthly anomalies, linear in time"
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
