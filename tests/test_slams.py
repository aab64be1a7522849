"""From columns to trained coders and priors, at a size of seconds, and what is asked of priors."""

from types import SimpleNamespace

import pytest
import torch

from latentkit.models import diffusion as df
from latentkit.models import slams
from latentkit.models.denoiser import Denoiser
from latentkit.models.train import generator
from latentkit.presets import preset

P = preset("slams", "quick", coder_widths=(4, 6), published_widths=(3, 3, 3, 3), latent=3, prior_widths=(6, 6))
DATA = {"name": "made", "period": None, "sha256": None}


@pytest.fixture
def made():
    there = torch.ones(4, 8, 16, dtype=torch.bool)
    days = torch.randn(40, 4, 8, 16, generator=torch.Generator().manual_seed(0))
    return SimpleNamespace(train=days, there=there, area=torch.ones(8, 16), levels=3, circular=True)


@pytest.fixture(autouse=True)
def own(tmp_path, monkeypatch):
    monkeypatch.setenv("LATENTKIT_WEIGHTS", str(tmp_path / "weights"))
    (tmp_path / "weights").mkdir()


@pytest.mark.parametrize("published", [False, True])
def test_a_coder_is_found_again(made, published, capsys):
    one, history = slams.coder(made, P, [0, 1], DATA, published=published)
    z = slams.encoded(one, made.train, batch=7)
    assert z.shape == (2, 40, 3, 8, 16) if published else (2, 40, 3, 4, 8)
    assert not published == bool((z.std((1, 3, 4)) - 1).abs().max() < 0.05)  # standardized, to eight bits
    assert slams.decoded(one, z, batch=7).shape == (2, 40, 4, 8, 16)
    again, _ = slams.coder(made, P, [0, 1], DATA, published=published)
    assert "weights of one's own" in capsys.readouterr().out
    assert torch.equal(slams.encoded(again, made.train, batch=7), z)
    assert len(history.values["state"]) > 1


def test_priors_learn_from_latents_and_from_fields(made):
    z = made.train[None, :, :3].expand(2, -1, -1, -1, -1)
    latent, _ = slams.prior(z, P, [0, 1], DATA, kind="latent", circular=True)
    for kind in ("pixel", "long"):
        assert slams.prior(made.train, P, [0, 1], DATA, kind=kind, circular=True)[0].shape == (3, 4, 8, 16)
    assert latent.shape == (3, 3, 8, 16)
    series = slams.drawn(latent, 5, 2, steps=4, rng=[generator(s, "draws") for s in (0, 1)])
    assert series.shape == (2, 2, 5, 3, 8, 16)
    assert series.isfinite().all()
    assert not torch.equal(series[0], series[1])


def test_what_a_prior_misses_of_white_noise():
    """Without a turn the noise is told as for N(0, 1): of x the share sigma^2 is then missed, as nothing can avoid."""
    model = Denoiser((3, 2, 8, 16), (6,), 1, [generator(0, "init")], circular=True)
    for part in (model.last, model.gain.layers[-1]):
        for p in part.parameters():
            p.data.zero_()
    series = torch.randn(1, 200, 2, 8, 16, generator=torch.Generator().manual_seed(0))
    found = slams.missed(model, series, (0.2, 0.5), [generator(0, "noise")], every=2)
    assert torch.allclose(found, torch.tensor([[df.sigma(0.2) ** 2, df.sigma(0.5) ** 2]]), rtol=0.02)


def test_bad_input(made):
    with pytest.raises(ValueError, match="kind is 'fields'; expected one of latent, pixel, long"):
        slams.prior(made.train, P, [0], DATA, kind="fields", circular=True)
    with pytest.raises(ValueError, match="2 days; expected 3 or more"):
        slams.prior(made.train[:2], P, [0], DATA, kind="pixel", circular=True)
