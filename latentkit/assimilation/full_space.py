r"""Forecasts of latents by the testbed itself: decode, advance, encode.

Latent-EnSF (P. Si and P. Chen 2025) filters in the latent space of coupled autoencoders (`models.coupled`), and has no
model there. With the testbed M, from one time of analysis to the next,

    z' = encode(M(decode(z)))                                                                                     (1)

so that a forecast costs what the testbed costs, and what the autoencoder cannot hold is lost at each time. *Parameters
are not estimated*: member i runs with the parameters that it was given, whatever the analyses make of its latents.
"""

import torch
from torch import Tensor

from latentkit.models.coupled import Coupled


class FullSpace:
    """Hold an ensemble's parameters, and how its latents are forecast: `forecast` is for the driver `cycle`.

    coupled: a stack, of which `model` is used; parameters (..., m, q): of the members, in their own units, as drawn.
    """

    def __init__(self, coupled: Coupled, parameters: Tensor, model: int = 0):
        self.coupled, self.drawn, self.model = coupled, parameters, model
        self.case, self.joint = coupled.case, coupled.case.joint

    def start(self) -> Tensor:  # (..., m, k)
        """Return the latents of the members at the start of the case, which their parameters determine."""
        return self.encode(self.case.starts(self.drawn))

    def parameters(self, E: Tensor) -> Tensor:  # (..., k) -> (..., 0)
        """Return no parameters: none are estimated."""
        return E[..., :0]

    def encode(self, states: Tensor) -> Tensor:  # (..., m, *shape) -> (..., m, k)
        """Return the latents of states."""
        runs = states.shape[: states.ndim - len(self.joint.shape)]
        return self.coupled.encode(states.reshape(-1, *self.joint.shape), self.model).unflatten(0, runs)

    def decode(self, E: Tensor) -> Tensor:  # (..., k) -> (..., *shape)
        """Return the states that latents stand for."""
        states = self.coupled.decode(E.reshape(-1, E.shape[-1]), self.model)
        return states.reshape(*E.shape[:-1], *self.joint.shape)

    def fields(self, E: Tensor) -> Tensor:  # (..., k) -> (..., c, y, x)
        """Return what is seen of the states that latents stand for."""
        return self.case.fields(self.decode(E))

    @torch.no_grad()
    def forecast(self, E: Tensor, start: float, end: float) -> Tensor:  # (..., m, k)
        """Return the latents at `end`: equation 1.

        Raises ValueError for another number of members or runs than there are parameters.
        """
        if E.shape[:-1] != self.drawn.shape[:-1]:
            raise ValueError(
                f"an ensemble of {tuple(E.shape[:-1])} (runs, members) and parameters of "
                f"{tuple(self.drawn.shape[:-1])}; expected the same: each member runs with its own"
            )
        full = self.joint.pack(self.decode(E), self.drawn if self.joint.parameters else None)
        return self.encode(self.joint.unpack(self.joint.forecast(full, start, end))[0])
