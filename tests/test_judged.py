"""Scores of analyses of columns against those on labelled data, and the choice of a method's number."""

import numpy as np
import pytest
import torch
import xarray as xr

from latentkit import columns, scores
from latentkit.assimilation import judged


@pytest.fixture(scope="module")
def c():
    return columns.split(*columns.open_columns("archive"), most=30)


def test_scores_are_those_of_the_scores(c):
    truth = torch.stack([c.tested[1:4], c.tested[9:12]])
    noise = torch.randn(2, 2, 3, *truth.shape[1:], generator=torch.Generator().manual_seed(0))
    draws = truth[None, :, None] + 0.5 * noise
    found = judged.scored(c, draws, truth)
    dims = ("window", "day", "level", "lat", "lon")
    levels = slice(0, c.levels)
    label = lambda v, d: xr.DataArray((v[..., levels, :, :] * c.scale[levels, None, None]).double().numpy(), dims=d)  # noqa: E731
    a, b = label(draws[1], ("window", "draw", *dims[1:])), label(truth, dims)
    weights, over = xr.DataArray(c.area.double().numpy(), dims=("lat", "lon")), ("window", "day", "lat", "lon")
    expected = {
        "rmse": scores.rmse(a.mean("draw"), b, over, weights=weights),
        "crps": scores.crps(a, b, over, fair=True, dim="draw", weights=weights),
        "ratio": scores.spread_error_ratio(a, b, over, dim="draw", weights=weights),
    }
    for what, values in expected.items():
        assert np.allclose([row[what] for row in found if row["model"] == 1], values.values, rtol=1e-4)
    far = [scores.pooled_wasserstein(a.isel(draw=i, level=0), b.isel(level=0)) for i in range(3)]
    assert found[c.levels]["wasserstein"] == pytest.approx(float(sum(far)) / 3, rel=1e-4)
    assert found[0]["limit"] < found[0]["rmse"]
    single = judged.scored(c, draws[:, :, :1], truth, torch.full(truth.shape[1:], 0.5))
    gauss = scores.crps_gaussian(
        label(draws[0, :, 0], dims), 0.5 * xr.DataArray(c.scale[levels].double().numpy(), dims="level"), b, over,
        weights=weights,
    )  # fmt: skip
    assert np.allclose([row["crps"] for row in single[: c.levels]], gauss.values, rtol=1e-3)


def test_tuning_takes_what_is_best_and_survives_failures(c):
    truth = c.valid[:3][None]

    def make(value):
        if value == 0:
            raise FloatingPointError("no")
        return truth[None, :, None] + value

    found = judged.tuned(c, (0, 1.0, 0.1), truth, make)
    assert found[0] == float("inf") and min(found, key=found.get) == 0.1
