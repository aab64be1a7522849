r"""Latent dynamics networks whose trajectories are found before their dynamics.

A trajectory of an LDNet (`ldnet`) is a function of its parameters u alone, z_i = g(t_i, u). Training it through its
rollout is slow: each step waits for t evaluations in a row, and decoder and dynamics chase each other. Here they are
fitted in turn, by stages that need no rollout but the last:

    embedding   min mean |decode(g(t_i, u)) - x_i|^2 over g and the decoder, g a network of time and parameters     (1)
    dynamics    min mean |z + e + h f(z + e, u) - z'|^2 over f, with z = g(t_i, u), z' = g(t_{i+1}, u)              (2)
    joint       the loss of the LDNet, by its own rollout, over f and the decoder                                   (3)
    last layer  of a decoder to coefficients: least squares on the rollout of all training trajectories             (4)

The noise e in equation 2 shows f how to return to the trajectory. What comes out is an LDNet like any other; g is
thrown away.
"""

import math
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Generator, Tensor, nn

from latentkit.models.ldnet import Coefficients, LDNet
from latentkit.models.nets import MLP, normal
from latentkit.models.train import History, Shuffled, fit

FEATURES = 48  # sines of time and parameters, by random frequencies
REACH = 3.0  # standard deviation of these frequencies, in radians over half the range of time or of a parameter


class Embedding(nn.Module):
    """Map time and parameters (s, n, 1 + q), each normalized to [-1, 1], to latents (s, n, k): g of equation 1."""

    def __init__(self, net: LDNet, rng: Sequence[Generator], *, width: int = 128):
        super().__init__()
        inputs = 1 + net.unknowns
        self.register_buffer("waves", torch.stack([REACH * torch.randn(inputs, FEATURES, generator=g) for g in rng]))
        self.guide, self.decoder = MLP([inputs + 2 * FEATURES, width, net.latent], rng), net.decoder

    def forward(self, when: Tensor) -> Tensor:
        angle = when @ self.waves
        return self.guide(torch.cat([when, angle.sin(), angle.cos()], -1))

    def loss(self, batch, step: int, rng: Sequence[Generator]) -> tuple[Tensor, dict[str, Tensor]]:
        """Return equation 1 (s) for times and parameters (s, n, 1 + q) and values (s, n, v)."""
        when, values = batch
        error = self.decoder.error(self(when), values, rng)
        return error, {"embedding": error}


class Follower(nn.Module):
    """Teach the dynamics of an LDNet the trajectories of an embedding: equation 2."""

    def __init__(self, net: LDNet, noise: float):
        super().__init__()
        self.dynamics, self.log_step, self.noise, self._net = net.dynamics, net.log_step, noise, [net]

    def loss(self, batch, step: int, rng: Sequence[Generator]) -> tuple[Tensor, dict[str, Tensor]]:
        """Return equation 2 (s), relative to the mean square of a step, for z, u and z' (s, n, ...)."""
        z, u, later = batch
        size = (later - z).square().mean((1, 2), keepdim=True)
        disturbed = z + self.noise * size.sqrt() * normal(z.shape[1:], rng, z)
        error = ((self._net[0].advance(disturbed, u) - later).square() / size).mean((1, 2))
        return error, {"dynamics": error}


def train(
    net: LDNet,
    u: Tensor,  # (n, q) parameters in [-1, 1]
    values: Tensor,  # (n, t, v) what the decoder is to give
    *,
    steps: Sequence[int],
    batches: Sequence[int],
    learning_rate: float,
    seeds: Sequence[int],
    rng: Sequence[Generator],
    noise: float = 0.3,
    clip: float = 1.0,
    checkpoint: Path | None = None,
    progress: bool = True,
) -> History:
    """Train a stack of LDNets by stages; return the history of the losses, each by the name of its stage.

    steps: of the stages embedding, dynamics and joint, 0 to leave one out; batches: states in a batch of the first two,
    and trajectories in one of the last; seeds: one a model; noise: e of equation 2, beside the size of a step;
    checkpoint: stem of the files that a stage which was stopped goes on from.

    The net, u and values lie on one device.

    Raises ValueError for values of another number of times than the net has outputs.
    """
    n, t = values.shape[:2]
    if t != net.outputs or len(u) != n:
        raise ValueError(f"values of {n} trajectories of {t} times, {len(u)} parameters; expected {net.outputs} times")
    count = len(seeds)
    embedding = Embedding(net, rng).to(u.device)
    clock = torch.linspace(-1, 1, t).to(u.device)
    when = torch.cat([clock[None, :, None].expand(n, -1, 1), u[:, None].expand(-1, t, -1)], -1)  # (n, t, 1 + q)
    history, parts = History(), []
    more = {"seeds": seeds, "clip": clip, "progress": progress}

    def stage(name: str, model: nn.Module, data: Shuffled, steps: int, rate: float) -> None:
        if not steps:
            return
        path = checkpoint and checkpoint.with_suffix(f".{name}.pt")
        done = fit(model, data, steps=steps, learning_rate=rate, checkpoint=path, **more)
        history.values |= {k: v for k, v in done.values.items() if k != "total"}
        history.seconds += done.seconds
        parts.append(path)

    table = Shuffled([when.flatten(0, 1), values.flatten(0, 1)], batches[0], seeds, [False, False])
    stage("embedding", embedding, table, steps[0], learning_rate)
    with torch.no_grad():
        z = embedding(when.flatten(0, 1).expand(count, -1, -1)).unflatten(1, (n, t))  # (s, n, t, k)
    before = torch.cat([torch.zeros_like(z[:, :, :1]), z[:, :, :-1]], 2)
    each = u[:, None].expand(-1, t, -1).expand(count, -1, -1, -1)
    table = Shuffled([a.flatten(1, 2) for a in (before, each, z)], batches[1], seeds, [True] * 3)
    stage("dynamics", Follower(net, noise), table, steps[1], learning_rate)
    rate = learning_rate / 3 if steps[0] else learning_rate  # what is taught is only polished
    stage("joint", net, Shuffled([u, values], batches[2], seeds, [False, False]), steps[2], rate)
    if isinstance(net.decoder, Coefficients):
        refit(net, u, values)
    for path in filter(None, parts):
        path.unlink(missing_ok=True)
    history.every = max(1, math.ceil(max(steps) / 100))
    return history


@torch.no_grad()
def refit(net: LDNet, u: Tensor, values: Tensor, *, ridge: float = 1e-6) -> None:
    """Solve for the last layer of a decoder to coefficients: equation 4.

    ridge: added to the squares of the hidden features, beside their mean square.
    """
    decoder, last = net.decoder, net.decoder.net.layers[-1]
    for model in range(len(net.log_step)):
        path = net.trajectory(u.expand(len(net.log_step), -1, -1))[model].transpose(0, 1).flatten(0, 1)  # (n t, k)
        x = decoder.hidden(path, model).double()
        square = x.mT @ x
        square.diagonal().add_(ridge * square.diagonal().mean())
        found = torch.linalg.solve(square, x.mT @ values.flatten(0, 1).double())
        last.weight[model], last.bias[model] = found[:-1].float(), found[-1:].float()
