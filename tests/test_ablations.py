"""Ablations: points differ in what is varied alone, and their ends are experiments that are known."""

import dataclasses
from functools import partial

import pandas as pd
import pytest
import torch

from latentkit.assimilation import ablations, benchmarks, contest, twins
from latentkit.assimilation.latent import Latent
from latentkit.models import surrogates
from latentkit.models.train import generator
from latentkit.presets import preset
from latentkit.spent import Spent
from latentkit.testbeds import cases

CASE = cases.tsunami(12, width=2e5, outputs=6)
STREAM = lambda name: generator(0, name)  # noqa: E731
P = dataclasses.replace(
    preset("levda", "quick"), members=4, sensors=4, tried_lengths=(1, 4, 6), tried_members=(2, 7), tried_sensors=(4, 2),
    tried_intervals=(1, 3), tried_noises=(0.1, 0.3), tried_ends=(1, 3, 6),
)  # fmt: skip


@pytest.fixture(scope="module")
def made():
    """Return a twin of two truths with seven members, and a surrogate over modes that is not trained."""
    library = CASE.trajectories(surrogates.library_parameters(CASE, 10))
    twin = twins.twin(CASE, cases.deviations(library), 2, 7, STREAM)
    net = surrogates.Surrogate(CASE, latent=3, count=8, dynamics=(8,), decoder=(16,), seeds=[0])
    net.learn_modes(library, 8)
    return twin, Latent(net.requires_grad_(False))


def points(twin, part):
    return ablations.trials(part, twin, P, lambda network, noise: twin.observed(network, noise, STREAM("noise")))


smoothing = partial(ablations.smoothing, rng=None, variant="transformed", iterations=5)


@pytest.mark.parametrize("part", ablations.PARTS)
def test_one_point_of_each_ablation_is_the_same_experiment(made, part):
    twin, latent = made
    usual = {"length": 6, "end": 6, "members": 7, "sensors": 4, "interval": 1, "noise": 0.1, "untold": 0.1}
    base = next(trial for trial in points(twin, part) if trial.value == usual[part])
    members = 7 if part == "members" else P.members
    obs = twin.observed(benchmarks.network(CASE, P), 0.1, STREAM("noise"))
    assert base.borders == [0.0, float(CASE.times[-1])] and base.twin.background.shape[1] == members
    torch.testing.assert_close(base.obs.value, obs.value)
    expected = contest.smoothed(
        latent, latent.start(twin.background[:, :members]), contest.windows(CASE, 1), obs,
        lambda E, predict, here, rng: ablations.levda(E, predict, here, rng, variant="transformed", iterations=5), None,
    )  # fmt: skip
    torch.testing.assert_close(torch.stack(smoothing(latent, base).path), torch.stack(expected.path))


