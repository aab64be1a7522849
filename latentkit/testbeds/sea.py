r"""The sea that plankton drifts in: a channel of 4000 km with eddies, seasons, clouds and water from below.

Everything here is made, and plain: it has the sizes of a northern ocean from 20 to 56 degrees north, and no weather
system or eddy of its own dynamics. With latitude y / 111.2 km from the southern wall on, day from the first of January:

    light        0.45 x 4.57 umol J-1 x 0.7 x Q (1 - 0.6 cloud), Q the daily mean of sunlight above the air (E. Berger
                 1978, Long-term variations of daily insolation, on a circular orbit), cloud = 1 / (1 + exp(-field)) (1)
    temperature  26 degC in the south to 8 in the north, 4 degC up and down with the season in the north and 2 in the
                 south, latest in August, + air + eddies psi' / deviation                                            (2)
    flow         psi = jet + psi', an eastward jet in the middle and random eddies                                   (3)
    nutrient     N0 = (0.5 to 10 mmol m-3, rising in the middle) exp(-0.8 psi' / deviation), brought at the rate
                 r = (1 + 0.8 cos(season)) / 20 d, most in February                                                  (4)

Anticyclones (psi' above 0) are warm and poor, cyclones cold and rich. Each random field is a sum of waves, sines (psi')
or cosines across the channel and both around it, of wavenumber k and variance 1 / (1 + (k / k0)^slope) up to a limit,
whose amplitudes are Ornstein-Uhlenbeck processes with the time tau (k0 / k up to 1): from day to day

    a <- rho a + (1 - rho^2)^(1/2) noise,   rho = exp(-1 / tau(k))                                                   (5)

Fields of a moment lie linearly between those of two whole days.
"""

import math
from collections.abc import Sequence

import torch
from torch import Generator, Tensor

from latentkit.testbeds.plankton import Water

YEAR = 365.0  # [d]
SOUTH, DEGREE = 20.0, 111.2e3  # latitude of the southern wall [degrees], its length [m]
PUMP = 0.8
PAR = 0.45 * 4.57  # [umol J-1]


class Waves:
    """Hold a random field of m members for so many days, equation 5; deviation 1 in the mean over the channel.

    size (y, x); cell [m]; scale: wavelength 2 pi / k0 [m]; shortest: wavelength kept [m]; slope; tau [d]; walls: sines
    across the channel, 0 at its walls, or cosines.
    """

    def __init__(
        self,
        members: int,
        days: int,
        rng: Generator,
        size: Sequence[int],
        cell: float,
        *,
        scale: float,
        shortest: float,
        slope: float,
        tau: float,
        walls: bool = False,
        device: torch.device | str | None = None,
    ):
        self.walls, self.size = walls, tuple(size)
        width, length = size[0] * cell, size[1] * cell
        self.j = torch.arange(1 if walls else 0, math.floor(2 * width / shortest) + 1)
        self.k = torch.arange(math.floor(length / shortest) + 1)
        across, around = self.j[:, None] / (2 * width), self.k / length  # [m-1], half waves and whole ones
        k = (across.square() + around.square()).sqrt()[:, None, :].expand(-1, 2, -1)  # (j, 2, k): cosine and sine
        keep = (k <= 1 / shortest) & (k > 0)
        variance = keep / (1 + (k * scale) ** slope)
        even = torch.where(self.k == 0, torch.tensor([[1.0], [0.0]]), torch.tensor(0.5))  # mean square of cosine, sine
        self.powers = torch.where(self.j[:, None, None] == 0, 1.0, 0.5) * even
        size_of = (variance / (variance * self.powers).sum()).sqrt()
        rho = torch.exp(-1 / (tau / (k * scale).clamp_min(1)))
        noise = torch.randn(days + 1, members, *k.shape, generator=rng)
        for i in range(1, days + 1):
            noise[i] = rho * noise[i - 1] + (1 - rho.square()).sqrt() * noise[i]
        self.amplitudes = (noise * size_of).to(device)
        self.j, self.k, self.powers = (x.to(device) for x in (self.j, self.k, self.powers))

    def field(self, day: int, *, corners: bool = False) -> Tensor:  # (m, y, x), or (m, y + 1, x) on corners
        """Return the field of a whole day, on middles of cells or on their corners (y = 0, d, ...; x = d, 2 d, ...)."""
        n, m = self.size
        y = torch.arange(n + 1) / n if corners else (torch.arange(n) + 0.5) / n
        x = (torch.arange(m) + (1.0 if corners else 0.5)) / m
        y, x = y.to(self.j.device), x.to(self.j.device)
        across = math.pi * y[:, None] * self.j
        across = across.sin() if self.walls else across.cos()  # (y, j)
        angle = 2 * math.pi * self.k[:, None] * x
        around = torch.cat([angle.cos(), angle.sin()])  # (2 k, x)
        return across @ self.amplitudes[day].flatten(-2) @ around


