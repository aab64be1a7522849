r"""A tsunami in a closed square basin on a rotating plane, whose source is unknown.

P. Si and P. Chen (2025), Latent-EnSF, and P. Xiao et al. (2026), LD-EnSF, take waves of height eta [m] on water of
depth H [m], with linear momentum and nonlinear continuity, for velocities u and v [m/s]:

    du/dt - f v = -g d(eta)/dx,   dv/dt + f u = -g d(eta)/dy,   f = f0 + beta y                                (1)
    d(eta)/dt + d((H + eta) u)/dx + d((H + eta) v)/dy = 0                                                      (2)

from the middle of the basin y is counted, and no water passes its walls. On the C-grid (A. Arakawa and V. R. Lamb 1977,
Computational design of the basic dynamical processes of the UCLA general circulation model) eta stands in the middle of
a cell of side d, u on its eastern face and v on its northern one. With A the mean of the four v around a u, A' that of
the four u around a v, and D the difference across a face or a cell, a step is

    u <- u + dt (A(f v) - g D(eta) / d),   v <- v - dt (f A'(u) + g D(eta) / d)                                (3)
    flux = u (eta + eta_next + 2 H) / 2 - |u| (eta_next - eta) / 2,   eta <- eta - dt D(flux) / d              (4)

each with what came before it: forward-backward (A. Sielecki 1968, An energy-conserving difference scheme for the storm
surge equations). The flux of (4), and likewise in y, takes its water from upwind. Without eta beside H the step is
(1 - dt L) x_new = (1 - dt L') x of x = (sqrt(H) u, sqrt(H) v, sqrt(g) eta), where L is the lower triangle of an
antisymmetric matrix. It therefore keeps

    |x|^2 - dt x . L x                                                                                         (5)

exactly, rotation of any f included, and is stable while dt (sqrt(2 g H) / d + max |f| / 2) < 1; balanced flow stays so
to rounding.
"""

import math

import torch
from torch import Tensor
from torch.nn.functional import pad

from latentkit.finite import NotFiniteError


