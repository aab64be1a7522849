"""The canonical variables, and the conversion of units to theirs.

A unit is read as a product of known words with whole powers ("kg m**-2 s**-1", "W/m^2", "mm/day", "millibars"): its
size in SI and its powers of K, Pa, m, s, kg, J. Two bridges go beyond sizes: 1 kg m-2 of water is 1 mm deep
(density 1000 kg m-3), and a geopotential [m2 s-2] over 9.80665 m s-2 is a geopotential height [m]. An amount
gathered over a time step (mm, m, kg m-2, J m-2) becomes a rate where the step is known to be a day.
"""

import difflib
import re
from dataclasses import dataclass

GRAVITY = 9.80665  # m s-2, standard


@dataclass(frozen=True)
class Variable:
    """Hold one canonical variable: its names, its units, and the range its values can have."""

    name: str
    units: str
    standard_name: str
    long_name: str
    aliases: tuple[str, ...]  # names it has in files
    low: float  # plausible range, in `units`: beyond it the units attribute is not believed
    high: float
    peak: float = 0.0  # the largest value of a field that is not all zero reaches at least this
    negative: tuple[str, ...] = ()  # aliases of opposite sign
    level: bool = False  # has a vertical axis


_ALL = (
    Variable("tas", "K", "air_temperature", "near-surface air temperature",
             ("t2m", "2t", "TREFHT", "T2", "T2M", "tair", "2m_temperature", "tg"), 150, 350),
    Variable("ts", "K", "surface_temperature", "surface temperature", ("TS", "skt", "skin_temperature"), 150, 370),
    Variable("tos", "degC", "sea_surface_temperature", "sea surface temperature",
             ("sst", "SST", "sea_surface_temperature"), -5, 45),
    Variable("psl", "Pa", "air_pressure_at_mean_sea_level", "air pressure reduced to mean sea level",
             ("msl", "slp", "PSL", "prmsl", "mslp", "mean_sea_level_pressure"), 70000, 130000),
    Variable("pr", "mm day-1", "lwe_precipitation_rate", "precipitation",
             ("tp", "precip", "PRECT", "prate", "mtpr", "avg_tprate", "rr", "precipitation", "total_precipitation"),
             -0.5, 5000, peak=0.02),
    Variable("rlut", "W m-2", "toa_outgoing_longwave_flux", "outgoing long-wave radiation at the top of the atmosphere",
             ("olr", "FLUT", "OLR", "ttr", "mtnlwrf", "avg_tnlwrf"), -1, 600, peak=50,
             negative=("ttr", "mtnlwrf", "avg_tnlwrf")),
    Variable("rsds", "W m-2", "surface_downwelling_shortwave_flux_in_air", "surface downwelling short-wave radiation",
             ("ssrd", "FSDS", "msdwswrf", "avg_sdswrf"), -5, 1500, peak=1),
    Variable("rsdt", "W m-2", "toa_incoming_shortwave_flux", "incoming short-wave radiation, top of the atmosphere",
             ("SOLIN", "tisr", "mtdwswrf", "avg_tdswrf"), -5, 1500, peak=1),
    Variable("rsut", "W m-2", "toa_outgoing_shortwave_flux", "outgoing short-wave radiation, top of the atmosphere",
             ("FSUTOA",), -5, 1500, peak=1),
    Variable("gpp", "kg m-2 s-1", "gross_primary_productivity_of_biomass_expressed_as_carbon",
             "gross primary production, as carbon", ("GPP",), -1e-7, 2e-6, peak=1e-12),
    Variable("ta", "K", "air_temperature", "air temperature", ("t", "T", "air", "temp", "temperature"), 80, 370,
             level=True),
    Variable("zg", "m", "geopotential_height", "geopotential height",
             ("z", "Z3", "gh", "hgt", "Z", "geopotential", "geopotential_height"), -2000, 120000, level=True),
)
VARIABLES = {each.name: each for each in _ALL}

_WORDS = {  # word: (size in SI, powers); the first spelling of a line stands for the others in messages
    "k kelvin kelvins degk deg_k degree_kelvin": (1, {"K": 1}),
    "pa pascal pascals": (1, {"Pa": 1}),
    "hpa hectopascal hectopascals mb mbar mbars millibar millibars": (100, {"Pa": 1}),
    "kpa": (1000, {"Pa": 1}),
    "bar": (1e5, {"Pa": 1}),
    "m meter meters metre metres gpm": (1, {"m": 1}),
    "cm": (1e-2, {"m": 1}),
    "mm millimeter millimeters millimetre millimetres": (1e-3, {"m": 1}),
    "km": (1000, {"m": 1}),
    "inch inches in": (0.0254, {"m": 1}),
    "s sec secs second seconds": (1, {"s": 1}),
    "h hr hrs hour hours": (3600, {"s": 1}),
    "d day days": (86400, {"s": 1}),
    "kg": (1, {"kg": 1}),
    "g gc": (1e-3, {"kg": 1}),
    "kgc": (1, {"kg": 1}),
    "w watt watts": (1, {"J": 1, "s": -1}),
    "j joule joules": (1, {"J": 1}),
    "1 dimensionless": (1, {}),
}
_SIZES = {word: value for words, value in _WORDS.items() for word in words.split()}
_CELSIUS = {"c", "degc", "deg_c", "°c", "celsius", "degree_c", "degrees_c", "degree_celsius", "degrees_celsius",
            "deg c", "degrees c", "degree c", "degrees celsius", "degree celsius"}
