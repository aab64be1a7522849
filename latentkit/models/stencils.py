"""Convolutions of maps on part of a sphere or all around it, in stacks, whose weights can be stored in 8 bits.

As in `convolutions`, fields within a network are (n, s c, y, x), and a stack is one grouped convolution. A weight is
one table (s, inputs k k, outputs), a column for each output channel, which `weights` holds as bytes. Longitude is a
circle or ends, as latitude does; an end repeats its last row, or, as the reference of SLAMS has it, is followed by
zeros."""

import math
from collections.abc import Sequence

import torch
from torch import Generator, Tensor, nn


class Stencil(nn.Module):
    """Convolve (n, s inputs, y, x) by k x k to (n, s outputs, y / stride, x / stride), rounded up.

    circular: whether x is a circle; kernel: k, odd; zeros: whether zeros stand beyond all edges; rng: one generator a
    model.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        rng: Sequence[Generator],
        *,
        circular: bool,
        stride: int = 1,
        kernel: int = 3,
        zeros: bool = False,
    ):
        super().__init__()
        bound = 1 / math.sqrt(kernel**2 * inputs)
        weight = [torch.rand(inputs * kernel**2, outputs, generator=g) * 2 * bound - bound for g in rng]
        self.weight = nn.Parameter(torch.stack(weight))  # (s, inputs k k, outputs)
        self.bias = nn.Parameter(torch.zeros(len(rng), outputs))
        self.circular, self.stride, self.kernel, self.zeros = circular, stride, kernel, zeros

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight.mT.unflatten(-1, (-1, self.kernel, self.kernel)).flatten(0, 1)
        options = {"bias": self.bias.flatten(), "stride": self.stride, "groups": len(self.weight)}
        reach = self.kernel // 2
        if self.zeros:
            return nn.functional.conv2d(x, weight, padding=reach, **options)
        if self.circular:
            x = torch.cat([x[..., -reach:], x, x[..., :reach]], -1)
        else:
            x = nn.functional.pad(x, (reach, reach, 0, 0), mode="replicate")
        x = nn.functional.pad(x, (0, 0, reach, reach), mode="replicate")
        return nn.functional.conv2d(x, weight, **options)
