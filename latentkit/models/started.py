r"""Surrogates of flows that start anywhere: latents are waves, and a law steps them that is learned from copies.

A latent dynamics network (`ldnet`) starts at 0, and what it knows of a run are its parameters. Where each run has a
start of its own, the latents must say which: z_0 = encode(x_0). Here encoder and decoder are linear, and known: latents
are the coefficients of waves (`waves`), each divided by its root mean square. With parameters u, and x = (z, u, 1),

    z' = z + C (A x * B x) + W_2 silu(W_1 x)                                                                      (1)

from one output to the next. Advection is quadratic, which the products of the first term can be; the second may be the
rest, from the step's length, from viscosity, which goes with 1 / Re, and from waves that are left out. The loss is the
mean square of the error over windows of L outputs, begun anywhere,

    mean over i = 1..L of |decode(z_i) - P x_i|^2 / mean |P x|^2,   L growing from 1 to its end                    (2)

P the waves that are held. *Each window is a copy, shifted and turned at random* (equation 2 of `waves`), so that no run
is seen twice in the same place.
"""

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Generator, Tensor, nn

from latentkit.models import weights
from latentkit.models.modes import Modes
from latentkit.models.nets import MLP, Dense
from latentkit.models.surrogates import check
from latentkit.models.train import History, fit, generator
from latentkit.models.waves import moved, waves
from latentkit.testbeds import cases
from latentkit.testbeds.cases import Case
from latentkit.testbeds.kolmogorov import WAVENUMBER

SEED = 0  # of the library
STATES = 512  # in a batch
RISE = 0.6  # share of the steps after which windows have their full length


class Law(nn.Module):
    """Step latents by equation 1: a stack of s laws.

    scale (k): root mean square of the coefficients; k (k / 2, 2): wavevectors; quarter: the shift along y that changes
    nothing.
    """

    def __init__(
        self,
        scale: Tensor,
        k: Tensor,
        unknowns: int,
        products: int,
        hidden: int,
        rng: Sequence[Generator],
        quarter: float,
    ):
        super().__init__()
        self.latent, self.unknowns, self.quarter = 2 * len(k), unknowns, quarter
        inputs = self.latent + unknowns
        self.first, self.second = Dense(inputs, products, rng), Dense(inputs, products, rng)
        self.product, self.rest = Dense(products, self.latent, rng), MLP([inputs, hidden, self.latent], rng)
        with torch.no_grad():
            for layer in (self.product, self.rest.layers[-1]):
                layer.weight *= 0.1  # begin nearly at persistence
            self.product.weight /= math.sqrt(products)
        self.register_buffer("scale", scale)
        self.register_buffer("k", k, persistent=False)

    def advance(
        self,
        z: Tensor,  # (s, n, k)
        u: Tensor,  # (s, n, q)
    ) -> Tensor:  # (s, n, k)
        """Return the latents at the next output."""
        x = torch.cat([z, u], -1)
        return z + self.product(self.first(x) * self.second(x)) + self.rest(x)  # (1)

    def onward(self, u: Tensor, model: int) -> Callable[[Tensor], Tensor]:  # (n, q) -> (n, k) to (n, k)
        """Return the map of latents to those at the next output, by one model, whose weights are constants here."""
        inner, last = self.rest.layers
        sides = (self.first, self.second, inner)
        bias, weight = (torch.cat(part, -1) for part in zip(*(side.constants(model) for side in sides), strict=True))
        own, across = torch.addmm(bias, u, weight[self.latent :]), weight[: self.latent]  # what u says is said once
        sizes = [side.weight.shape[-1] for side in sides]
        product, rest = self.product.constants(model), last.constants(model)

        def forward(z: Tensor) -> Tensor:
            a, b, c = torch.addmm(own, z, across).split(sizes, -1)
            return z + torch.addmm(product[0], a * b, product[1]) + torch.addmm(rest[0], nn.functional.silu(c), rest[1])

        return forward

    def loss(self, batch, step: int, rng: Sequence[Generator]) -> tuple[Tensor, dict[str, Tensor]]:
        """Return equation 2 (s) for windows of scaled coefficients (s, n, L + 1, k) and parameters (s, n, q)."""
        c, u = batch
        n = c.shape[1]
        shift, turned = zip(*[self._copy(n, g) for g in rng], strict=True)
        shift, turned = torch.stack(shift).to(c.device), torch.stack(turned).to(c.device)
        c = moved(c * self.scale, self.k, shift[:, :, None], turned[:, :, None])
        z, path = c[:, :, 0] / self.scale, []
        for _ in range(c.shape[2] - 1):
            z = self.advance(z, u)
            path.append(z)
        error = (torch.stack(path, 2) * self.scale - c[:, :, 1:]).square().sum(-1).mean((1, 2))
        error = error / self.scale.square().sum()
        return error, {"error": error}

    def _copy(self, n: int, g: Generator) -> tuple[Tensor, Tensor]:
        """Draw shifts (n, 2) and who is turned (n)."""
        along = torch.rand(n, generator=g) * 2 * math.pi
        across = torch.randint(round(2 * math.pi / self.quarter), (n,), generator=g) * self.quarter
        return torch.stack([across, along], 1), torch.rand(n, generator=g) < 0.5


