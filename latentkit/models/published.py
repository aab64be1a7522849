r"""The surrogate in the published form: a decoder of latents and coordinates, trained through its rollout.

LEVDA, section 2.4 and equation 15; P. Xiao et al. (2026), LD-EnSF. Each training step draws trajectories, times and
points, decodes there, and goes back through the whole rollout. It is the yardstick of `surrogates`.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from latentkit.models import ldnet, surrogates, weights
from latentkit.models.nets import pick
from latentkit.models.train import History, Shuffled, fit, generator
from latentkit.testbeds import cases
from latentkit.testbeds.cases import Case


class Published(nn.Module):
    """A stack of LDNets with a decoder of coordinates; fields are divided by `deviation` (c, 1, 1)."""

    def __init__(
        self,
        case: Case,
        latent: int,
        dynamics: Sequence[int],
        width: int,
        blocks: int,
        features: int,
        seeds: Sequence[int],
        *,
        sampled: int,
        points: int,
    ):
        super().__init__()
        rng = [generator(seed, "init") for seed in seeds]
        grid = torch.stack(torch.meshgrid(*case.axes, indexing="ij"), -1).flatten(0, 1).float()
        grid = (grid - grid.mean(0)) / grid.std()
        decoder = ldnet.Coordinates(latent, grid, case.shape[0], width, blocks, features, rng, sampled=points)
        q = len(case.parameters)
        self.net = ldnet.LDNet(latent, q, dynamics, decoder, len(case.times), rng, sampled=sampled)
        self.case = case
        self.register_buffer("deviation", torch.ones(case.shape[0], 1, 1))

    @torch.no_grad()
    def trajectory(
        self,
        parameters: Tensor,  # (m, q) in their own units
        model: int = 0,
    ) -> Tensor:  # (t, m, c, y, x)
        """Return the trajectories of parameters by one model."""
        one = pick(self.net, [model])
        path = one.trajectory(self.case.scaled(parameters)[None])[0]  # (t, m, k)
        # A state at a time: a layer's output at all points of more of them does not stay in the processor's memory.
        parts = [one.decoder(z[None, None])[0, 0].mT for z in path.flatten(0, 1)]
        return torch.stack(parts).unflatten(0, path.shape[:2]).unflatten(-1, self.case.shape[1:]) * self.deviation


def obtain(
    case: Case,
    name: str,
    *,
    latent: int,
    dynamics: Sequence[int],
    width: int,
    blocks: int,
    features: int,
    sampled: int,
    points: int,
    library: int,
    steps: int,
    learning_rate: float,
    seeds: Sequence[int],
    settings: dict,
    retrain: bool = False,
) -> tuple[Published, History]:
    """Load the shipped surrogate in its published form, or train one; the arguments are those of `surrogates.obtain`.

    width, blocks, features: of the decoder; sampled, points: states in a step, and points at which each is decoded.
    """
    sizes = {"latent": latent, "dynamics": list(dynamics), "width": width, "blocks": blocks, "features": features}
    sizes |= {"sampled": sampled, "points": points}
    model = Published(case, seeds=seeds, **sizes)
    identity = {"case": case.name, "shape": list(case.shape), "outputs": len(case.times), "settings": settings, **sizes}
    identity |= {"library": library, "steps": steps, "learning_rate": learning_rate, "seeds": list(seeds)}

    def train(model: Published, checkpoint: Path) -> History:
        parameters = surrogates.library_parameters(case, library)
        trajectories = case.trajectories(parameters)
        model.deviation = cases.deviations(trajectories)
        values = (trajectories / model.deviation).transpose(0, 1).flatten(2)  # (n, t, c p)
        data = Shuffled([case.scaled(parameters), values], 8, seeds, [False, False])
        return fit(
            model.net, data, steps=steps, seeds=seeds, learning_rate=learning_rate, clip=1.0, checkpoint=checkpoint
        )

    history = weights.obtain(model, name, identity, train, retrain=retrain, bits=16)
    return model.requires_grad_(False), history
