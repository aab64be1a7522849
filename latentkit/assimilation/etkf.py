r"""The ensemble transform Kalman filter, global and local.

C. H. Bishop, B. J. Etherton and S. J. Majumdar (2001), Adaptive sampling with the ensemble transform Kalman filter;
B. R. Hunt, E. J. Kostelich and I. Szunyogh (2007), Efficient data assimilation for spatiotemporal chaos. In the
notation of `ensemble`, with m members,

    C = S S^T + (m - 1) I                                                                         (1)
    w = C^-1 S d,   W = sqrt(m - 1) C^-1/2 (symmetric)                                            (2)
    E = mean + (w + W) X                                                                          (3)

Anomalies sum to 0 over the members. With F (m, m - 1) an orthonormal basis of what does, F^T S and F^T X have one row
less, C has one eigenvalue less, and

    mean' = mean + w F (F^T X),   F^T X' = (F^T W F) F^T X,   E = mean' + F (F^T X')                          (4)

is the same, in which a random rotation is a random orthogonal matrix on F^T X'. Since F takes no notice of what all
members have in common, anomalies need not be taken from the mean: F^T S is F^T of the departures from the observations,
and F^T X that of the departures from one member. With a last column 1/m beside F, one product also has the mean, and
these departures, small numbers, keep the digits that a field's mean would cost.

The local filter does this for every variable of the state with the observations near it, each column of S and entry of
d times the root of its taper: the precision of an observation falls with its distance. It is solved once for variables
at the same place, such as the channels of a field at a point; all places, and all leading axes of the ensemble, are one
stack.
"""

import functools
from collections.abc import Callable

import torch
from torch import Generator, Tensor

from latentkit.assimilation.ensemble import aside, factors, fitting, free, positive, turned
from latentkit.assimilation.observations import Observations
from latentkit.localization import RADII, taper

END = 0.88  # of its reach: beyond, a taper is below 1e-3 and counts for nothing


def transform(
    X: Tensor,  # (..., n, m - 1) variables, and their anomalies in the basis F
    P: Tensor,  # (..., o, m): S^T in the basis F, and -d beside it
) -> Tensor:  # (..., n, m)
    """Return each variable's new anomalies in the basis F, and the step of its mean beside them: equation 4."""
    q = P.shape[-1] - 1
    products = P.mT @ P + _prior(q, P)  # S S^T and -S d at once
    C, w = products[..., :q, :q], products[..., q:, :q]  # (1)
    left, right = (part.to(X) for part in factors(C, q))  # (2) is sqrt(m - 1) left right^T
    turn, step = left.mT, (w.to(X) @ right).mT
    if X.shape[-2] < q:
        own = X @ right
        return torch.cat([q**0.5 * (own @ turn), -(own @ step)], -1)
    return X @ (right @ torch.cat([q**0.5 * turn, -step], -1))


def _prior(q: int, like: Tensor) -> Tensor:
    """Return what equation 1 adds to the products of a column's entries: the identity times m - 1, and nothing."""
    return _prior_of(q, like.dtype, like.device)


