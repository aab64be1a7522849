"""Contests: a method that does nothing is the model, what diverges is no number, and good methods find truths."""

import pandas as pd
import pytest
import torch

from latentkit.assimilation import benchmarks, contenders, contest, twins
from latentkit.assimilation.observations import Network, everywhere
from latentkit.models import coupled, observers, surrogates
from latentkit.models.train import generator
from latentkit.presets import preset
from latentkit.testbeds import cases

CASES = {"tsunami": cases.tsunami(10, width=2e5, outputs=4), "flow": cases.flow(16, generator(0, "start"), outputs=4)}
STREAM = lambda name: generator(0, name)  # noqa: E731


def experiment(name, members=5, noise=0.05):
    case = CASES[name]
    deviation = cases.deviations(case.trajectories(case.draw(6, STREAM("library"))))
    twin = twins.twin(case, deviation, 1, members, STREAM)
    side = float(case.axes[0][1] - case.axes[0][0]) * len(case.axes[0])
    where = side * torch.rand(12, 2, generator=STREAM("where"))
    network = everywhere(where.clamp(0.05 * side, 0.95 * side), case.times[1:], range(case.shape[0]))
    return twin, twin.observed(network, noise, STREAM("noise"))


@pytest.fixture(scope="module", params=CASES)
def made(request):
    """Return a case's twin, observations, and an untrained surrogate over the modes of a library."""
    case = CASES[request.param]
    net = surrogates.Surrogate(case, latent=3, count=8, dynamics=(8,), decoder=(16,), seeds=[0])
    net.learn_modes(case.trajectories(surrogates.library_parameters(case, 10)), 8)
    return *experiment(request.param), net


def encoders(case, net, obs):
    """Return encoders for the network of obs, trained for a step or two."""
    one = Network(*obs[:3]).rows(obs.time == obs.time[0])
    more = {"library": 6, "steps": 2, "learning_rate": 1e-3, "seeds": [0], "settings": {}}
    sizes = {"latent": 4, "count": 5, "encoder": (8,), "decoder": (8,)}
    return observers.obtain(net, "x", one, hidden=8, **more)[0], coupled.obtain(case, "y", one, **sizes, **more)[0]


def test_a_method_that_does_nothing_is_the_model(made):
    twin, obs, _ = made
    state = contest.State(twin.case)
    E = state.start(twin.background)
    expected = twin.case.trajectories(twin.background[0])[:, None]
    still = contest.filtered(state, E, obs, lambda E, Y, o, g: E, STREAM("x"))
    windowed = contest.smoothed(state, E, contest.windows(twin.case, 2), obs, lambda E, p, o, g: E, STREAM("x"))
    for outcome in (still, windowed):
        torch.testing.assert_close(torch.stack(list(outcome.seen())), expected, rtol=1e-4, atol=1e-5)
        assert outcome.reason is None and outcome.cost.seconds > 0 and outcome.cost.memory >= 0
    q = len(state.joint.parameters)
    torch.testing.assert_close(still.parameters, twin.background[..., :q] if q else twin.background[..., :0])


def test_what_diverges_is_not_a_number_from_then_on(made):
    twin, obs, _ = made
    state, calls = contest.State(twin.case), []

    def breaks(E, *more):
        calls.append(1)
        return E * (torch.nan if len(calls) == 2 else 1.0)

    E = state.start(twin.background)
    outcome = contest.filtered(state, E, obs, breaks, STREAM("x"))
    errors = twin.scores(outcome.seen(), crps=True)["error"][:, 0]
    assert errors.isfinite().tolist() == [True, True, False, False, False] and "analysis" in outcome.reason
    calls.clear()
    outcome = contest.smoothed(state, E, contest.windows(twin.case, 2), obs, breaks, STREAM("x"))
    errors = twin.scores(outcome.seen(), crps=True)["error"][:, 0]
    assert errors.isfinite().tolist() == [True, True, True, False, False] and "analysis" in outcome.reason


def test_every_method_runs_with_every_setting(made):
    twin, obs, net = made
    shelf = surrogates.library_parameters(twin.case, 10)
    idle = contenders.trivial(twin.case, net, 0, shelf)
    every = idle | contenders.latent_space(twin.case, net, 0, shelf, shelf[:3], 2)
    every |= contenders.full_state(twin.case, shelf, 2)
    every |= contenders.through_encoders(twin.case, net, 0, *encoders(twin.case, net, obs))
    assert {"LD-EnSF", "LD-ETKF", "Latent-EnSF"} < every.keys()
    for name, method in every.items():
        assert len(method.settings) == (1 if name in idle or name == "combined runs" else 6)
        for setting in method.settings:
            if setting.get("count", 1) > 4:
                continue
            outcome = method.run(twin, obs, STREAM("x"), **setting)
            scores = twin.scores(outcome.seen(), crps=True)
            assert scores["error"].shape == (5, 1)
            assert scores["error"].isfinite().all() or outcome.reason, (name, setting)


