r"""The three twin experiments of LEVDA: what is unknown, how a trajectory is made, when and where it is looked at.

LEVDA, table 1 and section 4.1; P. Xiao et al. (2026), LD-EnSF. A *case* makes trajectories of fields from parameters
alone: all start from one state, or from one that the parameters determine. What it holds and what it makes lies on one
device; what is random is drawn on the CPU, the same for all devices.

    flow      Reynolds number 500 to 1500; one random start for all, 100 steps of burn-in at Re 1000, then 200 steps
              (the other family has a start of its own for each run: `flow_starts`)
    tsunami   centre of the bump, each coordinate from 0 to half of the side; 42400 s, 2000 published steps
    planet    height 0.1 to 30 m/h and width 1 to 4 rad of the source; 21 days, seen every 8 hours

Of the flow one sees two velocities, of the others the state. Times are those of the testbeds: without unit for the
flow, else seconds. What differs from the paper: the planet's start (`planet`), and what a preset says of the tsunami.
"""

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Generator, Tensor

from latentkit.assimilation.interpolation import Linear, Spectral, latitudes_over_poles, over_poles
from latentkit.assimilation.observations import Network, Observations
from latentkit.localization import Places, great_circle, periodic
from latentkit.testbeds.joint import Joint
from latentkit.testbeds.kolmogorov import Kolmogorov
from latentkit.testbeds.planet import HOUR, Planet
from latentkit.testbeds.tsunami import Tsunami

BATCH = 32  # flows that a solver advances at once: more do not fit the cache
SPIN_UP = 252 * HOUR  # a quarter of the planet's year, when its source is farthest north


@dataclass(frozen=True)
class Case:
    """Hold one twin experiment.

    parameters: names, low and high: their ranges (q); channels: names and units; times (t) of what is kept, the first
    is the start; axes: of the grid, slowest first; periods of these; weights (c, y, x): of points and channels in
    scores, their mean is 1, before channels are divided by their deviations; joint: how full-state assimilations take
    the testbed; begin: from parameters (m, q) to states at the start, as `joint` takes them; trajectories: to fields
    (t, m, c, y, x) at all times; points: from a network to the map of fields (..., c, y, x) to what is seen (..., o);
    distance: points (n, 2) and (o, 2) to how far they are apart (n, o), in units of the axes, on the sphere [rad].
    """

    name: str
    parameters: tuple[str, ...]
    low: Tensor
    high: Tensor
    channels: tuple[tuple[str, str], ...]
    times: Tensor
    axes: tuple[Tensor, ...]
    periods: tuple[float | None, ...]
    weights: Tensor
    joint: Joint
    begin: Callable[[Tensor], Tensor]
    trajectories: Callable[[Tensor], Tensor]
    points: Callable[[Network | Observations], Callable[[Tensor], Tensor]]
    distance: Callable[[Tensor, Tensor], Tensor]

    @property
    def device(self) -> torch.device:
        """Return where all tensors of the case lie."""
        return self.low.device

    @property
    def interval(self) -> float:
        """Return the time between two outputs."""
        return float(self.times[1] - self.times[0])

    @property
    def shape(self) -> tuple[int, int, int]:
        """Return channels and grid (c, y, x)."""
        return tuple(self.weights.shape)

    @property
    def side(self) -> float:
        """Return the length that radii are shares of, on the sphere the way from pole to pole."""
        if self.distance is great_circle:
            return math.pi
        return float(self.axes[0][1] - self.axes[0][0]) * len(self.axes[0])

    @functools.cached_property
    def places(self) -> Places:
        """Where the variables of the full state and its parameters lie, for localization."""
        channels = math.prod(self.joint.shape) // self.weights[0].numel()
        points = torch.cartesian_prod(*self.axes)
        return Places(points, self.distance, channels=channels, parameters=len(self.joint.parameters))

    def starts(self, parameters: Tensor) -> Tensor:  # (..., q) in their own units -> (..., *shape)
        """Return the states at the start, as `joint` takes them."""
        return self.begin(parameters.flatten(0, -2)).unflatten(0, parameters.shape[:-1])

    def fields(self, states: Tensor) -> Tensor:  # (..., *shape) as `joint` takes them -> (..., c, y, x)
        """Return what is seen of states."""
        flat = states.reshape(-1, *self.joint.shape)
        flat = flat if self.joint.see is None else self.joint.see(flat)
        return flat.reshape(*states.shape[: states.ndim - len(self.joint.shape)], *self.shape)

    def draw(self, count: int, rng: Generator) -> Tensor:  # (count, q)
        """Draw parameters, each even over its range."""
        return self.low + (self.high - self.low) * torch.rand(count, len(self.low), generator=rng).to(self.device)

    def scaled(self, parameters: Tensor) -> Tensor:  # (..., q) -> (..., q)
        """Return parameters by their range, which is -1 to 1 then."""
        low, high = self.low.to(parameters.device), self.high.to(parameters.device)
        return 2 * (parameters - low) / (high - low) - 1

    def unscaled(self, scaled: Tensor) -> Tensor:  # (..., q) -> (..., q)
        """Return parameters in their own units."""
        low, high = self.low.to(scaled.device), self.high.to(scaled.device)
        return low + (scaled + 1) / 2 * (high - low)


