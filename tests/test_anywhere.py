"""The flow from random starts: what the prior knows, and every method with every setting."""

import pytest
import torch

from latentkit.assimilation import anywhere, benchmarks, contest
from latentkit.assimilation.twins import Twin
from latentkit.models.train import generator
from latentkit.presets import preset
from latentkit.testbeds.kolmogorov import Kolmogorov

P = preset("levda", "quick", flow_size=24, surrogates=1, started_steps=3, started_members=(7,))
STREAM = lambda name: generator(0, name)  # noqa: E731


@pytest.fixture(scope="module")
def made():
    net, _ = anywhere.surrogate(P)
    twin, starts = anywhere.twin(P, net.deviation, 7, STREAM)
    network = benchmarks.network(net.case, P)
    network = network.rows(network.time < net.case.times[P.started_observed] * 1.001)
    family = anywhere.Family.of(P)
    return net, twin, starts, twin.observed(network, P.noise, STREAM("noise")), family


def test_the_prior_knows_the_force_and_no_place(made):
    net, _, _, _, family = made
    mean = family.modes.fields(family.mean[0])
    torch.testing.assert_close(mean, mean[..., :1].expand_as(mean), atol=1e-5, rtol=0)  # along x
    torch.testing.assert_close(mean, mean.roll(6, -2), atol=1e-5, rtol=0)  # a quarter along y, of the wave of the force
    assert float(mean[0].abs().max()) > 0.05
    assert float(mean[1].abs().max()) < 1e-5
    center, deviation = family.latent(net)
    torch.testing.assert_close(net.fields(center), mean, atol=1e-5, rtol=0)  # the force is among the latents' waves
    kept = anywhere.waves(24, P.started_limit)[0].coefficients(family.trajectories[0])
    torch.testing.assert_close(deviation.square().sum(), (kept / net.net.scale - center).square().mean(0).sum())


def test_what_is_observed_is_the_truth_s_at_the_least_reynolds_number():
    case = anywhere.drawn(P, 1, STREAM("slow"))[0]
    parameters = case.low[None]
    twin = Twin(case, torch.ones(2, 1, 1), parameters, case.trajectories(parameters), parameters[None])
    network = benchmarks.network(case, P)
    obs = twin.observed(network, 1e-6, STREAM("none"))
    for i, time in enumerate(case.times[1:], 1):
        rows = (network.time - time).abs() < 1e-3
        shown = case.points(network.rows(rows))(twin.truth[i])
        torch.testing.assert_close(obs.value[:, rows], shown, atol=1e-4, rtol=1e-4)


def test_the_truth_is_not_a_member(made):
    _, twin, starts, _, _ = made
    apart = (starts[0] - Kolmogorov(24).vorticity(twin.truth[0])).square().mean((1, 2)).sqrt()
    assert float(apart.min()) > 0.1


@pytest.mark.parametrize(
    "name",
    ["no assimilation", "mean of all runs", "interpolated observations", "surrogate, true start", "LETKF", "4DEnVar",
     "4DVar", "LEVDA, published", "LEVDA, transformed, 6", "LEVDA, transformed, 7", "latent 4DVar", "LEVDA, full rank"],
)  # fmt: skip
def test_every_method_runs_with_every_setting(made, name):
    net, twin, starts, obs, family = made
    method = anywhere.contenders(P, net, 0, family, starts, 3)[name]
    for setting in method.settings:
        row, series = contest.summary(twin, method.run(twin, obs, STREAM(name), **setting), [0.8], 1)
        assert row["error"] < 3
        assert row["reason"] == ""
        assert len(series) == P.started_outputs


def test_the_full_state_finds_the_truth(made):
    net, twin, starts, obs, family = made
    found = anywhere.contenders(P, net, 0, family, starts, 30)
    error = lambda name, **s: contest.summary(twin, found[name].run(twin, obs, STREAM("x"), **s), [0.4], 1)[0]["ends"]  # noqa: E731
    assert error("4DVar", spread=1.0) < 0.6 * error("interpolated observations")
