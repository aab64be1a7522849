r"""Plain analyses of stacks of maps, the baselines: interpolation, persistence, optimal interpolation by an ensemble.

The last has the covariance of climatology (G. Evensen 2003, The ensemble Kalman filter: theoretical formulation and
practical implementation, section 4.4; P. R. Oke et al. 2002, Assimilation of surface velocity data into a primitive
equation coastal ocean model). With N days of the past as members, X (N, k) their departures from their mean m, Y (N, o)
those of what a view sees of them, observations y with errors of covariance R, and s a scale of the covariance,

    x = m + K (y - A(m)),    K = s X^T Y (s Y^T Y + (N - 1) R)^-1                                                   (1)
    P = (s X^T X - K s Y^T X) / (N - 1)                                                                             (2)

N days know little of what is far apart. So each column of the grid, all its channels at once, is analyzed for itself,
with R divided by a taper rho of the distance to the observations (B. R. Hunt, E. J. Kostelich and I. Szunyogh 2007,
Efficient data assimilation for spatiotemporal chaos: a local ensemble transform Kalman filter): at rho = 0 one is not
there. With a = (s / (N - 1))^1/2, D = (rho / R)^1/2, Z = a X and S = a Y D the same is, at a column,

    K = Z^T S (S^T S + 1)^-1 D,    P = Z^T Z - Z^T S (S^T S + 1)^-1 S^T Z        where there are fewer observations (3)
    K = Z^T (S S^T + 1)^-1 S D,    P = Z^T (S S^T + 1)^-1 Z                      where there are fewer members      (4)

None of it depends on y: one gain serves all days. With lags l > 0 the observations of the days -l to l around a day
enter its analysis, by the covariance between days of the past that are as far apart.
"""

import math

import torch
from torch import Tensor

from latentkit.assimilation.views import View
from latentkit.localization import RADII, great_circle, taper

EARTH = 6371.0  # radius [km]
ENTRIES = 2**24  # of the largest array of a batch of columns, or of days
STEEP = 1e5  # trace of S S^T, against ones, from which on single precision is not enough to solve with


def persistence(last: Tensor, days: int) -> Tensor:  # (..., c, y, x) -> (..., days, c, y, x)
    """Return the day before the first one, for each of some days.

    Raises ValueError for less than one day.
    """
    if days < 1:
        raise ValueError(f"persistence over {days} days; expected 1 or more")
    return last.unsqueeze(-4).expand(*last.shape[:-3], days, *last.shape[-3:])


def interpolated(view: View, seen: Tensor, *, circular: bool = True) -> Tensor:  # (..., c, y', x') -> (..., c, y, x)
    """Return what is seen, as `View.observed` has it, bilinear between the centers of blocks: mean row and column.

    A block that is not seen takes the value of the nearest one that is, by rows and columns; beyond the outermost rows
    the nearest counts; a channel of which nothing is seen is 0, as in climatology. circular: whether columns go around.

    Raises ValueError for values of another shape, those missing where the view sees, and views that are joined.
    """
    seen = view.fitting(seen)
    rows, columns = _center(view.rows), _center(view.columns)
    if (rows.diff() <= 0).any() or (columns.diff() <= 0).any():
        raise ValueError("the view is joined of several; expected blocks in order: interpolate each view for itself")
    dy, dx = (rows[:, None] - rows).abs(), (columns[:, None] - columns).abs()
    if circular:
        dx = torch.minimum(dx, view.columns.shape[1] - dx)
    apart = (dy.square()[:, None, :, None] + dx.square()[:, None]).flatten(2).flatten(0, 1)
    kinds, own = view.seen.flatten(1).unique(dim=0, return_inverse=True)
    near = torch.stack([apart.masked_fill(~kind, math.inf).argmin(1) for kind in kinds])[own]
    filled = seen.flatten(-2).gather(-1, near.expand(*seen.shape[:-2], -1)).nan_to_num(0).unflatten(-1, seen.shape[-2:])
    return _between(view.rows, False) @ filled @ _between(view.columns, circular).mT


