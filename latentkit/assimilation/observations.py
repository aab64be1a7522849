r"""Observations at arbitrary points, times and channels: one row a scalar observation.

A *network* says where and when one looks; `measure` turns what a truth would show there into observations. Irregular,
moving and missing observations are the normal case, and a grid is the special one. Coordinates of a point are those of
the testbed, slowest first: (y, x) in a plane, (latitude, longitude) in degrees on the sphere, (place) on a ring.

A non-linear operator is a callable on what is seen: `observe = lambda E, obs: torch.arctan(pick(E))`.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from latentkit.finite import finite


class Network(NamedTuple):
    """Hold where one looks: time (o), point (o, d) and channel (o) of each observation."""

    time: Tensor
    where: Tensor
    channel: Tensor

    def rows(self, which: Tensor) -> "Network":
        """Return some rows, a mask or numbers."""
        return Network(*(part[which] for part in self))


class Observations(NamedTuple):
    """Hold time (o), point (o, d), channel (o), value (..., o) and error's standard deviation (o)."""

    time: Tensor
    where: Tensor
    channel: Tensor
    value: Tensor
    std: Tensor

    def rows(self, which: Tensor) -> "Observations":
        """Return the observations at some rows, a mask or numbers."""
        picked = (part[which] for part in (self.time, self.where, self.channel))
        return Observations(*picked, self.value[..., which], self.std[which])

    def at(self, time: float, tolerance: float = 1e-9) -> "Observations":
        """Return the observations of one time."""
        return self.rows((self.time - time).abs() <= tolerance * max(1.0, abs(time)))

    def between(self, start: float, end: float) -> "Observations":
        """Return the observations after `start` and up to `end`: windows side by side use each row once."""
        return self.rows((self.time > start) & (self.time <= end))


def measure(network: Network, truth: Tensor, std: float | Tensor, rng: Generator) -> Observations:
    """Return what a network measures, in its order: truth (..., o) plus a Gaussian error.

    std: of the error, one number or one a row (o); rng: CPU generator.
    """
    std = torch.as_tensor(std, dtype=truth.dtype, device=truth.device).expand(truth.shape[-1])
    noise = torch.randn(truth.shape, generator=rng, dtype=truth.dtype).to(truth.device)
    obs = Observations(*network, truth + std * noise, std)
    checked(obs)
    return obs


def checked(
    obs: Observations,
    *,
    window: tuple[float, float] | None = None,
    low: Sequence[float] | None = None,
    high: Sequence[float] | None = None,
    missing: str = "refuse",
) -> Observations:
    """Return the observations, rows sorted by time, if nothing is wrong with them.

    window: times that they may have, both ends included; low, high (d): bounds of the domain; missing: whether a NaN
    value is an error ("refuse") or its row is left out ("drop"), of all runs where one of them lacks it.

    Raises ValueError, with the row and its time, for shapes that do not match, missing values, errors that are not
    positive, and rows outside the window or the domain.
    """
    if missing not in ("refuse", "drop"):
        raise ValueError(f"missing is {missing!r}; expected 'refuse' or 'drop'")
    count = len(obs.time)
    shapes = {name: tuple(part.shape) for name, part in obs._asdict().items()}
    fits = obs.where.ndim == 2 and all(s[:1] == (count,) for n, s in shapes.items() if n != "value")
    if not fits or shapes["value"][-1:] != (count,) or obs.time.ndim != 1:
        raise ValueError(f"observations have shapes {shapes}; expected time (o), where (o, d), channel, value, std (o)")
    if obs.channel.is_floating_point():
        raise ValueError(f"channels are of type {obs.channel.dtype}; expected whole numbers")
    if not count:
        return obs
    gone = obs.value.isnan().reshape(-1, count).any(0)
    if missing == "drop":
        obs = obs.rows(~gone)
        if not len(obs.time):
            return obs
        gone = gone[~gone]
    like = {"dtype": obs.where.dtype, "device": obs.where.device}
    low, high = (None if b is None else torch.as_tensor(b, **like) for b in (low, high))
    faults = {
        "has a value of NaN (drop it with missing='drop')": gone,
        "has no finite value": ~obs.value.isfinite().reshape(-1, len(gone)).all(0),
        "has an error that is not a positive number": ~((obs.std > 0) & obs.std.isfinite()),
        "has no finite time or point": ~(obs.time.isfinite() & obs.where.isfinite().all(1)),
    }
    if window is not None:
        faults[f"lies outside the window {window}"] = (obs.time < window[0]) | (obs.time > window[1])
    if low is not None:
        faults[f"lies below the domain {low.tolist()}"] = (obs.where < low).any(1)
    if high is not None:
        faults[f"lies above the domain {high.tolist()}"] = (obs.where > high).any(1)
    for what, bad in faults.items():
        if bad.any():
            place = [round(float(v), 4) for v in obs.where[bad][0]]
            raise ValueError(f"{first_of(obs, bad)} and {place} {what}; {int(bad.sum())} such")
    return obs.rows(torch.sort(obs.time, stable=True).indices)


