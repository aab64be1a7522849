r"""The ensemble score filter.

F. Bao, Z. Zhang and G. Zhang (2024), An ensemble score filter for tracking high-dimensional nonlinear dynamical
systems. In pseudo-time t from 0 (data) to 1 (noise), with members x_j of the forecast,

    a(t) = 1 - (1 - eps_a) t,   b2(t) = eps_b + (1 - eps_b) t                                     (1)
    prior score  S(z, t) = -sum_j w_j (z - a x_j) / b2,   w_j ~ exp(-|z - a x_j|^2 / (2 b2))       (2)
    posterior score  S(z, t) + (1 - t) grad log p(y | z)                                          (3)

and particles that start as noise at t = 1 follow the reverse stochastic equation, by Euler's method,

    dz = [f z - g2 * posterior score] dt + sqrt(g2) dW,   f = a'/a,   g2 = b2' - 2 f b2            (4)

At t = 1 the members' law is eps_a x_j plus noise, not noise alone: with eps_a near 0 the start is right, with 0.5 it
pulls a little to 0. Euler's method is stable while g2 (1 - t) / std^2, in units of `scale`, is below 2 / dt. *paired*
is what shipped code of Latent-EnSF and LD-EnSF does: particle j sees member j alone, w = 1. The state should be of
order one, since the noise at t = 1 is: `scale` divides it.
"""

from collections.abc import Callable

import torch
from torch import Generator, Tensor

from latentkit.assimilation.ensemble import fitting
from latentkit.assimilation.observations import Observations
from latentkit.finite import NotFiniteError

SCORES = ("mixture", "paired")


class EnSF:
    """Analyze by sampling from the posterior's diffusion.

    observe: ensemble (..., m, k) and observations to what is seen (..., m, o), differentiable; adjoint: of its
    derivative, from (..., m, o), observations and the ensemble where it is taken to (..., m, k), by default found by
    automatic differentiation at each step; steps: of Euler's method; eps_alpha, eps_beta: of equation 1; score: one of
    SCORES; scale: of the state, a number or (k). Its spread can be brought back by `inflation.relaxed`.

    Raises ValueError for another score, or settings out of range.
    """

    def __init__(
        self,
        observe: Callable[[Tensor, Observations], Tensor],
        *,
        adjoint: Callable[[Tensor, Observations, Tensor], Tensor] | None = None,
        steps: int = 100,
        eps_alpha: float = 0.05,
        eps_beta: float = 0.01,
        score: str = "mixture",
        scale: float | Tensor = 1.0,
    ):
        if score not in SCORES:
            raise ValueError(f"score is {score!r}; expected one of {SCORES}")
        if steps < 1 or not 0 < eps_alpha < 1 or not 0 < eps_beta < 1:
            raise ValueError(
                f"steps {steps}, eps_alpha {eps_alpha}, eps_beta {eps_beta}; expected 1 or more, in (0, 1)"
            )
        self.observe, self.steps, self.eps_alpha, self.eps_beta = observe, steps, eps_alpha, eps_beta
        self.score, self.scale, self.adjoint = score, scale, adjoint

    def __call__(self, E: Tensor, Y: Tensor, obs: Observations, rng: Generator) -> Tensor:
        """Return particles (..., m, k) of the posterior; what the members predict is only held against `obs`."""
        value, std = fitting(Y, obs)
        value, precision, x = value.unsqueeze(-2), std.square().reciprocal(), E / self.scale
        z = torch.randn(*E.shape, generator=rng, dtype=E.dtype).to(E.device)
        dt, prior = 1 / self.steps, self._prior(x)
        for i in range(self.steps):
            t = 1 - i * dt
            a, b2 = 1 - (1 - self.eps_alpha) * t, self.eps_beta + (1 - self.eps_beta) * t  # (1)
            f = -(1 - self.eps_alpha) / a
            g2 = (1 - self.eps_beta) - 2 * f * b2
            draws = torch.randn(*E.shape, generator=rng, dtype=E.dtype).to(E.device)
            toward, slope = prior(z, a, b2), self._likelihood(z, obs, value, precision)
            # (4) with (2) and (3), collected: a step is a sum of z, what the prior pulls to, the likelihood, and noise.
            z = z * (1 - dt * f - dt * g2 / b2)
            z.add_(toward, alpha=dt * g2 * a / b2).add_(slope, alpha=dt * g2 * (1 - t))
            z.add_(draws, alpha=(g2 * dt) ** 0.5)
        made = z * self.scale
        if not made.isfinite().all():
            raise NotFiniteError(f"{self.steps} steps of Euler's method are too few for errors this small; take more")
        return made

    def _prior(self, x: Tensor) -> Callable[[Tensor, float, float], Tensor]:
        """Return the function from z, a and b2 to sum_j w_j x_j of equation 2."""
        if self.score == "paired":
            return lambda z, a, b2: x
        # |z - a x_j|^2 is a^2 |x_j - m|^2 - 2 a (z - a m) . (x_j - m), and what is the same for all j: small numbers,
        # as departures from the mean m are.
        mean = x.mean(-2, keepdim=True)
        off = x - mean
        half = 0.5 * off.square().sum(-1).unsqueeze(-2)

        def toward(z: Tensor, a: float, b2: float) -> Tensor:
            along = (z - a * mean) @ off.mT  # (..., m, m)
            return torch.softmax((along - a * half) * (a / b2), -1) @ x

        return toward

    def _likelihood(self, z: Tensor, obs: Observations, value: Tensor, precision: Tensor) -> Tensor:
        """Return grad log p(y | z) of equation 3."""
        if self.adjoint is not None:
            E = z * self.scale
            return self.adjoint((value - self.observe(E, obs)) * precision, obs, E) * self.scale
        with torch.enable_grad():
            z = z.detach().requires_grad_(True)
            Y = self.observe(z * self.scale, obs)
        return torch.autograd.grad(Y, z, (value - Y.detach()) * precision)[0]
