r"""The two drivers: a filter forecasts to the next observations and analyzes, a smoother corrects a whole window.

Both see the world through callables, so that a method is a row of arguments: where the ensemble lives, and what maps it
to the next time and to what is observed. An ensemble is a tensor (..., m, k); leading axes are independent runs, such
as seeds, that go side by side. Parameters to be estimated are further columns of it, which the forecast hands on.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Generator, Tensor

from latentkit.assimilation.observations import Observations, usable
from latentkit.finite import NotFiniteError

Forecast = Callable[[Tensor, float, float], Tensor]  # ensemble at the first time -> at the second
Observe = Callable[[Tensor, Observations], Tensor]  # ensemble (..., m, k), observations of a time -> (..., m, o)
Analyze = Callable[[Tensor, Tensor, Observations, Generator], Tensor]  # ensemble, what it predicts -> ensemble
Predict = Callable[[Tensor], Tensor]  # of one window: ensemble at its start -> what it shows of the observations
# -> ensemble at the window's start, or two, at its start and its end.
Solve = Callable[[Tensor, Predict, Observations, Generator], Tensor | tuple[Tensor, Tensor]]

KEPT = [f"{when}{what}" for when in ("forecast_", "", "start_") for what in ("mean", "spread")] + ["ensembles"]


@dataclass
class Course:
    """Hold how an assimilation went: means and spreads (t, ..., k) before and after each analysis, at `times` (t).

    start_mean, start_spread: of a smoother's analyses where its windows begin, one time earlier than the others.

    spread: standard deviation over the members, with m - 1 (0 for one member); ensemble: the last one; ensembles: all
    analyses, if kept; diverged: the time from which on the ensemble was not finite, None where it always was; reason:
    what was not, in words. What came before stays.
    """

    times: list[float] = field(default_factory=list)
    forecast_mean: Tensor | None = None
    forecast_spread: Tensor | None = None
    mean: Tensor | None = None
    spread: Tensor | None = None
    start_mean: Tensor | None = None
    start_spread: Tensor | None = None
    ensemble: Tensor | None = None
    ensembles: Tensor | None = None
    diverged: float | None = None
    reason: str | None = None


def cycle(
    E: Tensor,  # (..., m, k) at the first time
    times: Sequence[float],
    obs: Observations | Callable[[int], Observations | None],
    *,
    forecast: Forecast,
    observe: Observe,
    analyze: Analyze,
    rng: Generator,
    keep: bool = False,
) -> Course:
    """Filter: forecast from each time to the next, and analyze with what was observed there.

    times: the first is the ensemble's own, and nothing is analyzed there; obs: Observations of all times, or a function
    that gives those of times[i] (None for none), where they are too many to hold; observations at none of the times are
    an error; keep: whether to keep the ensembles after each analysis.

    A filter that diverges stops: the course holds what came before and says when.

    Raises ValueError for an ensemble that is not finite, times that do not ascend, and observations between
    the times.
    """
    times = [float(t) for t in times]
    _check(E, times)
    if not callable(obs):
        obs = _at_times(obs, times)
    course, kept = Course(), {name: [] for name in KEPT}
    for i, (start, end) in enumerate(zip(times[:-1], times[1:], strict=True), 1):
        here = obs(i)
        try:
            background = analysis = _finite(forecast(E, start, end), "forecast")
            if here is not None and len(here.time):
                usable(here)
                analysis = _finite(analyze(background, observe(background, here), here, rng), "analysis")
        except NotFiniteError as error:
            course.diverged, course.reason = end, str(error)
            break
        E = analysis
        _note(kept, background, E, keep)
        course.times.append(end)
    return _finished(course, kept, E, keep)


def smooth(
    E: Tensor,  # (..., m, k) at the start of the first window
    windows: Sequence[float],
    obs: Observations | Callable[[int], Observations | None],
    *,
    predict: Callable[[Tensor, Observations, float, float], Tensor],
    solve: Solve,
    forecast: Forecast,
    rng: Generator,
    keep: bool = False,
    background: bool = False,
) -> Course:
    """Smooth one window after the other; the analysis carried to a window's end is the background of the next.

    windows (w + 1): their borders; obs: Observations of all windows (a row on a border belongs to the earlier one), or
    a function that gives those of window i, from 0; predict: ensemble at a window's start, its observations, its start
    and end, to what is seen of each member (..., m, o); solve: ensemble, prediction as a function of it, observations
    and generator, to the analysis at the window's start, which `forecast` carries to its end; or to a pair, those
    at start and end, where the model errs on the way, and nothing is forecast; background: whether to carry the
    background there too, one more run of the model, for what the course calls *forecast*.

    The course holds the analyses at the windows' ends, and as *start* where they begin. A smoother that diverges stops
    likewise.

    Raises ValueError as `cycle` does.
    """
    windows = [float(t) for t in windows]
    _check(E, windows)
    if not callable(obs):
        _inside(obs, windows[0], windows[-1])
        every = obs

        def obs(i):
            return every.between(windows[i], windows[i + 1])

    course, kept = Course(), {name: [] for name in KEPT}
    for i, (start, end) in enumerate(zip(windows[:-1], windows[1:], strict=True)):
        here, analysis, ahead = obs(i), E, None
        try:
            if here is not None and len(here.time):
                usable(here)
                solved = solve(E, lambda X, here=here, a=start, b=end: predict(X, here, a, b), here, rng)
                analysis, ahead = solved if isinstance(solved, tuple) else (solved, None)
            analysis = _finite(analysis, "analysis")
            if ahead is None:
                ahead = forecast(analysis, start, end)
            ahead = _finite(ahead, "forecast")
            before = _finite(forecast(E, start, end), "forecast") if background else None
        except NotFiniteError as error:
            course.diverged, course.reason = end, str(error)
            break
        _note(kept, before, ahead, keep, analysis)
        E = ahead
        course.times.append(end)
    return _finished(course, kept, E, keep)


def _check(E: Tensor, times: list[float]) -> None:
    if E.ndim < 2:
        raise ValueError(f"an ensemble of shape {tuple(E.shape)}; expected (..., m, k), members before variables")
    if not E.isfinite().all():
        where = (~E.isfinite()).nonzero()[0].tolist()
        raise ValueError(f"the ensemble at time {times[0]:g} is not finite, first at {where} (member, variable last)")
    if len(times) < 2 or any(a >= b for a, b in zip(times[:-1], times[1:], strict=True)):
        raise ValueError(f"times are {times[:4]} ...; expected two or more, ascending")


def _inside(obs: Observations, start: float, end: float) -> None:
    edge = 1e-6 * max(abs(start), abs(end))  # single precision of a time is not a time outside
    outside = (obs.time <= start) | (obs.time > end + edge)
    if outside.any():
        row = int(outside.nonzero()[0])
        raise ValueError(
            f"observation {row} is of time {float(obs.time[row]):g}, outside the windows: after {start:g} up to {end:g}"
        )


def _at_times(obs: Observations, times: list[float]) -> Callable[[int], Observations]:
    """Return the function that gives the observations of each time, each row used once."""
    _inside(obs, times[0], times[-1])
    grid, own = torch.tensor(times, dtype=torch.double), obs.time.double().cpu()
    place = torch.searchsorted(grid[1:] / 2 + grid[:-1] / 2, own)  # the nearest
    between = (grid[place] - own).abs() > 1e-5 * grid.diff().min() + 1e-6 * grid.abs().max()
    if between.any():
        row = int(between.nonzero()[0])
        raise ValueError(
            f"observation {row} is of time {float(obs.time[row]):g}, which is none of the analysis times; "
            "add it to them, or smooth over a window"
        )
    order = torch.argsort(place, stable=True)
    groups = dict(zip(*_split(place[order], order), strict=True))
    return lambda i: obs.rows(groups.get(i, order[:0]))


def _split(sorted_place: Tensor, order: Tensor) -> tuple[list[int], list[Tensor]]:
    values, counts = torch.unique_consecutive(sorted_place, return_counts=True)
    return values.tolist(), list(order.split(counts.tolist()))


def _finite(E: Tensor, what: str) -> Tensor:
    """Return an ensemble that is finite. Raises NotFiniteError with the first place that is not."""
    if not E.isfinite().all():
        where = (~E.isfinite()).nonzero()[0].tolist()
        raise NotFiniteError(f"the {what} is not finite, first at {where} (run, if any, member, variable)")
    return E


def _note(kept: dict[str, list], before: Tensor | None, E: Tensor, keep: bool, start: Tensor | None = None) -> None:
    for name, ensemble in (("forecast_", before), ("", E), ("start_", start)):
        if ensemble is not None:
            kept[f"{name}mean"].append(ensemble.mean(-2))
            kept[f"{name}spread"].append(ensemble.std(-2, correction=min(1, ensemble.shape[-2] - 1)))
    if keep:
        kept["ensembles"].append(E)


def _finished(course: Course, kept: dict[str, list], E: Tensor, keep: bool) -> Course:
    for name, parts in kept.items():
        if parts and (keep or name != "ensembles"):
            setattr(course, name, torch.stack(parts))
    course.ensemble = E
    return course