def test_what_is_varied_is_all_that_differs(made):
    twin, _ = made
    few, many = points(twin, "members")
    torch.testing.assert_close(few.twin.background, many.twin.background[:, :2])
    low, high = points(twin, "noise")
    exact = twin.observed(benchmarks.network(CASE, P), 1e-9, STREAM("noise")).value
    torch.testing.assert_close(high.obs.value - exact, 3 * (low.obs.value - exact), rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(high.obs.std, 3 * low.obs.std)
    often, seldom = points(twin, "interval")
    assert len(often.obs.time) == 3 * len(seldom.obs.time)
    assert seldom.obs.time.unique().tolist() == pytest.approx(CASE.times[[3, 6]].tolist())
    dense, sparse = points(twin, "sensors")
    assert len(dense.obs.time) == 4 * len(sparse.obs.time)
    assert len(dense.obs.where.unique(dim=0)) == 4 * len(sparse.obs.where.unique(dim=0))
    told, untold = points(twin, "noise"), points(twin, "untold")
    assert len({float(trial.obs.std[0]) for trial in untold}) == 1
    for one, other in zip(told, untold, strict=True):
        torch.testing.assert_close(one.obs.value, other.obs.value)


def test_windows_are_as_long_as_asked_and_one_instant_is_one_output():
    times = CASE.times.tolist()
    assert ablations.cut(CASE, 1) == times
    assert ablations.cut(CASE, 4) == [times[0], times[4], times[6]]


def test_a_window_that_grows_knows_nothing_of_what_comes_later(made):
    twin, latent = made
    short = points(twin, "end")[1]
    assert float(short.obs.time.max()) == pytest.approx(float(CASE.times[3]))
    outcome = smoothing(latent, short)
    ahead = latent.forecast(outcome.path[0], 0.0, float(CASE.times[-1]))  # a forecast, after and within the window
    torch.testing.assert_close(outcome.path[-1], ahead)
    one = points(twin, "end")[0]
    assert one.obs.time.unique().tolist() == pytest.approx([float(CASE.times[1])])


def test_truths_side_by_side_are_as_truths_alone(made):
    twin, latent = made
    both = points(twin, "interval")[1]
    alone = dataclasses.replace(both, twin=both.twin.first(1), obs=both.obs._replace(value=both.obs.value[:1]))
    found, expected = smoothing(latent, both).path[0][:1], smoothing(latent, alone).path[0]
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


def test_the_misfit_of_the_truth_is_that_of_the_errors_alone(made):
    twin, _ = made
    obs = points(twin, "noise")[0].obs
    exact = contest.Outcome(list(twin.truth[:, :, None]), lambda E: E, twin.parameters[:, None, :0], Spent())
    unseen = twin.observed(benchmarks.network(CASE, P), 1e-9, STREAM("noise")).value
    expected = ((obs.value - unseen) / obs.std).square().mean(-1).sqrt()
    torch.testing.assert_close(ablations.misfit(CASE, exact, obs), expected, rtol=1e-3, atol=1e-3)


def test_how_far_parameters_are_off_is_in_ranges():
    truth = CASE.low + 0.5 * (CASE.high - CASE.low)
    found = truth + (CASE.high - CASE.low) * torch.tensor([[0.2, 0.4], [0.4, 0.4]])
    assert float(ablations.off(CASE, found, truth)) == pytest.approx(0.5)
    assert float(ablations.width(CASE, found)) == pytest.approx(0.2 / 2**0.5)


def test_a_row_scores_the_first_truth(made):
    twin, latent = made
    trial = points(twin, "noise")[0]
    outcome = smoothing(latent, trial)
    found, scores = ablations.row(trial, outcome), trial.twin.scores(outcome.seen())
    assert found["error"] == pytest.approx(float(scores["error"][1:, 0].mean()), rel=1e-5)
    assert found["ends"] == pytest.approx(float(scores["error"][-1, 0]), rel=1e-5)
    away = ablations.off(CASE, outcome.parameters, twin.parameters)
    assert found["parameters"] == pytest.approx(float(away[0]), rel=1e-5)
    assert found["misfit"] == pytest.approx(float(ablations.misfit(CASE, outcome, trial.obs)[0]))


def test_a_table_is_of_means_over_truths_and_of_nothing_that_has_gaps():
    rows = [("noise", v, "a", t, s, 1.0 + t + 10 * s + 100 * v) for v in (2, 1) for t in (0, 1) for s in (0, 3)]
    rows += [("noise", 1, "b", 0, 0, 5.0), ("noise", 2, "b", 0, 3, 5.0), ("other", 1, "a", 0, 0, 7.0)]
    table = pd.DataFrame(rows, columns=["part", "value", "method", "truth", "seed", "error"])
    found = ablations.tabled(table, "noise", "a")
    assert (found.index.tolist(), found.columns.tolist()) == ([0, 3], [1, 2])
    assert found.to_numpy().tolist() == [[101.5, 201.5], [131.5, 231.5]]
    square = ablations.tabled(table, "noise", "a", power=2)
    assert float(square.loc[0, 1]) == pytest.approx(((101.0**2 + 102.0**2) / 2) ** 0.5)
    assert not len(ablations.tabled(table, "noise", "b")) and not len(ablations.tabled(table, "noise", "c"))


def test_what_cannot_be_is_refused(made):
    twin, _ = made
    with pytest.raises(ValueError, match="'lengths'; expected one of length, end"):
        points(twin, "lengths")
    with pytest.raises(ValueError, match="8 members of a background of 7"):
        ablations.fewer(twin, 8)
