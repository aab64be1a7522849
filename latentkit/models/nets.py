"""Networks in stacks: s models of one shape side by side, each with its own weights, in one batched product.

Every parameter has the axis s first, so that ten members or three seeds train in the time of about one. No term
couples two models of a stack: a stack equals its models trained one by one (tests/test_nets.py).
"""

import copy
import math
from collections.abc import Sequence

import torch
from torch import Generator, Tensor, nn


class Dense(nn.Module):
    """Map features affinely, with weights of its own for each of s models.

    rng: one generator a model, from which its weights are drawn: uniform on +-1/sqrt(inputs), as in torch.nn.Linear.
    """

    def __init__(self, inputs: int, outputs: int, rng: Sequence[Generator]):
        super().__init__()
        bound = 1 / math.sqrt(inputs)
        weight = [torch.rand(inputs, outputs, generator=g) * 2 * bound - bound for g in rng]
        bias = [torch.rand(1, outputs, generator=g) * 2 * bound - bound for g in rng]
        self.weight = nn.Parameter(torch.stack(weight))  # (s, inputs, outputs)
        self.bias = nn.Parameter(torch.stack(bias))  # (s, 1, outputs)

    def forward(
        self,
        x: Tensor,  # (s, n, inputs)
    ) -> Tensor:  # (s, n, outputs)
        return torch.baddbmm(self.bias, x, self.weight)

    def constants(self, model: int) -> tuple[Tensor, Tensor]:  # (1, outputs), (inputs, outputs)
        """Return bias and weight of one model, from which no derivative goes back to them."""
        return self.bias[model].detach(), self.weight[model].detach()


class MLP(nn.Module):
    """Chain dense layers with SiLU between them.

    sizes: widths from the input to the output; rng: one generator a model.
    """

    def __init__(self, sizes: Sequence[int], rng: Sequence[Generator]):
        super().__init__()
        if len(sizes) < 2:
            raise ValueError(f"an MLP has an input and an output width at least; found sizes {tuple(sizes)}")
        self.layers = nn.ModuleList(Dense(a, b, rng) for a, b in zip(sizes[:-1], sizes[1:], strict=True))

    def forward(
        self,
        x: Tensor,  # (s, n, sizes[0])
    ) -> Tensor:  # (s, n, sizes[-1])
        for layer in self.layers[:-1]:
            x = nn.functional.silu(layer(x))
        return self.layers[-1](x)


def pick(model: nn.Module, rows: Sequence[int]) -> nn.Module:
    """Return a copy of a stack with only the models `rows`, in that order, to encode and decode with.

    Raises ValueError for a parameter or buffer without the stack's axis first.
    """
    chosen = copy.deepcopy(model)
    tensors = [*chosen.named_parameters(), *chosen.named_buffers()]
    sizes = {len(tensor) for _, tensor in tensors}
    if len(sizes) != 1:
        raise ValueError(f"parameters and buffers have first axes of {sorted(sizes)}; expected one, that of the stack")
    for _, tensor in tensors:
        tensor.data = tensor.data[list(rows)]
    return chosen


def normal(shape: Sequence[int], rng: Sequence[Generator], like: Tensor) -> Tensor:
    """Draw standard normal numbers (s, *shape), model i from generator i, on the device and in the type of `like`."""
    draws = [torch.randn(*shape, generator=g, dtype=like.dtype) for g in rng]
    return torch.stack(draws).to(like.device)