def flow_starts(
    size: int,
    count: int,
    rng: Generator,
    reynolds: float = 1000.0,
    device: torch.device | str | None = None,
) -> Tensor:  # (count, y, x)
    """Draw starts of the flow, each after 100 steps of burn-in at a Reynolds number."""
    system = Kolmogorov(size, device=device)
    return torch.cat([system.advance(some, 100, reynolds) for some in system.start(count, rng).split(BATCH)])


def flow(
    size: int,
    rng: Generator,
    *,
    outputs: int = 40,
    every: int = 5,
    reynolds: tuple[float, float] = (500.0, 1500.0),
    starts: Tensor | None = None,  # (m, y, x)
    device: torch.device | str | None = None,
) -> Case:
    """Return Kolmogorov flow of unknown Reynolds number, on size x size points, from one start drawn by rng.

    reynolds: their range; starts: the other family, in which each run has a start of its own (`flow_starts`). The case
    takes as many parameters as there are starts then, and rng is not used; device: of the case, by default the CPU.

    Raises ValueError, where starts are given, for another number of parameters.
    """
    system = Kolmogorov(size, device=device)
    first = flow_starts(size, 1, rng, device=device) if starts is None else starts.to(system.device)
    axis, period = (torch.arange(size) * 2 * math.pi / size).to(device), 2 * math.pi

    def points(network):
        return Spectral((size, size), network, (period, period))

    def begin(parameters):
        if starts is not None and len(starts) != len(parameters):
            raise ValueError(f"{len(parameters)} parameters for {len(starts)} starts; expected one for each")
        return first.expand(len(parameters), -1, -1).contiguous()

    def trajectories(parameters):
        batches = zip(begin(parameters).split(BATCH), parameters[:, 0].split(BATCH), strict=True)
        paths = [system.trajectory(some, outputs * every, every, numbers) for some, numbers in batches]
        return torch.cat([torch.stack([system.velocity(state) for state in path]) for path in paths], 1)

    joint = Joint(
        system.advance, (size, size), step=system.step, parameters=["reynolds"],
        bounds={"reynolds": (reynolds[0] / 10, 1e4)}, points=points, see=system.velocity,
    )  # fmt: skip
    return Case(
        name="flow", parameters=("Reynolds number",), low=torch.tensor(reynolds[:1], device=device),
        high=torch.tensor(reynolds[1:], device=device), channels=(("u", "1"), ("v", "1")),
        times=torch.arange(outputs + 1, device=device) * every * system.step, axes=(axis, axis),
        periods=(period, period), weights=torch.ones(2, size, size, device=device), joint=joint, begin=begin,
        trajectories=trajectories, points=points, distance=partial(periodic, lengths=period),
    )  # fmt: skip


def tsunami(size: int, *, width: float = 5e4, outputs: int = 50, device: torch.device | str | None = None) -> Case:
    """Return the basin with a bump of `width` [m] at an unknown place, on size x size cells.

    The window is the published one to within a step an output. device: of the case, by default the CPU.
    """
    system = Tsunami(size, width=width, device=device)
    every = round(2000 * 21.43 / outputs / system.step)
    if every < 1:
        raise ValueError(f"{outputs} outputs are more than the steps of {system.step:.0f} s; ask for fewer")
    axis = ((torch.arange(size) + 0.5) * system.cell).to(device)

    def points(network):
        look = Linear(system.axes, network, (None, None))
        return lambda fields: look(system.walled(fields))

    def trajectories(parameters):
        return system.trajectory(system.start(parameters), outputs * every, every)

    joint = Joint(system.advance, (3, size, size), step=system.step, points=points)
    return Case(
        name="tsunami", parameters=("x of the source [side]", "y of the source [side]"),
        low=torch.zeros(2, device=device), high=torch.full((2,), 0.5, device=device),
        channels=(("u", "m s-1"), ("v", "m s-1"), ("eta", "m")),
        times=torch.arange(outputs + 1, device=device) * every * system.step, axes=(axis, axis), periods=(None, None),
        weights=torch.ones(3, size, size, device=device), joint=joint, begin=system.start, trajectories=trajectories,
        points=points, distance=partial(periodic, lengths=math.inf),
    )  # fmt: skip


