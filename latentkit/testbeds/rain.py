r"""Maps of daily rain over a belt of latitudes that seven independent drivers make, and a proxy that sees four of them.

Drivers u are independent and uniform from -1 to 1. With h from 0 at the southern edge to 1 at the northern one, and
longitude l around the circle, rain [mm/day] is the sum of a storm track, a belt of convection, and rain at a ridge:

    track = 8 exp(0.6 u_strength) exp(-((h - c) / w)^2 / 2),   w = 0.10 exp(0.45 u_width)                         (1)
    c(l)  = 0.6 + 0.15 u_latitude + 0.1 (1 + 0.6 u_amplitude) sin(2 l + 1.2 u_phase)                               (2)
    belt  = 4 exp(0.6 u_moisture) exp(-(h / 0.12)^2 / 2) (1 + 0.5 cos(l - 1))                                     (3)
    ridge = 6 exp(0.6 u_ridge) exp(-((h - 0.5) / 0.25)^2 / 2 - ((l - 4) / 0.3)^2 / 2)                             (4)

A field is the square root of rain, in which its models work, with independent Gaussian noise on every point. (So a dry
point may be a little below 0: noise of a known variance is what makes a likelihood known.) The proxy, "pressure", is a
linear image of the four drivers that belong to the flow, with noise of its own:

    X = M (u_latitude, u_strength, u_phase, u_amplitude) sqrt(3) + e,   M of orthonormal columns, e ~ N(0, s^2)   (5)

It cannot say width, moisture, or what the ridge does. Every axis of the four is the same to it: turned by any rotation
they have a proxy of the same law but for the box they are drawn from.
"""

import math

import torch
from torch import Generator, Tensor

DRIVERS = ("latitude", "strength", "phase", "amplitude", "width", "moisture", "ridge")
SEEN = 4  # the first so many are in the proxy
MIXING = 23  # the seed of M, which is one for all


class Rain:
    """The testbed: draws drivers, makes fields and proxies of them.

    grid: (y, x); noise: standard deviation of a field's points [mm^0.5 day^-0.5]; proxies: components of the proxy;
    proxy_noise: s, beside drivers of variance 1.

    Raises ValueError for a grid of fewer than 8 points a side, fewer proxies than drivers seen, noise below 0.
    """

    def __init__(
        self,
        grid: tuple[int, int] = (16, 32),
        *,
        noise: float = 0.3,
        proxies: int = 8,
        proxy_noise: float = 0.3,
        device: torch.device | str | None = None,
    ):
        if min(grid) < 8:
            raise ValueError(f"a grid of {grid[0]} x {grid[1]}; expected 8 points a side or more: the track is narrow")
        if proxies < SEEN:
            raise ValueError(f"{proxies} proxies; expected {SEEN} or more, one for each driver that they see")
        if min(noise, proxy_noise) < 0:
            raise ValueError(f"noise of {noise:g} and {proxy_noise:g}; expected standard deviations, 0 or more")
        self.grid, self.noise, self.proxy_noise = tuple(grid), noise, proxy_noise
        self.height = ((torch.arange(grid[0]) + 0.5) / grid[0])[:, None].to(device)  # (y, 1)
        self.longitude = (2 * math.pi * torch.arange(grid[1]) / grid[1]).to(device)  # (x)
        random = torch.randn(proxies, SEEN, generator=Generator().manual_seed(MIXING), dtype=torch.float64)
        self.mixing = torch.linalg.qr(random).Q.float().to(device)  # (proxies, seen)

    def draw(self, count: int, rng: Generator) -> Tensor:  # (n, 7)
        """Draw drivers."""
        return torch.rand(count, len(DRIVERS), generator=rng).to(self.mixing.device) * 2 - 1

    def track(self, drivers: Tensor) -> Tensor:  # (n, 7) -> (n, y, x)
        """Return the rain of the storm track [mm/day]: equation 1."""
        u = self._columns(drivers)
        wave = 0.1 * (1 + 0.6 * u["amplitude"]) * (2 * self.longitude + 1.2 * u["phase"]).sin()
        place = 0.6 + 0.15 * u["latitude"] + wave  # (2)
        width = 0.1 * (0.45 * u["width"]).exp()
        return 8 * (0.6 * u["strength"]).exp() * _bell((self.height - place) / width)

    def rain(self, drivers: Tensor) -> Tensor:  # (n, 7) -> (n, y, x)
        """Return rain [mm/day]: equations 1, 3 and 4.

        Raises ValueError for other than seven drivers, or some beyond -1 and 1.
        """
        u = self._columns(drivers)
        belt = _bell(self.height / 0.12) * (1 + 0.5 * (self.longitude - 1).cos())  # (3)
        ridge = _bell((self.height - 0.5) / 0.25) * _bell((self.longitude - 4) / 0.3)  # (4)
        other = 4 * (0.6 * u["moisture"]).exp() * belt + 6 * (0.6 * u["ridge"]).exp() * ridge
        return self.track(drivers) + other

    def fields(self, drivers: Tensor, rng: Generator) -> Tensor:  # (n, 7) -> (n, y, x)
        """Return square roots of rain with noise [mm^0.5 day^-0.5]."""
        noise = torch.randn(len(drivers), *self.grid, generator=rng).to(drivers.device)
        return self.rain(drivers).sqrt() + self.noise * noise

    def proxy(self, drivers: Tensor, rng: Generator) -> Tensor:  # (n, 7) -> (n, proxies)
        """Return the proxy: equation 5."""
        seen = drivers[:, :SEEN] * math.sqrt(3) @ self.mixing.mT
        return seen + self.proxy_noise * torch.randn(seen.shape, generator=rng).to(seen.device)

    def sample(self, count: int, rng: Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Draw drivers (n, 7); return fields (n, y, x), the proxy (n, proxies), and drivers."""
        drivers = self.draw(count, rng)
        return self.fields(drivers, rng), self.proxy(drivers, rng), drivers

    def _columns(self, drivers: Tensor) -> dict[str, Tensor]:
        """Return drivers (n, 1, 1) by name."""
        if drivers.ndim != 2 or drivers.shape[1] != len(DRIVERS):
            raise ValueError(f"drivers of shape {tuple(drivers.shape)}; expected {len(DRIVERS)}: {', '.join(DRIVERS)}")
        if not (drivers.abs() <= 1).all():
            raise ValueError(f"drivers reach {float(drivers.abs().max()):g}; expected numbers from -1 to 1")
        return dict(zip(DRIVERS, drivers.mT[:, :, None, None], strict=True))


def _bell(x: Tensor) -> Tensor:
    return (-0.5 * x.square()).exp()
