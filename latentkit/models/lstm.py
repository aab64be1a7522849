r"""Long short-term memory in stacks: s recurrent networks of one shape side by side.

S. Hochreiter and J. Schmidhuber (1997), Long short-term memory; F. A. Gers, J. Schmidhuber and F. Cummins (2000),
Learning to forget. One layer, as torch.nn.LSTM has it, from a start at 0; sigma is the logistic function:

    i, f, g, o = x_t V + h_{t-1} W + b,   four parts, of which i, f, o go through sigma and g through tanh           (1)
    c_t = f c_{t-1} + i g,   h_t = o tanh(c_t)                                                                     (2)

torch.nn.LSTM has one set of weights. Here all have the axis s first, as in `nets`, and its two biases are one, of which
it is the sum.
"""

import math
from collections.abc import Sequence

import torch
from torch import Generator, Tensor, nn


class LSTM(nn.Module):
    """Map series causally: what is put out at a time depends on the inputs up to it.

    rng: one generator a model, from which its weights are drawn: uniform on +-1/sqrt(hidden), as in torch.nn.LSTM.
    """

    def __init__(self, inputs: int, hidden: int, rng: Sequence[Generator]):
        super().__init__()
        bound = 1 / math.sqrt(hidden)

        def drawn(rows: int) -> nn.Parameter:
            return nn.Parameter(torch.stack([(torch.rand(rows, 4 * hidden, generator=g) * 2 - 1) * bound for g in rng]))

        self.inward, self.onward, self.bias = drawn(inputs), drawn(hidden), drawn(1)  # V, W, b of equation 1

    def forward(
        self,
        x: Tensor,  # (s, n, t, inputs)
    ) -> Tensor:  # (s, n, t, hidden)
        s, n, t, _ = x.shape
        # What the inputs contribute is one product for all times.
        driven = torch.baddbmm(self.bias, x.flatten(1, 2), self.inward).unflatten(1, (n, t))
        h = c = x.new_zeros(s, n, self.onward.shape[1])
        path = []
        for now in driven.unbind(2):
            i, f, g, o = torch.baddbmm(now, h, self.onward).chunk(4, -1)  # (1)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()  # (2)
            h = o.sigmoid() * c.tanh()
            path.append(h)
        return torch.stack(path, 2)
