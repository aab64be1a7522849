r"""Runs of a library, weighted as the observations say: an assimilation by an emulator, without a network.

Where a trajectory follows from few parameters u, each scaled to [-1, 1], an emulator (`models.emulator`) makes it of n
runs X that are at hand, x(u) = w(u) X, and what is seen of it is w(u) Y, with Y (n, o) what is seen of the runs. What
the others leave of each run, l Y with l (n, n), tells how far the emulator is off:

    J(u) = |(y - w(u) Y) / s|^2 / 2 + 3 |u|^2 / 2,    s^2 = std^2 + mean_r (l_r Y)^2                                (1)

where 3 is the precision of numbers that are uniform on [-1, 1]: with few observations it draws the answer to the
middle. J is minimized within that range from the best run of the library, by steps of Gauss and Newton that are cut to
where it falls, and that leave alone what is at an end of its range and would go beyond.

J takes the emulator's errors as independent of each other, and they are alike at neighboring observations. So its
curvature does not say how far u is off, but how u follows from observations does. With G = d w(u) Y / du / s there,
H = G G^T + 3, and e_r = l_r Y / s of the runs next to u,

    P = H^-1 (3 + G diag(std^2 / s^2) G^T + mean_r (G e_r) (G e_r)^T) H^-1                                          (2)
    u_i ~ N(u, P),    x_i = (w(u_i) + l_r(i) - mean_i l_r(i)) X                                                     (3)

are covariance and members, u_i cut to the range, each with what the emulator left of one of the runs next to it. P
takes no notice of the range's ends.
"""

import functools

import torch
from torch import Generator, Tensor

from latentkit.assimilation.contenders import Contender
from latentkit.assimilation.contest import Outcome
from latentkit.assimilation.observations import Observations, usable
from latentkit.assimilation.twins import observed_fields
from latentkit.models.emulator import Kriging
from latentkit.spent import spent
from latentkit.testbeds.cases import Case

PRIOR = 3.0  # precision of what is uniform on [-1, 1]
STEPS = 50  # of Gauss and Newton, at most
CUTS = (1.0, 0.5, 0.25, 0.1, 0.03, 0.0)  # shares of a step
NEAR = 10  # runs that say how far the emulator is off
SAMPLE = 5, 4  # every so manieth output and point tells the kernel's length


class Emulated:
    """Hold runs of a case's library, and the emulator between them.

    library (n, q): parameters in their own units; runs (t, n, c, y, x): their trajectories, made if None.

    Raises ValueError as `Kriging.fit` does.
    """

    def __init__(self, case: Case, library: Tensor, runs: Tensor | None = None):
        self.case, self.known = case, case.scaled(library)
        self.runs = case.trajectories(library) if runs is None else runs
        outputs, points = SAMPLE
        some = self.runs[::outputs, :, :, ::points, ::points].movedim(1, 0).flatten(1)
        self.kernel = Kriging.fit(self.known, some)
        self.left = self.kernel.left.to(self.runs)

    def weights(self, u: Tensor) -> Tensor:  # (..., q) -> (..., n)
        """Return the weights of runs at scaled parameters."""
        return self.kernel.shares(u.flatten(0, -2)).unflatten(0, u.shape[:-1])

    def leftovers(self, u: Tensor) -> Tensor:  # (R, q) -> (R, r, n)
        """Return l_r of the runs next to scaled parameters."""
        return self.left[torch.cdist(u, self.known).topk(min(NEAR, len(self.known)), largest=False).indices]

    def fitted(self, obs: Observations) -> tuple[Tensor, Tensor]:  # (R, q), (R, q, q)
        """Return the scaled parameters of the least J for each row of values (R, o), and P: equations 1 and 2.

        Raises ValueError for observations that are not `usable`.
        """
        usable(obs)
        Y, std = observed_fields(self.case, self.runs, obs), obs.std.to(self.runs)  # (n, o), (o)
        s = (std.square() + (self.left @ Y).square().mean(0)).sqrt()
        Y, y = Y / s, obs.value.to(Y) / s
        three = PRIOR * torch.eye(self.known.shape[1]).to(Y)

        def cost(u):  # (..., R, q) -> (..., R)
            return 0.5 * ((y - self.weights(u) @ Y).square().sum(-1) + PRIOR * u.square().sum(-1))

        u = self.known[(y[:, None] - Y).square().sum(-1).argmin(1)]
        cuts, row = torch.tensor(CUTS).to(u)[:, None, None], torch.arange(len(u), device=u.device)
        for _ in range(STEPS):
            G = self.kernel.slopes(u) @ Y  # (R, q, o)
            curved = G @ G.mT + three
            down = (G @ (y - self.weights(u) @ Y)[..., None])[..., 0] - PRIOR * u
            free = ~((u.abs() >= 1) & (u * down > 0))
            held = torch.diag_embed((~free).to(u))
            step = torch.linalg.solve(curved * free[:, None] * free[..., None] + held, (down * free)[..., None])[..., 0]
            tried = (u + cuts * step).clamp(-1, 1)
            u, before = tried[cost(tried).argmin(0), row], u
            if bool((u - before).abs().max() < 1e-6):
                break
        G = self.kernel.slopes(u) @ Y
        moved = G @ (self.leftovers(u) @ Y).mT  # (R, q, r)
        middle = three + (G * (std / s).square()) @ G.mT + moved @ moved.mT / moved.shape[-1]
        back = torch.linalg.inv(G @ G.mT + three)
        return u, back @ middle @ back

    def drawn(self, u: Tensor, P: Tensor, members: int, rng: Generator) -> tuple[Tensor, Tensor]:
        """Return the members' scaled parameters (R, m, q), and the weights of runs in their fields (R, m, n): (3)."""
        noise = torch.randn(len(u), members, u.shape[1], generator=rng).to(u)
        noise = noise - noise.mean(1, keepdim=True)
        drawn = (u[:, None] + noise @ torch.linalg.cholesky(P).mT).clamp(-1, 1)
        left = self.leftovers(u)
        one = torch.randint(left.shape[1], (len(u), members), generator=rng).to(u.device)
        left = left.gather(1, one[..., None].expand(-1, -1, left.shape[2]))  # (R, m, n)
        return drawn, self.weights(drawn) + left - left.mean(1, keepdim=True)


def kriged(case: Case, library: Tensor) -> dict[str, Contender]:
    """Return the assimilation by an emulator; library (n, q): parameters of its runs, in their own units.

    The runs are made at the first assimilation, and are no part of its cost.
    """
    made = functools.cache(lambda: Emulated(case, library))

    def assimilate(twin, obs, rng):
        own = made()
        with spent() as cost:
            drawn, weights = own.drawn(*own.fitted(obs), twin.background.shape[1], rng)
        path = [torch.tensordot(weights, fields, 1) for fields in own.runs]
        return Outcome(path, lambda E: E, case.unscaled(drawn), cost)

    return {"kriged runs": Contender(assimilate)}
