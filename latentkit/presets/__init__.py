"""Presets: one frozen dataclass a paper, three instances each (quick, teaching, paper), every field stated.

Nothing is inherited between sizes. The source of each value of size `paper` stands beside the field: a section of
the paper, or the word *assumed* where the paper is silent.
"""

import dataclasses
import difflib
import math

from latentkit.presets import lccvae, levda, llaae, slams, start
from latentkit.presets.sizes import SIZES

SIGNED = ("gev_shape",)  # numbers that may be 0 or below; what is made of them says which may not

PRESETS = {
    "start": start.PRESETS,
    "lccvae": lccvae.PRESETS,
    "llaae": llaae.PRESETS,
    "levda": levda.PRESETS,
    "slams": slams.PRESETS,
}


def field_names(slug: str) -> tuple[str, ...]:
    """Return the names that may be overridden in the presets of `slug`."""
    return tuple(f.name for f in dataclasses.fields(_family(slug)[0]) if f.name not in ("slug", "size"))


def preset(slug: str, size: str, **overrides):
    """Return the preset of one paper at one size, with some fields replaced.

    slug: "start" or a paper ("lccvae"); size: "quick", "teaching" or "paper"; overrides: fields by name, of the
    same type as the field they replace (a list is taken where a tuple stands, a whole float where an int stands).

    Raises ValueError for an unknown slug, size or field, naming the nearest, and TypeError for a value that does
    not fit its field.
    """
    family = _family(slug)
    if size not in SIZES:
        raise ValueError(_unknown("size", size, SIZES))
    base = family[SIZES.index(size)]
    names = field_names(slug)
    for name in overrides:
        if name not in names:
            raise ValueError(_unknown(f"field of the {slug} preset", name, names))
    values = {name: _fit(slug, name, getattr(base, name), value) for name, value in overrides.items()}
    for name, value in values.items():
        for number in value if isinstance(value, tuple) else (value,):
            if isinstance(number, int) and number < 1:
                raise ValueError(f"{name} of the {slug} preset is {value}; expected 1 or more")
            if isinstance(number, float) and number <= 0 and name not in SIGNED:
                raise ValueError(f"{name} of the {slug} preset is {value}; expected a number above 0")
        if name == "noise" and isinstance(value, str) and value not in ("learned", "unit"):
            raise ValueError(_unknown("noise", value, ("learned", "unit")))
    return dataclasses.replace(base, **values)


def _family(slug: str) -> tuple:
    if slug not in PRESETS:
        raise ValueError(_unknown("preset", slug, tuple(PRESETS)))
    return PRESETS[slug]


def _unknown(what: str, found: str, known: tuple[str, ...]) -> str:
    near = difflib.get_close_matches(str(found), known, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return f"unknown {what} {found!r}{hint} Known: {', '.join(known)}."


def _fit(slug: str, name: str, old, value):
    """Return `value` in the type of the field it replaces."""
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{name} of the {slug} preset is {value}; expected a finite number")
    if isinstance(old, tuple) and isinstance(value, list | tuple) and value:
        return tuple(_fit(slug, name, old[0], v) for v in value)
    if isinstance(old, float) and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if isinstance(old, int) and isinstance(value, int | float) and not isinstance(value, bool) and value == int(value):
        return int(value)
    if type(value) is type(old):
        return value
    raise TypeError(
        f"{name} of the {slug} preset is a {type(old).__name__} such as {old!r}; found {value!r} "
        f"({type(value).__name__}). Give a value of that type."
    )
