r"""The rotating shallow-water planet of LEVDA's atmospheric benchmark, with a source that circles it once a day.

D. L. Williamson et al. (1992), A standard test set for numerical approximations to the shallow water equations in
spherical geometry; J. J. Hack and R. Jakob (1992), Description of a global shallow water model based on the spectral
transform method. With the wind v = (u, v), its vorticity z and divergence d, the anomaly h of the free surface about
its mean depth H, the ground's height b (0 unless given), and f = 2 Omega sin lat:

    dz/dt = -div((z + f) v) - damping                                                                            (1)
    dd/dt = curl((z + f) v) - laplacian(g h + (u^2 + v^2) / 2) - damping                                         (2)
    dh/dt = -div((H + h - b) v) - damping + F                                                                    (3)
    F = height / hour cos(lon - lon_c) exp(-((lat - lat_c) / width)^2),
        lon_c = 2 pi time / day,   lat_c = 0.4 sin(2 pi time / year),   a year of 1008 hours                     (4)

The planet is `planetswe` of R. Ohana et al. (2024), The Well, as P. Xiao et al. (2026), LD-EnSF, changed it. Its
generator counts time in hours, so F is a rate with h_f0 in meters an hour, added to equation 3: known from the code.
The Well has height 2 m and width 2 pi / 3 rad (pi / 2 in its description), LD-EnSF height 0.1 to 30 m and width 1 to
4 rad. F has the one zonal wavenumber 1, hence no mass; it jumps at the poles, where the spectrum rounds it off. The
damping is the generator's nu laplacian^2, of the wind as a vector: by the degree l of a harmonic

    rate = nu ((l (l + 1) - 1) / R^2)^2 for z and d,   nu (l (l + 1) / R^2)^2 for h                              (5)

with nu = 1e5 m2/s (R / 160)^2 = 1.6e14 m4/s in The Well, (R / 32)^2 in LD-EnSF: too weak for a coarse grid, whose
shortest harmonics then hold nearly as much as those twice as long. By default the shortest one of z decays in a day
(*assumed*).

What is not as published: ERA5 at 500 hPa and its orography are replaced by jets and waves in the balance that the
generator imposes, too (`start`; sizes *assumed*, near the standard deviations that The Well states), and no ground. The
generator's equation for h has H div v twice, once in -div((h - b) v) as b there has H subtracted: its gravity waves run
as over a depth 2 H, which `depth` can imitate; its description has H once, and so has the default.

In time: the classical Runge-Kutta scheme of order 4 with damping as an integrating factor (J. D. Lawson 1967). With
N(y) the rest of equations 1 to 3 and E = exp(-rate step / 2),

    y' = E^2 y + step / 6 (E^2 k1 + 2 E k2 + 2 E k3 + k4),   k1 = N(y),   k2 = N(E (y + step / 2 k1)),
    k3 = N(E y + step / 2 k2),   k4 = N(E^2 y + step E k3)                                                       (6)

stable while step times the fastest frequency, about sqrt(g H) l / R, is below 2.8. In space: `harmonics`, without
aliasing. A state on the grid holds more than the spectrum: what it has beyond `sphere.degree` goes at once.
"""

import math

import torch
from torch import Generator, Tensor

from latentkit.finite import NotFiniteError
from latentkit.testbeds.harmonics import Harmonics

RADIUS, ROTATION, GRAVITY = 6.37122e6, 7.292e-5, 9.80616  # [m], [rad/s], [m/s2]
HOUR, DAY, YEAR = 3600.0, 86400.0, 1008 * 3600.0  # [s]
TILT = 0.4  # largest latitude of the source [rad]
WAVES = range(4, 9)  # degrees of the random waves of a start (*assumed*)
AHEAD = 64  # steps whose sources are found at once
WIND = 60.0  # of a strong jet [m/s], for the longest stable step


