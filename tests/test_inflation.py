"""Spread given back: the mean stays, the spread is the one asked for, whichever method made the analysis."""

import pytest
import torch

from latentkit.assimilation import drivers, enkf, ienks
from latentkit.assimilation.ensf import EnSF
from latentkit.assimilation.etkf import Local, etkf
from latentkit.assimilation.inflation import added, relaxed
from latentkit.assimilation.observations import Observations

G = torch.Generator().manual_seed(0)
DOUBLE = {"dtype": torch.double}
E = torch.randn(2, 20, 4, generator=G, **DOUBLE)
OBS = Observations(torch.ones(2), torch.zeros(2, 1), torch.arange(2), torch.ones(2, **DOUBLE), torch.ones(2, **DOUBLE))
METHODS = {
    "etkf": etkf,
    "perturbed": enkf.perturbed,
    "local": Local(torch.tensor([[0.0, 1], [1, 0], [2, 2], [9, 9]]), 1.0, rotate=True),
    "score": EnSF(lambda E, obs: E[..., :2], steps=50),
}


def analysis(method, E=E, seed=1):
    return method(E, E[..., :2], OBS, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("share", [0.0, 0.4, 1.0, 1.2])
def test_spread_is_relaxed_and_the_mean_stays(name, share):
    plain, made = analysis(METHODS[name]), analysis(relaxed(METHODS[name], share))
    torch.testing.assert_close(made.mean(-2), plain.mean(-2))
    torch.testing.assert_close(made.std(-2), (1 - share) * plain.std(-2) + share * E.std(-2))
    correlations = [torch.corrcoef(X[0].mT) for X in (plain, made)]
    torch.testing.assert_close(*correlations)


def test_a_variable_without_spread_stays_without():
    flat = torch.cat([E, torch.ones(2, 20, 1, **DOUBLE)], -1)
    assert torch.equal(analysis(relaxed(etkf, 1.0), flat)[..., 4], flat[..., 4])


def test_noise_adds_its_covariance_and_keeps_the_mean():
    many = torch.randn(40_000, 4, generator=G, **DOUBLE)
    root = torch.randn(4, 2, generator=G, **DOUBLE)
    plain = analysis(enkf.perturbed, many)
    for given, Q in (
        (0.5, 0.25 * torch.eye(4, **DOUBLE)),
        (torch.tensor([1.0, 0.5, 0.0, 2.0]), torch.diag(torch.tensor([1.0, 0.25, 0.0, 4.0], **DOUBLE))),
        (root, root @ root.mT),
    ):
        made = analysis(added(enkf.perturbed, given), many)
        torch.testing.assert_close(made.mean(0), plain.mean(0))
        torch.testing.assert_close(torch.cov(made.mT), torch.cov(plain.mT) + Q, atol=0.05, rtol=0.02)
    few = torch.stack([analysis(added(lambda E, *more: 0 * E, root), seed=i)[0] for i in range(4000)])
    torch.testing.assert_close(
        (few.mT @ few).mean(0) / 19, root @ root.mT, atol=0.05, rtol=0.02, msg="no bias for 20 members"
    )


def test_noise_is_a_runs_own_and_comes_again_from_the_same_generator():
    made = analysis(added(etkf, 1.0))
    assert torch.equal(made, analysis(added(etkf, 1.0))) and not torch.equal(made, analysis(added(etkf, 1.0), seed=2))
    gone = made - analysis(etkf)
    assert not torch.equal(gone[0], gone[1])


def test_wrappers_nest_and_serve_both_drivers():
    twice = relaxed(added(etkf, 0.3), 1.0)
    torch.testing.assert_close(analysis(twice).std(-2), E.std(-2))
    same = {"forecast": lambda E, a, b: E, "rng": torch.Generator().manual_seed(3)}
    filtered = drivers.cycle(E, [0, 1], OBS, observe=lambda E, obs: E[..., :2], analyze=twice, **same)
    torch.testing.assert_close(filtered.spread[0], E.std(-2))
    solve = relaxed(ienks.ienks, 1.0)
    smoothed = drivers.smooth(E, [0, 1], OBS, predict=lambda E, obs, a, b: E[..., :2], solve=solve, **same)
    torch.testing.assert_close(smoothed.spread[0], E.std(-2))
    assert (smoothed.mean[0] - E.mean(-2)).abs().max() > 0.1


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: relaxed(etkf, -0.1), "share of the prior spread is -0.1; expected 0 or more"),
        (lambda: added(etkf, -1.0), "expected .*0 or more"),
        (lambda: added(etkf, torch.zeros(2, 2, 2)), r"root of shape \(2, 2, 2\)"),
        (lambda: analysis(added(etkf, torch.ones(3))), "root of 3 variables; the ensemble has 4"),
    ],
)
def test_what_does_not_fit_is_told(call, words):
    with pytest.raises(ValueError, match=words):
        call()