class Sea:
    """Say the weather of m members at any moment of so many days; called with a day, it returns `Water`.

    size (y, x), cell [m]: the grid; speed: root mean square of the eddies' [m s-1]; jet: its largest [m s-1]; air,
    eddies: deviation of temperature by weather and by eddies [degC]. `latitude` (y) [degrees north].

    Raises ValueError for no members or days, and for a moment outside of the days.
    """

    def __init__(
        self,
        members: int,
        days: int,
        rng: Generator,
        size: Sequence[int] = (80, 80),
        *,
        cell: float = 5e4,
        speed: float = 0.1,
        jet: float = 0.08,
        air: float = 1.0,
        eddies: float = 1.5,
        device: torch.device | str | None = None,
    ):
        if members < 1 or days < 1:
            raise ValueError(f"{members} members and {days} days; expected 1 or more of each")
        self.days, self.speed, self.jet, self.air, self.eddies = days, speed, jet, air, eddies
        self.size, self.cell, width = tuple(size), cell, size[0] * cell
        grid = (members, days, rng, size, cell)
        self.flow = Waves(*grid, scale=8e5, shortest=2.5e5, slope=6.0, tau=40.0, walls=True, device=device)
        self.clouds = Waves(*grid, scale=2e6, shortest=6e5, slope=4.0, tau=4.0, device=device)
        self.weather = Waves(*grid, scale=3e6, shortest=1e6, slope=4.0, tau=30.0, device=device)
        self.middle = ((torch.arange(size[0]) + 0.5) / size[0]).to(device)  # of cells, in widths of the channel
        self.latitude = SOUTH + self.middle * width / DEGREE
        across, around = math.pi * self.flow.j / width, 2 * math.pi * self.flow.k / (size[1] * cell)
        square = (across.square()[:, None] + around.square())[:, None]  # mean square speed of psi' of deviation 1
        share = self.flow.amplitudes.square().mean((0, 1)) * self.flow.powers
        self.unit = speed / float((share * square).sum().sqrt())  # [m2 s-1] a deviation
        self._days: dict[int, Water] = {}

    def __call__(self, day: float) -> Water:
        """Return the weather of a moment [d]."""
        if not 0 <= day <= self.days:
            raise ValueError(f"day {day:g} is outside of this sea's {self.days} days; ask for more when it is made")
        first = min(int(day), self.days - 1)
        a, b, part = self.whole(first), self.whole(first + 1), day - first
        mix = [x + part * (y - x) for x, y in zip(a, b, strict=True)]
        return Water(*mix)

    def whole(self, day: int) -> Water:
        """Return the weather of a whole day."""
        if day not in self._days:
            self._days = {k: v for k, v in self._days.items() if k == day - 1}  # time goes on: two are enough
            self._days[day] = self._made(day)
        return self._days[day]

    def skies(self, day: int) -> tuple[Tensor, Tensor]:  # (m, y, x) twice
        """Return light and temperature of a whole day."""
        return self._skies(day, self.flow.field(day))

    def _skies(self, day: int, eddy: Tensor) -> tuple[Tensor, Tensor]:
        cloud = torch.sigmoid(self.clouds.field(day))
        light = PAR * 0.7 * sunlight(self.latitude, day)[:, None] * (1 - 0.6 * cloud)  # (1)
        north, season = self.middle[:, None], math.cos(2 * math.pi * (day - 230) / YEAR)
        warm = 26 - 18 * north + (2 + 2 * north) * season
        return light, warm + self.air * self.weather.field(day) + self.eddies * eddy  # (2)

    def _made(self, day: int) -> Water:
        eddy, north = self.flow.field(day), self.middle[:, None]
        light, temperature = self._skies(day, eddy)
        y = (torch.arange(self.size[0] + 1)[:, None] / self.size[0]).to(eddy.device)
        wide = 0.1 * self.size[0] * self.cell  # of the jet [m]
        stream = self.unit * self.flow.field(day, corners=True) - self.jet * wide * torch.tanh((y - 0.5) / 0.1)  # (3)
        nutrient = (0.5 + 9.5 * torch.sigmoid((north - 0.5) * 12)) * torch.exp(-PUMP * eddy)
        supply = (1 + 0.8 * math.cos(2 * math.pi * (day - 45) / YEAR)) / 20  # (4)
        return Water(stream, light, temperature, nutrient, supply)


def sunlight(latitude: Tensor, day: float) -> Tensor:
    """Return the daily mean of sunlight above the air [W m-2], of latitudes in degrees."""
    tilt = math.radians(23.44) * math.sin(2 * math.pi * (day - 80) / YEAR)
    lat = torch.deg2rad(latitude)
    half = torch.acos((-torch.tan(lat) * math.tan(tilt)).clamp(-1, 1))  # half of the day
    up = half * torch.sin(lat) * math.sin(tilt) + torch.cos(lat) * math.cos(tilt) * torch.sin(half)
    return 1361 / math.pi * up
