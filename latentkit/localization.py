"""Localization: how far points are apart on a ring, a torus or a sphere, and the taper that ends a covariance there.

G. Gaspari and S. E. Cohn (1999), Construction of correlation functions in two and three dimensions. For ensembles of
fields and parameters (`testbeds.joint`) `Places` holds where the variables lie, once for all channels at a point. A
parameter lies nowhere: to `etkf.Local` it is near everything. `modes` cannot have that, since no correlation has ones
beside a taper: a parameter gets the mean of all rows of L, which is as near to all places alike as one row can be.

`modes` factors the taper by a Cholesky decomposition with pivots (H. Harbrecht, M. Peters and R. Schneider 2012, On the
low-rank approximation by the pivoted Cholesky decomposition): column by column where most is left, so that a taper of
thousands of points is never formed, and observations may lie anywhere.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from latentkit import sphere
from latentkit.assimilation.observations import Network, Observations

# Reach of a taper, in radii of localization as P. N. Raanes (2018) has them: 0.63 at a radius, a Gaussian has 0.61.
RADII = 3.64


class Places:
    """Hold where the variables of flat ensembles lie: channels of fields, one after the other, and then parameters.

    points (p, d): of the grid, in the order of a flattened field; apart: points (n, d) and (o, d) to their distances
    (n, o), such as `great_circle`, or `partial(periodic, lengths=inf)` in a plane; channels: fields of a state;
    parameters: columns behind them.

    of (k): the place of each variable, a row of the distances. With parameters there is one place more than points.

    Called with observations it returns the distances (p or p + 1, o) of places to them: `etkf.Local(places, radius,
    place=places.of)`.

    Raises ValueError for points of another shape.
    """

    def __init__(
        self,
        points: Tensor,
        apart: Callable[[Tensor, Tensor], Tensor],
        *,
        channels: int = 1,
        parameters: int = 0,
    ):
        if points.ndim != 2 or channels < 1 or parameters < 0:
            raise ValueError(
                f"points have shape {tuple(points.shape)}, with {channels} channels and {parameters} parameters; "
                "expected (p, d), 1 or more, and 0 or more"
            )
        self.points, self.apart, self.parameters = points, apart, parameters
        p = len(points)
        rows = torch.arange(p, device=points.device)
        self.of = torch.cat([rows.repeat(channels), rows.new_full((parameters,), p)])

    def __call__(self, obs: Network | Observations) -> Tensor:
        """Return the distances (p or p + 1, o) of places to observations."""
        far = self.apart(self.points, obs.where.to(self.points))
        return torch.cat([far, far.new_zeros(1, far.shape[1])]) if self.parameters else far


def modes(
    places: Places,
    obs: Network | Observations,
    radius: float,
    *,
    share: float = 0.99,
    most: int = 1000,
) -> tuple[Tensor, Tensor]:  # (k, q), (o, q)
    """Return the columns of L for `envar`, at variables and observations: L L^T is the taper, scaled to ones.

    radius: of the taper, as for `etkf.Local`; share: of its trace that q columns hold; most: columns, and the largest
    system that is solved. On a periodic plane 75 columns hold 0.99 at a radius of a tenth of its side; 300 do at a
    twentieth.

    Raises ValueError for a radius that is not above 0, a share outside (0, 1), and a taper that needs more columns.
    """
    if not radius > 0 or not 0 < share < 1:
        raise ValueError(
            f"the radius is {radius}, the share {share}; expected above 0 (inf for none), and within (0, 1)"
        )
    p, reach = len(places.points), RADII * radius
    sensors, own = obs.where.to(places.points).unique(dim=0, return_inverse=True)  # of all times and channels
    points = torch.cat([places.points, sensors])
    L = torch.zeros(len(points), min(most, p), dtype=torch.double, device=points.device)
    left = torch.ones_like(L[:, 0])  # of the diagonal
    enough = 0.1 * (1 - share)  # the rotation below leaves out the rest
    for q in range(L.shape[1]):
        if left[:p].mean() < enough:
            L = L[:, :q]
            break
        pivot = int(left[:p].argmax())
        far = places.apart(points, points[pivot : pivot + 1])[:, 0].double()
        column = torch.ones_like(far) if math.isinf(reach) else taper(far, reach)
        L[:, q] = (column - L[:, :q] @ L[pivot, :q]) / left[pivot].sqrt()
        left = (left - L[:, q].square()).clamp_min(0)
    if left[:p].mean() > 1 - share:
        raise ValueError(
            f"{most} columns hold {1 - float(left[:p].mean()):.4f} of the taper's trace; expected {share}. Widen the "
            f"radius of {radius:g}, or take a smaller share or more columns (most)"
        )
    values, vectors = torch.linalg.eigh(L[:p].mT @ L[:p])
    held = values.flip(0).clamp_min(0).cumsum(0) / p
    L = L @ vectors.flip(1)[:, : int((held < min(share, float(held[-1]))).sum()) + 1]
    L = L / L.norm(dim=1, keepdim=True)
    if places.parameters:
        mean = L[:p].mean(0)
        at = torch.cat([L[:p], (mean / mean.norm())[None]])
    else:
        at = L[:p]
    return at[places.of].to(places.points), L[p:][own].to(places.points)


def periodic(
    a: Tensor,  # (n, d)
    b: Tensor,  # (m, d)
    lengths: Tensor | float,  # (d) or one number: period of each coordinate, inf for none
) -> Tensor:  # (n, m)
    """Return distances between points on a ring, a torus, a cylinder or a plane, in the units of the coordinates."""
    lengths = torch.as_tensor(lengths, dtype=a.dtype).expand(a.shape[1]).tolist()
    squares = None
    for x, y, length in zip(a.unbind(1), b.unbind(1), lengths, strict=True):  # in place: of thousands by thousands
        gap = (x[:, None] - y).abs_()
        if not math.isinf(length):
            gap = gap.remainder_(length)
            gap = torch.minimum(gap, length - gap)
        squares = gap.square_() if squares is None else squares.add_(gap.square_())
    return squares.sqrt_()


def great_circle(
    a: Tensor,  # (n, 2) latitude and longitude [degrees]
    b: Tensor,  # (m, 2)
    radius: float = 1.0,
) -> Tensor:  # (n, m)
    """Return great-circle distances on a sphere, in the unit of its radius."""

    def unit(points: Tensor) -> Tensor:
        lat, lon = torch.deg2rad(points).unbind(-1)
        return torch.stack([lat.cos() * lon.cos(), lat.cos() * lon.sin(), lat.sin()], -1)

    return radius * sphere.distance(unit(a), unit(b))


def taper(
    distance: Tensor,  # any shape
    reach: float,  # in its unit
) -> Tensor:
    """Return the correlation of Gaspari and Cohn (1999), equation 4.10: 1 at distance 0, and 0 from `reach` on."""
    r = 2 * distance / reach
    near = ((-r / 4 + 1 / 2) * r + 5 / 8) * r**3 - 5 / 3 * r**2 + 1
    s = r.clamp_min(1)
    far = ((((s / 12 - 1 / 2) * s + 5 / 8) * s + 5 / 3) * s - 5) * s + 4 - 2 / (3 * s)
    return torch.where(r <= 1, near, torch.where(r < 2, far, torch.zeros_like(r)))
