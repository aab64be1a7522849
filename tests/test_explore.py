"""A control that moves changes the picture; an error in drawing is shown and the picture stays."""

import numpy as np
import xarray as xr

from latentkit import explore


def parts(box):
    controls, image, message = box.children
    return controls.children, image, message


def fields():
    rng = np.random.default_rng(0)
    time = np.arange("2000-01", "2002-01", dtype="datetime64[M]").astype("datetime64[ns]")
    coords = {"member": [0, 1, 2], "time": time, "lat": [-45.0, 0.0, 45.0], "lon": [0.0, 90.0, 180.0, 270.0]}
    attrs = {"units": "K", "long_name": "temperature"}
    return xr.DataArray(rng.normal(size=(3, 24, 3, 4)), coords, tuple(coords), "tas", attrs)


def test_moving_a_control_changes_the_picture_and_back():
    slider = explore.slider("x", range(5))
    (control,), image, _ = parts(explore.explorer(lambda fig, x: fig.subplots().plot([0, x]), x=slider))
    assert control.value == 2
    first = image.value
    control.value = 3
    assert image.value != first and bytes(image.value[:4]) == b"\x89PNG"
    control.value = 2
    assert image.value == first


def test_an_error_is_shown_and_the_picture_stays():
    box = explore.explorer(lambda fig, x: fig.subplots().plot([0, 1 / x]), x=explore.slider("x", [1, 2, 0]))
    (control,), image, message = parts(box)
    first = image.value
    control.value = 0
    assert "ZeroDivisionError" in message.value and image.value == first
    control.value = 1
    assert message.value == ""


def test_no_explorer_captures_output():
    import ipywidgets

    field = fields()
    codes = field.isel(time=[0, 1]).rename(time="mode").transpose("member", "lat", "lon", "mode")
    cloud = {"a": np.random.default_rng(1).normal(size=(36, 3))}
    boxes = [
        explore.place_explorer(field, field, codes, field.isel(member=0, time=0)),
        explore.ensemble_explorer(field, field.isel(member=0, time=0)),
        explore.latent_explorer(cloud, {"value": (np.arange(36), None)}, {"a": cloud["a"].reshape(3, 12, 3)}),
    ]
    for box in boxes:
        controls, image, message = parts(box)
        assert message.value == "" and image.value
        for control in controls:
            assert not isinstance(control, ipywidgets.Output)
            before, old = image.value, control.value
            others = [v for v in control._options_values if v != old]
            if not others:  # a menu of one entry cannot move
                continue
            control.value = others[0]
            assert message.value == "" and image.value != before, control.description
            control.value = old


def moved(box):
    """Move every control in turn to its last option; say whether each changed the picture without an error."""
    controls, image, message = parts(box)
    changed = []
    for control in controls:
        before, image_before = control.value, image.value
        control.index = len(control.options) - 1
        if control.value == before:
            control.index = 0
        changed.append(image.value != image_before and message.value == "")
    return changed


def test_anchor_explorer_answers_every_control():
    z = np.random.default_rng(0).normal(size=(3, 20, 3))
    codes = {(0.0, 4): z, (1.0, 4): z / 2, (1.0, 8): z / 3}
    told = {key: f"setting {key}" for key in codes}
    anchors, latitude = {4: np.arange(4), 8: np.arange(8)}, np.linspace(-80, 80, 20)
    box = explore.anchor_explorer(codes, anchors, latitude, list("abc"), told)
    assert moved(box) == [True] * 4


def test_completion_explorer_answers_every_control():
    truth = fields().isel(member=0, drop=True)
    observed = xr.zeros_like(truth.isel(time=0), dtype=bool)
    observed[1, 2] = True
    guesses = {"one": (truth * 0.5, 0 * truth + 1), "two": (truth * 0.2, 0 * truth + 2)}
    assert moved(explore.completion_explorer(truth, guesses, observed)) == [True] * 4
