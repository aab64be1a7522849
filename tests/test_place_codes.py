"""Codes that all realizations share: equal to optimal interpolation, calibrated where the model is true."""

import pytest
import torch

from latentkit import sphere
from latentkit.localization import taper
from latentkit.models.place_codes import PlaceCodes

RNG = torch.Generator().manual_seed(0)
X = torch.nn.functional.normalize(torch.randn(30, 3, generator=RNG), dim=1)
BASIS = torch.randn(30, 4, generator=RNG) * torch.tensor([3.0, 2.0, 1.0, 0.5])


def ensemble(members, times, seed, noise=0.3):
    g = torch.Generator().manual_seed(seed)
    forced = torch.linspace(0, 3, times).sin()
    a = torch.randn(members, times, 4, generator=g)
    return forced + torch.einsum("nk,rtk->rnt", BASIS, a) + noise * torch.randn(members, 30, times, generator=g)


def test_all_codes_are_optimal_interpolation_with_the_ensembles_covariance():
    seen, new, observed = ensemble(5, 20, 1), ensemble(1, 20, 2)[0], torch.arange(0, 30, 3)
    mean, variance = PlaceCodes(seen, X, 30, 2.0).complete(observed, new[observed])
    deviation = (seen - seen.mean(0)).double().movedim(1, 0).reshape(30, -1) * (5 / 4) ** 0.5
    c = deviation @ deviation.T / 100 * (1 + 1 / 5)
    expected = seen.mean(0).double() + c[:, observed] @ torch.linalg.solve(
        c[observed][:, observed], (new - seen.mean(0)).double()[observed]
    )
    torch.testing.assert_close(mean.double(), expected, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(mean[observed], new[observed], atol=1e-4, rtol=1e-4)
    spread = c.diagonal() - (c[:, observed] * torch.linalg.solve(c[observed][:, observed], c[observed]).T).sum(1)
    torch.testing.assert_close(variance[:, 0].double(), spread.clamp_min(0), atol=1e-4, rtol=1e-3)


def test_no_codes_are_optimal_interpolation_with_the_tapered_covariance():
    seen, new, observed = ensemble(5, 20, 1), ensemble(1, 20, 2)[0], torch.arange(0, 30, 3)
    mean, _ = PlaceCodes(seen, X, 0, 1.5).complete(observed, new[observed])
    deviation = (seen - seen.mean(0)).double().movedim(1, 0).reshape(30, -1)
    c = deviation @ deviation.T * taper(sphere.distance(X.double(), X.double()), 1.5)
    weights = c[:, observed] @ torch.linalg.inv(c[observed][:, observed])
    expected = seen.mean(0).double() + weights @ (new - seen.mean(0)).double()[observed]
    torch.testing.assert_close(mean.double(), expected, atol=1e-4, rtol=1e-4)


def test_variance_is_right_where_the_model_is_true():
    seen, new, observed = ensemble(12, 200, 3), ensemble(1, 200, 4)[0], torch.arange(0, 30, 5)
    mean, variance = PlaceCodes(seen, X, 4, 0.5).complete(observed, new[observed])
    hidden = [i for i in range(30) if i % 5]
    ratio = ((new - mean).square() / variance)[hidden].mean().item()
    assert ratio == pytest.approx(1, abs=0.15)
    assert ((new - mean)[hidden].square().mean() < 0.2 * (new - seen.mean(0))[hidden].square().mean()).item()


def test_samples_have_the_covariance_and_persistence_of_the_seen():
    g = torch.Generator().manual_seed(0)
    a = torch.randn(6, 300, 2, generator=g)
    for t in range(1, 300):
        a[:, t] = torch.tensor([0.8, 0.2]) * a[:, t - 1] + (1 - torch.tensor([0.64, 0.04])).sqrt() * a[:, t]
    seen = torch.einsum("nk,rtk->rnt", BASIS[:, :2], a) + 0.3 * torch.randn(6, 30, 300, generator=g)
    model = PlaceCodes(seen, X, 2, 1.0)
    assert model.persistence[:2].tolist() == pytest.approx([0.8, 0.2], abs=0.08)
    draws = model.sample([torch.Generator().manual_seed(i) for i in range(12)])
    assert draws.shape == (12, 30, 300)

    def covariance(y, mean):
        flat = (y - mean).movedim(1, 0).reshape(30, -1)
        return flat @ flat.T / flat.shape[1]

    ours, theirs = covariance(draws, model.mean), covariance(seen, seen.mean(0))
    assert (ours - theirs).norm() < 0.15 * theirs.norm()


@pytest.mark.parametrize(
    ("members", "size", "reach", "words"),
    [(1, 2, 1.0, "two or more"), (3, 31, 1.0, "expected 0 to 30"), (3, 2, 0.0, "above 0")],
)
def test_bad_settings_are_named(members, size, reach, words):
    with pytest.raises(ValueError, match=words):
        PlaceCodes(ensemble(members, 20, 1), X, size, reach)
