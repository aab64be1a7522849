r"""Kolmogorov flow: two-dimensional turbulence on a torus, stirred by a sine, whose Reynolds number is unknown.

D. Kochkov et al. (2021), Machine learning-accelerated computational fluid dynamics, for flow, drag and start; here in
the vorticity w of the velocity (u, v) on [0, 2 pi]^2, all without units:

    dw/dt + u dw/dx + v dw/dy = laplace(w) / Re - drag w - forcing k cos(k y),   k = wavenumber               (1)
    laplace(s) = -w,  u = ds/dy,  v = -ds/dx                                                                  (2)

since the force (forcing sin(k y), 0) has the curl -forcing k cos(k y). With z = u + i v and D = d/dx - i d/dy,

    w = Im(D z),  z = i conj(D) laplace^-1 w,  u dw/dx + v dw/dy = Im(D^2 z^2) / 2                            (3)

that is d2/dxdy (v^2 - u^2) + (d2/dx2 - d2/dy2) (u v), the two transforms back and two forth of C. Basdevant (1983),
Technical improvements for direct numerical simulation of homogeneous three-dimensional turbulence, as one each of
complex numbers. All fields hold wavenumbers |k| < size / 3 only: then no product of two aliases onto them (S. A.
Orszag 1971, On the elimination of aliasing in finite-difference schemes by filtering high-wavenumber components), and
advection alone keeps energy and enstrophy.

With L = -(kx^2 + ky^2) / Re - drag of one Fourier mode, f its forcing and N its advection, a step h without N is exact:
P(w) = exp(L h / 2) w + f h / 2 phi(L h / 2), phi(x) = (exp(x) - 1) / x, advances by half of it. J. D. Lawson (1967),
Generalized Runge-Kutta processes for stable systems with large Lipschitz constants, of order 4, is then

    p = P(w),  a = N(w),  b = N(p + h/2 exp(L h / 2) a),  c = N(p + h/2 b),  d = N(P(p + h c))                (4)
    w <- P(p + h/6 exp(L h / 2) a + h/3 (b + c)) + h/6 d                                                      (5)

so that the laminar flow u = forcing sin(k y) / (drag + k^2 / Re), where N = 0, stays at rest in steps of any length.
The classical Runge-Kutta method bears oscillations up to sqrt(8) / h, and advection by speed U makes them up to
U size / 3: hence inner steps, 2 in one of 0.04 at size 64 and 4 at 150 for speed 5, which flows that start at 3 reach.
"""

import math

import torch
from torch import Generator, Tensor

from latentkit.finite import NotFiniteError

WAVENUMBER = 4  # of the force
START = 64  # grid on which starts are drawn: a generator gives the same flow at every size


