r"""The bridge between a testbed and an assimilation: ensembles of states and parameters together.

A testbed advances states (n, *shape), each with parameters of its own, by a whole number of steps. An assimilation has
flat ensembles (..., m, k), whose leading axes are runs side by side, and knows of times. A *joint* variable is a state,
flattened, and behind it the parameters, which the model hands on as they are:

    E = (state, parameters),   forecast(E) = (advance(state, parameters), parameters)             (1)

The covariance of both is what tells parameters from observations of states (J. L. Anderson 2001, An ensemble adjustment
Kalman filter for data assimilation). All methods are differentiable where the testbed is.
"""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from latentkit.assimilation.interpolation import around
from latentkit.assimilation.observations import Network, Observations, alike

NEAR = 1e-3  # of a step: what a time may be off a whole number of steps
KEPT = 32  # networks, whose interpolation is not set up again


class Joint:
    """Hold how a testbed takes ensembles of states and parameters, for the drivers `cycle` and `smooth`.

    `forecast`, `observe` and `predict` are what the drivers call. Of a network, `predict` also tells what a truth shows
    there, for `observations.measure`.

    advance: of a testbed, called with states (n, *shape), a number of steps, and each parameter (n) by its name; shape:
    of one state; step: of time, in units of the assimilation's times; parameters: names of those that are estimated;
    bounds: for some of them the least and the largest that `forecast` runs with and hands on, since an analysis may go
    beyond what the model can bear (there its derivative is 0); clock: name of the argument that takes the time at the
    start, None for a testbed without; points: from observations to a function of fields (n, c, ...) that gives what
    they show there (n, o), such as `lambda obs: Spectral((64, 64), obs, (period, period))`; see: states (n, *shape) to
    these fields, None where they are the same.

    size: variables k of an ensemble.

    Raises ValueError for a step that is not above 0, and bounds of no parameter or in the wrong order.
    """

    def __init__(
        self,
        advance: Callable[..., Tensor],
        shape: Sequence[int],
        *,
        step: float,
        parameters: Sequence[str] = (),
        bounds: Mapping[str, tuple[float, float]] | None = None,
        clock: str | None = None,
        points: Callable[[Network | Observations], Callable[[Tensor], Tensor]] | None = None,
        see: Callable[[Tensor], Tensor] | None = None,
    ):
        if not step > 0:
            raise ValueError(f"the step is {step}; expected a number above 0, in units of the assimilation's times")
        bounds = dict(bounds or {})
        if isinstance(parameters, str) or not set(bounds) <= set(parameters):
            raise ValueError(f"parameters are {parameters!r}, with bounds {bounds}; expected names, and bounds of some")
        for name, (low, high) in bounds.items():
            if not low < high:
                raise ValueError(f"bounds of {name} are {low} and {high}; expected the lower one first")
        self.advance, self.shape, self.step, self.clock = advance, tuple(shape), float(step), clock
        self.parameters, self.points, self.see = list(parameters), points, see
        free = (-torch.inf, torch.inf)
        self._bounds = torch.tensor([bounds.get(name, free) for name in self.parameters], dtype=torch.double)
        self._bounded = bool(bounds)
        self._cells = torch.Size(self.shape).numel()
        self.size = self._cells + len(self.parameters)
        self._operators: list[tuple[Network | Observations, Callable[[Tensor], Tensor]]] = []

    def pack(
        self,
        state: Tensor,  # (..., m, *shape)
        parameters: Tensor | None = None,  # (..., m, q)
    ) -> Tensor:  # (..., m, k)
        """Return the ensemble of states and their parameters.

        Raises ValueError for shapes that do not fit.
        """
        d, q = len(self.shape), len(self.parameters)
        members = state.shape[: max(0, state.ndim - d)]
        given = (*members, 0) if parameters is None else tuple(parameters.shape)
        if tuple(state.shape[state.ndim - d :]) != self.shape or not members or given != (*members, q):
            raise ValueError(
                f"states have shape {tuple(state.shape)}, and parameters {given}; expected (..., m, "
                f"{', '.join(map(str, self.shape))}) and (..., m, {q}), of {', '.join(self.parameters) or 'none'}"
            )
        flat = state.reshape(*members, self._cells)
        return flat if parameters is None else torch.cat([flat, parameters.to(flat)], -1)

    def unpack(
        self,
        E: Tensor,  # (..., m, k)
    ) -> tuple[Tensor, Tensor]:  # (..., m, *shape), (..., m, q)
        """Return the states of an ensemble, or of a mean of one, and their parameters.

        Raises ValueError for another number of variables.
        """
        if E.shape[-1] != self.size:
            raise ValueError(
                f"an ensemble of {E.shape[-1]} variables; expected {self.size}: {self._cells} of a state of shape "
                f"{self.shape}, and {len(self.parameters)} parameters ({', '.join(self.parameters) or 'none'})"
            )
        return E[..., : self._cells].unflatten(-1, self.shape), E[..., self._cells :]

    def forecast(self, E: Tensor, start: float, end: float) -> Tensor:
        """Return the ensemble (..., m, k) at `end`: equation 1.

        Raises ValueError for an end that is no whole number of steps after the start, and what the testbed raises.
        """
        steps = self._steps(start, end)
        state, parameters = self.unpack(E)
        if self._bounded:
            parameters = parameters.clamp(*self._bounds.to(E).unbind(-1))
        if steps:
            one_each = parameters.flatten(0, -2).unbind(-1)
            more = dict(zip(self.parameters, one_each, strict=True))
            if self.clock is not None:
                more[self.clock] = start
            state = self.advance(self._rows(state), steps, **more).reshape(state.shape)
        return self.pack(state, parameters)

    def observe(self, E: Tensor, obs: Network | Observations) -> Tensor:
        """Return what an ensemble (..., m, k) shows at the points of observations (..., m, o), whatever their times.

        Raises ValueError where `points` was not given.
        """
        state, _ = self.unpack(E)
        fields = self._rows(state)
        fields = fields if self.see is None else self.see(fields)
        return self._operator(obs)(fields).reshape(*E.shape[:-1], -1)

    def predict(self, E: Tensor, obs: Network | Observations, start: float, end: float) -> Tensor:
        """Return what an ensemble (..., m, k) at `start` will show of observations up to `end`, at their own times.

        Raises ValueError for observations outside these times, and what `forecast` raises.
        """
        last = self._steps(start, end)
        place = (obs.time.double().cpu() - start) / self.step
        whole = place.round()
        place = torch.where((place - whole).abs() <= self._slack(start, end), whole, place)
        needed = torch.cat([place.floor(), place.ceil(), torch.tensor([0.0, last])]).unique().tolist()
        times = [start + i * self.step for i in needed if 0 <= i <= last]
        path = [E]
        for a, b in zip(times[:-1], times[1:], strict=True):
            path.append(self.forecast(path[-1], a, b))
        return self.along(path, times, obs)

    def along(
        self,
        path: Sequence[Tensor] | Tensor,  # (t, ..., m, k)
        times: Sequence[float],  # (t) ascending
        obs: Network | Observations,
    ) -> Tensor:  # (..., m, o)
        """Return what ensembles at several times show of observations: between two times by a line.

        Raises ValueError for observations outside the times, and fewer than two of these.
        """
        grid = torch.as_tensor(times, dtype=torch.double)
        slack = self._slack(times[0], times[-1]) * self.step
        own = obs.time.double().cpu()
        own = torch.where((own - grid[0]).abs() <= slack, grid[0], own)
        own = torch.where((own - grid[-1]).abs() <= slack, grid[-1], own)
        later, share = around(grid, own)
        seen = path[0].new_zeros(*path[0].shape[:-1], len(own))
        for i, E in enumerate(path):
            weight = torch.where(later == i, share, 0) + torch.where(later == i + 1, 1 - share, 0)
            rows = (weight > 0).nonzero()[:, 0].to(obs.where.device)
            if len(rows):
                part = self.observe(E, obs.rows(rows)) * weight.to(E)[rows.to(E.device)]
                seen = seen.index_add(-1, rows.to(E.device), part)
        return seen

    def _steps(self, start: float, end: float) -> int:
        exact = (end - start) / self.step
        steps = round(exact)
        if steps < 0 or abs(exact - steps) > self._slack(start, end):
            raise ValueError(
                f"from time {start:g} to {end:g} are {exact:.6g} steps of {self.step:g}; expected a whole number, 0 or "
                "more. Choose times that are multiples of the step, or a step that divides what lies between them"
            )
        return steps

    def _slack(self, start: float, end: float) -> float:
        """Return how many steps a time may be off: times of single precision do not count as others."""
        return min(NEAR + 1e-6 * max(abs(start), abs(end)) / self.step, 0.1)

    def _rows(self, state: Tensor) -> Tensor:
        """Return states (..., m, *shape) with all runs and members in one axis."""
        return state.reshape(-1, *self.shape)

    def _operator(self, obs: Network | Observations) -> Callable[[Tensor], Tensor]:
        """Return the interpolation to the points of observations, from the last time where the network is known."""
        if self.points is None:
            raise ValueError("this joint does not observe: give it `points`, which makes an interpolation of a network")
        for known, operator in self._operators:
            if alike(known, obs):
                return operator
        self._operators = [(obs, self.points(obs)), *self._operators[: KEPT - 1]]
        return self._operators[0][1]
