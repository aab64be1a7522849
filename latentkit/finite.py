"""Whether a state is finite, and the error where it is not, which a driver of an assimilation takes for divergence."""

import math

from torch import Tensor


class NotFiniteError(ValueError, FloatingPointError):
    """Say what is not finite, where and when."""


def finite(x: Tensor) -> bool:
    """Return whether all of a tensor is finite; its sum tells in one pass, unless it overflows."""
    return math.isfinite(x.sum().item()) or bool(x.isfinite().all())