@functools.cache
def _prior_of(q: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    with torch.inference_mode(False):
        return torch.diag(torch.tensor([q] * q + [0], dtype=dtype, device=device))


def _standardized(Y: Tensor, obs: Observations) -> Tensor:  # (..., o, m)
    """Return P of `transform` for all observations."""
    value, std = fitting(Y, obs, least=2)
    return ((Y - value.unsqueeze(-2)) / std).mT @ aside(Y.shape[-2], Y)


def etkf(
    E: Tensor,  # (..., m, k)
    Y: Tensor,  # (..., m, o)
    obs: Observations,
    rng: Generator,
    *,
    inflation: float = 1.0,
    rotate: bool = False,
) -> Tensor:  # (..., m, k)
    """Analyze an ensemble with all observations: equation 3, then inflation and rotation."""
    positive(inflation)
    P, (first, X) = _standardized(Y, obs), _parted(E)
    return _joined(first, X, transform(X[..., :-1], P), rng, inflation, rotate)


def _parted(E: Tensor) -> tuple[Tensor, Tensor]:  # (..., 1, k), (..., k, m)
    """Return one member, and beside it anomalies in the basis F and the mean, variables first."""
    first = E[..., :1, :]
    return first, (E - first).mT @ aside(E.shape[-2], E)


def _joined(
    first: Tensor,  # (..., 1, k)
    X: Tensor,  # (..., k, m) as `_parted` returns them
    made: Tensor,  # (..., k, m): anomalies in the basis F, and the step of the mean
    rng: Generator,
    inflation: float | Tensor,
    rotate: bool,
) -> Tensor:
    """Return the ensemble (..., m, k), inflated and rotated."""
    m = made.shape[-1]
    mean, X = first + (X[..., m - 1 :] + made[..., m - 1 :]).mT, inflation * made[..., : m - 1].mT
    return mean + free(m, X) @ (turned(X, rng) if rotate else X)


def _picked(A: Tensor, rows: Tensor) -> Tensor:  # (..., k, m), (r, n) -> (..., r, n, m)
    """Return rows of matrices, quicker than indexing does."""
    return A.index_select(-2, rows.flatten().to(A.device)).unflatten(-2, rows.shape)


class Local:
    """Analyze each variable of the state with the observations near it; the same network again needs no new set-up.

    distance (p, o): between places and observations, or a function of the observations that gives it, for networks that
    move; place (k): of each variable, a row of the distances, None where each variable has a row of its own. For fields
    see `localization.Places`. A place of distance 0 to all, such as a parameter's, is analyzed with every one at full
    precision (many observations then leave few members no spread: take twenty or more); radius: of the taper, at which
    it has fallen to 0.63. Variables out of reach of all observations keep their values, and are not inflated.

    Raises ValueError for a radius that is not above 0, distances that are not finite, variables at places without
    distances, and a network that is out of reach as a whole.
    """

    def __init__(
        self,
        distance: Tensor | Callable[[Observations], Tensor],
        radius: float,
        *,
        place: Tensor | None = None,
        inflation: float = 1.0,
        rotate: bool = False,
    ):
        if not radius > 0:
            raise ValueError(f"the radius of localization is {radius}; expected a number above 0 (inf for none)")
        positive(inflation)
        self.distance, self.radius, self.inflation, self.rotate = distance, radius, inflation, rotate
        self.place = place
        self._known: Tensor | None = None
        if not callable(distance):
            self._set(distance)
            if not self.groups:
                raise ValueError(f"no observation is in reach of a variable at radius {radius}; widen it")

    def _set(self, distance: Tensor) -> None:
        """Note which observations each variable is analyzed with, and the roots of their tapers."""
        if not distance.isfinite().all():
            raise ValueError("distances between variables and observations are not finite")
        reach = RADII * self.radius
        place = torch.arange(len(distance)) if self.place is None else self.place
        place = place.to(distance.device)
        if place.min() < 0 or place.max() >= len(distance):
            raise ValueError(
                f"variables lie at places {int(place.min())} to {int(place.max())}; distances are of {len(distance)} "
                "places, from 0"
            )
        self.shape, self.groups = (len(place), distance.shape[1]), []
        reached = (distance < END * reach).sum(1)
        by_place, count = torch.argsort(place, stable=True), torch.bincount(place, minlength=len(distance))
        first = count.cumsum(0) - count  # of each place in `by_place`
        for n in count[count > 0].unique().tolist():
            mine = (count == n).nonzero()[:, 0]
            # Places with about as many observations in reach go together, so that little is padding.
            mine = mine[torch.argsort(reached[mine], stable=True)]
            for rows in mine.chunk(max(1, min(8, len(mine) // 64, len(reached[mine].unique())))):
                rows = rows[reached[rows] > 0]
                if len(rows):
                    best = distance[rows].topk(int(reached[rows].max()), dim=1, largest=False)
                    weight = taper(best.values / reach, 1.0)
                    weight = torch.where(best.values < END * reach, weight, 0)  # what is out of reach is padding
                    variables = by_place[first[rows, None] + torch.arange(n, device=rows.device)]  # (r, n)
                    self.groups.append((variables, best.indices, weight.sqrt().unsqueeze(-1)))
        order = torch.arange(len(place), device=place.device)
        self.whole = len(self.groups) == 1 and torch.equal(self.groups[0][0][:, 0], order)
        self.inflated = torch.where(reached[place] > 0, self.inflation, 1.0)

    def __call__(self, E: Tensor, Y: Tensor, obs: Observations, rng: Generator) -> Tensor:
        """Return the analysis (..., m, k)."""
        if callable(self.distance) and not (self._known is not None and torch.equal(self._known, obs.where)):
            self._set(self.distance(obs))
            self._known = obs.where
        if self.shape != (E.shape[-1], Y.shape[-1]):
            raise ValueError(
                f"distances are of {self.shape[0]} variables and {self.shape[1]} observations; there are {E.shape[-1]} "
                f"and {Y.shape[-1]}. Give a row, or a place, for each column of the ensemble, parameters too; networks "
                "that change need a function"
            )
        P, (first, parts) = _standardized(Y, obs), _parted(E)
        X = parts[..., :-1]
        made = None if self.whole else torch.cat([X, torch.zeros_like(X[..., :1])], -1)
        for rows, near, root in self.groups:
            seen, own = _picked(P, near) * root.to(P), X.unsqueeze(-2) if self.whole else _picked(X, rows)
            # One leading axis: products of stacks with more cost twice as much in handling.
            new = transform(own.flatten(0, -3), seen.flatten(0, -3)).reshape(*own.shape[:-1], -1)
            if self.whole:
                made = new.squeeze(-2)
            else:
                made[..., rows, :] = new
        return _joined(first, parts, made, rng, self.inflated.to(E), self.rotate)
