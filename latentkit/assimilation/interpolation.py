r"""From fields on a grid, and states at steps in time, to arbitrary points and times.

*Linear* interpolation takes the 2^d corners of the cell a point lies in; *spectral* evaluates the Fourier series of a
periodic field, which is exact for what the grid resolves. Between two steps in time both are joined by a line. All are
linear maps, set up once for a network and applied to any ensemble, with gradients.
"""

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor

from latentkit.assimilation.observations import Network, Observations


class Linear:
    """Interpolate fields (..., c, y, x) to points, multilinearly.

    axes (d tensors): coordinates of the grid, ascending or descending, or a list of them for each channel, where
    channels stand beside each other; obs: Network or Observations, whose points and channels are used; periods (d): of
    each coordinate, None where it ends. A point beyond the last grid point of an axis that ends takes the value there:
    for points about the poles see `over_poles`.

    Raises ValueError for points with another number of coordinates, and those farther beyond the grid than one cell;
    for a channel without axes, and grids of several sizes.
    """

    def __init__(
        self,
        axes: Sequence[Tensor] | Sequence[Sequence[Tensor]],
        obs: Network | Observations,
        periods: Sequence[float | None],
    ):
        self.channels = _channels(obs)
        one = isinstance(axes[0], Tensor)
        grids = [axes] if one else list(axes)
        shapes = {tuple(len(a) for a in grid) for grid in grids}
        if len(shapes) > 1 or (not one and len(grids) < self.channels):
            raise ValueError(
                f"axes of {len(grids)} channels have sizes {sorted(shapes)}; expected one size, and the axes of "
                f"{self.channels} channels or more"
            )
        self.shape = shapes.pop()
        if not obs.where.shape[1] == len(periods) == len(self.shape):
            raise ValueError(f"points have {obs.where.shape[1]} coordinates, and there are {len(self.shape)} axes")
        sides = [_sides([grid[i] for grid in grids], obs.where[:, i], obs.channel, p, i) for i, p in enumerate(periods)]
        rows, weights = [], []
        for corner in itertools.product((0, 1), repeat=len(self.shape)):
            row, weight = obs.channel.clone(), torch.ones_like(obs.where[:, 0])
            for size, side, (first, second, share) in zip(self.shape, corner, sides, strict=True):
                row = row * size + (second if side else first)
                weight = weight * (share if side else 1 - share)
            rows.append(row)
            weights.append(weight)
        self.rows, self.weights = torch.stack(rows), torch.stack(weights)  # (2^d, o)

    def __call__(self, fields: Tensor) -> Tensor:  # (..., c, y, x) -> (..., o)
        _check(fields, self.shape, self.channels)
        flat = fields.flatten(-len(self.shape) - 1)
        return (flat[..., self.rows.to(flat.device)] * self.weights.to(flat)).sum(-2)


class Spectral:
    """Interpolate fields (..., c, y, x), periodic in both coordinates, to points by their Fourier series.

    size (2): of the grid, of which the first point is the origin; obs: as for `Linear`; periods (2). The sum over waves
    is one over grid points, with weights for each coordinate: the shortest wave of an even grid is a cosine, whose sine
    is not seen there.
    """

    def __init__(self, size: Sequence[int], obs: Network | Observations, periods: Sequence[float]):
        self.size, self.channels = tuple(size), _channels(obs)
        self.parts = []  # of each channel: its number, rows, weights in y, at places in x, and which of these
        for channel in obs.channel.unique().tolist():
            rows = (obs.channel == channel).nonzero()[:, 0]
            places, which = obs.where[rows, 1].unique(return_inverse=True)
            y, x = _periodic(obs.where[rows, 0], size[0], periods[0]), _periodic(places, size[1], periods[1])
            self.parts.append((channel, rows, y.mT, x.mT, which))

    def __call__(self, fields: Tensor) -> Tensor:  # (..., c, y, x) -> (..., o)
        _check(fields, self.size, self.channels)
        seen = fields.new_zeros(*fields.shape[:-3], sum(len(rows) for _, rows, *_ in self.parts))
        for channel, rows, y, x, which in self.parts:
            rows, which = rows.to(fields.device), which.to(fields.device)
            along = fields[..., channel, :, :] @ x.to(fields)  # (..., y, places)
            seen = seen.index_add(-1, rows, (along[..., which] * y.to(fields)).sum(-2))
        return seen


