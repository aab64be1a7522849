r"""Coupled variational autoencoders: one of states, one of sparse observations, and one decoder for both.

P. Si and P. Chen (2025), Latent-EnSF: A latent ensemble score filter for high-dimensional data assimilation with sparse
observation data. States x and what a fixed network of sensors shows of them, y, are encoded each by a network of its
own, q(z|x) = N(m(x), v(x)) and q(z|y) = N(m'(y), v'(y)), into one latent space, of which one decoder makes states:

    L = E |decode(z) - x|^2 + E |decode(z') - x|^2 + match |m(x) - m'(y)|^2 + beta (KL(z) + KL(z'))                 (1)

with z and z' drawn from these (D. P. Kingma and M. Welling 2014), and KL the divergence of each from N(0, I). An
assimilation takes the means, m'(y) as the observation of m(x): its operator is the identity.

Published are convolutions on fields. Here a state is given by its coefficients of modes (`basis`), a fixed linear layer
that does what convolutions of smooth fields would, and the networks are MLPs: they train in stacks and in seconds. All
squares are means over coefficients or latents. Published latents are 400 or 512; match and beta are *assumed*.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from latentkit.assimilation.observations import Network
from latentkit.models import surrogates, weights
from latentkit.models.basis import Basis
from latentkit.models.nets import MLP, normal, pick
from latentkit.models.sensors import Sensors
from latentkit.models.train import History, Shuffled, fit, generator
from latentkit.testbeds.cases import Case

EARLY = 4.0  # by which log variances are lowered, so that a training does not begin in noise


class Coupled(nn.Module):
    """A stack of s pairs of encoders with one decoder each; the modes and the sensors are common to all.

    network: of one moment; latent: k; count: of modes j; encoder, decoder: widths; match, beta: of equation 1; noise:
    on the standardized observations in training. `scale` (s, k): root mean square deviation of each model's latents,
    the same for all k.
    """

    times = None  # each moment is encoded on its own

    def __init__(
        self,
        case: Case,
        network: Network,
        latent: int,
        count: int,
        encoder: Sequence[int],
        decoder: Sequence[int],
        seeds: Sequence[int],
        *,
        match: float = 1.0,
        beta: float = 1e-6,
        noise: float = 0.0,
    ):
        super().__init__()
        rng = [generator(seed, "init") for seed in seeds]
        self.case, self.latent, self.match, self.beta, self.noise = case, latent, match, beta, noise
        self.basis, self.sensors = Basis(case.weights[0]), Sensors(network)
        self.state = MLP([count, *encoder, 2 * latent], rng)
        self.seen = MLP([len(self.sensors), *encoder, 2 * latent], rng)
        self.decoder = MLP([latent, *decoder, count], rng)
        self.register_buffer("scale", torch.ones(len(rng), latent))

    def loss(self, batch, step: int, rng) -> tuple[Tensor, dict[str, Tensor]]:
        """Return equation 1 (s) for coefficients (s, n, j) and standardized observations (s, n, o)."""
        x, y = batch
        if self.noise:
            y = y + self.noise * normal(y.shape[1:], rng, y)
        parts, means, total = {}, [], 0.0
        for name, net, given in (("state", self.state, x), ("seen", self.seen, y)):
            mean, log_variance = _halves(net(given))
            z = mean + (0.5 * log_variance).exp() * normal(mean.shape[1:], rng, mean)
            parts[name] = (self.decoder(z) - x).square().mean((1, 2))
            kl = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(-1).mean(-1)
            total = total + parts[name] + self.beta * kl
            means.append(mean)
        parts["match"] = (means[0] - means[1]).square().mean((1, 2))
        return total + self.match * parts["match"], parts

    @torch.no_grad()
    def learn(self, coefficients: Tensor) -> None:
        """Find the scales of the latents of coefficients (n, j)."""
        mean = _halves(self.state(coefficients.expand(len(self.scale), -1, -1)))[0]
        self.scale = mean.std(1).square().mean(-1, keepdim=True).sqrt().expand(-1, self.latent).clone()

    @torch.no_grad()
    def encode(self, states: Tensor, model: int = 0) -> Tensor:  # (n, *shape) -> (n, k)
        """Return the latents of states by one model."""
        net = pick(self.state, [model])
        return _halves(net(self.basis.coefficients(_channels(states))[None]))[0][0]

    @torch.no_grad()
    def decode(self, z: Tensor, model: int = 0) -> Tensor:  # (n, k) -> (n, *shape)
        """Return the states that latents stand for by one model."""
        net = pick(self.decoder, [model])
        return self.basis.states(net(z[None])[0]).reshape(-1, *self.case.joint.shape)

    @torch.no_grad()
    def read(self, values: Tensor, model: int = 0) -> Tensor:  # (n, t, o) -> (n, t, k)
        """Return the latents that one model takes for those behind what sensors show."""
        net = pick(self.seen, [model])
        made = net(self.sensors(values.float()).flatten(0, 1)[None])[0]
        return _halves(made)[0].unflatten(0, values.shape[:2])


@torch.no_grad()
def library_states(
    case: Case,
    parameters: Tensor,  # (n, q) in their own units
    network: Network,
) -> tuple[Tensor, Tensor]:  # (t, n, *shape), (t, n, o)
    """Return the states of trajectories at all times of a case, and what a network sees of them."""
    joint, times = case.joint, case.times.tolist()
    E = joint.pack(case.begin(parameters), parameters if joint.parameters else None)
    path = [E, *(E := joint.forecast(E, a, b) for a, b in zip(times[:-1], times[1:], strict=True))]
    return joint.unpack(torch.stack(path))[0], torch.stack([joint.observe(E, network) for E in path])


def obtain(
    case: Case,
    name: str,
    network: Network,
    *,
    latent: int,
    count: int,
    encoder: Sequence[int],
    decoder: Sequence[int],
    library: int,
    steps: int,
    learning_rate: float,
    seeds: Sequence[int],
    settings: dict,
    match: float = 1.0,
    beta: float = 1e-6,
    noise: float = 0.0,
    batch: int = 256,
    retrain: bool = False,
) -> tuple[Coupled, History]:
    """Load the shipped coupled autoencoders of a case and a network, or make a library and train them; print which.

    name: of the weights; network: of one moment; latent, count, encoder, decoder, match, beta, noise: of `Coupled`;
    library: trajectories, those of `surrogates.obtain`; settings: what else the case was made with.
    """
    sizes = {"latent": latent, "count": count, "encoder": list(encoder), "decoder": list(decoder)}
    sizes |= {"match": match, "beta": beta, "noise": noise}
    model = Coupled(case, network, seeds=seeds, **sizes).to(case.device)
    identity = {"case": case.name, "shape": list(case.joint.shape), "outputs": len(case.times), "settings": settings}
    identity |= {**sizes, "network": model.sensors.identity, "library": library, "steps": steps, "batch": batch}
    identity |= {"learning_rate": learning_rate, "seeds": list(seeds)}

    def train(model: Coupled, checkpoint: Path) -> History:
        states, seen = library_states(case, surrogates.library_parameters(case, library), network)
        c = model.basis.learn(_channels(states.flatten(0, 1)), count, surrogates.SEED)
        data = Shuffled([c, model.sensors.learn(seen).flatten(0, 1)], batch, seeds, [False, False])
        history = fit(
            model, data, steps=steps, seeds=seeds, learning_rate=learning_rate, clip=1.0, checkpoint=checkpoint
        )
        model.learn(c)
        return history

    return model, weights.obtain(model, name, identity, train, retrain=retrain, bits=8)


def _halves(made: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and log variance (..., k) each of what an encoder made."""
    mean, log_variance = made.chunk(2, -1)
    return mean, log_variance.clamp(-16, 8) - EARLY


def _channels(states: Tensor) -> Tensor:
    """Return states (n, *shape) with one axis of channels (n, c, y, x)."""
    return states if states.ndim == 4 else states[:, None]
