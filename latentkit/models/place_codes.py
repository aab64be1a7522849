r"""Codes of places that all realizations share, and a decoder of its own for each: LC-CVAE's constraint at its limit.

Let the penalty of equation 4 (`models.cvae`) reach every place, with distance 0 and a weight beyond all bounds. Then a
place has one code z(x) whatever the realization, and all that is left to a realization is its decoder. With linear
decoders and the mean m of the seen realizations,

    y_r(x, t) = m(x, t) + z(x) . a_r(t) + e_r(x, t),  a_r(t) ~ N(0, I),  e_r(., t) ~ GP(0, residual(x, x'))       (1)

the codes are principal axes of the seen deviations, each scaled by its standard deviation (as in M. E. Tipping and
C. M. Bishop 1999, Probabilistic principal component analysis, but for the residual's share of it). The residual has the
covariance that they leave, tapered to 0 at a distance, since so few samples say nothing of places far apart. A new
realization needs its decoder only, and by (1) it is Gaussian: observed places give the posterior of a(t), and with it
series at all others in closed form. With as many codes as samples this is optimal interpolation with the ensemble's
covariance (L. S. Gandin 1963); without codes, with the tapered one (G. Gaspari and S. E. Cohn 1999, equation 4.10).

Internal variability of R seen realizations is taken as R / (R - 1) times their variance about m, and a new one differs
from m by (1 + 1 / R) of it.
"""

from collections.abc import Sequence

import torch
from torch import Generator, Tensor

from latentkit import sphere
from latentkit.localization import taper
from latentkit.models import interpolation

BLOCK = 256  # rows of a covariance made at a time: what makes them takes ten times their memory


class PlaceCodes:
    """Hold codes of places z (n, k), the mean of the seen realizations (n, t) and the residual's covariance (n, n).

    seen (R, n, t): series of the seen realizations; x (n, 3): places; size: k, 0 for none; reach: distance at which the
    residual's covariance ends [rad].

    Raises ValueError for fewer than two realizations, more codes than samples, or a reach of 0.
    """

    def __init__(self, seen: Tensor, x: Tensor, size: int, reach: float):
        r, n, t = seen.shape
        if r < 2:
            raise ValueError(f"{r} seen realization; deviations from their mean need two or more")
        if not 0 <= size <= min(n, (r - 1) * t):
            raise ValueError(f"{size} codes; expected 0 to {min(n, (r - 1) * t)} for {r} realizations of {t} times")
        if not reach > 0:
            raise ValueError(f"the residual's covariance reaches {reach} rad; expected a number above 0")
        self.dtype, self.mean = seen.dtype, seen.double().mean(0)
        self.growth, self.share = 1 + 1 / r, 1 - 1 / r
        deviation = (seen.double() - self.mean) * (r / (r - 1)) ** 0.5
        table = deviation.movedim(1, 0).reshape(n, r * t) / (r * t) ** 0.5
        axes = _axes(table, size)
        times = axes.mT @ table  # (k, r t)
        self.z = axes * times.norm(dim=1)  # (n, k)
        residual = table - axes @ times
        self.residual = table @ table.mT - self.z @ self.z.mT
        for rows in torch.arange(n).split(BLOCK):
            self.residual[rows] *= taper(sphere.distance(x[rows].double(), x.double()), reach)
        courses = torch.cat([times, residual]).reshape(size + n, r, t)
        power = courses.square().sum((1, 2))
        lagged = (courses[..., 1:] * courses[..., :-1]).sum((1, 2)) * t / (t - 1)
        own = lagged[size:].sum() / power[size:].sum().clamp_min(1e-12)
        keep = torch.cat([lagged[:size] / power[:size], own[None]])
        self.persistence = keep.clamp(-0.99, 0.99)  # (k + 1), from one time to the next: of each a(t), of the residual

    def complete(
        self,
        observed: Tensor,  # (o) rows of places
        y_observed: Tensor,  # (o, t)
    ) -> tuple[Tensor, Tensor]:  # (n, t), (n, 1)
        """Return mean and variance of a new realization's series at all places, given those observed."""
        cross = self.growth * (self.z @ self.z[observed].mT + self.residual[:, observed])
        prior = self.growth * (self.z.square().sum(1) + self.residual.diagonal())
        deviation = y_observed.double() - self.mean[observed]
        found, variance = interpolation.condition_on(cross[observed], cross, prior, deviation)
        return (self.mean + found).to(self.dtype), variance.to(self.dtype)

    def sample(self, rng: Sequence[Generator]) -> Tensor:
        """Return new realizations (draws, n, t), one a generator: equation 1 with first-order autoregressions in time.

        Draws vary about m as the seen realizations do, by (1 - 1 / R) of internal variability: m holds the rest.
        """
        (n, t), k = self.mean.shape, self.z.shape[1]
        jitter = 1e-6 * self.residual.diagonal().mean() * torch.eye(n, dtype=torch.double)
        mix = torch.cat([self.z, torch.linalg.cholesky(self.residual + jitter)], 1)  # (n, k + n)
        keep = torch.cat([self.persistence[:k], self.persistence[k:].expand(n)])
        draws = []
        for one in rng:
            course = torch.randn(t, k + n, generator=one, dtype=torch.double)
            for i in range(1, t):
                course[i] = keep * course[i - 1] + (1 - keep.square()).sqrt() * course[i]
            draws.append(self.mean + self.share**0.5 * mix @ course.mT)
        return torch.stack(draws).to(self.dtype)


def _axes(table: Tensor, size: int) -> Tensor:
    """Return the first principal axes (n, size) of a table (n, samples), from the smaller of its two products."""
    if table.shape[0] <= table.shape[1]:
        return torch.linalg.eigh(table @ table.mT)[1].flip(1)[:, :size]
    samples = torch.linalg.eigh(table.mT @ table)[1].flip(1)[:, :size]
    return torch.linalg.qr(table @ samples)[0]