class Windows:
    """Serve random windows of trajectories (n, t, k) with their parameters (n, q), longer ones later."""

    def __init__(self, c: Tensor, u: Tensor, longest: int, steps: int, seeds: Sequence[int]):
        if not 1 <= longest < c.shape[1]:
            raise ValueError(f"windows of {longest} steps in {c.shape[1]} outputs; expected from 1 to one less")
        self.c, self.u, self.longest, self.steps, self.seeds = c, u, longest, steps, list(seeds)
        self.size, self.count = STATES, len(c)

    def __call__(self, step: int) -> list[Tensor]:
        length = 1 + int(min(1.0, step / (RISE * self.steps)) * (self.longest - 1))
        count, run, first = max(1, self.size // (length + 1)), [], []
        for seed in self.seeds:
            g = generator(seed, "windows", step)
            run.append(torch.randint(len(self.c), (count,), generator=g))
            first.append(torch.randint(self.c.shape[1] - length, (count,), generator=g))
        run, first = torch.stack(run), torch.stack(first)
        return [self.c[run[..., None], first[..., None] + torch.arange(length + 1)], self.u[run]]


class Started(nn.Module):
    """A stack of laws over the waves of a flow; for `latent.Latent` what `surrogates.Surrogate` is.

    limit: of |k|^2; `deviation` (2, 1, 1) of the velocities in the library, by which errors are measured.
    """

    def __init__(self, case: Case, limit: float, products: int, hidden: int, seeds: Sequence[int]):
        super().__init__()
        self.case = case
        found, k = waves(case.shape[-1], limit)
        for name, part in found._asdict().items():
            if name != "left":
                self.register_buffer(name, part, persistent=False)
        rng = [generator(seed, "init") for seed in seeds]
        quarter = 2 * math.pi / WAVENUMBER
        self.net = Law(torch.ones(2 * len(k)), k, len(case.parameters), products, hidden, rng, quarter)
        self.register_buffer("deviation", torch.ones(2, 1, 1))

    @property
    def modes(self) -> Modes:
        """Return the waves as modes."""
        return Modes(self.mean, self.core, self.rows, self.columns, self.weights, math.nan)

    def learn_scale(self, trajectories: Tensor) -> Tensor:  # (t, m, c, y, x) -> (m, t, k)
        """Find the scales of a library, and return its latents."""
        self.deviation = cases.deviations(trajectories)
        c = torch.stack([self.modes.coefficients(some) for some in trajectories.unbind(1)])
        a, b = c.square().mean((0, 1)).chunk(2)
        self.net.scale = ((a + b) / 2).sqrt().repeat(2)  # one for both of a wave: copies mix them
        return c / self.net.scale

    def encode(self, fields: Tensor) -> Tensor:  # (..., c, y, x) -> (..., k)
        """Return the latents of fields: nothing is learned in them."""
        return self.modes.coefficients(fields) / self.net.scale

    @torch.no_grad()
    def fields(self, z: Tensor, model: int = 0) -> Tensor:  # (..., k) -> (..., c, y, x)
        """Return the fields that latents stand for; all models of the stack agree on them."""
        return self.modes.fields(z * self.net.scale)

    def trajectory(
        self,
        fields: Tensor,  # (m, c, y, x) at the start
        parameters: Tensor,  # (m, q) in their own units
        model: int = 0,
    ) -> Tensor:  # (t, m, c, y, x)
        """Return the trajectories from fields by one model; warns outside the range of its training."""
        u = self.case.scaled(parameters)
        check(self.case, u)
        path = [self.encode(fields)]
        with torch.no_grad():
            onward = self.net.onward(u, model)
            for _ in range(len(self.case.times) - 1):
                path.append(onward(path[-1]))
        return torch.stack([self.fields(z) for z in path])

    def look(self, network, model: int = 0) -> Callable[[Tensor], Tensor]:
        """Return the map of latents (n, k) to what a network sees (n, o)."""
        each, _ = self.modes.seen(self.case.points(network))
        across = self.net.scale[:, None] * each
        return lambda z: z @ across


def obtain(
    case: Case,
    name: str,
    *,
    limit: float,
    products: int,
    hidden: int,
    longest: int,
    steps: int,
    learning_rate: float,
    seeds: Sequence[int],
    library: Callable[[], tuple[Tensor, Tensor]],
    settings: dict,
    retrain: bool = False,
) -> tuple[Started, History]:
    """Load the shipped weights of a name, or train on a library; print which.

    library: makes trajectories (t, m, c, y, x) and parameters (m, q) to train with; settings: what it is made with,
    which becomes part of the weights' identity; longest: L of equation 2.
    """
    model = Started(case, limit, products, hidden, seeds).to(case.device)
    identity = {"case": case.name, "shape": list(case.shape), "outputs": len(case.times), "settings": settings}
    identity |= {"limit": limit, "products": products, "hidden": hidden, "longest": longest, "steps": steps}
    identity |= {"learning_rate": learning_rate, "seeds": list(seeds)}

    def train(model: Started, checkpoint: Path) -> History:
        trajectories, parameters = library()
        z = model.learn_scale(trajectories)
        batches = Windows(z, case.scaled(parameters), longest, steps, seeds)
        return fit(
            model.net, batches, steps=steps, seeds=seeds, learning_rate=learning_rate, clip=1.0, checkpoint=checkpoint
        )

    history = weights.obtain(model, name, identity, train, retrain=retrain, bits=8)
    return model.requires_grad_(False), history
