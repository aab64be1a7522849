r"""A contest: methods assimilate the same observations of the same twin, are timed, and are seen at the same times.

A method is a row of arguments for one of two functions, `filtered` or `smoothed`: a *space* in which its ensemble lives
(`State`, `latent.Latent` or `full_space.FullSpace`), and what analyzes. A smoother's analyses, at the starts of its
windows, are carried to the outputs by the model of its space; a filter has one at each output. So at an output within a
window a smoother knows observations that a filter does not yet: at the windows' ends both know the same.

What diverges is not a number from then on, and scores so: all runs side by side, since a driver stops as a whole.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from latentkit.assimilation import drivers, twins
from latentkit.assimilation.observations import Observations
from latentkit.finite import NotFiniteError
from latentkit.spent import Spent, spent
from latentkit.testbeds.cases import Case


class State:
    """Hold how the full state of a case's testbed, and its parameters, go through an assimilation."""

    def __init__(self, case: Case):
        self.case, self.joint = case, case.joint
        self.forecast, self.observe, self.predict = case.joint.forecast, case.joint.observe, case.joint.predict

    def start(self, parameters: Tensor) -> Tensor:  # (..., m, q) in their own units -> (..., m, k)
        """Return the ensemble at the start of the case, which parameters determine."""
        return self.joint.pack(self.case.starts(parameters), parameters if self.joint.parameters else None)

    def fields(self, E: Tensor) -> Tensor:  # (..., k) -> (..., c, y, x)
        """Return the fields that an ensemble shows."""
        return self.case.fields(self.joint.unpack(E)[0])

    def parameters(self, E: Tensor) -> Tensor:  # (..., k) -> (..., q or 0)
        """Return the parameters, in their own units; none of the tsunami, whose source is in the state."""
        return self.joint.unpack(E)[1]


@dataclass(frozen=True)
class Outcome:
    """Hold an assimilation: path (t): ensembles (R, m, k) at the case's outputs, not a number after a divergence.

    fields: from ensembles to fields (R, m, c, y, x); parameters (R, m, q or 0): at the end; cost: of the driver;
    reason: of a divergence, in words; error: from an output's number to what is added to the fields there (`dressing`).
    """

    path: list[Tensor]
    fields: Callable[[Tensor], Tensor]
    parameters: Tensor
    cost: Spent
    reason: str | None = None
    error: Callable[[int], Tensor] | None = None

    def seen(self) -> Iterable[Tensor]:
        """Give the fields at each output."""
        for i, E in enumerate(self.path):
            finite = bool(E.isfinite().all())
            shown = self.fields(E if finite else torch.zeros_like(E))
            if self.error is not None:
                shown = shown + self.error(i)
            yield shown if finite else torch.full_like(shown, torch.nan)


def outcome(space, path: list[Tensor], cost: Spent, reason: str | None = None) -> Outcome:
    """Return the outcome of ensembles at the outputs of the space's case, filled up with what is not a number."""
    gone = torch.full_like(path[-1], torch.nan)
    path = [*path, *[gone] * (len(space.case.times) - len(path))]
    return Outcome(path, space.fields, space.parameters(path[-1]), cost, reason)


def given(twin: twins.Twin, path: Tensor, cost: Spent) -> Outcome:
    """Return the outcome of what assimilates nothing: fields (t, R, m, c, y, x) at the outputs, and no parameters."""
    return Outcome(list(path), lambda E: E, twin.parameters[:, None, :0], cost)


def freely(space, E: Tensor) -> list[Tensor]:  # (t) of E
    """Return an ensemble at all outputs of the space's case, without observations."""
    times = space.case.times.tolist()
    return list(twins.along(E[None], [times[0], times[-1]], times, space.forecast))


def filtered(
    space,
    E: Tensor,  # (R, m, k) at the start
    obs: Observations,
    analyze: drivers.Analyze,
    rng: Generator,
    *,
    observe: drivers.Observe | None = None,
) -> Outcome:
    """Filter through all outputs of the space's case; observe: as for `drivers.cycle`, by default that of the space."""
    times, observe = space.case.times.tolist(), observe or space.observe
    with spent() as cost:
        course = drivers.cycle(
            E, times, obs, forecast=space.forecast, observe=observe, analyze=analyze, rng=rng, keep=True
        )
    return outcome(space, [E, *([] if course.ensembles is None else course.ensembles)], cost, course.reason)