class Kolmogorov:
    """Advance flows with a Reynolds number each.

    size: grid points a side, even; step: time between two states; drag, forcing, wavenumber: of equation 1;
    inner: steps of equation 5 in each `step`, by default as many as keep flows up to the speed `fastest` stable;
    dtype: of states.

    A state (m, y, x) is the vorticity of m members at y, x = 0, 2 pi / size, ... Its mean, and what it holds at
    wavenumbers |k| of size / 3 or more, are dropped by all methods. All are differentiable, in Reynolds numbers too.

    Raises ValueError for an odd size, one too small for the forcing, or settings that are no physical ones.
    """

    def __init__(
        self,
        size: int = 64,
        *,
        step: float = 0.04,
        drag: float = 0.1,
        forcing: float = 1.0,
        wavenumber: int = WAVENUMBER,
        inner: int | None = None,
        fastest: float = 5.0,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str | None = None,
    ):
        if size % 2 or size <= 3 * wavenumber:
            raise ValueError(f"size is {size}; expected an even number above {3 * wavenumber}, 3 times the wavenumber")
        if not (step > 0 and drag >= 0 and fastest > 0 and wavenumber >= 1):
            raise ValueError(
                f"step {step}, drag {drag}, fastest {fastest}, wavenumber {wavenumber}; expected numbers above 0, "
                "drag 0 or more"
            )
        if inner is None:
            inner = math.ceil(step * size / 3 * fastest / math.sqrt(8))
        if inner < 1:
            raise ValueError(f"inner is {inner}; expected 1 or more, or None to have it chosen")
        self.size, self.step, self.drag, self.inner = size, step, drag, inner
        self.dtype, self.highest = dtype, (size - 1) // 3
        kx = torch.arange(-self.highest, self.highest + 1, dtype=torch.double)  # coefficients beyond are zero
        ky = kx[:, None]
        square = kx**2 + ky**2
        keep = (9 * square < size**2) & (square > 0)
        force = torch.where((kx == 0) & (ky.abs() == wavenumber), -forcing * wavenumber / 2, 0.0)
        d = 1j * (kx - 1j * ky) * keep  # of (3)

        def put(t: Tensor) -> Tensor:
            return t.to(device, dtype.to_complex() if t.is_complex() else dtype)

        self._square, self._keep, self._force, self._curl = put(square), put(keep + 0j), put(force + 0j), put(d)
        self.device = self._square.device
        self._to_velocity = put(1j * d.conj() / square.clamp(min=1))  # (3)
        self._product = put(-d.square() / 4j)  # (3)
        self._rows = torch.arange(-self.highest, self.highest + 1, device=device) % size
        x = 2 * math.pi / size * torch.arange(size, dtype=torch.double)
        self._shift = put(torch.exp(-1j * self.highest * (x + x[:, None])))

    def start(
        self,
        members: int,
        rng: Generator,
        shared: bool = False,
        *,
        peak: float = 4.0,
        speed: float = 3.0,
    ) -> Tensor:  # (m, y, x)
        """Draw vorticity: white noise whose amplitude at wavenumber k becomes log-normal in k.

        shared: one field for all members (the published family), or one each; peak: the wavenumber with the largest
        amplitude; speed: the largest on a grid of 64. The same generator draws the same field at every size, as far as
        the size resolves it.

        Raises ValueError for a peak or speed that is not above 0.
        """
        if not (peak > 0 and speed > 0):
            raise ValueError(f"peak {peak}, speed {speed}; expected numbers above 0")
        base = Kolmogorov(START, dtype=torch.double)
        noise = torch.randn(1 if shared else members, START, START, generator=rng, dtype=torch.double)
        log_k = 0.5 * base._square.clamp(min=1).log()
        w = base._forth(noise) * (-2 * (log_k - math.log(peak) - 0.25).square() - log_k).exp()
        w = w * (speed / base._to_z(w).abs().amax((1, 2)))[:, None, None]
        return self._resized(w, base).expand(members, -1, -1).contiguous()

    def resized(
        self,
        state: Tensor,  # (m, y', x') of another grid
    ) -> Tensor:  # (m, y, x)
        """Return the states of another grid on this one, as far as both resolve them; raise as `advance` does."""
        other = Kolmogorov(state.shape[-1], wavenumber=1, dtype=self.dtype, device=self.device)  # it is not pushed
        other._check(state, "given")
        return self._resized(other._forth(state), other)

    def advance(
        self,
        state: Tensor,  # (m, y, x)
        steps: int,
        reynolds: float | Tensor,  # or (m)
    ) -> Tensor:  # (m, y, x)
        """Return the states after so many steps.

        Raises ValueError for shapes that do not fit, Reynolds numbers that are not above 0, and states that are not
        finite, before or after.
        """
        return self.trajectory(state, steps, max(steps, 1), reynolds)[-1]

    def trajectory(
        self,
        state: Tensor,  # (m, y, x)
        steps: int,
        every: int,
        reynolds: float | Tensor,  # or (m)
    ) -> Tensor:  # (t, m, y, x)
        """Return the states at steps 0, every, 2 every, ... up to `steps`; raise as `advance` does."""
        if steps < 0 or every < 1 or steps % every:
            raise ValueError(f"{steps} steps, kept every {every}; expected a number of steps that it divides")
        self._check(state, "given")
        half, push = self._linear(reynolds, len(state))
        w = self._forth(state)
        kept = [self._back(w)]
        for _ in range(steps // every):
            for _ in range(every * self.inner):
                w = self._advance(w, half, push)
            kept.append(self._back(w))
        self._check(kept[-1], f"after {steps} steps")
        return torch.stack(kept)

    def velocity(
        self,
        state: Tensor,  # (m, y, x)
    ) -> Tensor:  # (m, 2, y, x)
        """Return u and v of equation 2, without mean."""
        self._check(state, "given")
        z = self._to_z(self._forth(state)) * self._shift
        return torch.stack([z.real, z.imag], 1)

    def vorticity(
        self,
        velocity: Tensor,  # (m, 2, y, x)
    ) -> Tensor:  # (m, y, x)
        """Return the state with these u and v, as far as they are free of divergence."""
        if velocity.ndim != 4 or velocity.shape[1] != 2:
            raise ValueError(f"velocity has shape {tuple(velocity.shape)}; expected (m, 2, y, x)")
        self._check(velocity[:, 0] + velocity[:, 1], "given as velocity")
        d = self._forth(torch.complex(velocity[:, 0], velocity[:, 1])) * self._curl
        return self._back((d - self._reflect(d)) / 2j)  # (3)

    def _linear(self, reynolds: float | Tensor, members: int) -> tuple[Tensor, Tensor]:
        """Return exp(L h / 2) and f h / 2 phi(L h / 2), each (m or 1, 2 highest + 1, the same)."""
        reynolds = torch.as_tensor(reynolds, dtype=self.dtype, device=self.device)
        if reynolds.shape not in ((), (members,)):
            raise ValueError(
                f"reynolds has shape {tuple(reynolds.shape)}; expected a number or ({members},), one a member"
            )
        if not (reynolds > 0).all():
            raise ValueError(f"reynolds is {reynolds.min().item():g} at least; expected numbers above 0, inf for none")
        x = -0.5 * self.step / self.inner * (self._square / reynolds.reshape(-1, 1, 1) + self.drag)
        none = x == 0
        phi = torch.where(none, 1.0, torch.expm1(x) / torch.where(none, 1.0, x))
        return x.exp() + 0j, 0.5 * self.step / self.inner * self._force * phi  # complex: else each use converts them

    def _advance(self, w: Tensor, half: Tensor, push: Tensor) -> Tensor:
        """Return the coefficients one inner step later."""
        h = self.step / self.inner
        p = half * w + push
        a = half * self._advection(w)
        b = self._advection(torch.add(p, a, alpha=h / 2))
        c = self._advection(torch.add(p, b, alpha=h / 2))
        d = self._advection(half * torch.add(p, c, alpha=h) + push)  # (4)
        late = torch.add(torch.add(p, a, alpha=h / 6), b + c, alpha=h / 3)
        return torch.add(half * late + push, d, alpha=h / 6)  # (5)

    def _advection(self, w: Tensor) -> Tensor:
        """Return minus the advection of (3)."""
        z = self._to_z(w)
        first, last = self.highest, 3 * self.highest + 1  # products of fields shifted by `highest` are by twice that
        d = torch.fft.fft2(z * z, norm="forward")[..., first:last, first:last] * self._product
        return d + self._reflect(d)

    def _resized(self, w: Tensor, other: "Kolmogorov") -> Tensor:
        """Return the states (m, y, x) of the coefficients of another grid."""
        k = min(self.highest, other.highest)
        ours, theirs = (slice(s.highest - k, s.highest + k + 1) for s in (self, other))
        resized = w.new_zeros(len(w), *self._square.shape)
        resized[:, ours, ours] = w[:, theirs, theirs]
        return self._back(resized.to(self._keep) * self._keep)

    def _forth(self, field: Tensor) -> Tensor:
        """Return coefficients (m, 2 highest + 1, the same), of wavenumbers -highest to highest."""
        return torch.fft.fft2(field, norm="forward")[..., self._rows[:, None], self._rows] * self._keep

    def _back(self, coefficients: Tensor) -> Tensor:
        z = torch.fft.ifft2(coefficients, s=(self.size, self.size), norm="forward")
        return (z * self._shift).real

    def _to_z(self, w: Tensor) -> Tensor:
        """Return z (m, y, x) of (3) over `_shift`: transforms take the first coefficient as that of wavenumber 0."""
        return torch.fft.ifft2(w * self._to_velocity, s=(self.size, self.size), norm="forward")

    @staticmethod
    def _reflect(coefficients: Tensor) -> Tensor:
        """Return those of the conjugate field."""
        return coefficients.flip(-1, -2).conj()

    def _check(self, state: Tensor, when: str) -> None:
        if state.ndim != 3 or state.shape[1:] != (self.size, self.size):
            raise ValueError(f"state {when} has shape {tuple(state.shape)}; expected (m, {self.size}, {self.size})")
        if not (fine := torch.isfinite(state).all(2).all(1)).all():
            rows = torch.nonzero(~fine).flatten().tolist()
            raise NotFiniteError(
                f"state {when} is not finite in members {rows}; a finite state whose flow is too fast for {self.inner} "
                "inner steps needs more of them (inner)"
            )
