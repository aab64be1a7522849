r"""The two drivers: a filter forecasts to the next observations and analyzes, a smoother corrects a whole window.

Both see the world through callables, so that a method is a row of arguments: where the ensemble lives, and what maps it
to the next time and to what is observed. An ensemble is a tensor (..., m, k); leading axes are independent runs, such
as seeds, that go side by side. Parameters to be estimated are further columns of it, which the forecast hands on. No
callable may write into an ensemble that it is given: moments are taken of several together, later.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Generator, Tensor

from latentkit.assimilation.observations import Observations, first_of, usable
from latentkit.finite import NotFiniteError, finite

Forecast = Callable[[Tensor, float, float], Tensor]  # ensemble at the first time -> at the second
Observe = Callable[[Tensor, Observations], Tensor]  # ensemble (..., m, k), observations of a time -> (..., m, o)
Analyze = Callable[[Tensor, Tensor, Observations, Generator], Tensor]  # ensemble, what it predicts -> ensemble
# Of one window: ensemble (..., m, k) at its start, or members (n, k) of any runs -> what they show of the observations.
Predict = Callable[[Tensor], Tensor]
# -> ensemble at the window's start, or two, at its start and its end.
Solve = Callable[[Tensor, Predict, Observations, Generator], Tensor | tuple[Tensor, Tensor]]

MANY = 2**20  # numbers of which means and spreads are taken at once: small ensembles cost a call each otherwise
SINGLE = 1e-6  # share of itself by which a time in single precision may be off
KEPT = [f"{when}{what}" for when in ("forecast_", "", "start_") for what in ("mean", "spread")]
KEPT += ["ensembles", "starts"]


@dataclass
class Course:
    """Hold how an assimilation went: means and spreads (t, ..., k) before and after each analysis, at `times` (t).

    start_mean, start_spread: of a smoother's analyses where its windows begin, one time earlier than the others.

    spread: standard deviation over the members, with m - 1 (0 for one member); ensemble: the last one; ensembles: all
    analyses, if kept, and starts: those where a smoother's windows begin; diverged: the time from which on the ensemble
    was not finite, None where it always was; reason: what was not, in words. What came before stays.
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
    starts: Tensor | None = None
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
    times = _checked(E, times)
    if not callable(obs):
        obs = _at_times(obs, times)

    def step(E, i, start, end):
        background, here = _finite(forecast(E, start, end), "forecast"), obs(i + 1)
        if here is None or not len(here.time):
            return background, background, None
        usable(here)
        return background, _finite(analyze(background, observe(background, here), here, rng), "analysis"), None

    return _course(E, times, step, keep)


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

    windows (w + 1): their borders; obs: Observations of all windows (a row on a border belongs to the earlier one, on
    the first border to the first), or a function that gives those of window i, from 0; predict: ensemble at a window's
    start, or rows of any, its observations, its start and end, to what is seen of each member (..., m, o); solve:
    ensemble, prediction as a function of it, observations and generator, to the analysis at the window's start, which
    `forecast` carries to its end; or to a pair, those at start and end, where the model errs on the way, and nothing is
    forecast; background: whether to carry the background there too, one more run of the model, for what the course
    calls *forecast*.

    The course holds the analyses at the windows' ends, and as *start* where they begin. A smoother that diverges stops
    likewise.

    Raises ValueError as `cycle` does.
    """
    windows = _checked(E, windows)
    if not callable(obs):
        obs = _in_windows(obs, windows)

    def step(E, i, start, end):
        here, solved = obs(i), E
        if here is not None and len(here.time):
            usable(here)
            solved = solve(E, lambda X: predict(X, here, start, end), here, rng)
        analysis, ahead = solved if isinstance(solved, tuple) else (solved, None)
        analysis = _finite(analysis, "analysis")
        ahead = _finite(forecast(analysis, start, end) if ahead is None else ahead, "forecast")
        return _finite(forecast(E, start, end), "forecast") if background else None, ahead, analysis

    return _course(E, windows, step, keep)


def _course(
    E: Tensor,
    times: list[float],
    step: Callable[[Tensor, int, float, float], tuple[Tensor | None, Tensor, Tensor | None]],
    keep: bool,
) -> Course:
    """Go from each time to the next and note what went before, the analysis there, and the one at the start."""
    course, kept, pending = Course(), {name: [] for name in KEPT}, {"forecast_": [], "": [], "start_": []}

    def tell(name: str) -> None:
        ensembles = torch.stack(pending[name])
        mean = ensembles.mean(-2, keepdim=True)  # ten times as fast as torch.std_mean over this axis
        squares = (ensembles - mean).square().sum(-2)
        kept[f"{name}mean"].append(mean.squeeze(-2))
        kept[f"{name}spread"].append((squares / max(1, ensembles.shape[-2] - 1)).sqrt())
        pending[name].clear()

    for i, (start, end) in enumerate(zip(times[:-1], times[1:], strict=True)):
        try:
            before, after, first = step(E, i, start, end)
        except NotFiniteError as error:
            course.diverged, course.reason = end, str(error)
            break
        for name, ensemble in (("forecast_", before), ("", after), ("start_", first)):
            if ensemble is not None:
                pending[name].append(ensemble)
                if len(pending[name]) * ensemble.numel() > MANY:
                    tell(name)
        for name, ensemble in (("ensembles", after), ("starts", first)):
            if keep and ensemble is not None:
                kept[name].append(ensemble[None])
        course.times.append(end)
        E = after
    for name in [name for name, ensembles in pending.items() if ensembles]:
        tell(name)
    for name, parts in kept.items():
        if parts:
            setattr(course, name, torch.cat(parts))
    course.ensemble = E
    return course


def _checked(E: Tensor, times: Sequence[float]) -> list[float]:
    """Return the times as numbers, if they and the ensemble are what a driver can start with."""
    times = [float(t) for t in times]
    if E.ndim < 2:
        raise ValueError(f"an ensemble of shape {tuple(E.shape)}; expected (..., m, k), members before variables")
    if len(times) < 2 or any(a >= b for a, b in zip(times[:-1], times[1:], strict=True)):
        raise ValueError(f"times are {times[:4]} ...; expected two or more, ascending")
    _finite(E, f"ensemble at time {times[0]:g}")
    return times


def _at_times(obs: Observations, times: list[float]) -> Callable[[int], Observations]:
    """Return the function that gives the observations of times[i], each row used once."""
    grid, own = _inside(obs, times, "after")
    place = torch.searchsorted(grid[1:] / 2 + grid[:-1] / 2, own)  # the nearest
    between = (grid[place] - own).abs() > 1e-5 * grid.diff().min() + SINGLE * grid.abs().max()
    if between.any():
        raise ValueError(
            f"{first_of(obs, between)} is at none of the analysis times; add it to them, or smooth over a window"
        )
    return _grouped(obs, place)


def _in_windows(obs: Observations, borders: list[float]) -> Callable[[int], Observations]:
    """Return the function that gives the observations of window i, each row used once."""
    grid, own = _inside(obs, borders, "from")
    return _grouped(obs, (torch.searchsorted(grid + SINGLE * grid.abs(), own) - 1).clamp_min(0))


def _inside(obs: Observations, times: list[float], first: str) -> tuple[Tensor, Tensor]:
    """Return these times, and those of observations if none is outside them.

    first: "from" the first time on, or "after" it.
    """
    grid, own = torch.tensor(times, dtype=torch.double), obs.time.double().cpu()
    slack = SINGLE * grid[[0, -1]].abs()
    early = own < grid[0] - slack[0] if first == "from" else own <= grid[0] + slack[0]
    outside = early | (own > grid[-1] + slack[1])
    if outside.any():
        raise ValueError(f"{first_of(obs, outside)} is outside the windows: {first} {times[0]:g} up to {times[-1]:g}")
    return grid, own


def _grouped(obs: Observations, place: Tensor) -> Callable[[int], Observations]:
    """Return the function from a number to the observations that have it as their place (o)."""
    order = torch.argsort(place, stable=True)
    found, counts = torch.unique_consecutive(place[order], return_counts=True)
    groups = dict(zip(found.tolist(), order.split(counts.tolist()), strict=True))
    return lambda i: obs.rows(groups.get(i, order[:0]))


def _finite(E: Tensor, what: str) -> Tensor:
    """Return an ensemble that is finite. Raises NotFiniteError with the first place that is not."""
    if not finite(E):
        where = (~E.isfinite()).nonzero()[0].tolist()
        raise NotFiniteError(f"the {what} is not finite, first at {where} (run, if any, member, variable)")
    return E
