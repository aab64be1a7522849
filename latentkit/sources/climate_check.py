"""The check of a rebuilt archive: its first days against those that are packaged, by a rule that was measured.

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
from pathlib import Path
from textwrap import fill

import numpy as np
import xarray as xr

from latentkit.sources import archive


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

    out: a folder that `climate_model.build` filled; check: the days to hold it against, by default
    check_days.nc of the archive.

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