_ACCEPTED = {
    "K": "K, degC",
    "degC": "degC, K",
    "Pa": "Pa, hPa, mb, millibars",
    "mm day-1": "mm day-1, kg m-2 s-1, m s-1; with daily steps also mm, m, kg m-2",
    "W m-2": "W m-2; with daily steps also J m-2",
    "kg m-2 s-1": "kg m-2 s-1, g m-2 day-1",
    "m": "m, km, gpm, geopotential in m2 s-2",
}


def parse(units: str) -> tuple[float, dict[str, int]]:
    """Return a unit's size in SI and its powers of K, Pa, m, s, kg, J.

    Raises ValueError for a word that is not known.
    """
    size, powers = 1.0, {}
    text = re.sub(r" of water( equivalent)?", "", units.strip().lower())
    text = text.replace("**", "").replace("^", "").replace("per ", "/")
    text = re.sub(r"(\d)([a-z])", r"\1 \2", text)  # m-2s-1
    for i, part in enumerate(text.split("/")):
        for token in re.split(r"[\s*.]+", part.strip()):
            match = re.fullmatch(r"([a-z_°]+|1)([-+]?\d+)?", token)
            if not match or match[1] not in _SIZES:
                raise ValueError(f"{token!r} in the units {units!r} is no unit known here")
            exponent = int(match[2] or 1) * (-1 if i else 1)
            factor, dims = _SIZES[match[1]]
            size *= factor**exponent
            for base, power in dims.items():
                powers[base] = powers.get(base, 0) + power * exponent
    return size, {base: power for base, power in powers.items() if power}


def conversion(units: str, canon: Variable, step_days: float | None) -> tuple[float, float, str]:
    """Return (factor, offset, words) that take values in `units` to the canonical ones; words are "" for no change.

    step_days [day]: the usual distance of two time stamps, None where there is one only.

    Raises ValueError, with what is accepted, for units that cannot be taken there.
    """
    wanted = f"{canon.name} is wanted in {canon.units} and taken in {_ACCEPTED[canon.units]}"
    celsius = units.strip().lower() in _CELSIUS
    if canon.units in ("K", "degC"):
        if not celsius and _parsed(units, wanted) != (1.0, {"K": 1}):
            raise ValueError(f"the units {units!r} are no temperature: {wanted}")
        if celsius == (canon.units == "degC"):
            return 1.0, 0.0, ""
        sign = 1 if celsius else -1
        return 1.0, sign * 273.15, f"{units} to {canon.units} ({'+' if sign > 0 else '-'} 273.15)"
    size, powers = _parsed(units, wanted)
    goal, goal_powers = parse(canon.units)
    said = []
    if canon.name == "pr" and powers.get("kg") == 1:
        size, powers = size / 1000, _times(powers, {"kg": -1, "m": 3})
        said.append("1 kg m-2 of water is 1 mm")
    if canon.name == "zg" and powers == {"m": 2, "s": -2}:
        size, powers = size / GRAVITY, {"m": 1}
        said.append(f"geopotential over {GRAVITY} m s-2")
    if powers == _times(goal_powers, {"s": 1}):  # an amount, not a rate
        size, powers = size / 86400, goal_powers
        said.append(_gathered(units, canon, step_days))
    if powers != goal_powers:
        raise ValueError(f"the units {units!r} cannot be turned into {canon.units}: {wanted}")
    factor = size / goal
    if abs(factor - 1) < 1e-12 and not said:
        return 1.0, 0.0, ""
    return factor, 0.0, f"{units} to {canon.units} (times {factor:.6g}{''.join('; ' + s for s in said)})"


def implausible(low: float, high: float, canon: Variable, units: str) -> str | None:
    """Return why values between low and high [canonical units] are not believed, or None where they are."""
    if low < canon.low or high > canon.high:
        hint = "; is a missing value undeclared?" if low <= -99 < canon.low else ""
        return (f"{canon.name} (units {units!r} in the file) lies between {low:.5g} and {high:.5g} {canon.units} where "
                f"{canon.low:g} to {canon.high:g} is plausible{hint}")
    if 0 < high < canon.peak:
        return (f"{canon.name} (units {units!r} in the file) nowhere exceeds {high:.3g} {canon.units} where at least "
                f"{canon.peak:g} is plausible")
    return None


def nearest(name: str, known) -> str:
    """Return ", nearest: X" for the known name most like `name`, or ""."""
    lower = {str(each).lower(): each for each in known}
    near = difflib.get_close_matches(name.lower(), list(lower), n=1, cutoff=0.4)
    return f", nearest: {lower[near[0]]!r}" if near else ""


def _parsed(units: str, wanted: str) -> tuple[float, dict[str, int]]:
    try:
        return parse(units)
    except ValueError as error:
        raise ValueError(f"{error}: {wanted}") from None


def _times(a: dict[str, int], b: dict[str, int]) -> dict[str, int]:
    out = {base: a.get(base, 0) + b.get(base, 0) for base in a.keys() | b.keys()}
    return {base: power for base, power in out.items() if power}


def _gathered(units: str, canon: Variable, step_days: float | None) -> str:
    if step_days is not None and abs(step_days - 1) < 0.01:
        return "taken as daily totals, since steps are daily"
    monthly_means = step_days is not None and 27 < step_days < 32 and units.strip().lower() in ("m", "j m**-2")
    if monthly_means:  # the spelling of ERA5, whose monthly means are means of daily totals
        return "taken as monthly means of daily totals, as in ERA5"
    every = "one time only" if step_days is None else f"steps of {step_days:.3g} days"
    raise ValueError(f"the units {units!r} are an amount, and with {every} it is not known over how long it was "
                     f"gathered: {canon.name} is wanted in {canon.units}; divide by that time first")
