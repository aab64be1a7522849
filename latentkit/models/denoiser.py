r"""A network that tells the noise of windows of days: a U-Net, in stacks.

Y. Qu et al. (2024), section 3.3: residual blocks with SiLU and layer normalization over channels, a grid that is halved
between depths, and the time t through a network of two layers (64 features, 256 hidden units) into every block. The
paper trains by

    |n(mu(t) x + sigma(t) e, t) - e|^2,   t uniform on (0, 1), e ~ N(0, I)                                          (5)

A network that is narrower than its windows cannot hand all of the noise through: trained so, with 64 channels for 160
numbers a point, it missed two thirds of it at every t, and 1 / mu in equation 8 makes that a thousandfold. So (ours)

    n = sigma x + mu u,   u = g(t) x + U(x, t),   loss = |u - (mu e - sigma x_0)|^2 = |n - e|^2 / mu^2              (14)

after T. Salimans and J. Ho (2022), Progressive distillation for fast sampling of diffusion models, appendix D: n is
right for N(0, I) where u = 0, and x0 = mu x - sigma u stays bounded. g is one number a channel.

The paper pads in a circle both ways, across the poles too; here a circle is one of longitude alone. Convolutions alone
cannot tell places apart, whose variances differ: each depth has a map of its own, added to its channels (ours). A block
of points can be one point with as many more channels (ours), which makes fields as cheap as latents.
"""

import math
from collections.abc import Sequence

import torch
from torch import Generator, Tensor, nn
from torch.nn.functional import interpolate, pixel_shuffle, pixel_unshuffle, silu

from latentkit.models import diffusion
from latentkit.models.nets import MLP, normal
from latentkit.models.stencils import Stencil

FEATURES, HIDDEN = 64, 256


class Block(nn.Module):
    """Add two convolutions to fields (n, s c, y, x), the time (s, n, features) in between."""

    def __init__(self, channels: int, rng: Sequence[Generator], *, circular: bool):
        super().__init__()
        self.first, self.second = (Stencil(channels, channels, rng, circular=circular) for _ in range(2))
        self.time = MLP((FEATURES, channels), rng)
        with torch.no_grad():
            self.second.weight.mul_(0.1)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        s = len(self.first.weight)
        told = self.time(time).transpose(0, 1).flatten(1)[..., None, None]  # (n, s c, 1, 1)
        return x + self.second(silu(self.first(_normalized(x, s) + told)))


