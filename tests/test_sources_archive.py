"""The packaged archive: what it holds, that damage is seen, that weights are entered."""

import json
import shutil

import numpy as np
import pytest
import xarray as xr

from latentkit import sources
from latentkit.sources import archive

COLLECTIONS = {
    "monthly": (("tas", "psl", "pr", "rlut", "rsds"), {"member": 10, "time": 96, "lat": 32, "lon": 64}),
    "winter_days": (("psl", "pr"), {"member": 8, "time": 722, "lat": 16, "lon": 64}),
    "column_days": (("pr", "rlut"), {"member": 1, "time": 1461, "lat": 32, "lon": 64}),
}
UNITS = {"tas": "K", "psl": "Pa", "pr": "mm day-1", "rlut": "W m-2", "rsds": "W m-2", "ta": "K"}


@pytest.fixture
def copied(tmp_path, monkeypatch):
    """Lay out a second archive whose files are links, so that one can be replaced by a damaged one."""
    home = tmp_path / "archive"
    home.mkdir()
    for file in archive.folder().iterdir():
        if file.is_file() and file.name != "manifest.json":
            (home / file.name).symlink_to(file)
    shutil.copy(archive.folder() / "manifest.json", home)
    monkeypatch.setattr(archive, "FOLDER", home)
    return home


def rewrite(file, change):
    content = bytearray(file.read_bytes())
    file.unlink()
    file.write_bytes(change(content))