def _periodic(places: Tensor, size: int, period: float) -> Tensor:  # (o) -> (o, size)
    """Return what each of the points of a circle counts for the series at places."""
    waves = torch.arange(size // 2 + 1, dtype=torch.double, device=places.device)
    counted = torch.where((waves == 0) | (2 * waves == size), 1.0, 2.0)
    angle = 2 * torch.pi * places.double()[:, None] / period * waves
    own = 2 * torch.pi * torch.arange(size, dtype=torch.double, device=places.device)[:, None] / size * waves
    cosine = angle.cos() * counted
    sine = torch.where(2 * waves == size, 0.0, angle.sin() * counted)
    return (cosine @ own.cos().mT + sine @ own.sin().mT) / size


def in_time(
    seen: Tensor,  # (t, ..., o) what is seen of the state at each step, at the points of all observations
    steps: Tensor,  # (t) times of the steps, ascending
    times: Tensor,  # (o) of the observations
) -> Tensor:  # (..., o)
    """Return what is seen at each observation's own time, by a line between the steps around it; raise as `around`."""
    later, share = around(steps, times)
    row, share = torch.arange(len(times), device=seen.device), share.to(seen)
    return seen[later - 1, ..., row].movedim(0, -1) * (1 - share) + seen[later, ..., row].movedim(0, -1) * share


def around(
    steps: Tensor,  # (t) times, ascending
    times: Tensor,  # (o)
) -> tuple[Tensor, Tensor]:  # (o), (o)
    """Return for each time the step after it, 1 or more, and the share of the way to there from the step before.

    Raises ValueError for a time outside the steps, and fewer than two steps.
    """
    if len(steps) < 2:
        raise ValueError(f"{len(steps)} step; a line in time needs two or more")
    outside = (times < steps[0] - 1e-9) | (times > steps[-1] + 1e-9)
    if outside.any():
        row = int(outside.nonzero()[0])
        raise ValueError(
            f"observation {row} is of time {float(times[row]):g}, outside the window {float(steps[0]):g} to "
            f"{float(steps[-1]):g}; lengthen the trajectory or leave the observation out"
        )
    later = torch.searchsorted(steps, times).clamp(1, len(steps) - 1)
    return later, ((times - steps[later - 1]) / (steps[later] - steps[later - 1])).clamp(0, 1)


def over_poles(
    fields: Tensor,  # (..., c, y, x)
    vectors: Sequence[int] = (),
) -> Tensor:  # (..., c, y + 2, x)
    """Return fields on the sphere with a row more beyond each pole: the last one, as seen from the other side.

    vectors: channels that are eastward or northward components, which change their sign there. Longitudes go round in
    even number and spacing; the latitudes of the new rows are those of `latitudes_over_poles`.

    Raises ValueError for an odd number of longitudes.
    """
    x = fields.shape[-1]
    if x % 2:
        raise ValueError(f"{x} longitudes have none on the other side of a pole; expected an even number")
    sign = torch.ones(fields.shape[-3], dtype=fields.dtype, device=fields.device)
    sign[list(vectors)] = -1
    first, last = (sign[:, None, None] * fields[..., y : y + 1, :].roll(x // 2, -1) for y in (0, fields.shape[-2] - 1))
    return torch.cat([first, fields, last], -2)


def latitudes_over_poles(
    latitudes: Tensor,  # (y) [degrees], ascending or descending
) -> Tensor:  # (y + 2)
    """Return the latitudes of what `over_poles` returns, beyond 90 where it has gone over.

    Raises ValueError for rows on the poles themselves: beyond them lies no point, and nothing is needed there.
    """
    if not (latitudes.abs() < 90 - 1e-6).all():
        raise ValueError("a row of latitudes lies on a pole, or beyond; such fields need no rows more")
    ends = [180 * end.sign() - end for end in (latitudes[:1], latitudes[-1:])]
    return torch.cat([ends[0], latitudes, ends[1]])


def _channels(obs: Network | Observations) -> int:
    """Return how many channels a network needs."""
    if obs.channel.is_floating_point() or (obs.channel.numel() and obs.channel.min() < 0):
        raise ValueError("channels are whole numbers from 0 on")
    return int(obs.channel.max()) + 1 if obs.channel.numel() else 0


def _check(fields: Tensor, shape: tuple[int, ...], channels: int) -> None:
    d = len(shape)
    if fields.ndim <= d or tuple(fields.shape[-d:]) != shape or fields.shape[-d - 1] < channels:
        raise ValueError(
            f"fields have shape {tuple(fields.shape)}; expected (..., channels, {', '.join(map(str, shape))}) with "
            f"{channels} channels or more; give a field without channels an axis for one"
        )


def _sides(
    axes: list[Tensor], points: Tensor, channel: Tensor, period: float | None, place: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Return what `_bracket` does, along the one axis there is or each point along that of its channel."""
    points = points.double().contiguous()
    if len(axes) == 1:
        return _bracket(axes[0], points, period, place, torch.arange(len(points)))
    first, share = torch.zeros_like(channel), torch.zeros_like(points)
    second = first.clone()
    for c, axis in enumerate(axes):
        rows = (channel == c).nonzero()[:, 0]
        first[rows], second[rows], share[rows] = _bracket(axis, points[rows], period, place, rows)
    return first, second, share


def _bracket(
    axis: Tensor, points: Tensor, period: float | None, place: int, rows: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the grid points on both sides of each point along an axis, and its share of the way (o) each.

    rows: numbers of the observations, for words.
    """
    axis = axis.to(points)
    if axis[0] > axis[-1]:
        first, second, share = _bracket(axis.flip(0), points, period, place, rows)
        return len(axis) - 1 - first, len(axis) - 1 - second, share
    n = len(axis)
    if period is not None:
        points = axis[0] + (points - axis[0]) % period
        second = torch.searchsorted(axis, points, right=True)
        first = second - 1
        end = torch.where(second < n, axis[second.clamp(max=n - 1)], axis[0] + period)
        share = (points - axis[first]) / (end - axis[first])
        return first, second % n, share.to(points)
    cell = (axis[1:] - axis[:-1]).max()
    beyond = (points < axis[0] - cell) | (points > axis[-1] + cell)
    if beyond.any():
        bad = int(beyond.nonzero()[0])
        raise ValueError(
            f"observation {int(rows[bad])} has coordinate {place} at {float(points[bad]):g}, outside the grid's "
            f"{float(axis[0]):g} to {float(axis[-1]):g}"
        )
    first = (torch.searchsorted(axis, points, right=True) - 1).clamp(0, n - 2)
    share = ((points - axis[first]) / (axis[first + 1] - axis[first])).clamp(0, 1)
    return first, first + 1, share
