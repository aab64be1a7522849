r"""The systems of E. N. Lorenz that every assimilation method is first tried on.

*1996* (Predictability: a problem partly solved), n variables on a ring with forcing F:

    dx_i/dt = (x_{i+1} - x_{i-2}) x_{i-1} - x_i + F                                               (1)

*1963* (Deterministic nonperiodic flow):

    dx/dt = s (y - x),   dy/dt = x (r - z) - y,   dz/dt = x y - b z                               (2)

Both are integrated by the Runge-Kutta method of fourth order. States are (..., k), so that any number of members and
runs goes at once; parameters are numbers, or tensors (...) with one a member.
"""

from collections.abc import Callable

import torch
from torch import Tensor

Number = float | Tensor


def rk4(
    tendency: Callable[[Tensor], Tensor],
    x: Tensor,
    step: float,
    count: int = 1,
) -> Tensor:
    """Return the state after `count` steps of the Runge-Kutta method of fourth order."""
    for _ in range(count):
        a = tendency(x)
        b = tendency(torch.add(x, a, alpha=step / 2))
        c = tendency(torch.add(x, b, alpha=step / 2))
        d = tendency(torch.add(x, c, alpha=step))
        x = torch.add(x, torch.add(a + d, b + c, alpha=2), alpha=step / 6)
    return x


class Lorenz96:
    """The ring of n variables: equation 1.

    size: n, 4 or more; step: of time, 0.05 is about six hours of weather; forcing: F, 8 is chaotic.
    """

    def __init__(self, size: int = 40, *, step: float = 0.05, forcing: Number = 8.0):
        if size < 4:
            raise ValueError(f"a ring of {size} variables; the equations need 4 or more")
        self.size, self.step, self.forcing = size, step, forcing

    def start(self, like: Tensor | None = None) -> Tensor:
        """Return the state (k) of published experiments: the first unit vector."""
        like = torch.zeros(()) if like is None else like
        state = torch.zeros(self.size, dtype=like.dtype, device=like.device)
        state[0] = 1
        return state

    def tendency(self, x: Tensor, forcing: Number | None = None) -> Tensor:
        """Return dx/dt (..., k): equation 1."""
        F = self.forcing if forcing is None else forcing
        padded = torch.cat([x[..., -2:], x, x[..., :1]], -1)
        right, left, far = padded[..., 3:], padded[..., 1:-2], padded[..., :-3]
        return torch.addcmul(torch.rsub(x, _aside(F)), right - far, left)

    def advance(self, x: Tensor, steps: int = 1, forcing: Number | None = None) -> Tensor:
        """Return the state (..., k) after so many steps; forcing: one number, or one a member (...)."""
        _check(x, self.size)
        return rk4(lambda y: self.tendency(y, forcing), x, self.step, steps)

    def trajectory(self, x: Tensor, steps: int, every: int = 1, forcing: Number | None = None) -> Tensor:
        """Return the states (t, ..., k) after 0, every, 2 every, ... steps."""
        return _trajectory(lambda y: self.advance(y, every, forcing), x, steps, every)


class Lorenz63:
    """The butterfly, of three variables: equation 2.

    step: of time; prandtl, rayleigh, ratio: s, r, b.
    """

    size = 3

    def __init__(self, *, step: float = 0.01, prandtl: Number = 10.0, rayleigh: Number = 28.0, ratio: Number = 8 / 3):
        self.step, self.prandtl, self.rayleigh, self.ratio = step, prandtl, rayleigh, ratio

    def start(self, like: Tensor | None = None) -> Tensor:
        """Return the state (3) of published experiments, near the attractor."""
        like = torch.zeros(()) if like is None else like
        return torch.tensor([1.509, -1.531, 25.46], dtype=like.dtype, device=like.device)

    def tendency(
        self, x: Tensor, prandtl: Number | None = None, rayleigh: Number | None = None, ratio: Number | None = None
    ) -> Tensor:
        """Return dx/dt (..., 3): equation 2; parameters: the system's own if None."""
        prandtl = self.prandtl if prandtl is None else prandtl
        rayleigh = self.rayleigh if rayleigh is None else rayleigh
        ratio = self.ratio if ratio is None else ratio
        a, b, c = x.unbind(-1)
        return torch.stack([prandtl * (b - a), a * (rayleigh - c) - b, a * b - ratio * c], -1)

    def advance(
        self,
        x: Tensor,
        steps: int = 1,
        prandtl: Number | None = None,
        rayleigh: Number | None = None,
        ratio: Number | None = None,
    ) -> Tensor:
        """Return the state (..., 3) after so many steps; parameters: one number, or one a member (...)."""
        _check(x, 3)
        return rk4(lambda y: self.tendency(y, prandtl, rayleigh, ratio), x, self.step, steps)

    def trajectory(
        self,
        x: Tensor,
        steps: int,
        every: int = 1,
        prandtl: Number | None = None,
        rayleigh: Number | None = None,
        ratio: Number | None = None,
    ) -> Tensor:
        """Return the states (t, ..., 3) after 0, every, 2 every, ... steps."""
        return _trajectory(lambda y: self.advance(y, every, prandtl, rayleigh, ratio), x, steps, every)


def _trajectory(advance: Callable[[Tensor], Tensor], x: Tensor, steps: int, every: int) -> Tensor:
    if steps % every:
        raise ValueError(f"{steps} steps are not a multiple of every {every}")
    states = [x]
    for _ in range(steps // every):
        states.append(advance(states[-1]))
    return torch.stack(states)


def _aside(parameter: Number) -> Number:
    """Return a parameter such that one number a member stands beside that member's variables."""
    return parameter.unsqueeze(-1) if isinstance(parameter, Tensor) and parameter.ndim else parameter


def _check(x: Tensor, size: int) -> None:
    if x.shape[-1] != size:
        raise ValueError(f"a state of shape {tuple(x.shape)}; the system has {size} variables, in the last axis")
