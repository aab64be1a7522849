r"""Encoders of observations that remember: from what sensors have shown so far to latents and parameters.

P. Xiao et al. (2026), LD-EnSF: Synergizing latent dynamics with ensemble score filters for fast data assimilation with
sparse observations. With y_i (o) what a fixed network of sensors shows at time i, s_i and u the latents and scaled
parameters of a latent dynamics network (`ldnet`),

    (s_i, u) ~ r(y_1, ..., y_i),   r a recurrent network of one layer (`lstm`) and an affine map                    (1)

is found by least squares on the trajectories of a library: y_i as the true trajectories show it, s_i as the latent
dynamics have it. Here inputs and targets are by their deviations, so that each target counts the same (ours; the
published code multiplies latents by 100). It is trained without errors of observation, as the published one is;
`noise`, in deviations of a channel, adds some (ours).
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from latentkit.assimilation.observations import Network
from latentkit.models import surrogates, weights
from latentkit.models.lstm import LSTM
from latentkit.models.nets import Dense, normal, pick
from latentkit.models.sensors import Sensors
from latentkit.models.surrogates import Surrogate
from latentkit.models.train import History, Shuffled, fit, generator


class Observer(nn.Module):
    """A stack of s encoders of what one network of sensors shows: equation 1.

    network: of one moment; times: at which one looks, the first of them first; outputs: latents and parameters j;
    noise: on the standardized inputs in training. `center`, `scale` (s, j): mean and deviation of the targets.
    """

    def __init__(
        self,
        network: Network,
        times: Sequence[float],
        outputs: int,
        hidden: int,
        seeds: Sequence[int],
        *,
        noise: float = 0.0,
    ):
        super().__init__()
        rng = [generator(seed, "init") for seed in seeds]
        self.sensors, self.times, self.noise = Sensors(network), [float(t) for t in times], noise
        self.lstm = LSTM(len(self.sensors), hidden, rng)
        self.head = Dense(hidden, outputs, rng)
        self.register_buffer("center", torch.zeros(len(rng), outputs))
        self.register_buffer("scale", torch.ones(len(rng), outputs))

    def learn(
        self,
        values: Tensor,  # (n, t, o)
        targets: Tensor,  # (s, n, t, j)
    ) -> tuple[Tensor, Tensor]:
        """Find the scales of both, and return both by these."""
        self.center, self.scale = targets.mean((1, 2)), targets.std((1, 2), correction=0)
        return self.sensors.learn(values), (targets - self.center[:, None, None]) / self.scale[:, None, None]

    def loss(self, batch, step: int, rng) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the mean square (s) of the errors, inputs (s, n, t, o) and targets (s, n, t, j) by their scales."""
        x, target = batch
        if self.noise:
            x = x + self.noise * normal(x.shape[1:], rng, x)
        error = (self._encode(x) - target).square().mean((1, 2, 3))
        return error, {"error": error}

    def forward(self, values: Tensor) -> Tensor:  # (s, n, t, o) -> (s, n, t, j)
        """Return the latents and parameters that each model takes for those behind the values."""
        return self._encode(self.sensors(values)) * self.scale[:, None, None] + self.center[:, None, None]

    @torch.no_grad()
    def read(
        self,
        values: Tensor,  # (n, t, o) at the first times
        model: int = 0,
    ) -> Tensor:  # (n, t, j)
        """Return the latents and parameters that one model takes for those behind the values."""
        lstm, head = pick(self.lstm, [model]), pick(self.head, [model])
        h = lstm(self.sensors(values.float())[None])
        return head(h.flatten(1, 2))[0].unflatten(0, h.shape[1:3]) * self.scale[model] + self.center[model]

    def _encode(self, x: Tensor) -> Tensor:
        h = self.lstm(x)
        return self.head(h.flatten(1, 2)).unflatten(1, h.shape[1:3])


@torch.no_grad()
def pairs(
    surrogate: Surrogate,
    parameters: Tensor,  # (n, q) in their own units
    trajectories: Tensor,  # (t, n, c, y, x) at all times of the case
    network: Network,
    moments: Sequence[int],
    models: Sequence[int] | None = None,
) -> tuple[Tensor, Tensor]:  # (n, i, o), (s, n, i, k + q)
    """Return what a network sees of trajectories, and what an encoder is to make of it: latents and parameters.

    moments (i): numbers of the case's times at which one looks; models (s): of the surrogate, one for each encoder of
    a stack, which is to find its latents, by default the first, second, ...
    """
    look = surrogate.case.points(network)
    values = torch.stack([look(trajectories[i]) for i in moments], 1)
    u = surrogate.case.scaled(parameters)
    path = surrogate.net.trajectory(u.expand(len(surrogate.net.log_step), -1, -1))[:, list(moments)].transpose(1, 2)
    path = path[list(range(len(path)) if models is None else models)]
    return values, torch.cat([path, u[:, None].expand(*path.shape[:-1], -1)], -1)


def obtain(
    surrogate: Surrogate,
    name: str,
    network: Network,
    *,
    hidden: int = 128,
    library: int,
    steps: int,
    learning_rate: float,
    seeds: Sequence[int],
    settings: dict,
    moments: Sequence[int] | None = None,
    models: Sequence[int] | None = None,
    noise: float = 0.0,
    batch: int = 48,
    retrain: bool = False,
) -> tuple[Observer, History]:
    """Load the shipped encoders of a surrogate and a network, or make a library and train them; print which.

    name: of the weights; network: of one moment; hidden: of the LSTM; library: trajectories, the same as those of
    `surrogates.obtain`; moments: numbers of the case's times at which one looks, by default all but the start; models:
    of the surrogate, one a seed, by default the first, second, ...; settings: what else the case was made with; noise:
    on the inputs, in deviations of a channel.

    Raises ValueError for more seeds than models.
    """
    case, net = surrogate.case, surrogate.net
    moments = list(range(1, len(case.times)) if moments is None else moments)
    models = list(range(len(seeds)) if models is None else models)
    if len(models) != len(seeds) or max(models) >= len(net.log_step):
        raise ValueError(
            f"models {models} of a surrogate of {len(net.log_step)}, {len(seeds)} seeds; expected one of these each: "
            "name them in `models`"
        )
    model = Observer(network, case.times[moments].tolist(), net.latent + net.unknowns, hidden, seeds, noise=noise)
    model.to(surrogate.unit.device)
    identity = {"case": case.name, "shape": list(case.shape), "outputs": len(case.times), "settings": settings}
    identity |= {"surrogate": _digest(surrogate), "models": models, "moments": moments, "hidden": hidden}
    identity |= {"network": model.sensors.identity, "library": library, "steps": steps, "batch": batch, "noise": noise}
    identity |= {"learning_rate": learning_rate, "seeds": list(seeds)}

    def train(model: Observer, checkpoint: Path) -> History:
        parameters = surrogates.library_parameters(case, library)
        made = pairs(surrogate, parameters, case.trajectories(parameters), network, moments, models)
        data = Shuffled(model.learn(*made), batch, seeds, [False, True])
        return fit(model, data, steps=steps, seeds=seeds, learning_rate=learning_rate, clip=1.0, checkpoint=checkpoint)

    return model, weights.obtain(model, name, identity, train, retrain=retrain, bits=8)


def _digest(surrogate: Surrogate) -> str:
    """Return what names a surrogate's latents: those of another training are other latents."""
    state = [surrogate.net.log_step, *surrogate.net.dynamics.parameters()]
    return hashlib.sha256(b"".join(p.detach().cpu().numpy().tobytes() for p in state)).hexdigest()[:16]
