r"""Surrogates of the twin experiments: an LDNet over the modes of a library of trajectories, in one file of weights.

A surrogate knows its case (`testbeds.cases`) by the parameters' ranges and the grid. It is trained once, on a library
that is made for the purpose, and shipped; LEVDA, section 2.4.
"""

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from latentkit.models import ldnet, modes, taught, weights
from latentkit.models.train import History, generator
from latentkit.testbeds import cases
from latentkit.testbeds.cases import Case

PARTS = ("mean", "core", "rows", "columns")
SEED = 0  # of the library, and of the split into trajectories to train on and to validate with


class Surrogate(nn.Module):
    """A stack of LDNets that decode to coefficients of modes, with the modes, and the scales of both.

    `deviation` (c, 1, 1) of the channels in the library; `unit`: root mean square of the coefficients, which are
    divided by it; the modes are of fields divided by the deviation.
    """

    def __init__(self, case: Case, latent: int, count: int, dynamics: Sequence[int], decoder: Sequence[int], seeds):
        super().__init__()
        rng = [generator(seed, "init") for seed in seeds]
        q = len(case.parameters)
        head = ldnet.Coefficients(latent, count, decoder, rng)
        self.net = ldnet.LDNet(latent, q, dynamics, head, len(case.times), rng)
        self.case, self.rng = case, rng
        for name in ("low", "high"):
            self.register_buffer(name, getattr(case, name).clone())
        self.register_buffer("weights", case.weights / case.weights[0].numel(), persistent=False)
        for name in (*PARTS, "left", "deviation", "unit"):
            self.register_buffer(name, torch.zeros(1))

    def load_state_dict(self, state, **more):
        """Load a state; how many vectors hold the modes is known from it alone."""
        for name in (*PARTS, "left", "deviation", "unit"):
            setattr(self, name, torch.zeros(state[name].shape, device=self.unit.device))
        return super().load_state_dict(state, **more)

    @property
    def modes(self) -> modes.Modes:
        """Return the modes of fields that are divided by `deviation`."""
        return modes.Modes(*(getattr(self, name) for name in PARTS), self.weights, float(self.left))

    def learn_modes(
        self,
        trajectories: Tensor,  # (t, m, c, y, x)
        count: int,
    ) -> Tensor:  # (m, t, j)
        """Find the modes of a library, and return its coefficients, divided by `unit`."""
        self.deviation = cases.deviations(trajectories)
        table = (trajectories / self.deviation).transpose(0, 1)
        found = modes.find(table.flatten(0, 1), count, self.weights, SEED)
        for name in PARTS:
            setattr(self, name, getattr(found, name))
        self.left = torch.tensor([found.left], device=trajectories.device)
        c = torch.stack([found.coefficients(one) for one in table])
        self.unit = c.square().sum(-1).mean().sqrt().reshape(1)
        return c / self.unit

    @torch.no_grad()
    def fields(
        self,
        z: Tensor,  # (..., k)
        model: int = 0,
    ) -> Tensor:  # (..., c, y, x)
        """Return the fields that latents of one model stand for, in the testbed's units."""
        c = self.net.decoder.hidden(z.reshape(-1, z.shape[-1]), model) @ self.net.decoder.last(model) * self.unit
        return self.modes.fields(c.reshape(*z.shape[:-1], -1)) * self.deviation

    def trajectory(
        self,
        parameters: Tensor,  # (m, q) in their own units
        model: int = 0,
    ) -> Tensor:  # (t, m, c, y, x)
        """Return the trajectories of parameters by one model; warns outside the range of its training."""
        u = self.case.scaled(parameters)
        check(self.case, u)
        with torch.no_grad():
            path = self.net.trajectory(u.expand(len(self.net.log_step), -1, -1))[model]
        return torch.stack([self.fields(z, model) for z in path])

    def look(self, network, model: int = 0) -> Callable[[Tensor], Tensor]:
        """Return the map of latents (n, k) of one model to what a network sees (n, o): one product a point."""
        points = self.case.points(network)
        each, mean = self.modes.seen(lambda fields: points(fields * self.deviation))
        across = (self.net.decoder.last(model) * self.unit).detach() @ each  # (h, o)
        return lambda z: self.net.decoder.hidden(z, model) @ across + mean


def check(case: Case, u: Tensor, slack: float = 0.02) -> None:
    """Warn of parameters (..., q), by their range from -1 to 1, that a surrogate of a case was not trained with.

    slack: of the range, by which they may be beyond it.
    """
    beyond = (u.abs() > 1 + 2 * slack).reshape(-1, u.shape[-1])
    for i in beyond.any(0).nonzero().flatten().tolist():
        name, found = case.parameters[i], case.unscaled(u).reshape(-1, u.shape[-1])[:, i]
        text = (
            f"{case.name}: {name} from {float(found.min()):.4g} to {float(found.max()):.4g} is asked of a "
            f"surrogate trained from {float(case.low[i]):g} to {float(case.high[i]):g}; "
            f"{int(beyond[:, i].sum())} of {len(beyond)} are outside"
        )
        warnings.warn_explicit(text, UserWarning, __name__, 1)  # without a path, which notebooks would store


def obtain(
    case: Case,
    name: str,
    *,
    latent: int,
    count: int,
    dynamics: Sequence[int],
    decoder: Sequence[int],
    library: int,
    steps: Sequence[int],
    learning_rate: float,
    seeds: Sequence[int],
    settings: dict,
    retrain: bool = False,
) -> tuple[Surrogate, History]:
    """Load the shipped surrogate of a case, or make a library of trajectories and train one; print which.

    name: of the weights; latent, dynamics, decoder: sizes; count: of modes; library: trajectories; steps: of the three
    stages of `taught`; settings: what else the case was made with, which becomes part of the weights' identity.
    """
    model = Surrogate(case, latent, count, dynamics, decoder, seeds).to(case.device)
    identity = {"case": case.name, "shape": list(case.shape), "outputs": len(case.times), "settings": settings}
    identity |= {"latent": latent, "modes": count, "dynamics": list(dynamics), "decoder": list(decoder)}
    identity |= {"library": library, "steps": list(steps), "learning_rate": learning_rate, "seeds": list(seeds)}

    def fit(model: Surrogate, checkpoint: Path) -> History:
        parameters = library_parameters(case, library)
        values = model.learn_modes(case.trajectories(parameters), count)
        return taught.train(
            model.net, case.scaled(parameters), values, steps=steps, batches=(512, 512, 16), seeds=seeds,
            learning_rate=learning_rate, rng=model.rng, checkpoint=checkpoint,
        )  # fmt: skip

    history = weights.obtain(model, name, identity, fit, retrain=retrain, bits=16)
    return model.requires_grad_(False), history


def library_parameters(case: Case, count: int, part: str = "library") -> Tensor:  # (count, q)
    """Return the parameters of a part: the library, "validation" or "test". Truths of a seed are drawn elsewhere."""
    return case.draw(count, generator(SEED, part))
