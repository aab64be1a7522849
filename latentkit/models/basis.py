r"""Modes with their scales, as a part of a model: between states in their units and coefficients of the order of one.

Proper orthogonal decomposition (`modes`) of states that are divided by the deviation of each channel; coefficients are
divided by one number, their root mean square, so that errors of coefficients are errors of states.
"""

import torch
from torch import Tensor, nn

from latentkit.models import modes

PARTS = ("mean", "core", "rows", "columns")
LEARNED = (*PARTS, "left", "deviation", "unit")


class Basis(nn.Module):
    """Hold modes of states (c, y, x) under weights (y, x) whose mean is 1.

    Buffers `deviation` (c, 1, 1), `unit` (1): root mean square of a coefficient, and `left` (1): the share of the
    variance that the modes do not hold. All are found by `learn`, or loaded.
    """

    def __init__(self, weights: Tensor):
        super().__init__()
        self.register_buffer("weights", weights / weights.numel(), persistent=False)
        for name in LEARNED:
            self.register_buffer(name, torch.zeros(1))

    def _load_from_state_dict(self, state, prefix, *more):
        """Load a state; how many vectors hold the modes is known from it alone."""
        for name in LEARNED:
            setattr(self, name, torch.zeros(state[prefix + name].shape, device=self.weights.device))
        super()._load_from_state_dict(state, prefix, *more)

    @property
    def modes(self) -> modes.Modes:
        """Return the modes of states that are divided by `deviation`."""
        c = len(self.deviation)
        return modes.Modes(*(getattr(self, n) for n in PARTS), self.weights.expand(c, -1, -1), float(self.left))

    def learn(
        self,
        states: Tensor,  # (n, c, y, x)
        count: int,
        seed: int,
    ) -> Tensor:  # (n, count)
        """Find the modes of states, and return the coefficients of these."""
        self.deviation = states.std((0, 2, 3), correction=0)[:, None, None]
        found = modes.find(states / self.deviation, count, self.weights, seed)
        for name in PARTS:
            setattr(self, name, getattr(found, name))
        self.left, self.unit = found.mean.new_tensor([found.left]), torch.ones(1, device=states.device)
        c = torch.cat([self.coefficients(some) for some in states.split(256)])  # a library need not fit in twice
        self.unit = c.square().mean().sqrt().reshape(1)
        return c / self.unit

    def coefficients(self, states: Tensor) -> Tensor:  # (n, c, y, x) -> (n, j)
        """Return the coefficients of states."""
        return self.modes.coefficients(states / self.deviation) / self.unit

    def states(self, coefficients: Tensor) -> Tensor:  # (n, j) -> (n, c, y, x)
        """Return the states that have these coefficients."""
        return self.modes.fields(coefficients * self.unit) * self.deviation