def flip(content):
    content[len(content) // 2] ^= 1
    return content


@pytest.mark.parametrize("collection", COLLECTIONS)
def test_fields_are_canonical(collection):
    variables, sizes = COLLECTIONS[collection]
    for variable in variables:
        da = sources.open_field(f"archive:{collection}", variable)
        assert dict(da.sizes) == sizes and da.dims == tuple(sizes) and da.dtype == np.float32
        assert da.name == variable and da.attrs["units"] == UNITS[variable]
        assert da.attrs["standard_name"] and da.attrs["long_name"]
        for axis in ("member", "time", "lat", "lon"):
            assert np.all(np.diff(da[axis].values.astype(float)) > 0)
        assert da.lon[0] >= 0 and da.lon[-1] < 360 and np.isfinite(da.values).all()
        if variable == "pr":
            assert da.min() >= 0  # square roots are taken of it
        if variable == "psl":
            assert "extrapolation" in da.attrs["comment"]


def test_columns_are_four_whole_years_on_eight_levels():
    da = archive.open_field("ta", "column_days")
    assert da.dims == ("member", "time", "level", "lat", "lon") and da.sizes["level"] == 8
    assert da.member.values.tolist() == [0] and 0 < da.level[0] < da.level[-1] < 1
    assert str(da.time.values[0])[:10] == "1979-01-01" and str(da.time.values[-1])[:10] == "1982-12-31"
    assert np.all(np.diff(da.time.values) == np.timedelta64(1, "D"))
    lowest = da.isel(level=-1).weighted(archive.fixed().area_weight).mean()
    assert 280 < lowest < 295  # K, the lowest layer near the global surface mean


def test_global_means():
    weight = archive.fixed().area_weight
    assert abs(float(weight.sum()) - 1) < 1e-6
    assert abs(float(archive.open_field("tas").weighted(weight).mean()) - 287) < 0.2  # K
    assert abs(float(archive.open_field("pr").weighted(weight).mean()) - 2.6) < 0.1  # mm day-1


def test_unpacking_agrees_with_xarray():
    with xr.open_dataset(archive.folder() / "monthly.nc") as data:
        for variable in ("tas", "psl", "pr"):
            ours, theirs = archive.open_field(variable).values, data[variable].values
            assert np.abs(ours - theirs).max() <= np.spacing(np.float32(np.abs(theirs).max()))


def test_members_share_a_forced_signal_and_differ_by_their_own_weather():
    tas, fixed = archive.open_field("tas"), archive.fixed()
    months = tas.groupby("time.month")
    anomaly = months - months.mean(("member", "time"))
    forced = anomaly.mean("member").var("time").weighted(fixed.area_weight).mean()
    internal = anomaly.var("member").mean("time").weighted(fixed.area_weight).mean()
    assert abs(forced - 0.24) < 0.01 and abs(internal - 0.35) < 0.01  # K2, as stated by those who made it
    spread = anomaly.std("member").mean("time")
    land = spread.where(fixed.lsm > 0.9).sel(lat=slice(30, 70)).mean()
    ocean = spread.where(fixed.lsm < 0.1).sel(lat=slice(-30, 30)).mean()
    assert land > 4 * ocean  # over oceans tas follows the prescribed temperature


def test_identity_names_collection_period_and_hash():
    found = sources.identity(archive.open_field("tas"))
    entry = archive.manifest()["files"]["monthly.nc"]
    assert found == {"name": "archive:monthly", "period": ["1979-01-01", "1986-12-01"], "sha256": entry["sha256"],
                     "sha256_of": "contents", "variable": "tas"}


def test_manifest_lists_every_file_within_the_limits():
    index = archive.manifest()
    here = {f.name for f in archive.folder().iterdir() if f.is_file()} - {"manifest.json"}
    assert here == set(index["files"])
    assert sum((archive.folder() / name).stat().st_size for name in here) < 60_000_000
    assert sum(entry["bytes"] for entry in index["weights"].values()) <= archive.MOST_WEIGHTS
    for entry in index["files"].values():
        assert entry["what"] and entry["licence"] and entry["source"] and entry["packaging"] and entry["variables"]
    assert {"recipe", "citation"} <= index.keys()
    archive.verify()


def test_coastlines_have_no_segment_along_or_across_the_date_line():
    lines = archive.coastline()
    assert (archive.folder() / "coastline_110m.json").stat().st_size < 150_000
    assert len(lines) > 100 and sum(map(len, lines)) > 5000
    for line in lines:
        assert line.ndim == 2 and line.shape[1] == 2 and len(line) > 1
        assert np.abs(line[:, 0]).max() <= 180 and line[:, 1].min() > -86
        assert np.abs(np.diff(line[:, 0])).max() < 20
        edge = np.abs(line[:, 0]) > 179.99
        assert not np.any(edge[1:] & edge[:-1])


def test_unknown_names_are_answered_with_what_there_is():
    with pytest.raises(ValueError, match=r"no variable 'tass'.*nearest: 'tas'.*monthly: tas, psl, pr, rlut, rsds"):
        archive.open_field("tass")
    with pytest.raises(ValueError, match=r"no variable 'ta' .*'monthly'; open it from 'archive:column_days'"):
        archive.open_field("ta")
    with pytest.raises(ValueError, match=r"no collection 'winter'.*nearest: 'winter_days'"):
        sources.open_field("archive:winter", "psl")
    with pytest.raises(ValueError, match=r"no file 'monthly'.*monthly\.nc"):
        archive.verify("monthly")


@pytest.mark.parametrize("change, words", [
    (flip, "is damaged: sha256 [0-9a-f]{64} was found, [0-9a-f]{64} was expected"),
    (lambda content: content[:20_000], "is damaged.* 20,000 bytes where 30,208 were expected"),
    (lambda content: b"", "is damaged.* 0 bytes where"),
])
def test_a_damaged_file_is_named_with_the_remedy(copied, change, words):
    archive.fixed()
    rewrite(copied / "fixed.nc", change)
    remedy = r".*git checkout -- latentkit/archive/fixed\.nc.*reinstall"
    with pytest.raises(archive.DamagedFileError, match=r"fixed\.nc " + words + remedy):
        archive.fixed()  # seen although the file was good a moment ago
    assert len(archive.coastline()) > 100  # other files still open
    rewrite(copied / "coastline_110m.json", flip)
    with pytest.raises(archive.DamagedFileError, match=r"(?s)fixed\.nc is damaged.*coastline_110m\.json is damaged"):
        archive.verify()


def test_a_damaged_field_is_not_opened(copied):
    rewrite(copied / "monthly.nc", flip)
    with pytest.raises(archive.DamagedFileError, match=r"monthly\.nc is damaged.*Nothing of it is used"):
        sources.open_field("archive", "tas")


def test_a_missing_file_is_named(copied):
    (copied / "winter_days.nc").unlink()
    with pytest.raises(archive.DamagedFileError, match=r"winter_days\.nc is missing.*git checkout"):
        archive.open_field("pr", "winter_days")


def test_an_edited_manifest_is_seen(copied):
    path = copied / "manifest.json"
    index = json.loads(path.read_text())
    index["files"]["fixed.nc"]["sha256"] = "0" * 64
    path.write_text(json.dumps(index))
    with pytest.raises(archive.DamagedFileError, match=r"fixed\.nc is damaged.*0{64} was expected.*manifest\.json"):
        archive.fixed()
    del index["files"]["fixed.nc"]
    path.write_text(json.dumps(index))
    with pytest.raises(archive.DamagedFileError, match=r"manifest\.json has no sound section 'files'"):
        archive.fixed()
    path.write_text('{"files": ')
    with pytest.raises(archive.DamagedFileError, match=r"manifest\.json is not readable.*git checkout"):
        archive.open_field("tas")
    path.unlink()
    with pytest.raises(archive.DamagedFileError, match=r"manifest\.json is missing"):
        archive.coastline()


def test_weights_are_registered_checked_and_renewed(copied):
    file = copied / "weights" / "model_a.safetensors"
    file.parent.mkdir()
    file.write_bytes(b"one")
    with pytest.raises(FileNotFoundError, match="no weights 'model_a'"):
        archive.weights("model_a")
    before = archive.manifest()
    archive.register_weights(file, notebook="11_x", seconds=3.5, size="teaching")
    after = archive.manifest()
    assert archive.weights("model_a") == file == archive.weights("model_a.safetensors")
    entry = after["weights"].pop("model_a")
    assert {k: entry[k] for k in ("bytes", "notebook", "seconds", "size")} == {
        "bytes": 3, "notebook": "11_x", "seconds": 3.5, "size": "teaching"}
    before["weights"].pop("model_a", None)
    assert after == before and not list(copied.glob("*.part"))
    file.write_bytes(b"two")
    with pytest.raises(archive.DamagedFileError, match=r"weights/model_a\.safetensors is damaged"):
        archive.weights("model_a")
    archive.register_weights(file, notebook="11_x", seconds=4.0)
    assert archive.weights("model_a").read_bytes() == b"two"
    archive.verify("weights/model_a.safetensors")


def test_weights_elsewhere_or_too_large_are_refused(copied, tmp_path):
    outside = tmp_path / "model.safetensors"
    outside.write_bytes(b"x")
    with pytest.raises(ValueError, match=r"model\.safetensors is not a \.safetensors file in the archive's folder"):
        archive.register_weights(outside, notebook="11_x", seconds=1)
    (copied / "weights").mkdir()
    large = copied / "weights" / "large.safetensors"
    with large.open("wb") as file:
        file.truncate(archive.MOST_WEIGHTS + 1)
    before = (copied / "manifest.json").read_text()
    with pytest.raises(ValueError, match="holds at most 40,000,000"):
        archive.register_weights(large, notebook="11_x", seconds=1)
    assert (copied / "manifest.json").read_text() == before