def planet(rows: int, rng: Generator, *, days: int = 21, device: torch.device | str | None = None) -> Case:
    """Return the planet with an unknown source, on rows x 2 rows points, from one balanced start drawn by rng.

    device: of the case, by default the CPU.

    Raises ValueError for a grid whose step does not divide eight hours.
    """
    system = Planet(rows, 2 * rows, device=device)
    first, every = system.start(1, rng), whole_steps(8 * HOUR, system.step)

    def points(network):
        look = Linear((latitudes_over_poles(system.latitudes), system.longitudes), network, (None, 360.0))
        return lambda fields: look(over_poles(fields, (1, 2)))

    def begin(parameters):
        return first.expand(len(parameters), -1, -1, -1).contiguous()

    def trajectories(parameters):
        return system.trajectory(begin(parameters), days * 3 * every, every, SPIN_UP, *parameters.T)

    joint = Joint(
        lambda state, steps, time, **more: system.advance(state, steps, time + SPIN_UP, **more), (3, rows, 2 * rows),
        step=system.step, parameters=["height", "width"], bounds={"height": (0.0, 60.0), "width": (0.25, 8.0)},
        clock="time", points=points,
    )  # fmt: skip
    return Case(
        name="planet", parameters=("height of the source [m/h]", "width of the source [rad]"),
        low=torch.tensor([0.1, 1.0], device=device), high=torch.tensor([30.0, 4.0], device=device),
        channels=(("h", "m"), ("u", "m s-1"), ("v", "m s-1")), 
        times=torch.arange(days * 3 + 1, device=device) * every * system.step,
        axes=(system.latitudes.to(device), system.longitudes.to(device)), periods=(None, 360.0),
        weights=(system.area * rows * 2 * rows).expand(3, -1, -1).contiguous(), joint=joint, begin=begin,
        trajectories=trajectories, points=points, distance=great_circle,
    )  # fmt: skip


def whole_steps(length: float, step: float) -> int:
    """Return how many steps [s] a length of time [s] is, to rounding: 112 of 3600 / 14 are not quite 8 hours.

    Raises ValueError where it is no whole number of them.
    """
    count = round(length / step)
    if abs(count * step - length) > 1e-9 * length:
        raise ValueError(f"a step of {step:g} s does not divide {length / HOUR:g} hours; choose another number of rows")
    return count


def between(
    case: Case,
    known: Tensor,  # (n, q) parameters of trajectories that are at hand
    wanted: Tensor,  # (m, q)
) -> tuple[Tensor, Tensor]:  # (m, q + 1) rows of known, (m, q + 1) weights
    """Return how to interpolate linearly between the trajectories that are nearest in parameters.

    One parameter: the two on both sides; two: the corners of the triangle (Delaunay). Outside of all, the nearest has
    the weight 1.
    """
    from scipy.interpolate import LinearNDInterpolator, interp1d

    a, b = (case.scaled(some).double().cpu().numpy() for some in (known, wanted))
    eye = np.eye(len(a))
    if a.shape[1] == 1:
        table = interp1d(a[:, 0], eye, axis=0, bounds_error=False, fill_value=np.nan)(b[:, 0])
    else:
        table = LinearNDInterpolator(a, eye)(b)
    nearest = np.linalg.norm(b[:, None] - a, axis=2).argmin(1)
    table = np.where(np.isnan(table), eye[nearest], table)
    rows = np.argsort(-table, axis=1, kind="stable")[:, : a.shape[1] + 1]
    return torch.from_numpy(rows).to(known.device), torch.from_numpy(np.take_along_axis(table, rows, 1)).to(known)


def deviations(trajectories: Tensor) -> Tensor:  # (t, m, c, y, x) -> (c, 1, 1)
    """Return the standard deviation of each channel, by which scores and noise are measured."""
    return trajectories.std((0, 1, 3, 4), correction=0)[:, None, None]


def apart(
    found: Tensor,  # (..., c, y, x)
    truth: Tensor,  # (..., c, y, x)
    weights: Tensor,  # (c, y, x)
    scale: Tensor,  # (c, 1, 1) deviations
    dims: Sequence[int] = (-3, -2, -1),
) -> Tensor:
    """Return the relative distance |found - truth| / |truth|, channels by their deviations and points by weights."""
    weight = weights / scale.square()
    return (((found - truth).square() * weight).sum(dims) / (truth.square() * weight).sum(dims)).sqrt()