def usable(obs: Observations) -> None:
    """Raise ValueError, with the row and its time, for values that are not finite and errors that are not positive."""
    std, value = torch.as_tensor(obs.std), obs.value
    if std.ndim != 1 or value.shape[-1:] != std.shape:
        raise ValueError(
            f"observations have {tuple(value.shape)} values and {tuple(std.shape)} errors; expected (o) each"
        )
    low, high = (float(end) for end in std.aminmax()) if len(std) else (1.0, 1.0)
    if 0 < low <= high < math.inf and finite(value):
        return
    bad = {
        "a finite value (`checked` can drop the missing)": ~value.isfinite().reshape(-1, len(std)).all(0),
        "an error above 0": ~((std > 0) & std.isfinite()),
    }
    for what, rows in bad.items():
        if rows.any():
            raise ValueError(f"{first_of(obs, rows)} has not {what}; {int(rows.sum())} such")


def alike(a: Network | Observations, b: Network | Observations) -> bool:
    """Say whether two networks look at the same points and channels, in the same order, whenever that is."""
    if a.where.device != b.where.device:
        return False
    return torch.equal(a.where, b.where) and torch.equal(a.channel, b.channel)


def first_of(obs: Network | Observations, bad: Tensor) -> str:
    """Return the first of some rows (o) in words: which, and when."""
    row = int(bad.nonzero()[0])
    return f"observation {row} at time {float(obs.time[row]):g}"


def on_grid(axes: Sequence[Tensor], stride: int | Sequence[int], times: Tensor, channels: Sequence[int]) -> Network:
    """Return a network at every `stride`-th grid point of each axis (slowest first), at all times, of some channels."""
    strides = [stride] * len(axes) if isinstance(stride, int) else list(stride)
    if len(strides) != len(axes) or min(strides) < 1:
        raise ValueError(f"strides are {strides} for {len(axes)} axes; expected one of 1 or more each")
    picked = [axis[step // 2 :: step] for axis, step in zip(axes, strides, strict=True)]
    return everywhere(torch.cartesian_prod(*picked).reshape(-1, len(axes)), times, channels)


def at_random(
    low: Sequence[float], high: Sequence[float], count: int, times: Tensor, channels: Sequence[int], rng: Generator
) -> Network:
    """Return a network of `count` points drawn evenly over a box anew for each time, of some channels."""
    low, high = (torch.as_tensor(end, dtype=times.dtype, device=times.device) for end in (low, high))
    drawn = torch.rand(len(times), count, len(low), generator=rng, dtype=times.dtype).to(times.device)
    return moving(low + (high - low) * drawn, times, channels)


def everywhere(points: Tensor, times: Tensor, channels: Sequence[int]) -> Network:
    """Return a network of the same points (n, d) at all times, of some channels."""
    return moving(points.expand(len(times), *points.shape), times, channels)


def moving(tracks: Tensor, times: Tensor, channels: Sequence[int]) -> Network:
    """Return a network of sensors that move: tracks (t, n, d) at times (t), of some channels."""
    t, n, d = tracks.shape
    if t != len(times):
        raise ValueError(f"tracks have {t} times, and {len(times)} are given")
    c = len(channels)
    where = tracks[:, :, None].expand(t, n, c, d).reshape(-1, d)
    channel = torch.as_tensor(list(channels), dtype=torch.long, device=tracks.device).expand(t, n, c).reshape(-1)
    return Network(times.to(tracks.device)[:, None].expand(t, n * c).reshape(-1), where, channel)


def drifters(start: Tensor, times: Tensor, velocity: Callable[[float, Tensor], Tensor], steps: int = 4) -> Tensor:
    """Return tracks (t, n, d) of points (n, d) that a flow carries, the first at times[0].

    velocity: time and points (n, d) to their velocities (n, d); steps: of the midpoint rule between two times.
    """
    tracks = [start]
    for a, b in zip(times[:-1].tolist(), times[1:].tolist(), strict=True):
        points, h = tracks[-1], (b - a) / steps
        for i in range(steps):
            half = points + h / 2 * velocity(a + i * h, points)
            points = points + h * velocity(a + (i + 0.5) * h, half)
        tracks.append(points)
    return torch.stack(tracks)


def satellite(times: Tensor, *, inclination: float, period: float, day: float, longitude: float = 0.0) -> Tensor:
    """Return the track (t, 1, 2) below a satellite on a circular orbit: latitude -90 to 90, longitude 0 to 360 [deg].

    inclination [deg]; period, day: of the orbit and of the planet's rotation, in units of time; longitude [deg]: where
    it crosses the equator northward at time 0.
    """
    tilt = torch.deg2rad(torch.as_tensor(inclination, dtype=times.dtype))
    phase = 2 * torch.pi * times / period
    lat = torch.asin(torch.sin(tilt) * torch.sin(phase))
    lon = torch.atan2(torch.cos(tilt) * torch.sin(phase), torch.cos(phase)) - 2 * torch.pi * times / day
    return torch.stack([torch.rad2deg(lat), (torch.rad2deg(lon) + longitude) % 360], 1)[:, None]


def irregular(start: float, end: float, count: int, rng: Generator, *, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return `count` times drawn evenly over (start, end), in order."""
    return torch.sort(start + (end - start) * torch.rand(count, generator=rng, dtype=dtype)).values
