"""The points of a sweep: names and values read from text, checked against the notebook and its preset."""

import hashlib
import json
from dataclasses import dataclass
from itertools import product

from latentkit import catalog, presets, provenance
from latentkit.catalog import BadRequest, Notebook


@dataclass(frozen=True)
class Point:
    """Hold one run of a sweep: what is set, as the table shows it and as the notebook takes it.

    inputs: key over code, presets and archive; key: over these and every parameter.
    """

    label: dict
    values: dict
    inputs: str | None
    key: str


def plan(notebook: Notebook, grid: list[tuple[str, str]], fixed: list[tuple[str, str]] = ()) -> list[Point]:
    """Return every point of a grid, checked, in order.

    grid: names with their values, such as [("SEED", "0,1,2"), ("latent_dim", "2,3")]; fixed: names with one value.
    A name is a parameter of the notebook or a field of its preset.

    Raises BadRequest for a name that is neither, with both lists and the nearest, and for a value that does not fit.
    """
    names = [name for name, _ in [*fixed, *grid]]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise BadRequest(f"{', '.join(twice)} is given more than once; give all values of a name in one --grid")
    one = [(name, [_value(notebook, name, text)]) for name, text in fixed]
    many = [(name, _values(notebook, name, text)) for name, text in grid]
    points, inputs = {}, {}
    for values in product(*(choices for _, choices in one + many)):
        label = dict(zip((name for name, _ in one + many), values, strict=True))
        point = _point(notebook, label, inputs)
        points.setdefault(point.key, point)
    return list(points.values())


def grid_key(points: list[Point]) -> str:
    """Return a short key of a sweep: equal for equal grids, whatever the code."""
    text = json.dumps([point.label for point in points], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def cell(value):
    """Return what a table can hold: a plain value, or json for a list or dict."""
    return value if isinstance(value, int | float | str | bool) or value is None else json.dumps(value)


def named(point: Point) -> str:
    """Return a point in words: "SEED=1, latent_dim=2"."""
    return ", ".join(f"{name}={cell(value)}" for name, value in point.label.items())


def _point(notebook: Notebook, label: dict, inputs: dict[str, str | None]) -> Point:
    fields = {name: value for name, value in label.items() if name not in notebook.parameters}
    values = {name: value for name, value in label.items() if name in notebook.parameters}
    if fields:
        values["OVERRIDES"] = {**values.get("OVERRIDES", notebook.parameters.get("OVERRIDES", {})), **fields}
    catalog.check_preset(notebook, values)
    size = str((notebook.parameters | values).get("SIZE", ""))
    if size not in inputs:
        inputs[size] = provenance.inputs_key(notebook.name, size)
    return Point(label, values, inputs[size], catalog.run_key(notebook, values, inputs[size]))


def _fields(notebook: Notebook) -> list[str]:
    known = notebook.paper in presets.PRESETS and "OVERRIDES" in notebook.parameters
    return list(presets.field_names(notebook.paper)) if known else []


def _value(notebook: Notebook, name: str, text: str):
    if name in notebook.parameters:
        return catalog.settle(notebook, {name: text})[name]
    if name in _fields(notebook):
        return catalog.literal(text)
    known = [*notebook.parameters, *_fields(notebook)]
    raise BadRequest(
        f"{notebook.name} has no parameter or preset field {name!r}{catalog.nearest(name, known)} "
        f"Parameters: {', '.join(notebook.parameters)}. Fields: {', '.join(_fields(notebook)) or 'none'}."
    )


def _values(notebook: Notebook, name: str, text: str) -> list:
    """Return the values in "a,b,c"; commas inside brackets part nothing."""
    read = catalog.literal(f"[{text}]")
    if not isinstance(read, list):
        read = text.split(",")
    texts = [value if isinstance(value, str) else json.dumps(value) for value in read]
    if not all(t.strip() for t in texts) or not texts:
        raise BadRequest(f"--grid {name}={text} has an empty value; write {name}=a,b,c")
    return [_value(notebook, name, t.strip()) for t in texts]