class Tsunami:
    """Advance waves from one bump each.

    size: cells a side; side: of the basin [m]; depth: H [m]; gravity: g [m/s2]; f0 [1/s], beta [1/(m s)]: Coriolis
    parameter of equation 1, both 0 for none; bump, width: height and standard deviation of the bump [m]; courant: time
    step in units of d / sqrt(g H); dtype: of states.

    A state (m, 3, y, x) holds u and v [m/s] and eta [m] of m members. By equation 3 u stands half a cell east of eta
    and v half a cell north; the last column of u and the last row of v are walls, and taken as 0. All methods are
    differentiable. `step` is the time step [s], `wave_speed` sqrt(g H) [m/s], `cell` the side of a cell [m]; `axes`
    are the coordinates y (y + 1) and x (x + 1) [m] of each channel of a `walled` state.

    The published runs have 150 points a side with cells of side / 149, so a step of 21.43 s: side=1e6 * 150 / 149.

    Raises ValueError for fewer than 4 cells, settings that are no physical ones, or a step beyond the stable one.
    """

    def __init__(
        self,
        size: int = 64,
        *,
        side: float = 1e6,
        depth: float = 100.0,
        gravity: float = 9.81,
        f0: float = 1e-4,
        beta: float = 2e-11,
        bump: float = 1.0,
        width: float = 5e4,
        courant: float = 0.1,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str | None = None,
    ):
        if size < 4:
            raise ValueError(f"size is {size}; expected 4 cells a side or more")
        if not min(side, depth, gravity, width) > 0:
            raise ValueError(f"side {side}, depth {depth}, gravity {gravity}, width {width}; expected numbers above 0")
        self.size, self.side, self.depth, self.gravity = size, side, depth, gravity
        self.bump, self.width, self.dtype = bump, width, dtype
        self.cell, self.wave_speed = side / size, math.sqrt(gravity * depth)
        self.step = courant * self.cell / self.wave_speed
        turn = self.step / 2 * max(abs(f0 - beta * side / 2), abs(f0 + beta * side / 2))
        if not (courant > 0 and courant * math.sqrt(2) + turn < 1):
            raise ValueError(
                f"courant is {courant}, and half a step turns by {turn:.2g} at most; expected a courant above 0 "
                f"and, to be stable, below {(1 - turn) / math.sqrt(2):.2g}"
            )
        faces = torch.arange(size + 1, dtype=torch.double) / size - 0.5  # of v, in units of the side, walls too
        face = torch.arange(size + 1, dtype=torch.double) * self.cell
        middle = face + self.cell / 2
        self.axes = [(middle, face), (face, middle), (middle, middle)]
        self.coriolis = (f0 + beta * side * faces)[:, None].to(device, dtype)  # (y + 1, 1)
        self.device = self.coriolis.device
        self.rotating = bool(f0 or beta)

    def start(
        self,
        center: Tensor,  # (m, 2)
    ) -> Tensor:  # (m, 3, y, x)
        """Return water at rest under a Gaussian bump at each center (x, y) [side].

        Raises ValueError for another shape, and for a center outside the basin.
        """
        center = torch.as_tensor(center, dtype=self.dtype, device=self.device)
        if center.ndim != 2 or center.shape[1] != 2:
            raise ValueError(f"center has shape {tuple(center.shape)}; expected (m, 2): x and y, one row a member")
        if not ((center >= 0) & (center <= 1)).all():
            raise ValueError(f"center is {center.tolist()}; expected numbers from 0 to 1, fractions of the side")
        at = ((torch.arange(self.size, dtype=torch.double) + 0.5) / self.size).to(center)
        x, y = torch.exp(-0.5 * ((at - center[..., None]) * (self.side / self.width)).square()).unbind(1)
        eta = self.bump * y[:, :, None] * x[:, None, :]
        return torch.stack([torch.zeros_like(eta), torch.zeros_like(eta), eta], 1)

    def advance(
        self,
        state: Tensor,  # (m, 3, y, x)
        steps: int,
    ) -> Tensor:  # (m, 3, y, x)
        """Return the states after so many steps.

        Raises ValueError for a shape that does not fit, and for states that are not finite, before or after.
        """
        return self.trajectory(state, steps, max(steps, 1))[-1]

    def trajectory(
        self,
        state: Tensor,  # (m, 3, y, x)
        steps: int,
        every: int,
    ) -> Tensor:  # (t, m, 3, y, x)
        """Return the states at steps 0, every, 2 every, ... up to `steps`; raise as `advance` does."""
        if steps < 0 or every < 1 or steps % every:
            raise ValueError(f"{steps} steps, kept every {every}; expected a number of steps that it divides")
        self._check(state, "given")
        u, v, eta = state[:, 0, :, :-1], state[:, 1, :-1], state[:, 2]  # without the walls
        kept = [_joined(u, v, eta)]
        for _ in range(steps // every):
            for _ in range(every):
                u, v, eta = self._advance(u, v, eta)
            kept.append(_joined(u, v, eta))
        self._check(kept[-1], f"after {steps} steps")
        return torch.stack(kept)

    def walled(
        self,
        state: Tensor,  # (..., 3, y, x)
    ) -> Tensor:  # (..., 3, y + 1, x + 1)
        """Return a state for interpolation up to all four walls: water does not pass them, and is level beside them."""
        u, v, eta = state.unbind(-3)
        u, v = pad(u, (1, 0)), pad(v, (0, 0, 1, 0))
        u = torch.cat([u, u[..., -1:, :]], -2)
        v, eta = (torch.cat([part, part[..., -1:]], -1) for part in (v, eta))
        return torch.stack([u, v, torch.cat([eta, eta[..., -1:, :]], -2)], -3)

    def mass(
        self,
        state: Tensor,  # (..., 3, y, x)
    ) -> Tensor:  # (...)
        """Return the volume of water above rest [m3], which never changes."""
        return state[..., 2, :, :].sum((-1, -2)) * self.cell**2

    def energy(
        self,
        state: Tensor,  # (..., 3, y, x)
    ) -> Tensor:  # (...)
        """Return kinetic and potential energy over density [m5/s2]: half of H (u^2 + v^2) + g eta^2, over the basin.

        Low waves keep it but for what upwinding takes, and for a share of a step over a period that comes and goes,
        since u and v are half a step older than eta (equation 5 has it right). Higher waves also gain and lose a share
        of eta / H, since momentum is linear and continuity is not.
        """
        u, v, eta = state.square().sum((-1, -2)).unbind(-1)
        return 0.5 * self.cell**2 * (self.depth * (u + v) + self.gravity * eta)

    def _advance(self, u: Tensor, v: Tensor, eta: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return u (m, y, x - 1), v (m, y - 1, x) and eta (m, y, x) one step later."""
        rate = self.step / self.cell
        east, north = eta.diff(dim=2), eta.diff(dim=1)
        u_new = torch.sub(u, east, alpha=self.gravity * rate)
        if self.rotating:
            at_v = self.coriolis * pad(v, (0, 0, 1, 1))  # (m, y + 1, x)
            at_eta = at_v[:, 1:] + at_v[:, :-1]
            u_new = torch.add(u_new, at_eta[..., 1:] + at_eta[..., :-1], alpha=self.step / 4)  # (3)
        v_new = torch.sub(v, north, alpha=self.gravity * rate)
        if self.rotating:
            at_u = pad(u_new, (1, 1))  # (m, y, x + 1)
            at_eta = at_u[..., 1:] + at_u[..., :-1]
            at_v = self.coriolis[1:-1] * (at_eta[:, 1:] + at_eta[:, :-1])
            v_new = torch.sub(v_new, at_v, alpha=self.step / 4)  # (3)
        # Not by clamping u to its two signs: autograd gives both parts the slope 1 at u = 0, twice that of the flux.
        water = self.depth + eta
        flux_x = u_new * (water[..., 1:] + water[..., :-1]) - u_new.abs() * east
        flux_y = v_new * (water[:, 1:] + water[:, :-1]) - v_new.abs() * north
        outflow = pad(flux_x, (1, 1)).diff(dim=2) + pad(flux_y, (0, 0, 1, 1)).diff(dim=1)
        return u_new, v_new, torch.sub(eta, outflow, alpha=rate / 2)  # (4)

    def _check(self, state: Tensor, when: str) -> None:
        if state.ndim != 4 or state.shape[1:] != (3, self.size, self.size):
            raise ValueError(f"state {when} has shape {tuple(state.shape)}; expected (m, 3, {self.size}, {self.size})")
        if not (fine := torch.isfinite(state).flatten(1).all(1)).all():
            rows = torch.nonzero(~fine).flatten().tolist()
            raise NotFiniteError(
                f"state {when} is not finite in members {rows}; expected finite ones, of waves low beside the depth of "
                f"{self.depth:g} m"
            )


def _joined(u: Tensor, v: Tensor, eta: Tensor) -> Tensor:
    """Return the state (m, 3, y, x), with the walls."""
    return torch.stack([pad(u, (0, 1)), pad(v, (0, 0, 0, 1)), eta], 1)
