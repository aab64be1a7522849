"""Errors of a surrogate: the whitened problem is that of the full covariance, and dressed members have its spread."""

import pytest
import torch

from latentkit.assimilation.dressing import NEAR, Errors, corrections, estimated, leftovers, whitened
from latentkit.assimilation.latent import Latent
from latentkit.assimilation.levda import levda
from latentkit.assimilation.observations import Observations, everywhere
from latentkit.models import surrogates
from latentkit.testbeds import cases

G = torch.Generator().manual_seed(0)
draw = lambda *shape: torch.randn(*shape, generator=G, dtype=torch.double)  # noqa: E731
CASE = cases.tsunami(10, width=2e5, outputs=4)


def observed(o):
    std = 0.5 + draw(o).abs()
    return Observations(std * 0, std[:, None] * 0, std.long() * 0, draw(1, o), std)


def test_the_analysis_is_that_of_the_full_covariance():
    m, k, o, n = 30, 4, 25, 7
    E, H, obs, off = draw(1, m, k) @ draw(k, k), draw(o, k), observed(o), draw(n, o) @ draw(o, o)
    predict, white = whitened(lambda E: E @ H.mT, obs, off)
    made = levda(E, predict, white, G, variant="transformed", iterations=200, tolerance=1e-14)[0]
    P, R = torch.cov(E[0].mT), torch.diag(obs.std.square()) + torch.cov(off.mT)
    gain = P @ H.mT @ torch.linalg.inv(H @ P @ H.mT + R)
    mean = E[0].mean(0) + gain @ (obs.value[0] - off.mean(0) - H @ E[0].mean(0))
    torch.testing.assert_close(made.mean(0), mean, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(torch.cov(made.mT), P - gain @ H @ P, atol=1e-6, rtol=1e-6)


@pytest.fixture(scope="module")
def errors():
    model = surrogates.Surrogate(CASE, latent=3, count=8, dynamics=(8,), decoder=(16,), seeds=[0])
    model.learn_modes(CASE.trajectories(surrogates.library_parameters(CASE, 10)), 8)
    p = surrogates.library_parameters(CASE, 5, "validation")
    return Errors.of(Latent(model), p), CASE.trajectories(p), model.trajectory(p)


def test_errors_are_truth_less_surrogate_where_one_looks(errors):
    found, exact, said = errors
    where = 1e6 * (0.1 + 0.8 * torch.rand(6, 2, generator=torch.Generator().manual_seed(1)))
    times = torch.tensor([1.0, 2.5, 4.0]) * CASE.interval
    net = everywhere(where, times, [0, 2])
    obs = Observations(*net, torch.zeros(len(net.time)), torch.ones(len(net.time)))
    seen = found.seen(obs)
    gap = exact - said
    for t, field in zip(times, (gap[1], (gap[2] + gap[3]) / 2, gap[4]), strict=True):
        rows = ((net.time - t).abs() < 1).nonzero()[:, 0]
        torch.testing.assert_close(seen[:, rows], CASE.points(net.rows(rows))(field), rtol=1e-4, atol=1e-6)
    with pytest.raises(ValueError, match="outside"):
        found.seen(obs._replace(time=obs.time + 9 * CASE.interval))


def test_every_run_dresses_as_many_members(errors):
    found, exact, said = errors
    draw = found.drawn(10, torch.Generator().manual_seed(0))
    for i in (0, 3):
        torch.testing.assert_close(draw(i).mean(1)[0], (exact - said)[i].mean(0), rtol=1e-4, atol=1e-6)
    with pytest.raises(ValueError, match="two or more"):
        Errors.of(Latent(surrogates.Surrogate(CASE, 3, 8, (8,), (16,), [0])), CASE.draw(1, G.manual_seed(0)))


def test_state_and_error_are_drawn_from_the_posterior_of_both():
    m, k, o, n, p = 30, 4, 25, 7, 3
    E, H, obs = draw(1, m, k) @ draw(k, k), draw(o, k), observed(o)
    off = torch.cat([draw(n, o) @ draw(o, o) / 3, draw(n, p)], 1)  # at observations, and elsewhere
    seen, there = off[:, :o], off[:, o:]
    predict = lambda E: E @ H.mT  # noqa: E731
    made = levda(E, *whitened(predict, obs, seen), G, variant="transformed", iterations=200, tolerance=1e-14)[0]
    gap = obs.value - predict(made)
    means = corrections(seen, obs.std, gap) @ there
    each = n**0.5 * torch.eye(n, dtype=torch.double)  # draws whose mean square is that of all
    spread = (corrections(seen, obs.std, gap[:1].expand(n, -1), each) @ there) - means[:1]
    # The posterior of (z, d) by the Kalman gain of their joint covariance.
    P = torch.block_diag(torch.cov(E[0].mT), torch.cov(off.mT))
    look = torch.cat([H, torch.eye(o, dtype=torch.double), torch.zeros(o, p, dtype=torch.double)], 1)
    gain = P @ look.mT @ torch.linalg.inv(look @ P @ look.mT + torch.diag(obs.std.square()))
    prior = torch.cat([E[0].mean(0), off.mean(0)])
    mean, cov = prior + gain @ (obs.value[0] - look @ prior), P - gain @ look @ P
    torch.testing.assert_close(means.mean(0), mean[-p:], atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(torch.cov(means.mT) + spread.mT @ spread / n, cov[-p:, -p:], atol=1e-6, rtol=1e-6)
    both = torch.cov(torch.cat([made, means], 1).mT)
    torch.testing.assert_close(both[:k, k:], cov[:k, -p:], atol=1e-6, rtol=1e-6)


def test_what_other_runs_cannot_hold_is_left():
    obs = observed(40)._replace(std=torch.full((40,), 1e-4, dtype=torch.double))
    held = draw(9, 2) @ draw(2, 40)  # two patterns, and nine runs of them
    left = leftovers(held, obs, G)
    assert float((left @ held).norm() / held.norm()) < 1e-3
    alone = torch.cat([held, 5 * draw(1, 40)])  # one that is like no other
    norms = (leftovers(alone, obs, G) @ alone).norm(dim=1) / alone.norm(dim=1)
    assert norms[-1] > 0.9 and norms[:-1].max() < 0.2
    with pytest.raises(ValueError, match="2 runs.*three or more"):
        leftovers(held[:2], obs, G)


def test_draws_scatter_around_the_best_estimate():
    obs, seen = observed(25), draw(7, 25)
    predicted = draw(1, 1, 25).expand(1, 12, 25)
    weights = estimated(seen, obs, predicted, draw(1, 12, 7), G)
    torch.testing.assert_close(
        weights.mean(1), corrections(seen, obs.std, obs.value - predicted[:, 0]), atol=1e-6, rtol=0
    )


def test_runs_near_a_member_and_their_fields(errors):
    found, exact, said = errors
    assert set(found.near(found.parameters[:1].expand(1, 50, 2), G).flatten().tolist()) <= set(range(min(NEAR, 5)))
    weights = torch.eye(5)[None]
    torch.testing.assert_close(found.combined(weights)(2)[0], (exact - said)[2])
