"""Errors of a surrogate: the whitened problem is that of the full covariance, and dressed members have its spread."""

import pytest
import torch

from latentkit.assimilation.dressing import Errors, whitened
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
    return Errors(Latent(model), p), CASE.trajectories(p), model.trajectory(p)


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
        Errors(Latent(surrogates.Surrogate(CASE, 3, 8, (8,), (16,), [0])), CASE.draw(1, G.manual_seed(0)))
