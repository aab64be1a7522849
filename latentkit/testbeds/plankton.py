r"""Plankton: phytoplankton that grows on a nutrient, in a channel of turbulent water, under light that comes and goes.

Nutrient N and phytoplankton P [mmol m-3 of nitrogen] are carried by a flow without divergence, of stream function psi,
u = -d(psi)/dy, v = d(psi)/dx, around a channel that closes on itself along x and has walls along y:

    dN/dt + div(N u) = D laplace(N) - U + recycled M + r (N0 - N)                                              (1)
    dP/dt + div(P u) = D laplace(P) + U - M,      U = g P N / (N + half),   M = (loss + grazing P) P           (2)
    g(I, T) = amplitude light(I) exp(exponent T)                                                               (3)
    light(I) = I / (I + ratio (I / optimum - 1)^2)                                                             (4)

with light I [umol m-2 s-1], temperature T [degC], time in days. (3) after R. W. Eppley (1972), Temperature and
phytoplankton growth in the sea: 0.59 exp(0.0633 T) per day. (4) is P. H. C. Eilers and J. C. H. Peeters (1988), A model
for the relationship between light intensity and the rate of photosynthesis in phytoplankton, as written by K. F.
Edwards et al. (2016), Phytoplankton growth and the interaction of light and temperature, divided by its maximum, which
is at the optimum; ratio = mu_max / alpha, 1 / ratio is its slope at I = 0. The quadratic loss stands for grazers, as in
J. H. Steele and E. W. Henderson (1992), The role of predation in plankton models; what is not recycled sinks. Water
from below brings the nutrient N0 at the rate r, both given with the weather. Chlorophyll is 1.59 mg for a mmol of P:
6.6 of carbon to one of nitrogen, 50 g of carbon to one of chlorophyll.

One step is half a step of reactions, one of transport, half a step of reactions (G. Strang 1968, On the construction
and comparison of difference schemes), with the weather of its middle, of order 2 together. Reactions are a modified
Patankar-Runge-Kutta scheme (H. Burchard, E. Deleersnijder and A. Meister 2003, A high-order conservative
Patankar-type discretisation for stiff systems of production-destruction equations): each loss is weighted by new over
old of what loses, so that no step of any length makes a negative number, and what one gains the other loses. Transport:
psi stands on corners of cells, so that fluxes have no divergence to rounding; values on faces are those of B. van Leer
(1974), Towards the ultimate conservative difference scheme II, at most twice those of the cell they come from; two
Euler steps and their mean (S. Gottlieb and C.-W. Shu 1998, Total variation diminishing Runge-Kutta schemes). No value
becomes negative while, with `out` the sum of speeds out of a cell of side d,

    2 out step / d + 4 D step / d^2 <= 1                                                                       (5)
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from latentkit.finite import NotFiniteError

DAY = 86400.0  # [s]
CHLOROPHYLL = 1.59  # [mg mmol-1] of nitrogen


class Rates(NamedTuple):
    """Hold the four numbers of equations 3 and 4: [d-1], [degC-1], [umol m-2 s-1] twice."""

    amplitude: float = 0.59
    exponent: float = 0.0633
    optimum: float = 250.0
    ratio: float = 100.0


RATES = Rates()


class Water(NamedTuple):
    """Hold the weather of one moment, or, without members, of all.

    stream (m, y + 1, x) [m2 s-1]: psi on corners, at y = 0, d, ... and x = d, 2 d, ...; light (m, y, x)
    [umol m-2 s-1]; temperature (m, y, x) [degC]; nutrient (m, y, x) [mmol m-3]: N0; supply: r [d-1].
    """

    stream: Tensor
    light: Tensor
    temperature: Tensor
    nutrient: Tensor
    supply: float


def light_growth(light: Tensor, optimum: float | Tensor, ratio: float | Tensor) -> Tensor:
    """Return equation 4 [1]: 1 at the optimum, 0 in the dark."""
    return light / (light + ratio * (light / optimum - 1).square())


def warm_growth(temperature: Tensor, amplitude: float | Tensor, exponent: float | Tensor) -> Tensor:
    """Return the factor of temperature in equation 3 [d-1]."""
    return amplitude * torch.exp(exponent * temperature)


class Plankton:
    """Advance nutrient and phytoplankton of m members.

    size: cells (y, x); cell: their side d [m]; step [d]; rates: of growth; half [mmol m-3]; loss [d-1]; grazing
    [m3 mmol-1 d-1]; recycled: share of losses that becomes nutrient again; diffusion: D [m2 s-1]; dtype: of states.

    A state (m, 2, y, x) holds N and P. All methods are differentiable.

    Raises ValueError for fewer than 3 cells a side, and settings that are no physical ones.
    """

    def __init__(
        self,
        size: Sequence[int] = (80, 80),
        *,
        cell: float = 5e4,
        step: float = 0.4,
        rates: Rates = RATES,
        half: float = 0.5,
        loss: float = 0.1,
        grazing: float = 0.4,
        recycled: float = 0.7,
        diffusion: float = 100.0,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str | None = None,
    ):
        if len(size) != 2 or min(size) < 3:
            raise ValueError(f"size is {tuple(size)}; expected (y, x), 3 cells or more each")
        if not (min(cell, step, half, *rates) > 0 and min(loss, grazing, diffusion) >= 0 and 0 <= recycled <= 1):
            raise ValueError(
                f"cell {cell}, step {step}, half {half}, {rates}, loss {loss}, grazing {grazing}, diffusion "
                f"{diffusion}, recycled {recycled}; expected numbers above 0, losses and diffusion 0 or more, and a "
                "share from 0 to 1"
            )
        self.size, self.cell, self.step, self.rates, self.half = tuple(size), cell, step, rates, half
        self.loss, self.grazing, self.recycled, self.diffusion = loss, grazing, recycled, diffusion
        self.dtype, self.device = dtype, device

    def start(
        self,
        nutrient: Tensor,  # (m, y, x)
        phytoplankton: float | Tensor = 0.2,  # or (m, y, x)
    ) -> Tensor:  # (m, 2, y, x)
        """Return states with these N and P [mmol m-3]."""
        nutrient = torch.as_tensor(nutrient, dtype=self.dtype, device=self.device)
        phytoplankton = torch.as_tensor(phytoplankton, dtype=self.dtype, device=nutrient.device)
        return torch.stack([nutrient, phytoplankton.expand_as(nutrient)], 1)

    def growth(self, light: Tensor, temperature: Tensor) -> Tensor:
        """Return equation 3 [d-1]."""
        r = self.rates
        return light_growth(light, r.optimum, r.ratio) * warm_growth(temperature, r.amplitude, r.exponent)

    def advance(
        self,
        state: Tensor,  # (m, 2, y, x)
        steps: int,
        sea: Callable[[float], Water],
        day: float = 0.0,
    ) -> Tensor:  # (m, 2, y, x)
        """Return the states after so many steps from the day on.

        sea: the weather of a moment [d].

        Raises ValueError for shapes that do not fit, negative states, and water too fast for the step (5), and
        NotFiniteError for states that are not finite.
        """
        return self.trajectory(state, steps, max(steps, 1), sea, day)[-1]

    def trajectory(
        self,
        state: Tensor,  # (m, 2, y, x)
        steps: int,
        every: int,
        sea: Callable[[float], Water],
        day: float = 0.0,
    ) -> Tensor:  # (t, m, 2, y, x)
        """Return the states at steps 0, every, 2 every, ... up to `steps`; raise as `advance` does."""
        if steps < 0 or every < 1 or steps % every:
            raise ValueError(f"{steps} steps, kept every {every}; expected a number of steps that it divides")
        self._check(state)
        kept = [state]
        for i in range(steps):
            water = sea(day + (i + 0.5) * self.step)
            growth = self.growth(water.light, water.temperature)
            state = self._react(state, growth, water, self.step / 2)
            state = self._transport(state, water.stream)
            state = self._react(state, growth, water, self.step / 2)
            if (i + 1) % every == 0:
                kept.append(state)
        if not torch.isfinite(kept[-1]).all():
            raise NotFiniteError(f"the state after {steps} steps is not finite; take a shorter step than {self.step}")
        return torch.stack(kept)

    def _react(self, state: Tensor, growth: Tensor, water: Water, step: float) -> Tensor:
        """Advance (1) and (2) without transport by a modified Patankar-Runge-Kutta step."""
        n, p = state.unbind(1)
        up, down = growth * p / (n + self.half), self.loss + self.grazing * p  # of N and of P, a day
        first = self._solve(state, up, down, water, step)
        n1, p1 = first.unbind(1)
        tiny = torch.finfo(n.dtype).tiny
        up = (up * (n / n1.clamp_min(tiny)) + growth * p1 / (n1 + self.half)) / 2
        down = (down * (p / p1.clamp_min(tiny)) + self.loss + self.grazing * p1) / 2
        back = (n / n1.clamp_min(tiny) + 1) / 2  # weights the sink r N likewise
        return self._solve(state, up, down, water, step, back)

    def _solve(self, state: Tensor, up: Tensor, down: Tensor, water: Water, step: float, back=1.0) -> Tensor:
        """Return new N and P, whose losses are in proportion to themselves: two linear equations a cell."""
        n, p = state.unbind(1)
        a, b = 1 + step * (up + water.supply * back), step * self.recycled * down
        c, d = step * up, 1 + step * down
        gained = n + step * water.supply * water.nutrient
        inverse = 1 / (a * d - b * c)
        return torch.stack([(d * gained + b * p) * inverse, (c * gained + a * p) * inverse], 1)

    def _transport(self, state: Tensor, stream: Tensor) -> Tensor:
        """Advance by fluxes through faces; raise where (5) does not hold."""
        if stream.shape[-2:] != (self.size[0] + 1, self.size[1]):
            raise ValueError(
                f"the stream function is {tuple(stream.shape)}; expected (m, {self.size[0] + 1}, {self.size[1]}): one "
                "row more than cells, on their corners"
            )
        u = (stream[..., :-1, :] - stream[..., 1:, :]) / self.cell  # through eastern faces
        v = (stream - stream.roll(1, -1)) / self.cell  # through all faces across y, walls included
        v = pad(v[..., 1:-1, :], (0, 0, 1, 1))  # no water passes the walls
        east, west, north, south = u.relu(), (-u).relu(), v.relu(), (-v).relu()
        out = float((east + west.roll(1, -1) + north[..., 1:, :] + south[..., :-1, :]).max())
        seconds = self.step * DAY
        used = 2 * out * seconds / self.cell + 4 * self.diffusion * seconds / self.cell**2
        if not used <= 1:
            raise ValueError(
                f"water leaves a cell with {out:.2g} m/s, for which a step of {self.step:g} d is {used:.2g} times too "
                f"long; expected one of {self.step / used:.2g} d or less: give Plankton a shorter step"
            )
        speeds = [part.unsqueeze(-3) * (seconds / self.cell) for part in (east, west, north, south)]
        first = state - self._leaving(state, *speeds)
        return (0.5 * (state + first - self._leaving(first, *speeds))).clamp_min(0)  # of rounding

    def _leaving(self, c: Tensor, east: Tensor, west: Tensor, north: Tensor, south: Tensor) -> Tensor:
        """Return what leaves each cell in a step, by speeds through faces in cells a step."""
        mixed = self.diffusion * self.step * DAY / self.cell**2
        wide = torch.cat([c[..., -2:], c, c[..., :2]], -1)
        step = wide[..., 1:] - wide[..., :-1]
        half, middle = _half_slope(step[..., :-1], step[..., 1:]), wide[..., 1:-1]
        ahead, behind = (middle + half)[..., 1:-1], (middle - half)[..., 2:]
        flux = torch.addcmul(ahead * east - mixed * step[..., 2:-1], behind, west, value=-1)
        flux = torch.cat([flux[..., -1:], flux], -1)
        leaving = flux[..., 1:] - flux[..., :-1]
        step = pad(c[..., 1:, :] - c[..., :-1, :], (0, 0, 1, 1))  # none across walls
        half = _half_slope(step[..., :-1, :], step[..., 1:, :])
        ahead, behind = (c + half)[..., :-1, :], (c - half)[..., 1:, :]
        flux = ahead * north[..., 1:-1, :] - mixed * step[..., 1:-1, :]
        flux = pad(torch.addcmul(flux, behind, south[..., 1:-1, :], value=-1), (0, 0, 1, 1))
        return leaving + (flux[..., 1:, :] - flux[..., :-1, :])

    def _check(self, state: Tensor) -> None:
        if state.ndim != 4 or tuple(state.shape[1:]) != (2, *self.size):
            raise ValueError(
                f"the state has shape {tuple(state.shape)}; expected (m, 2, {self.size[0]}, {self.size[1]})"
            )
        if not torch.isfinite(state).all():
            raise NotFiniteError("the state given is not finite; look at where it comes from")
        if (state < 0).any():
            raise ValueError(f"the state is {float(state.min()):.3g} at least; expected N and P of 0 or more")


def _half_slope(a: Tensor, b: Tensor) -> Tensor:
    """Return half of van Leer's slope: half the harmonic mean of two differences of one sign, else 0."""
    return (a * b).relu() / (a + b + 1e-30)  # 0 / 1e-30 where both are 0


def coarsened(
    field: Tensor,  # (..., y, x)
    factor: int,
) -> Tensor:  # (..., y / factor, x / factor)
    """Return means over blocks of factor x factor cells.

    Raises ValueError for a grid that the factor does not divide.
    """
    y, x = field.shape[-2:]
    if factor < 1 or y % factor or x % factor:
        raise ValueError(f"a grid of {y} x {x} cells in blocks of {factor}; expected a factor of both sides")
    return field.unflatten(-1, (-1, factor)).mean(-1).unflatten(-2, (-1, factor)).mean(-2)