def smoothed(
    space,
    E: Tensor,  # (R, m, k) at the start
    borders: Sequence[float],
    obs: Observations,
    solve: drivers.Solve,
    rng: Generator,
) -> Outcome:
    """Smooth over the windows between borders, and carry the analyses to all outputs of the space's case."""
    with spent() as cost:
        course = drivers.smooth(
            E, borders, obs, predict=space.predict, solve=solve, forecast=space.forecast, rng=rng, keep=True
        )
    starts, path, reason = course.starts, [], course.reason
    if starts is not None:
        borders = list(borders)[: len(starts) + 1]
        times = [t for t in space.case.times.tolist() if t <= borders[-1] * (1 + 1e-9)]
        try:
            path.extend(twins.along(starts, borders, times, space.forecast))
        except NotFiniteError as error:
            reason = reason or str(error)
    return outcome(space, path or [torch.full_like(E, torch.nan)], cost, reason)


def windows(case: Case, count: int) -> list[float]:
    """Return the borders of so many windows, as even as outputs allow."""
    places = torch.linspace(0, len(case.times) - 1, count + 1).round().int().tolist()
    if count < 1 or len(set(places)) <= count:
        raise ValueError(f"{count} windows of {len(case.times) - 1} outputs; expected from 1 to so many")
    return [float(case.times[i]) for i in places]


def summary(
    twin: twins.Twin, outcome: Outcome, ends: Sequence[float], every: int
) -> tuple[dict[str, float | str], list[dict[str, float]]]:
    """Return a row of numbers on the first truth's assimilation, and rows of its scores in time, for tables.

    ends: times at which the mean error is also taken alone; every: output of which a row is kept (and the last one).
    The scores are means over all outputs but the start. parameters: how far their mean is off, in ranges; size: of what
    is assimilated, not a number where nothing is; seconds, memory [MB]: of the driver.
    """
    case, scores = twin.case, {what: v[:, 0].double() for what, v in twin.scores(outcome.seen(), crps=True).items()}
    moments = [int((case.times - end).abs().argmin()) for end in ends]
    row = {what: float(v[1:].mean()) for what, v in scores.items()}
    row["ends"] = float(scores["error"][moments].mean())
    found = outcome.parameters[0].double().mean(0)
    off = (case.scaled(found) - case.scaled(twin.parameters[0])) / 2 if len(found) else torch.tensor([torch.nan])
    size = outcome.path[0].shape[-1] if outcome.path[0].ndim == 3 else torch.nan  # fields alone were not assimilated
    row |= {"parameters": float(off.norm()), "size": size}
    row |= {"seconds": outcome.cost.seconds, "memory": outcome.cost.memory}
    kept = sorted({*range(1, len(case.times), every), len(case.times) - 1})
    series = [{"output": i, **{what: float(f"{float(v[i]):.5g}") for what, v in scores.items()}} for i in kept]
    return row | {"reason": outcome.reason or ""}, series


def marked(table):
    """Return rows of `summary` with the worst scores where an assimilation diverged: no mean over runs hides it.

    They are infinite; the ratio is 0.
    """
    gone = table["reason"].notna() & (table["reason"] != "")
    worst = dict.fromkeys(("error", "ends", "energy", "crps", "parameters", "misfit"), math.inf) | {"ratio": 0.0}
    return table.assign(**{what: table[what].mask(gone, value) for what, value in worst.items() if what in table})


def by_seed(table, system: str, method: str, what: str):
    """Return a score (seeds) of a method: means over its truths; empty where it has no rows. For table see `paired`."""
    rows = table[(table["system"] == system) & (table["method"] == method)]
    return rows.groupby("seed")[what].mean().to_numpy()


def paired(table, system: str, methods: Sequence[str], what: str):
    """Return a score (methods, seeds) of several methods: means over the truths that all of them ran on.

    table: pandas.DataFrame of rows of `summary`, with system, truth, seed and method; nothing is returned for methods
    that share no truth: an array of shape (methods, 0).
    """
    rows = table[table["system"] == system].pivot_table(index=["seed", "truth"], columns="method", values=what)
    return rows.reindex(columns=list(methods)).dropna().groupby("seed").mean().to_numpy().T
