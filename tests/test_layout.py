"""pack and unpack undo each other for any split of dims, any order and any mask; what cannot be packed is named."""

from itertools import permutations

import numpy as np
import pytest
import torch
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from made import DIMS
from made import ensemble as make

from latentkit import fields


@st.composite
def split_fields(draw):
    """Return a field of any order, a split of its dims into samples and features, and a mask of either side."""
    sizes = draw(st.tuples(*[st.integers(1, 4)] * 4))
    a = make(sizes, draw(st.integers(0, 99))).transpose(*draw(st.permutations(DIMS)))
    order, cut = draw(st.permutations(DIMS)), draw(st.integers(0, 4))
    sample, feature = order[:cut], order[cut:]
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    for side in (sample, feature):
        mask = xr.DataArray(rng.random([a.sizes[d] for d in side]) < 0.3, dims=side)
        masked = a.where(~mask)
        a = masked if masked.notnull().any() else a
    return a, tuple(sample), tuple(feature)


@settings(max_examples=150, deadline=None)
@given(split_fields(), st.booleans())
def test_unpack_undoes_pack(split, flatten):
    a, sample, feature = split
    tensor, layout = fields.pack(a, sample, feature, flatten=flatten)
    assert not tensor.isnan().any()
    xr.testing.assert_identical(fields.unpack(tensor, layout), a)
    assert fields.unpack(tensor, layout).dims == a.dims