class Planet:
    """Hold a grid of lat x lon points (`Harmonics`) and what members share; states are (m, 3, y, x).

    Channels of a state: h, the anomaly of the surface about `depth` [m], then the wind u, v [m/s].

    step [s]: if None the longest whole part of an hour that is accurate, 30 minutes on 32 x 64; depth H [m]; damping nu
    [m4/s]: if None the shortest harmonic decays in a day; rotation Omega [rad/s]; ground b (y, x) [m], of which
    what the harmonics resolve is taken.

    latitudes (y), longitudes (x) [degrees]; area (y, x): weights of points, which sum to 1; sphere: the harmonics.

    Raises ValueError for a grid of odd or too few rows or columns, a step beyond the stable one, or a depth, damping or
    ground that makes no sense.
    """

    def __init__(
        self,
        lat: int = 32,
        lon: int = 64,
        *,
        step: float | None = None,
        depth: float = 5500.0,
        damping: float | None = None,
        rotation: float = ROTATION,
        ground: Tensor | None = None,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str | None = None,
    ):
        self.sphere = Harmonics(lat, lon, RADIUS, dtype=dtype, device=device)
        n = self.sphere.degree
        if n < WAVES[-1]:
            raise ValueError(f"a grid of {lat} x {lon} resolves degree {n}; {WAVES[-1]} is needed: 14 x 26 or more")
        if not depth > 0 or (damping is not None and not damping >= 0):
            raise ValueError(f"depth is {depth} m and damping {damping} m4/s; expected above 0, and 0 or more")
        fastest = (math.sqrt(GRAVITY * depth) * math.sqrt(n * (n + 1)) + WIND * n) / RADIUS + 2 * abs(rotation)
        step = HOUR / math.ceil(HOUR * fastest / 2.1) if step is None else step
        if not 0 < step <= 2.8 / fastest:
            raise ValueError(f"a step of {step} s; expected above 0, {2.8 / fastest:.0f} s at most on {lat} x {lon}")
        ground = torch.zeros(lat, lon) if ground is None else ground
        if ground.shape != (lat, lon) or not (ground < depth).all() or not ground.isfinite().all():
            raise ValueError(
                f"a ground of {tuple(ground.shape)}; expected finite numbers ({lat}, {lon}) below {depth} m"
            )
        ground = self.sphere.synthesize(self.sphere.analyze(ground.to(self.sphere.weights)))
        self.step, self.depth = step, depth
        self.latitudes, self.longitudes = self.sphere.latitudes, self.sphere.longitudes
        self.area = (self.sphere.weights[:, None] / lon).expand(lat, lon)
        self._lat = self.latitudes.deg2rad().to(self.area)
        coriolis = (2 * rotation * self._lat.sin())[:, None].expand(lat, lon)
        self._more = torch.stack([coriolis, depth - ground])[:, None]  # (2, 1, y, x)
        square = self.sphere.laplacian.double()
        rates = torch.stack([square + 1 / RADIUS**2, square + 1 / RADIUS**2, square]).square()  # (3, l)
        self.damping = float(1 / (DAY * rates[0, -1])) if damping is None else damping
        self._keep = (-0.5 * step * self.damping * rates).exp().to(self.area)[:, None, None]  # (5), E (3, 1, 1, l)

    def start(
        self,
        members: int,
        rng: Generator,
        *,
        speed: float = 20.0,
        waves: float = 10.0,
        shared: bool = False,
    ) -> Tensor:  # (m, 3, y, x)
        """Return a jet at 39 degrees on either side of the equator with random waves on it, in balance (`balanced`).

        speed [m/s]: of the jets; waves [m/s]: root mean square wind of the waves, of degrees 4 to 8 in equal parts;
        shared: all members have the first one's waves. rng: on the CPU; one seed gives one start on every grid.
        """
        n, count = self.sphere.degree, 1 if shared else members
        lat = self.latitudes.deg2rad()
        jet = speed * lat.sin().square() * lat.cos() ** 3 / (0.4 * 0.6**1.5)
        jet = jet[:, None].expand(-1, self.sphere.lon).to(self.area)
        zonal = self.sphere.rotation(torch.stack([jet, torch.zeros_like(jet)]))[0]
        draws = torch.randn(count, WAVES[-1] + 1, len(WAVES), 2, generator=rng, dtype=torch.double)
        m, degree = torch.arange(WAVES[-1] + 1)[:, None], torch.tensor(WAVES)
        # A degree has 2 l + 1 numbers of one variance s^2: by equation 1 of `harmonics` the mean square vorticity is
        # (2 l + 1) s^2 / 2, and that of the wind R^2 / (l (l + 1)) times it.
        scale = waves * (2 * degree * (degree + 1) / (len(WAVES) * (2 * degree + 1))).sqrt() / RADIUS
        parts = torch.view_as_complex(draws) * math.sqrt(0.5)
        parts = torch.where(m == 0, draws[..., 0].to(parts.dtype), parts) * scale * (m <= degree)
        parts = torch.nn.functional.pad(torch.view_as_real(parts), (0, 0, WAVES[0], n - WAVES[-1], 0, n - WAVES[-1]))
        parts = torch.view_as_complex(parts).to(zonal)
        return self.balanced(zonal + parts).expand(members, -1, -1, -1).clone()

    def balanced(
        self,
        vorticity: Tensor,  # (m, m', l) complex spectrum [1/s]
    ) -> Tensor:  # (m, 3, y, x)
        """Return the state with this vorticity, no divergence, and h of mean 0 for which equation 2 keeps it so."""
        wind = self.sphere.wind(torch.stack([vorticity, torch.zeros_like(vorticity)]))
        turning = self.sphere.rotation((self.sphere.synthesize(vorticity) + self._more[0]) * wind)[0]
        energy = self.sphere.analyze(0.5 * wind.square().sum(0))
        h = (turning * self.sphere.inverse - energy * (self.sphere.laplacian < 0)) / GRAVITY
        return torch.stack([self.sphere.synthesize(h), *wind], 1)

    def advance(
        self,
        state: Tensor,  # (m, 3, y, x)
        steps: int,
        time: float = 0.0,
        height: float | Tensor = 0.0,  # (m) or one number
        width: float | Tensor = 1.0,  # (m) or one number
    ) -> Tensor:  # (m, 3, y, x)
        """Return the state a number of steps later.

        time [s]: at the start; height [m, an hour], width [rad]: of the source.

        Raises ValueError for states or parameters of wrong shapes, numbers that are not finite, or a width that is not
        above 0; NotFiniteError if the flow breaks down.
        """
        return self.trajectory(state, steps, steps, time, height, width)[1]

    def trajectory(
        self,
        state: Tensor,  # (m, 3, y, x)
        steps: int,
        every: int,
        time: float = 0.0,
        height: float | Tensor = 0.0,  # (m) or one number
        width: float | Tensor = 1.0,  # (m) or one number
    ) -> Tensor:  # (t, m, 3, y, x)
        """Return the states after 0, every, 2 every, ... steps, up to `steps`.

        The arguments and errors are those of `advance`; ValueError too if `every` is not a whole part of `steps`.
        """
        if steps < 1 or every < 1 or steps % every:
            raise ValueError(f"{steps} steps, kept every {every}; expected a multiple of it, and 1 or more")
        height, width = self._checked(state, time, height, width)
        now = torch.cat([self.sphere.rotation(state[:, 1:].movedim(1, 0)), self.sphere.analyze(state[:, 0])[None]])
        kept = [state]
        for i in range(steps):
            if i % AHEAD == 0:  # the sources of so many steps at once: at starts, middles and ends
                moments = time + self.step * (i + torch.arange(2 * min(AHEAD, steps - i) + 1, dtype=torch.double) / 2)
                sources = self._sources(moments, height, width)
            now = self._stepped(now, *sources[2 * (i % AHEAD) :][:3])
            if (i + 1) % every == 0:
                h = self.sphere.synthesize(now[2])
                kept.append(torch.stack([h, *self.sphere.wind(now[:2])], 1))
        kept = torch.stack(kept)
        if not kept.isfinite().all():
            raise NotFiniteError(f"the flow broke down at steps of {self.step:.0f} s; shorten them or damp more")
        return kept

    def _stepped(self, y: Tensor, first: Tensor, middle: Tensor, last: Tensor) -> Tensor:
        """Return the spectrum (3, m, m', l) one step later; sources (m, l) of order 1 at start, middle and end."""
        h, keep = self.step, self._keep
        kept = keep * y
        k1 = self._slope(y, first)
        k2 = self._slope(torch.add(kept, keep * k1, alpha=h / 2), middle)
        k3 = self._slope(torch.add(kept, k2, alpha=h / 2), middle)
        k4 = self._slope(keep * torch.add(kept, k3, alpha=h), last)
        late = torch.add(torch.add(kept, keep * k1, alpha=h / 6), k2 + k3, alpha=h / 3)
        return torch.add(keep * late, k4, alpha=h / 6)  # (6)

    def _slope(self, y: Tensor, source: Tensor) -> Tensor:
        """Return N (3, m, m', l): equations 1 to 3 without damping; source (m, l): of order 1."""
        wind = self.sphere.wind(y[:2])  # (2, m, y, x)
        carried = self.sphere.synthesize(y[::2]) + self._more  # z + f, H + h - b
        curl, div = self.sphere.rotation(wind[:, None] * carried)  # (2, m, m', l) each
        energy = self.sphere.analyze(0.5 * wind.square().sum(0)) + GRAVITY * y[2]
        slope = torch.stack([-div[0], curl[0] - self.sphere.laplacian * energy, -div[1]])  # (1), (2), (3)
        slope[2, :, 1] += source
        return slope

    def _sources(self, times: Tensor, height: Tensor, width: Tensor) -> Tensor:
        """Return F [m/s] at some times: spectra (t, m, l) of its order 1."""
        lon, lat = 2 * math.pi * (times / DAY % 1), TILT * (2 * math.pi * times / YEAR).sin()
        off = (self._lat - lat.to(self._lat)[:, None, None]) / width[:, None]  # (t, m, y)
        rows = self.sphere.analyze_order((height / HOUR)[:, None] * (-off.square()).exp(), 1)
        return rows * torch.polar(torch.full_like(lon, 0.5), -lon).to(self._keep + 0j)[:, None, None]  # (4)

    def _checked(
        self, state: Tensor, time: float, height: float | Tensor, width: float | Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return height and width (m), or say what is wrong with a call."""
        lat, lon = self.sphere.lat, self.sphere.lon
        if state.dim() != 4 or state.shape[1:] != (3, lat, lon):
            raise ValueError(f"a state of {tuple(state.shape)}; expected (members, 3, {lat}, {lon})")
        if state.dtype != self.area.dtype:
            raise ValueError(f"a state of {state.dtype}; this planet has {self.area.dtype}: convert one of them")
        if not (bad := state.isfinite().flatten(1).all(1).logical_not()).logical_not().all():
            raise NotFiniteError(f"members {bad.nonzero().flatten().tolist()} of the state are not finite")
        if not math.isfinite(time):
            raise ValueError(f"the time is {time} s; expected a finite number")
        found = []
        for name, value in (("height", height), ("width", width)):
            value = torch.as_tensor(value).to(self.area)
            if value.shape not in ((), (len(state),)) or not value.isfinite().all():
                raise ValueError(f"{name} is {value}; expected a finite number or {len(state)} of them")
            found.append(value.expand(len(state)))
        if not (found[1] > 0).all():
            raise ValueError(f"width is {width} rad; expected numbers above 0")
        return found[0], found[1]