@pytest.mark.parametrize("name", CASES)
def test_full_state_smoothers_find_the_truth(name):
    twin, obs = experiment(name, members=20)
    shelf = surrogates.library_parameters(twin.case, 40)
    methods = contenders.full_state(twin.case, shelf, 20)
    state = contest.State(twin.case)
    idle = contest.filtered(state, state.start(twin.background), obs, lambda E, Y, o, g: E, STREAM("x"))
    before = float(twin.scores(idle.seen(), crps=True)["error"][1:].mean())
    for method, setting in (("4DVar", {"spread": 1.0, "count": 1}), ("4DEnVar", {"radius": None, "count": 1})):
        outcome = methods[method].run(twin, obs, STREAM("x"), **setting)
        assert float(twin.scores(outcome.seen(), crps=True)["error"][1:].mean()) < 0.35 * before, method


def test_roots_are_those_of_the_library_s_covariance():
    case = CASES["tsunami"]
    state, shelf = contest.State(case), surrogates.library_parameters(case, 9)
    L = contenders._roots(state, shelf)(float(case.times[2]))
    E = state.forecast(state.start(shelf), 0.0, float(case.times[2]))
    torch.testing.assert_close(L @ L.mT, torch.cov(E.mT), rtol=1e-3, atol=1e-5)


def test_scales_are_deviations_of_channels():
    case = CASES["tsunami"]
    p = surrogates.library_parameters(case, 4)
    scale = contenders._scale(contest.State(case), p)
    state, states = contest.State(case), []
    now = state.start(p)
    for a, b in zip(case.times[:-1].tolist(), case.times[1:].tolist(), strict=True):
        states.append(now)
        now = state.forecast(now, a, b)
    every = case.joint.unpack(torch.stack([*states, now]))[0]  # (t, m, c, y, x)
    torch.testing.assert_close(scale.reshape(case.shape)[:, 0, 0], every.std((0, 1, 3, 4)), rtol=1e-4, atol=1e-7)


def test_a_summary_is_of_the_scores(made):
    twin, obs, _ = made
    state = contest.State(twin.case)
    outcome = contest.filtered(state, state.start(twin.background), obs, lambda E, Y, o, g: E, STREAM("x"))
    scores = twin.scores(outcome.seen(), crps=True)
    row, series = contest.summary(twin, outcome, [float(twin.case.times[2])], 3)
    assert row["error"] == pytest.approx(float(scores["error"][1:, 0].mean()))
    assert row["ends"] == pytest.approx(float(scores["error"][2, 0])) and row["size"] == state.joint.size
    assert [r["output"] for r in series] == [1, 4]
    assert series[1]["crps"] == pytest.approx(float(scores["crps"][4, 0]), 1e-4)
    if state.joint.parameters:
        off = (twin.background[0].mean(0) - twin.parameters[0]) / (twin.case.high - twin.case.low)
        assert row["parameters"] == pytest.approx(float(off.norm()), rel=1e-4)
    else:
        assert row["parameters"] != row["parameters"]


def test_methods_are_compared_on_the_truths_they_share():
    rows = [("flow", t, s, m, e) for s in (0, 1) for t, m, e in ((0, "a", 1.0 + s), (1, "a", 9.0), (0, "b", 2.0))]
    table = pd.DataFrame([*rows, ("planet", 0, 0, "a", 5.0)], columns=["system", "truth", "seed", "method", "error"])
    assert contest.paired(table, "flow", ["a", "b"], "error").tolist() == [[1.0, 2.0], [2.0, 2.0]]
    assert contest.paired(table, "flow", ["a"], "error").tolist() == [[5.0, 5.5]]
    assert contest.paired(table, "flow", ["a", "c"], "error").shape == (2, 0)


def test_windows_end_at_outputs():
    case = CASES["flow"]
    assert contest.windows(case, 1) == [0.0, float(case.times[-1])]
    assert contest.windows(case, 4) == case.times.tolist()
    for count in (0, 5):
        with pytest.raises(ValueError, match="windows of 4 outputs"):
            contest.windows(case, count)


def test_benchmarks_are_those_of_the_preset():
    P = preset("levda", "quick")
    for system in ("flow", "tsunami"):
        case = benchmarks.case(system, P)
        network = benchmarks.network(case, P)
        assert len(network.time) == P.sensors**2 * case.shape[0] * (len(case.times) - 1)
        assert {float(x) for x in network.where.flatten()} <= {float(x) for x in torch.cat(case.axes)}
        assert len(benchmarks.library(case, P)) == (P.flow_library if system == "flow" else P.basin_library)
    with pytest.raises(ValueError, match="expected one of flow"):
        benchmarks.case("ocean", P)


def test_what_diverged_is_the_worst_of_all_and_means_say_so():
    rows = [{"system": "flow", "truth": t, "seed": 0, "method": "a", "error": 0.1, "ratio": 1.0, "reason": why}
            for t, why in enumerate(("", "not finite"))]  # fmt: skip
    table = contest.marked(pd.DataFrame([*rows, rows[0] | {"method": "b", "reason": None}]))
    assert contest.by_seed(table, "flow", "a", "error").tolist() == [torch.inf]
    assert contest.by_seed(table, "flow", "a", "ratio").tolist() == [0.5]
    assert contest.by_seed(table, "flow", "b", "error").tolist() == [0.1]
    assert contest.by_seed(table, "planet", "a", "error").size == 0