@settings(max_examples=60, deadline=None)
@given(split_fields())
def test_rows_are_the_samples_they_say_they_are(split):
    a, sample, feature = split
    tensor, layout = fields.pack(a, sample, feature)
    rows, columns = layout.sample_coords(), layout.feature_coords()
    assert all(len(v) == tensor.shape[0] for v in rows.values())
    for n in range(0, tensor.shape[0], 3):
        for p in range(0, tensor.shape[1], 3):
            where = {d: rows[d][n] for d in sample} | {d: columns[d][p] for d in feature}
            assert tensor[n, p] == float(a.sel(where))
    if "member" in sample:
        assert all((m // 10) % 2 == (f == "all") for m, f in zip(rows["member"], rows["forcing"], strict=True))


def test_order_of_samples_and_features_is_the_one_asked_for():
    a = make()
    for sample in permutations(("member", "lat", "lon")):
        tensor, _ = fields.pack(a, sample, ("time",))
        np.testing.assert_array_equal(tensor, a.transpose(*sample, "time").values.reshape(-1, 4))


def test_variables_and_levels_become_channels():
    ta = xr.concat([make(seed=i) for i in range(3)], xr.Variable("level", [0.2, 0.5, 0.9])).rename("ta")
    stack = xr.Dataset({"ta": ta, "pr": make(seed=9).assign_attrs(units="mm day-1")}, attrs={"title": "two"})
    stack = stack.assign_coords(lat_bounds=(("lat", "side"), np.zeros((5, 2))))
    images, layout = fields.pack(stack, ("member", "time"), ("lat", "lon"), channel="level", flatten=False)
    assert images.shape == (12, 4, 5, 6)
    assert layout.channels() == ["ta 0.2", "ta 0.5", "ta 0.9", "pr"]
    np.testing.assert_array_equal(images[:, 3], stack["pr"].values.reshape(12, 5, 6))
    xr.testing.assert_identical(fields.unpack(images, layout), stack)
    table, layout = fields.pack(stack, ("member", "time"), ("lat", "lon"), channel="level")
    assert table.shape == (12, 4, 30)
    xr.testing.assert_identical(fields.unpack(table, layout), stack)
    pair = (make(), make(seed=1).rename("other").transpose("lon", ...))
    table, layout = fields.pack(pair, ("member", "time"), ("lat", "lon"))
    for found, expected in zip(fields.unpack(table, layout), pair, strict=True):
        xr.testing.assert_identical(found, expected)
    images, layout = fields.pack(make(), ("member", "time"), ("lat", "lon"), flatten=False)
    assert images.shape == (12, 1, 5, 6)


def test_a_channel_may_miss_what_another_has():
    ocean = make().where(make()["lon"] > 100)
    both = xr.Dataset({"sst": ocean, "tas": make(seed=1)})
    tensor, layout = fields.pack(both, ("member", "time"), ("lat", "lon"))
    assert tensor.shape == (12, 2, 30) and not tensor.isnan().any()
    assert (tensor[:, ~torch.from_numpy(layout.present)] == 0).all()
    xr.testing.assert_identical(fields.unpack(tensor, layout), both)


def test_ocean_mask_is_dropped_and_restored_for_draws_and_codes():
    a = make()
    a = a.where(a["region"] > 1)
    tensor, layout = fields.pack(a, ("member", "lat", "lon"), ("time",))
    places = int((a["region"] > 1).sum())
    assert tensor.shape == (3 * places, 4)
    draws = fields.unpack(torch.ones(7 * places, 4), layout, member={"draw": range(7)})
    assert draws.dims == ("draw", "time", "lat", "lon") and draws.attrs == a.attrs and "forcing" not in draws.coords
    xr.testing.assert_equal(draws.notnull().all(("draw", "time")), a["region"] > 1)
    codes = fields.unpack(torch.ones(3 * places, 2), layout, feature={"mode": [1, 2]})
    assert codes.dims == ("member", "lat", "lon", "mode") and codes.name is None and not codes.attrs
    assert list(codes["forcing"].values) == ["natural", "all", "natural"]
    mean = fields.unpack(torch.ones(places, 4), layout, member={})
    assert mean.dims == ("time", "lat", "lon") and "member" not in mean.coords
    longer = fields.unpack(torch.ones(3 * places, 9), layout, time={"time": np.arange(9)})
    assert longer.name == "tas" and longer.sizes["time"] == 9
    plain = fields.unpack(torch.ones(5, 4), layout, sample={"draw": np.arange(5)})
    assert plain.dims == ("draw", "time")


def test_replacing_a_dim_that_the_mask_depends_on_is_refused():
    a = make()
    a = a.where((a["member"] > 0) | (a["lat"] > 0))
    tensor, layout = fields.pack(a, ("member", "lat", "lon"), ("time",))
    with pytest.raises(ValueError, match="cannot replace member: other points"):
        fields.unpack(tensor, layout, member={"draw": range(3)})


def test_pack_copies_and_keeps_double_precision():
    a = make(dtype=np.float64)
    tensor, layout = fields.pack(a, DIMS[:2], DIMS[2:], dtype=torch.float64)
    xr.testing.assert_identical(fields.unpack(tensor, layout), a)
    tensor += 1
    back = fields.unpack(tensor.requires_grad_(), layout)
    assert float(abs(back - a - 1).max()) < 1e-12
    half = fields.unpack(*fields.pack(a, DIMS[:2], DIMS[2:], dtype=torch.bfloat16))
    assert half.dtype == np.float32


def test_missing_in_part_is_refused_or_let_through():
    a = make()
    a[1, 2, 3, 4] = np.nan
    with pytest.raises(ValueError, match=r"1 of 360 values .* in 1 samples and 1 features, .*member=10.*time=1979-03"):
        fields.pack(a, ("member", "lat", "lon"), ("time",))
    tensor, layout = fields.pack(a, ("member", "lat", "lon"), ("time",), missing="keep")
    assert tensor.isnan().sum() == 1
    xr.testing.assert_identical(fields.unpack(tensor, layout), a)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda a: fields.pack(a, ("member", "lat"), ("time",)), "left over: .'lon'."),
        (lambda a: fields.pack(a, ("member", "lat", "lon"), ("time", "day")), "absent: .'day'."),
        (lambda a: fields.pack(a, DIMS[:2], DIMS[2:], missing="fill"), "expected 'drop' or 'keep'"),
        (lambda a: fields.pack(a * np.nan, DIMS[:2], DIMS[2:]), "every value is missing"),
        (lambda a: fields.pack(a * np.inf, DIMS[:2], DIMS[2:]), "360 values are infinite"),
        (lambda a: fields.pack((a, a.assign_coords(lat=a["lat"] + 1)), DIMS[:2], DIMS[2:]), "do not share"),
        (lambda a: fields.pack([], DIMS[:2], DIMS[2:]), "no variables"),
        (lambda a: fields.unpack(torch.ones(3, 3), fields.pack(a, DIMS[:2], DIMS[2:])[1]), r"\(3, 3\).*\(12, 30\)"),
        (lambda a: fields.unpack(a, fields.pack(a, DIMS[:2], DIMS[2:])[1], day={}), "cannot replace .'day'."),
        (lambda a: fields.condition(fields.pack(a, DIMS[:2], DIMS[2:])[1]), "needs lat and lon"),
    ],
)
def test_pack_says_what_is_wrong(change, words):
    with pytest.raises(ValueError, match=words):
        change(make())
