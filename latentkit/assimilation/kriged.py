r"""Runs of a library, weighted as the observations say: an assimilation by an emulator, without a network.

Where a trajectory follows from few parameters u, each scaled to [-1, 1], an emulator (`models.emulator`) makes it of n
runs X that are at hand, x(u) = w(u) X, and what is seen of it is w(u) Y, with Y (n, o) what is seen of the runs. With l
(n, n) the weights of runs in what the others leave of each one,

    J(u) = |(y - w(u) Y) / s|^2 / 2 + 3 |u|^2 / 2,   s^2 = std^2 + mean_r (l_r Y)^2                                 (1)

where 1/3 is the variance of numbers that are uniform on [-1, 1]. J is minimized by Gauss and Newton's steps, cut to
where it falls and to the range of the parameters, from the best run of the library. With G = d w(u) Y / du there,

    u_i ~ N(u, P),   P = (G^T s^-2 G + 3)^-1,    x_i = (w(u_i) +- l_r(i)) X                                         (2)

the members: each with what the emulator left of one of the runs next to it, once added and once subtracted.
"""

import functools

import torch
from torch import Generator, Tensor

from latentkit.assimilation.contenders import Contender
from latentkit.assimilation.contest import Outcome
from latentkit.assimilation.observations import Observations
from latentkit.assimilation.twins import observed_fields
from latentkit.models import emulator
from latentkit.spent import spent
from latentkit.testbeds.cases import Case

PRIOR = 3.0  # precision of what is uniform on [-1, 1]
STEPS = 30  # of Gauss and Newton
CUTS = (1.0, 0.5, 0.25, 0.1, 0.03, 0.0)  # shares of a step
NEAR = 10  # runs of which one says what the emulator leaves of a member
SAMPLE = 5, 4  # every so manieth output and point tells the kernel's length


class Emulated:
    """Hold runs (t, n, c, y, x) of a case's library (n, q), and the emulator between them."""

    def __init__(self, case: Case, library: Tensor):
        self.case, self.known = case, case.scaled(library)
        self.runs = case.trajectories(library)
        outputs, points = SAMPLE
        some = self.runs[::outputs, :, :, ::points, ::points].movedim(1, 0).flatten(1)
        self.kernel = emulator.chosen(self.known, some)
        self.left = emulator.left_out(self.known, *self.kernel).to(self.runs)

    def weights(self, u: Tensor) -> Tensor:  # (..., q) -> (..., n)
        """Return the weights of runs at scaled parameters."""
        return emulator.shares(self.known, u.flatten(0, -2), *self.kernel).unflatten(0, u.shape[:-1])

    def slopes(self, u: Tensor) -> Tensor:  # (R, q) -> (R, q, n)
        """Return the derivatives of the weights with respect to each parameter."""
        return emulator.slopes(self.known, u, *self.kernel)

    def fitted(self, obs: Observations) -> tuple[Tensor, Tensor]:  # (R, q), (R, q, q)
        """Return the scaled parameters of the least J for each row of values (R, o), and P: equations 1 and 2."""
        Y = observed_fields(self.case, self.runs, obs)  # (n, o)
        s = (obs.std.to(Y).square() + (self.left @ Y).square().mean(0)).sqrt()
        Y, y = Y / s, obs.value.to(Y) / s

        def cost(u):  # (..., R, q) -> (..., R)
            return 0.5 * ((y - self.weights(u) @ Y).square().sum(-1) + PRIOR * u.square().sum(-1))

        def slope(u):
            G = self.slopes(u) @ Y  # (R, q, o)
            return G, G @ G.mT + PRIOR * torch.eye(u.shape[1]).to(u)

        u = self.known[(y[:, None] - Y).square().sum(-1).argmin(1)]
        cuts, row = torch.tensor(CUTS).to(u)[:, None, None], torch.arange(len(u), device=u.device)
        for _ in range(STEPS):
            G, square = slope(u)
            gap = y - (self.weights(u)[:, None] @ Y)[:, 0]
            step = torch.linalg.solve(square, (G @ gap[..., None])[..., 0] - PRIOR * u)
            tried = (u + cuts * step).clamp(-1, 1)
            u, before = tried[cost(tried).argmin(0), row], u
            if bool((u - before).abs().max() < 1e-6):
                break
        return u, torch.linalg.inv(slope(u)[1])

    def drawn(self, u: Tensor, P: Tensor, members: int, rng: Generator) -> tuple[Tensor, Tensor]:
        """Return the members' scaled parameters (R, m, q), and the weights of runs in their fields (R, m, n): (2)."""
        noise = torch.randn(len(u), members, u.shape[1], generator=rng).to(u)
        noise = noise - noise.mean(1, keepdim=True)
        drawn = (u[:, None] + noise @ torch.linalg.cholesky(P).mT).clamp(-1, 1)
        nearest = torch.cdist(u, self.known).topk(min(NEAR, len(self.known)), largest=False).indices  # (R, near)
        one = torch.randint(nearest.shape[1], (len(u), (members + 1) // 2), generator=rng).to(u.device)
        left = self.left[nearest.gather(1, one)]  # (R, m / 2, n)
        return drawn, self.weights(drawn) + torch.cat([left, -left], 1)[:, :members]


def kriged(case: Case, library: Tensor) -> dict[str, Contender]:
    """Return the assimilation by an emulator; library (n, q): parameters of the runs that it is made of."""
    made = functools.cache(lambda: Emulated(case, library))

    def assimilate(twin, obs, rng):
        own = made()  # the library is at hand: its runs are not this assimilation's
        with spent() as cost:
            drawn, weights = own.drawn(*own.fitted(obs), twin.background.shape[1], rng)
        path = [torch.tensordot(weights, fields, 1) for fields in own.runs]
        return Outcome(path, lambda E: E, case.unscaled(drawn), cost)

    return {"kriged runs": Contender(assimilate)}
