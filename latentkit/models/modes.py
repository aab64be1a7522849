r"""Modes of fields: the few patterns that a set of snapshots consists of, kept small.

Proper orthogonal decomposition (L. Sirovich 1987, Turbulence and the dynamics of coherent structures): with weights w
of grid points and channels, snapshots x_i of mean a, and |x|^2 = sum w x^2, the modes phi_j are orthonormal, and

    x = a + sum_j c_j phi_j + rest,   c_j = sum w phi_j (x - a),   mean |rest|^2 the least for so many modes      (1)

Modes of smooth fields are smooth. All of them together are therefore kept as a core and two sets of vectors, one along
each side of the grid, that hold them to a stated error (L. R. Tucker 1966, Some mathematical notes on three-mode factor
analysis; L. De Lathauwer, B. De Moor and J. Vandewalle 2000, A multilinear singular value decomposition):

    phi_j(c, y, x) = sum_ab core_j(c, a, b) rows(y, a) columns(x, b)                                               (2)
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor


class Modes(NamedTuple):
    """Hold a mean (c, y, x), the modes of equation 2, weights (c, y, x), and the share of |x - a|^2 that is left.

    core (j, c, a, b), rows (y, a), columns (x, b).
    """

    mean: Tensor
    core: Tensor
    rows: Tensor
    columns: Tensor
    weights: Tensor
    left: float

    def to(self, device: torch.device) -> "Modes":
        """Return the same modes on a device."""
        return Modes(*(part.to(device) for part in self[:-1]), self.left)

    def fields(self, coefficients: Tensor) -> Tensor:  # (..., j) -> (..., c, y, x)
        """Return the fields with these coefficients."""
        core = torch.einsum("...j,jcab->...cab", coefficients, self.core)
        return self.rows @ core @ self.columns.mT + self.mean

    def coefficients(self, fields: Tensor) -> Tensor:  # (..., c, y, x) -> (..., j)
        """Return the coefficients of fields, c of equation 1."""
        core = self.rows.mT @ ((fields - self.mean) * self.weights) @ self.columns
        return torch.einsum("...cab,jcab->...j", core, self.core)

    def seen(self, look: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:  # (j, o), (o)
        """Return what is seen of each mode, and of the mean, by a linear map from fields (..., c, y, x) to (..., o)."""
        each = self.rows @ self.core @ self.columns.mT
        return look(each), look(self.mean)


def find(
    snapshots: Tensor,  # (n, c, y, x)
    count: int,
    weights: Tensor,  # (c, y, x) or fewer axes
    seed: int,
    *,
    error: float = 1e-3,
) -> Modes:
    """Return the modes of snapshots, those with the largest coefficients first; they are found on the CPU.

    count: of modes; seed: of the random projection that finds them (N. Halko, P.-G. Martinsson and J. A. Tropp 2011);
    error: of all modes together by equation 2, weighed by their coefficients, beside their size.

    Raises ValueError for more modes than snapshots, and weights that are not above 0.
    """
    from sklearn.utils.extmath import randomized_svd

    n, c, y, x = snapshots.shape
    if not 1 <= count <= min(n, c * y * x):
        raise ValueError(f"{count} modes of {n} snapshots of {c * y * x} numbers; expected 1 to the smaller of these")
    weights = torch.as_tensor(weights, dtype=snapshots.dtype).cpu().expand(c, y, x).contiguous()
    if not (weights > 0).all():
        raise ValueError(f"weights are {float(weights.min()):g} at least; expected numbers above 0")
    device, snapshots = snapshots.device, snapshots.cpu()
    mean = snapshots.mean(0)
    root = weights.sqrt()
    table = ((snapshots - mean) * root).flatten(1).numpy()
    _, size, modes = randomized_svd(
        table, count, n_iter=3, power_iteration_normalizer="QR", random_state=np.random.RandomState(seed % 2**32)
    )
    modes, size = torch.from_numpy(modes).to(snapshots), torch.from_numpy(size).to(snapshots)
    left = max(0.0, 1 - float(size.double().square().sum() / np.square(table, dtype=float).sum()))
    modes = modes.reshape(count, c, y, x) / root
    scaled = modes * size[:, None, None, None]
    rows, columns = (_span(scaled.movedim(axis, 0).flatten(1), error) for axis in (2, 3))
    # Least squares under the weights: modes stay orthonormal but for the error.
    core = torch.linalg.pinv(rows) @ modes @ torch.linalg.pinv(columns).mT
    return Modes(mean, core, rows, columns, weights, left).to(device)


def _span(unfolded: Tensor, error: float) -> Tensor:
    """Return the vectors (y, a) that hold the columns of an unfolded core (y, rest) to an error."""
    vectors, size, _ = torch.linalg.svd(unfolded, full_matrices=False)
    beyond = size.square().flip(0).cumsum(0).flip(0).sqrt() > error * size.norm()
    return vectors[:, : max(1, int(beyond.sum()))]