class Denoiser(nn.Module):
    """A stack of s networks that tell the noise of windows.

    shape: (days, c, y, x) of a window; widths: channels at each depth; blocks: at each depth, on the way down and as
    many on the way up; rng: one generator a model; block: points that are one point to the network, each way.

    Raises ValueError for a grid that has no whole blocks, or cannot be halved between depths.
    """

    def __init__(
        self,
        shape: Sequence[int],
        widths: Sequence[int],
        blocks: int,
        rng: Sequence[Generator],
        *,
        circular: bool,
        block: int = 1,
    ):
        super().__init__()
        days, c, *points = shape
        halvings = len(widths) - 1
        if any(n % (block * 2**halvings) for n in points):
            raise ValueError(f"a grid of {points[0]} x {points[1]} in blocks of {block} cannot be halved {halvings} "
                             "times; give fewer widths")
        grid, inward = [n // block for n in points], days * c * block**2
        conv = lambda a, b, stride=1: Stencil(a, b, rng, circular=circular, stride=stride)  # noqa: E731
        several = lambda w: nn.ModuleList(Block(w, rng, circular=circular) for _ in range(blocks))  # noqa: E731
        self.shape, self.block = tuple(shape), block
        self.first, self.last = conv(inward, widths[0]), conv(widths[0], inward)
        pairs = list(zip(widths[:-1], widths[1:], strict=True))
        self.down, self.up = (nn.ModuleList(several(w) for w in widths) for _ in range(2))
        self.smaller = nn.ModuleList(conv(a, b, 2) for a, b in pairs)
        self.larger = nn.ModuleList(conv(b, a) for a, b in pairs)
        self.places = nn.ParameterList(
            torch.zeros(len(rng), w, *(n >> i for n in grid)) for i, w in enumerate(widths)
        )
        self.time = MLP((FEATURES, HIDDEN, FEATURES), rng)
        self.gain = MLP((FEATURES, inward), rng)
        self.register_buffer("rates", torch.exp(torch.linspace(0, math.log(200), FEATURES // 2)), persistent=False)

    def forward(self, x: Tensor, t) -> Tensor:  # (s, n, days c, y, x), number or (s, n) -> as x
        """Return the noise that windows hold at time t: equation 14."""
        wide = t[..., None, None, None] if isinstance(t, Tensor) else t
        return diffusion.sigma(wide) * x + diffusion.mu(wide) * self.turned(x, t)

    def turned(self, x: Tensor, t) -> Tensor:
        """Return u of equation 14."""
        s, x = len(x), pixel_unshuffle(x, self.block)
        given = x
        t = t if isinstance(t, Tensor) else x.new_full((s, 1), t)
        phase = t[..., None] * self.rates
        time = silu(self.time(torch.cat([phase.sin(), phase.cos()], -1)))
        x, kept = self.first(x.transpose(0, 1).flatten(1, 2)), []
        for i, blocks in enumerate(self.down):
            x = (self.smaller[i - 1](x) if i else x) + self.places[i].flatten(0, 1)
            for block in blocks:
                x = block(x, time)
            kept.append(x)
        for i in reversed(range(len(self.up))):
            if i < len(self.up) - 1:
                x = self.larger[i](interpolate(x, scale_factor=2, mode="nearest")) + kept[i]
            for block in self.up[i]:
                x = block(x, time)
        told = self.last(silu(_normalized(x, s))).unflatten(1, (s, -1)).transpose(0, 1)
        return pixel_shuffle(told + self.gain(time)[..., None, None] * given, self.block)

    def loss(self, batch, step: int, rng: Sequence[Generator]) -> tuple[Tensor, dict[str, Tensor]]:
        """Return equation 14 (s), a mean over numbers, for windows (s, n, days c, y, x)."""
        (x,) = batch
        t = torch.stack([torch.rand(x.shape[1], generator=g) for g in rng]).to(x.device)
        e = normal(x.shape[1:], rng, x)
        mu, sigma = (f(t[..., None, None, None]) for f in (diffusion.mu, diffusion.sigma))
        error = (self.turned(mu * x + sigma * e, t) - (mu * e - sigma * x)).square().mean((1, 2, 3, 4))
        return error, {"noise": error}


class Windows:
    """Serve windows of consecutive days from series (s, n, c, y, x) or (n, c, y, x), as `train.Shuffled` does rows."""

    def __init__(self, days: Tensor, length: int, batches):
        self.days, self.length, self.batches = days, length, batches
        self.size, self.count, self.steps = batches.size, batches.count, batches.steps

    def __call__(self, step: int) -> list[Tensor]:
        (first,) = self.batches(step)  # (s, b)
        rows = first[..., None] + torch.arange(self.length, device=first.device)  # (s, b, length)
        if self.days.ndim == 4:
            return [self.days[rows].flatten(2, 3)]
        model = torch.arange(len(self.days), device=first.device)[:, None, None]
        return [self.days[model, rows].flatten(2, 3)]


def _normalized(x: Tensor, s: int) -> Tensor:
    """Return fields (n, s c, y, x) of mean 0 and variance 1 over the channels of each model."""
    x = x.unflatten(1, (s, -1))
    x = (x - x.mean(2, keepdim=True)) * (x.var(2, keepdim=True, correction=0) + 1e-5).rsqrt()
    return x.flatten(1, 2)
