r"""Interpolation of trajectories in their parameters by a Gaussian kernel: kriging, or an emulator.

J. Sacks, W. J. Welch, T. J. Mitchell and H. P. Wynn (1989), Design and analysis of computer experiments: ordinary
kriging. With n runs y at parameters u_i, each scaled to [-1, 1], and 1 a column of ones,

    K_ij = exp(-|u_i - u_j|^2 / (2 length^2)) + nugget delta_ij,    m = 1^T K^-1 / (1^T K^-1 1)                     (1)
    y(u) = w(u) y,    w(u) = k(u)^T K^-1 (I - 1 m) + m                                                              (2)

every number of a run has the same weights, so that they are found once. What the other runs, without run i, leave of
it follows without solving n times (O. Dubrule 1983, Cross validation of kriging in a unique neighborhood),

    y_i - y_(-i)(u_i) = l_i y,    l_i = Q_i / Q_ii,    Q = K^-1 (I - 1 m)                                           (3)

and its mean square chooses length and nugget. A Gaussian kernel takes y for smooth, as runs from smooth starts are.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

LENGTHS = (0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3, 0.4, 0.6, 0.8, 1.2, 1.6, 2.4)
NUGGETS = (1e-10, 1e-8, 1e-6, 1e-4)


class Kriging:
    """Weigh runs by their parameters.

    known (n, q): of the runs, scaled; length, nugget: of equation 1; left (n, n): the rows l of equation 3, in double
    precision.
    """

    def __init__(self, known: Tensor, length: float, nugget: float):
        self.known, self.length, self.nugget = known, length, nugget
        kernel = self._kernel(known)
        self._inverse = torch.linalg.inv(kernel + nugget * torch.eye(len(kernel)).to(kernel))
        self._mean = self._inverse.sum(0) / self._inverse.sum()
        rows = self._inverse - self._inverse.sum(1, keepdim=True) * self._mean
        self.left = rows / rows.diagonal()[:, None]

    @classmethod
    def fit(
        cls,
        known: Tensor,  # (n, q) scaled parameters
        values: Tensor,  # (n, p) numbers of the runs, a sample of them
        lengths: Sequence[float] = LENGTHS,
        nuggets: Sequence[float] = NUGGETS,
    ) -> "Kriging":
        """Return the one with the smallest mean square of equation 3.

        Raises ValueError for fewer than two runs, parameters that do not go with the values, and values that are not
        finite, with the first run that has some.
        """
        if len(known) < 2 or len(values) != len(known):
            told = f"{len(known)} rows of parameters and {len(values)} of values"
            raise ValueError(f"{told}; expected one of each for a run, and two runs or more")
        bad = (~values.isfinite()).any(1)
        if bad.any():
            raise ValueError(f"run {int(bad.nonzero()[0])} has values that are not finite; leave it out")
        values = values.to(torch.double)
        every = (cls(known, length, nugget) for length in lengths for nugget in nuggets)
        return min(every, key=lambda one: float((one.left @ values).square().mean()))

    def shares(self, wanted: Tensor) -> Tensor:  # (m, q) -> (m, n)
        """Return what each run counts for each wanted one, which sum to 1: equation 2."""
        part = self._kernel(wanted) @ self._inverse
        return (part + (1 - part.sum(1, keepdim=True)) * self._mean).to(self.known)

    def slopes(self, wanted: Tensor) -> Tensor:  # (m, q) -> (m, q, n)
        """Return the derivatives of `shares` with respect to each parameter."""
        off = (self.known.double() - wanted.double()[:, None]) / self.length**2  # (m, n, q)
        part = (self._kernel(wanted)[..., None] * off).mT @ self._inverse
        return (part - part.sum(-1, keepdim=True) * self._mean).to(self.known)

    def _kernel(self, wanted: Tensor) -> Tensor:
        return torch.exp(-0.5 * torch.cdist(wanted.double(), self.known.double()).square() / self.length**2)
