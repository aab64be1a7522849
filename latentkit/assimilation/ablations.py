r"""The ablations of LEVDA's appendix A: one truth, one thing varied at a time.

All points of an ablation share the truth, the background and, where they look at the same, the errors of observations:
an ensemble of five is the first five of twenty, observations at every fifth output are a fifth of those at all. So what
differs between two points is what is varied. The parts, by the names of what is varied:

    length      outputs in a window; windows follow one another up to the end, each with the last one's background
    end         outputs up to which all is known, in one window from the start on; a forecast after it
    members     of the ensemble
    sensors     along each side
    interval    outputs from one observed to the next
    noise       of observations, in deviations of each channel, which the method is told
    untold      likewise, and the method is told the usual one: "identical hyperparameter weights"

The first and the second are two readings of the paper's *smoothing time horizon*: the first is how a system is cycled,
but even with windows of one instant all observations come to be used; the second is what one window says. The second
is also how an estimate of a smoother "over time" is to be compared with a filter's: neither knows what comes later.
But for the first two there is one window.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Generator, Tensor

from latentkit.assimilation import benchmarks
from latentkit.assimilation.contest import Outcome, smoothed, summary
from latentkit.assimilation.latent import Latent
from latentkit.assimilation.levda import levda
from latentkit.assimilation.observations import Network, Observations
from latentkit.assimilation.twins import Twin
from latentkit.testbeds.cases import Case

PARTS = ("length", "end", "members", "sensors", "interval", "noise", "untold")


@dataclass(frozen=True)
class Trial:
    """Hold a point of an ablation: the value varied, the experiment, its observations, the borders of its windows."""

    value: float
    twin: Twin
    obs: Observations
    borders: list[float]


def trials(part: str, twin: Twin, P, measure: Callable[[Network, float], Observations]) -> list[Trial]:
    """Return the points of an ablation.

    twin: with as many members as any point takes; P: a LEVDA preset; measure: from a network and a noise to what is
    observed of the twin's truths, with the same errors where the network is the same.

    Raises ValueError for another part.
    """
    case, base = twin.case, fewer(twin, P.members)
    whole = [float(case.times[0]), float(case.times[-1])]
    if part == "sensors":
        networks = [(n, benchmarks.network(case, replace(P, sensors=n))) for n in P.tried_sensors]
        return [Trial(n, base, measure(network, P.noise), whole) for n, network in networks]
    network = benchmarks.network(case, P)
    if part == "noise":
        return [Trial(noise, base, measure(network, noise), whole) for noise in P.tried_noises]
    obs = measure(network, P.noise)
    if part == "untold":
        seen = [(noise, measure(network, noise)._replace(std=obs.std)) for noise in P.tried_noises]
        return [Trial(noise, base, here, whole) for noise, here in seen]
    if part == "length":
        return [Trial(n, base, obs, cut(case, n)) for n in P.tried_lengths]
    if part == "end":
        return [Trial(n, base, *known(case, obs, n)) for n in P.tried_ends]
    if part == "members":
        return [Trial(n, fewer(twin, n), obs, whole) for n in P.tried_members]
    if part == "interval":
        return [Trial(n, base, every(case, obs, n), whole) for n in P.tried_intervals]
    raise ValueError(f"the part is {part!r}; expected one of {', '.join(PARTS)}")


def smoothing(latent: Latent, trial: Trial, rng: Generator, *, variant: str, iterations: int) -> Outcome:
    """Run LEVDA at a point of an ablation; its settings are the same at all of them."""

    def solve(E, predict, here, rng):
        return levda(E, predict, here, rng, variant=variant, iterations=iterations)

    return smoothed(latent, latent.start(trial.twin.background), trial.borders, trial.obs, solve, rng)


def fewer(twin: Twin, members: int) -> Twin:
    """Return the experiment with its first members alone.

    Raises ValueError where it has not as many.
    """
    found = twin.background.shape[1]
    if not 2 <= members <= found:
        raise ValueError(f"{members} members of a background of {found}; expected from 2 to so many")
    return replace(twin, background=twin.background[:, :members])


def cut(case: Case, length: int) -> list[float]:
    """Return the borders of windows of so many outputs; the last one may be shorter."""
    places = sorted({*range(0, len(case.times) - 1, length), len(case.times) - 1})
    return [float(case.times[i]) for i in places]


def known(case: Case, obs: Observations, end: int) -> tuple[Observations, list[float]]:
    """Return the observations up to an output, and borders: a window up to there, and one without any after it."""
    limit = float(case.times[end]) + case.interval / 2  # times of single precision do not count as later
    places = sorted({0, end, len(case.times) - 1})
    return obs.rows(obs.time <= limit), [float(case.times[i]) for i in places]


def every(case: Case, obs: Observations, interval: int) -> Observations:
    """Return the observations at every so many-th output, counted from the start, at which there is none."""
    output = ((obs.time - float(case.times[0])) / case.interval).round().long()
    return obs.rows(output % interval == 0)


def misfit(case: Case, outcome: Outcome, obs: Observations) -> Tensor:  # (R)
    """Return how far means are from observations at outputs, in their errors: 1 where they leave the errors alone."""
    output, total = ((obs.time - float(case.times[0])) / case.interval).round().long(), 0.0
    for i, fields in enumerate(outcome.seen()):
        rows = output == i
        if rows.any():
            here = obs.rows(rows)
            total = total + ((case.points(here)(fields.mean(1)) - here.value) / here.std).square().sum(-1)
    return (total / len(output)).sqrt()


def off(case: Case, parameters: Tensor, truth: Tensor) -> Tensor:  # (..., m, q), (..., q) -> (...)
    """Return how far the mean of estimated parameters is from the true ones, in ranges."""
    return torch.linalg.vector_norm(case.scaled(parameters.mean(-2)) - case.scaled(truth), dim=-1) / 2


def width(case: Case, parameters: Tensor) -> Tensor:  # (..., m, q) -> (...)
    """Return the spread of estimated parameters, in ranges: what `off` is, if the ensemble is right about itself."""
    scaled = case.scaled(parameters)
    return (scaled - scaled.mean(-2, keepdim=True)).square().sum((-2, -1)).div(scaled.shape[-2] - 1).sqrt() / 2


def row(trial: Trial, outcome: Outcome) -> dict[str, float | str]:
    """Return the numbers of a run on the first truth, for a table: those of `contest.summary`, and the misfit."""
    case = trial.twin.case
    found, _ = summary(trial.twin, outcome, [float(case.times[-1])], len(case.times))
    found["misfit"] = float(misfit(case, outcome, trial.obs)[0])
    told = ("error", "ends", "ratio", "parameters", "misfit", "seconds", "reason")
    return {name: found.get(name, math.nan) for name in told}  # one member has no spread


def tabled(table, part: str, method: str, what: str = "error", power: int = 1):
    """Return means over truths, a row a seed, a column a value of what is varied, in order.

    table: pandas.DataFrame with part, value, method, truth, seed and numbers; power: of which the mean is taken, 2 for
    a root mean square. Nothing is returned for a method that lacks a truth, a seed or a value that it has elsewhere, or
    a number.
    """
    mine = table[(table["part"] == part) & (table["method"] == method)]
    mine = mine.assign(mean=mine[what] ** power)
    found = mine.pivot_table(index=["seed", "truth"], columns="value", values="mean", dropna=False)
    whole = found.notna().all(axis=None) and len(found) == mine["seed"].nunique() * mine["truth"].nunique()
    return (found if whole else found.iloc[:0]).groupby("seed").mean() ** (1 / power)
