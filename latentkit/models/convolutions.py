"""Convolutional encoders and decoders of fields of any size, in stacks: s models side by side, each with its weights.

Three convolutions of stride 2 with a residual block behind them, and their mirror, as in C. Heinze-Deml et al. (2021),
Latent Linear Adjustment Autoencoder v1.0; leaky rectifiers, no batch normalization. A side of any length is halved,
rounded up, three times, and comes back by repetition and a convolution. Along longitude a global grid is a circle, and
its fields are padded with what lies beyond the seam (of an odd number of columns, halving leaves first and last closer
than others); other edges repeat their last row.

Within a network fields are (n, s c, y, x), so that a stack is one grouped convolution, but for narrow ones.
"""

import math
from collections.abc import Sequence

import torch
from torch import Generator, Tensor, nn

from latentkit.models.nets import Dense

HALVINGS = 3
NARROW = 16  # channels of a model, below which a processor takes models one by one: twice as fast, thrice in training


class Convolution(nn.Module):
    """Convolve (n, s inputs, y, x) by 3 x 3 to (n, s outputs, y / stride, x / stride), rounded up.

    circular: whether x is a circle; rng: one generator a model.
    """

    def __init__(self, inputs: int, outputs: int, rng: Sequence[Generator], *, circular: bool, stride: int = 1):
        super().__init__()
        bound = 1 / math.sqrt(9 * inputs)
        weight = [torch.rand(outputs, inputs, 3, 3, generator=g) * 2 * bound - bound for g in rng]
        self.weight = nn.Parameter(torch.stack(weight))  # (s, outputs, inputs, 3, 3)
        self.bias = nn.Parameter(torch.zeros(len(rng), outputs))
        self.circular, self.stride = circular, stride

    def forward(self, x: Tensor) -> Tensor:
        x = nn.functional.pad(x, (1, 1, 0, 0), mode="circular" if self.circular else "replicate")
        x = nn.functional.pad(x, (0, 0, 1, 1), mode="replicate")
        if x.device.type == "cpu" and self.weight.shape[1] < NARROW:
            parts = zip(x.chunk(len(self.weight), 1), self.weight, self.bias, strict=True)
            return torch.cat([nn.functional.conv2d(*part, stride=self.stride) for part in parts], 1)
        weight, bias = self.weight.flatten(0, 1), self.bias.flatten()
        return nn.functional.conv2d(x, weight, bias, stride=self.stride, groups=len(self.weight))


class Residual(nn.Module):
    """Add two convolutions to a field (n, s c, y, x)."""

    def __init__(self, channels: int, rng: Sequence[Generator], *, circular: bool):
        super().__init__()
        self.first, self.second = (Convolution(channels, channels, rng, circular=circular) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(_rectified(self.first(_rectified(x))))


class Encoder(nn.Module):
    """Map fields (s, n, c, y, x) to features (s, n, outputs).

    shape: (c, y, x); widths: channels after each halving.

    Raises ValueError for fields of fewer than 8 points a side, and other than three widths.
    """

    def __init__(
        self, shape: Sequence[int], widths: Sequence[int], outputs: int, rng: Sequence[Generator], *, circular: bool
    ):
        super().__init__()
        channels, sizes = shape[0], halved(shape[1:])
        if len(widths) != HALVINGS:
            raise ValueError(f"widths are {tuple(widths)}; expected {HALVINGS}, one for each halving")
        pairs = zip([channels, *widths[:-1]], widths, strict=True)
        self.layers = nn.ModuleList(Convolution(a, b, rng, circular=circular, stride=2) for a, b in pairs)
        self.residual = Residual(widths[-1], rng, circular=circular)
        self.last = Dense(widths[-1] * math.prod(sizes[-1]), outputs, rng)

    def forward(self, fields: Tensor) -> Tensor:
        s, n = fields.shape[:2]
        x = fields.transpose(0, 1).flatten(1, 2)
        for layer in self.layers:
            x = _rectified(layer(x))
        x = _rectified(self.residual(x))
        return self.last(x.unflatten(1, (s, -1)).transpose(0, 1).reshape(s, n, -1))


class Decoder(nn.Module):
    """Map latents (s, n, k) to fields (s, n, c, y, x): the mirror of `Encoder`."""

    def __init__(
        self, latent: int, shape: Sequence[int], widths: Sequence[int], rng: Sequence[Generator], *, circular: bool
    ):
        super().__init__()
        self.sizes = halved(shape[1:])
        self.first = Dense(latent, widths[-1] * math.prod(self.sizes[-1]), rng)
        self.residual = Residual(widths[-1], rng, circular=circular)
        pairs = zip(widths[::-1], [*widths[-2::-1], shape[0]], strict=True)
        self.layers = nn.ModuleList(Convolution(a, b, rng, circular=circular) for a, b in pairs)

    def forward(self, z: Tensor) -> Tensor:
        s, n = z.shape[:2]
        x = self.first(z).unflatten(-1, (-1, *self.sizes[-1])).transpose(0, 1).flatten(1, 2)
        x = self.residual(x)
        for layer, size in zip(self.layers, self.sizes[-2::-1], strict=True):
            x = layer(_doubled(_rectified(x), size))
        return x.unflatten(1, (s, -1)).transpose(0, 1)


def halved(size: Sequence[int]) -> list[tuple[int, int]]:
    """Return a grid's size (y, x) and what each halving leaves of it.

    Raises ValueError for fields of fewer than 8 points a side.
    """
    least = 2**HALVINGS
    if min(size) < least:
        raise ValueError(
            f"fields of {size[0]} x {size[1]} points are too small to be halved {HALVINGS} times; expected {least} or "
            "more a side: take a finer grid, or a larger region"
        )
    sizes = [tuple(size)]
    for _ in range(HALVINGS):
        sizes.append(tuple(-(-n // 2) for n in sizes[-1]))
    return sizes


def _doubled(x: Tensor, size: tuple[int, int]) -> Tensor:  # (n, c, y, x)
    """Return fields with each row and column twice, the last once where the size is odd: `interpolate`, but faster."""
    twice = x[:, :, :, None, :, None].expand(-1, -1, -1, 2, -1, 2).flatten(4).flatten(2, 3)
    return twice[:, :, : size[0], : size[1]]


def _rectified(x: Tensor) -> Tensor:
    return nn.functional.leaky_relu(x, 0.2)