class Climatological:
    """Analyze days by equation 1, column by column: ensemble optimal interpolation.

    days (N, c, y, x): of the past; lat (y), lon (x) [degrees]; view: one that is joined of several, too;
    radius [km]: of the taper, at which it has fallen to 0.63, as of `etkf.Local` (its reach is 3.64 of them), inf for
    none; scale: s; lags: see the head of this module, `days` are then consecutive; every: which of them are members.

    mean (c, y, x): m; deviation (c, y, x): of errors of the analysis, as it believes (the root of the diagonal of
    equation 2), of a day with all its lags. The work is in observations or members, whichever are fewer, times the
    square of the latter. It grows with the area in reach, and with 1 + 2 lags.

    Raises ValueError for a radius or a scale that is not above 0, negative lags, fewer than two members, shapes that do
    not match, values that are not finite, and no observation at all.
    """

    def __init__(
        self,
        days: Tensor,
        lat: Tensor,
        lon: Tensor,
        view: View,
        *,
        radius: float,
        scale: float = 1.0,
        lags: int = 0,
        every: int = 1,
    ):
        if not radius > 0 or not scale > 0:
            raise ValueError(f"the radius of localization is {radius}, the scale {scale}; expected numbers above 0")
        if lags < 0 or every < 1:
            raise ValueError(f"lags is {lags}, every {every}; expected 0 or more, and 1 or more")
        if days.ndim != 4 or days.shape[2:] != (len(lat), len(lon)):
            raise ValueError(f"days have shape {tuple(days.shape)}; expected (N, c, {len(lat)}, {len(lon)})")
        sees = (view.seen.shape[0], view.rows.shape[1], view.columns.shape[1])
        if sees != days.shape[1:]:
            raise ValueError(f"the view is of maps {sees}; expected {tuple(days.shape[1:])}, as of the days")
        self.members = torch.arange(lags, len(days) - lags, every, device=days.device)
        if len(self.members) < 2:
            raise ValueError(f"{len(days)} days with lags of {lags} and every {every} leave {len(self.members)} members"
                             "; expected 2 or more: give more days")
        if not view.seen.any():
            raise ValueError("the view sees nothing; expected a block of a channel, or more")
        if not days.isfinite().all():
            raise ValueError("days have values that are not finite; expected 0 where there is nothing")
        self.days, self.view, self.radius, self.scale, self.lags = days, view, radius, scale, lags
        self.points = torch.cartesian_prod(lat.double(), lon.double()).to(days.device)
        self.mean = days[self.members].mean(0)
        self._known: dict[tuple[int, int], tuple] = {}
        self.deviation = self._gain(lags, lags)[2]

    def __call__(self, seen: Tensor) -> Tensor:  # (..., c, y', x') -> (..., c, y, x)
        """Return the analysis of what the view sees.

        With lags the axis before channels is of consecutive days; the first and last of them do with fewer others, and
        those gains are found when first needed.

        Raises ValueError for another shape, no axis of days with lags, and values missing where the view sees.
        """
        seen = self.view.fitting(seen)
        if self.lags and seen.ndim < 4:
            raise ValueError(f"observations have shape {tuple(seen.shape)}; with lags an axis of days is expected "
                             "before channels")
        y = seen[..., self.view.seen]  # (..., o)
        if not self.lags:
            return self._analyzed(y, 0, 0)
        days, whole, found = y.shape[-2], range(self.lags, y.shape[-2] - self.lags), []  # whole: with all their lags
        for first in (t for t in range(days) if t not in whole[1:]):
            last = whole[-1] if first in whole else first
            before, after = min(self.lags, first), min(self.lags, days - 1 - last)
            near = [y[..., first + j : last + 1 + j, :] for j in range(-before, after + 1)]
            found.append(self._analyzed(torch.cat(near, -1), before, after))
        return torch.cat(found, -4)

    def deviations(self, days: int) -> Tensor:  # (days, c, y, x)
        """Return the deviations of consecutive days of which the first and last have fewer lags."""
        return torch.stack([self._gain(min(self.lags, t), min(self.lags, days - 1 - t))[2] for t in range(days)])

    def _analyzed(self, y: Tensor, before: int, after: int) -> Tensor:  # (..., o) -> (..., c, y, x)
        """Apply the gains of all rows to observations of all days that enter."""
        gains, expected, _ = self._gain(before, after)
        gap = y.reshape(-1, y.shape[-1]) - expected  # (t, o)
        rows = []
        for index, K in gains:  # (x, q), (x, c, q)
            some = gap.split(max(1, ENTRIES // max(1, index.numel())))
            rows.append(torch.cat([torch.einsum("xcq,txq->tcx", K, part[:, index]) for part in some]))
        return (self.mean + torch.stack(rows, -2)).reshape(*y.shape[:-1], *self.mean.shape)

    def _gain(self, before: int, after: int) -> tuple[list, Tensor, Tensor]:
        """Return by row the observations that are used (x, q) and gains (x, c, q); A(m) (o); deviations (c, y, x).

        Observations are those of the days from -before to after, one day after the other. What is found is kept.
        """
        if (before, after) in self._known:
            return self._known[before, after]
        c, y, x = self.mean.shape
        a = math.sqrt(self.scale / (len(self.members) - 1))
        seen = self.view(self.days)[:, self.view.seen]
        Y = torch.cat([seen[self.members + j] for j in range(-before, after + 1)], 1)  # (N, o)
        expected = Y.mean(0)
        Y = (a * (Y - expected)).mT.contiguous()  # (o, N), rows of which are picked
        variance = Y.square().sum(1)
        Z = a * (self.days[self.members] - self.mean)
        std = self.view.std.expand(self.view.seen.shape)[self.view.seen]
        where = _where(self.view, self.points.view(y, x, 2))
        std, where = (part.repeat(1 + before + after, *[1] * (part.ndim - 1)) for part in (std, where))
        gains, deviation = [], torch.empty_like(self.mean)
        for row in range(y):
            far = great_circle(self.points[row * x : (row + 1) * x], where, EARTH)
            rho = torch.ones_like(far) if math.isinf(self.radius) else taper(far, RADII * self.radius).clamp_min(0)
            weight = rho.sqrt() / std  # D, (x, o)
            count = int((weight > 0).sum(1).max())
            weight, index = weight.topk(count)
            steep = (weight.square() * variance[index]).sum(1).max() > STEEP if count else False
            kind = torch.double if steep else Z.dtype
            K, step = Z.new_zeros(x, c, count), max(1, ENTRIES // (Y.shape[1] * max(1, count)))
            for part in (slice(first, first + step) for first in range(0, x, step)):
                D, S = weight[part].to(kind), Y[index[part]].to(kind)  # (x, q), (x, q, N)
                here = Z[:, :, row, part].permute(2, 0, 1).to(kind)  # (x, N, c)
                K[part], P = _solved(here, S.mul_(D[..., None]).mT, D)
                deviation[:, row, part] = P.clamp_min(0).sqrt().mT
            gains.append((index, K))
        self._known[before, after] = gains, expected, deviation
        return self._known[before, after]


def _solved(Z: Tensor, S: Tensor, D: Tensor) -> tuple[Tensor, Tensor]:  # (x, N, c), (x, N, q), (x, q)
    """Return gains (x, c, q) and variances (x, c): equation 3 or 4."""
    few = S.shape[2] < S.shape[1]
    A = S.mT @ S if few else S @ S.mT
    A.diagonal(dim1=1, dim2=2).add_(1)
    L = torch.linalg.cholesky(A)
    if few:
        cross = S.mT @ Z  # (x, q, c)
        K = torch.cholesky_solve(cross, L)
        return K.mT * D[:, None], Z.square().sum(1) - (K * cross).sum(1)  # (3)
    part = torch.cholesky_solve(Z, L)  # (x, N, c)
    return part.mT @ S * D[:, None], (part * Z).sum(1)  # (4)


def _where(view: View, points: Tensor) -> Tensor:  # (y, x, 2) -> (o, 2)
    """Return latitude and longitude [degrees] of centers of what is seen: means by area, of longitude on a circle."""
    rows, columns, lon = view.rows.double(), view.columns.double(), torch.deg2rad(points[0, :, 1])
    lat, lon = rows @ points[:, 0, 0], torch.rad2deg(torch.atan2(columns @ lon.sin(), columns @ lon.cos()))
    centers = torch.stack(torch.meshgrid(lat, lon, indexing="ij"), -1)
    return centers.expand(len(view.seen), -1, -1, -1)[view.seen]


def _center(means: Tensor) -> Tensor:  # (y', y) -> (y')
    return means @ torch.arange(means.shape[1]).to(means)


def _between(means: Tensor, circular: bool) -> Tensor:  # (y', y) -> (y, y')
    """Return the weights of linear interpolation from the centers of blocks to an axis."""
    count, size = means.shape
    center, at = _center(means), torch.arange(size).to(means)
    center = torch.cat([center[-1:] - size, center, center[:1] + size]) if circular else center
    if len(center) == 1:
        return means.new_ones(size, 1)
    at = at.clamp(center[0], center[-1])
    right = torch.searchsorted(center, at, right=True).clamp(1, len(center) - 1)
    share = (at - center[right - 1]) / (center[right] - center[right - 1])
    weight = means.new_zeros(size, len(center))
    weight.scatter_(1, right[:, None] - 1, 1 - share[:, None]).scatter_(1, right[:, None], share[:, None])
    if circular:
        weight[:, 1] += weight[:, -1]
        weight[:, count] += weight[:, 0]
        weight = weight[:, 1:-1]
    return weight
