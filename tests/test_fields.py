"""The bridge at its ends: places without a seam, and a real ensemble carried over it and back."""

import torch
import xarray as xr
from made import ensemble as make

from latentkit import fields, normalization


def test_condition_has_no_seam():
    lon = [-180.0, 180.0, 0.0, 359.9]
    a = make((1, 2, 3, 4)).assign_coords(lon=lon, lat=[-90.0, 0.0, 90.0])
    _, layout = fields.pack(a, ("member", "lat", "lon"), ("time",))
    x = fields.condition(layout, dtype=torch.float64).reshape(3, 4, 3)
    torch.testing.assert_close(x.norm(dim=-1), torch.ones(3, 4, dtype=torch.float64))
    torch.testing.assert_close(x[1, 0], x[1, 1])
    torch.testing.assert_close(x[1, 2], torch.tensor([1.0, 0, 0], dtype=torch.float64))
    assert (x[1, 2] - x[1, 3]).norm() < 2e-3
    torch.testing.assert_close(x[2], torch.tensor([0.0, 0, 1], dtype=torch.float64).expand(4, 3))


def test_bridge_carries_a_real_ensemble(shared_data):
    path = shared_data / "pcm-20c-tas-ensemble" / "pcm_b06_tas_annual_8member.nc"
    a = xr.open_dataset(path)["tas"].rename(realization="member").load()
    tensor, layout = fields.pack(a, ("member", "lat", "lon"), ("time",))
    xr.testing.assert_identical(fields.unpack(tensor, layout), a)
    assert set(layout.sample_coords()["forcing"]) == {"all", "natural"}
    stats = normalization.statistics(a, ("member", "time"), members=[0, 1, 2])
    back = normalization.denormalize(normalization.normalize(a, stats), stats)
    assert float(abs(back - a).max()) < 1e-4  # K
