"""The LC-CVAE notebooks on ensembles that are not the packaged one: a real coupled model, and land alone."""

import pytest

from latentkit import catalog, execute
from latentkit.sources import archive, open_field

pytestmark = pytest.mark.notebook


def runs(name: str, tmp_path, source) -> None:
    """Run a notebook at quick on a source; its claims have numbers."""
    outcome = execute.execute(catalog.find(name), tmp_path, {"SIZE": "quick", "SOURCE": str(source)})
    assert outcome.error is None, outcome.error
    assert all(record["data"][0]["name"] == source.name for record in outcome.records.values())
    unknown = {claim["id"] for claim in outcome.claims if claim["ours"] is None}
    assert unknown <= {"lccvae.unstable"}, "only a spread over held-out members wants more runs than this one"


@pytest.mark.parametrize("name", ["12", "13", "14", "15"])
def test_a_coupled_model(name, tmp_path, shared_data):
    runs(name, tmp_path, shared_data / "pcm-20c-tas-ensemble" / "pcm_b06_tas_annual_8member.nc")


@pytest.mark.parametrize("name", ["12", "13", "14", "15"])
def test_land_alone(name, tmp_path):
    field = open_field("archive", "tas").isel(member=slice(5), time=slice(48)).load()
    file = tmp_path / "land.nc"
    field.where(archive.fixed()["lsm"].values > 0.5).rename("tas").to_netcdf(file)
    runs(name, tmp_path, file)
