r"""A Gaussian prior of windows of days that is alike all around a circle of latitude, with its exact score, in stacks.

Of windows x (days, k, y, x) the covariance between two points is taken to depend on their longitudes through the
difference d alone, and to end with a taper rho of the great circle between them (`localization`):

    c(p, q; d) = rho mean_windows mean_x (x(p, x + d) - m) (x(q, x) - m)',   p, q: day, channel and latitude         (1)

Its Fourier transform along d is one Hermitian matrix a zonal wavenumber, U diag(l) U^H, in which all that a Gaussian
can answer is a function of l. With noise of deviation r = sigma / mu (`diffusion`, equation 2) beside x,

    x0 = m + W (x(t) / mu - m),   W = U diag(l / (l + r^2)) U^H        the filter of N. Wiener (1949)                (2)

n points of longitude make a sample of (1) as good as up to n times as many days; what differs along a circle, such as a
storm track, is averaged.
"""

import math
from collections.abc import Callable, Sequence
from copy import copy

import torch
from torch import Generator, Tensor

from latentkit.localization import RADII, great_circle, taper
from latentkit.models import diffusion
from latentkit.models.nets import normal

EARTH = 6371.0  # radius [km]


class Zonal:
    """Hold a stack of s priors: mean (s, k, y, x), variances (s, m, d) and modes (s, m, d, d) of each wavenumber m.

    series (s, n, k, y, x): consecutive days; length: days of a window; lat (y), lon (x) [degrees], all around and
    evenly apart; radius [km]: of the taper, as of `plain.Climatological`, inf for none.

    Windows are (s, n, days k, y, x) in all methods, as those of `Denoiser`.

    Raises ValueError for fewer days than a window has, longitudes that do not go around, and a radius that is not above
    0.
    """

    def __init__(self, series: Tensor, length: int, lat: Tensor, lon: Tensor, *, radius: float):
        s, n, k, y, x = series.shape
        if n < length or length < 1:
            raise ValueError(f"{n} days, windows of {length}; expected as many days as a window has, or more")
        if not radius > 0:
            raise ValueError(f"the radius of localization is {radius}; expected a number above 0")
        steps = torch.diff(lon.double(), append=lon[:1].double() + 360)
        if len(lat) != y or len(lon) != x or not torch.allclose(steps, steps.new_tensor(360 / x), atol=1e-3):
            raise ValueError(f"longitudes are {lon.tolist()}; expected {x} that go around, evenly apart")
        self.shape, self.mean = (length, k, y, x), series.mean(1)
        waves = torch.fft.rfft(series - self.mean[:, None], norm="ortho")  # (s, n, k, y, m)
        points = torch.cartesian_prod(lat.double(), lon.double() - lon[0].double())
        rho = None
        if not math.isinf(radius):
            far = great_circle(points[::x], points, EARTH).view(y, y, x)
            rho = taper(far, RADII * radius).clamp_min(0).to(series)
        values, vectors = zip(*(self._found(one, rho) for one in waves), strict=True)
        self.values, self.vectors = torch.stack(values), torch.stack(vectors)

    @property
    def center(self) -> Tensor:  # (s, 1, days k, y, x)
        """Return the mean of windows."""
        return self.mean.repeat(1, self.shape[0], 1, 1)[:, None]

    def model(self, i: int) -> "Zonal":
        """Return one model of the stack, as a stack of one."""
        one = copy(self)
        one.mean, one.values, one.vectors = (part[i : i + 1] for part in (self.mean, self.values, self.vectors))
        return one

    def _found(self, waves: Tensor, rho: Tensor | None) -> tuple[Tensor, Tensor]:  # (n, k, y, m)
        length, k, y, x = self.shape
        windows = waves.unfold(0, length, 1).permute(3, 0, 4, 1, 2).flatten(2)  # (m, n, length k y)
        C = windows.mT @ windows.conj() / windows.shape[1]
        if rho is not None:
            c = torch.fft.irfft(C.movedim(0, -1), n=x).unflatten(1, (-1, y)).unflatten(0, (-1, y))
            c *= rho[:, None]  # of (length k, y, length k, y, x)
            C = torch.fft.rfft(c.flatten(2, 3).flatten(0, 1)).movedim(-1, 0)
        values, vectors = torch.linalg.eigh(0.5 * (C + C.mH))
        return values.clamp_min(0), vectors

    def turned(self, windows: Tensor, of: Callable[[Tensor], Tensor]) -> Tensor:
        """Return windows with a function of the variances applied: U diag(of(l)) U^H."""
        return self._windows(of(self.values[..., None]) * self._modes(windows))

    def colored(self, w: Tensor) -> Tensor:  # (s, n, m, d) complex -> (s, n, days k, y, x)
        """Return B w with B B^T = C: windows of a wavenumber's modes each, in units of their deviations.

        The real and imaginary parts of w count as numbers each in its inner product, for which the wavenumbers that
        stand for two are divided by sqrt(2).
        """
        return self._windows(self.values.sqrt()[..., None] * (w / self._twice).permute(0, 2, 3, 1))

    def whitened(self, v: Tensor) -> Tensor:  # (s, n, days k, y, x) -> (s, n, m, d) complex
        """Return B^T v: the transpose of `colored`."""
        return (self._modes(v) * self.values.sqrt()[..., None]).permute(0, 3, 1, 2) * self._twice

    def _modes(self, windows: Tensor) -> Tensor:  # (s, n, days k, y, x) -> (s, m, d, n) complex
        waves = torch.fft.rfft(windows, norm="ortho").permute(0, 4, 2, 3, 1).flatten(2, 3)
        return (self.vectors.mT @ waves.conj()).conj()  # U^H waves: a conjugate of U would be a copy of it

    def _windows(self, modes: Tensor) -> Tensor:  # (s, m, d, n) complex -> (s, n, days k, y, x)
        length, k, y, x = self.shape
        waves = (self.vectors @ modes).unflatten(2, (length * k, y)).permute(0, 4, 2, 3, 1)
        return torch.fft.irfft(waves, x, norm="ortho")

    @property
    def _twice(self) -> Tensor:  # (m, 1)
        m = torch.arange(self.shape[3] // 2 + 1, device=self.values.device)[:, None]
        return torch.where((m == 0) | (2 * m == self.shape[3]), 1.0, math.sqrt(2)).to(self.values)

    def denoised(self, x: Tensor, t) -> Tensor:  # t: number or (s, n)
        """Return x0 of windows at time t: equation 2."""
        square, m = _ratio(t), self.center
        mu = diffusion.mu(t)[..., None, None, None] if isinstance(t, Tensor) else diffusion.mu(t)
        return m + self.turned(x / mu - m, lambda v: v / (v + square))

    def __call__(self, x: Tensor, t: float) -> Tensor:
        """Return the noise that windows hold at time t."""
        return (x - diffusion.mu(t) * self.denoised(x, t)) / diffusion.sigma(t)

    def sample(self, count: int, rng: Sequence[Generator]) -> Tensor:  # (s, count, days k, y, x)
        """Draw windows; rng: one generator a model."""
        length, k, y, x = self.shape
        white = normal((count, length * k, y, x), rng, self.mean)
        return self.turned(white, torch.sqrt) + self.center


def _ratio(t):
    square = (diffusion.sigma(t) / diffusion.mu(t)) ** 2
    return square[:, None, None] if isinstance(t, Tensor) else square
