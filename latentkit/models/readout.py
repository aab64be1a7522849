"""A linear decoder: every cell of latents tells the fields around it by a regression of its own, in stacks.

The decoder of `autoencoder` is a network, though what it does is nearly linear. Here the fields (c, a, b) in the block
of a x b points that belongs to a cell of the latents are a sum over its 3 x 3 neighborhood,

    v = B (z, 1),    B = (sum z z^T + ridge)^-1 sum z v^T over training days                                        (1)

so that what a `View` sees of a day is A(B (z, 1)) = H z + h with a sparse matrix H (`Seen`), which has a transpose.
`Plain` is what stands there where fields are their own latents.
"""

import warnings
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass

import torch
from torch import Tensor

from latentkit.assimilation.views import View

REACH = 1  # cells beside one, each way


class Readout:
    """Hold a stack of linear decoders of latents z (s, n, k, y, x) to fields (n, c, a y, b x), a model a stack's row.

    there (c, a y, b x): whether a channel has a value; ridge: of equation 1, in units of latents; circular: whether
    longitudes go around.

    Raises ValueError for fields whose sides are no multiples of the latents', and days that do not match.
    """

    def __init__(self, z: Tensor, fields: Tensor, *, there: Tensor, ridge: float, circular: bool):
        s, n, k, y, x = z.shape
        if len(fields) != n or fields.shape[2] % y or fields.shape[3] % x:
            raise ValueError(f"fields have shape {tuple(fields.shape)}, latents {tuple(z.shape)}; expected {n} days, "
                             f"and sides that are multiples of {y} and {x}")
        self.block, self.circular, self.there = (fields.shape[2] // y, fields.shape[3] // x), circular, there
        self.channels, told = fields.shape[1], self._parted(fields)
        found = []
        for one in z:
            near = self._near(one[None])[0].double()  # (y x, n, k 9 + 1)
            square = near.mT @ near
            square.diagonal(dim1=1, dim2=2).add_(ridge)
            found.append(torch.linalg.solve(square, near.mT @ told.double()))
        self.weight = torch.stack(found).to(z)  # (s, y x, k 9 + 1, c a b)

    def model(self, i: int) -> "Readout":
        """Return one model of the stack, as a stack of one."""
        one = copy(self)
        one.weight = self.weight[i : i + 1]
        return one

    def decode(self, z: Tensor) -> Tensor:  # (s, n, k, y, x) -> (s, n, c, a y, b x)
        """Return the fields of latents, 0 where there is nothing."""
        (a, b), (y, x) = self.block, z.shape[3:]
        told = (self._near(z) @ self.weight).unflatten(1, (y, x)).unflatten(-1, (self.channels, a, b))
        return told.permute(0, 3, 4, 1, 5, 2, 6).flatten(3, 4).flatten(4, 5) * self.there

    def _parted(self, fields: Tensor) -> Tensor:  # (n, c, a y, b x) -> (y x, n, c a b)
        a, b = self.block
        parts = fields.unflatten(3, (-1, b)).unflatten(2, (-1, a))  # (n, c, y, a, x, b)
        return parts.permute(2, 4, 0, 1, 3, 5).flatten(3).flatten(0, 1)

    def _near(self, z: Tensor) -> Tensor:  # (s, n, k, y, x) -> (s, y x, n, k 9 + 1)
        ends = (z[..., -REACH:], z[..., :REACH]) if self.circular else (z[..., :REACH], z[..., -REACH:])
        z = torch.cat([ends[0], z, ends[1]], -1)
        z = torch.cat([z[..., :REACH, :], z, z[..., -REACH:, :]], -2)
        size = 2 * REACH + 1
        near = z.unfold(3, size, 1).unfold(4, size, 1).permute(0, 3, 4, 1, 2, 5, 6).flatten(4).flatten(1, 2)
        return torch.cat([near, torch.ones_like(near[..., :1])], -1)

    def seen(self, view: View, days: int) -> "Seen":
        """Return what a view sees of windows of days."""
        with _silent():
            return self._seen(view, days)

    def _seen(self, view: View, days: int) -> "Seen":
        y, x = (len(self.there[0]) // self.block[0], self.there.shape[2] // self.block[1])
        k = self.weight.shape[2] // (2 * REACH + 1) ** 2
        numbers = torch.arange(k * y * x, dtype=torch.double).view(1, 1, k, y, x)
        inward = self._near(numbers)[0, :, 0, :-1].round().long()  # (y x, k 9)
        points = torch.arange(self.there.numel(), dtype=torch.double).view(1, *self.there.shape)
        outward = self._parted(points)[:, 0].long()
        at = torch.stack([outward[:, None].expand(-1, inward.shape[1], -1).flatten(),
                          inward[:, :, None].expand(-1, -1, outward.shape[1]).flatten()])  # fmt: skip
        A, size = _matrix(view, self.there), (self.there.numel(), k * y * x)
        pairs, shift = [], []
        for weight in self.weight:
            D = torch.sparse_coo_tensor(at, weight[:, :-1].flatten(), size).coalesce().to_sparse_csr()
            pairs.append(_both(A @ D))
            fixed = torch.empty(len(self.there.flatten())).to(weight)
            fixed[outward] = weight[:, -1]
            shift.append(A @ fixed[:, None])
        return Seen(*zip(*pairs, strict=True), torch.stack(shift)[..., 0], view.seen, (days, k, y, x))


class Plain:
    """Take fields for their own latents, one model; there (c, y, x): whether a channel has a value."""

    def __init__(self, there: Tensor):
        self.there = there

    def decode(self, z: Tensor) -> Tensor:  # (1, n, c, y, x) -> the same
        """Return the fields, 0 where there is nothing."""
        return z * self.there

    def seen(self, view: View, days: int) -> "Seen":
        """Return what a view sees of windows of days."""
        with _silent():
            A, transposed = _both(_matrix(view, self.there))
        return Seen((A,), (transposed,), torch.zeros(1, len(A)).to(A.values()), view.seen, (days, *self.there.shape))


@dataclass(frozen=True)
class Seen:
    """Hold what is seen of windows (s, n, days k, y, x): H and its transpose, sparse, a model each, and h (s, o).

    Observations are (s, n, days, o), those of a day that a view sees in the order of `view.seen`.
    """

    H: tuple[Tensor, ...]
    transposed: tuple[Tensor, ...]
    shift: Tensor
    mask: Tensor
    shape: tuple[int, ...]

    def __call__(self, x: Tensor) -> Tensor:
        """Return what is seen of windows."""
        return self.push(x) + self.shift[:, None, None]

    def push(self, x: Tensor) -> Tensor:
        """Return H x."""
        flat = x.unflatten(2, self.shape[:2]).flatten(3).flatten(1, 2)  # (s, n days, k y x)
        found = [H @ one.mT for H, one in zip(self.H, flat, strict=True)]
        return torch.stack(found).mT.unflatten(1, (-1, self.shape[0]))

    def pull(self, v: Tensor) -> Tensor:
        """Return H^T v of observations, as windows."""
        found = [H @ one.mT for H, one in zip(self.transposed, v.flatten(1, 2), strict=True)]
        return torch.stack(found).mT.unflatten(2, self.shape[1:]).unflatten(1, (-1, self.shape[0])).flatten(2, 3)

    def around(self, precision: Tensor) -> Tensor:  # (o) -> (s, k y, k y, x)
        """Return the mean of H^T diag(precision) H around circles of latitude: of two points d apart at d."""
        _, k, y, x = self.shape
        found = []
        for H, transposed in zip(self.H, self.transposed, strict=True):
            parts = H.to_sparse_coo().coalesce()
            rows, values = parts.indices(), parts.values() * precision[parts.indices()[0]]
            scaled = torch.sparse_coo_tensor(rows, values, H.shape, is_coalesced=True, check_invariants=False)
            J = (transposed @ scaled.to_sparse_csr()).to_sparse_coo().coalesce()
            i, j = J.indices()
            at = ((i // x) * k * y + j // x) * x + (i - j) % x  # x divides the rest, so that i - j is that of columns
            found.append(J.values().new_zeros(k * y * k * y * x).index_add_(0, at, J.values() / x))
        return torch.stack(found).unflatten(1, (k * y, k * y, x))

    def flat(self, values: Tensor) -> Tensor:  # (..., c, y', x') -> (..., o)
        """Return values as a view has them, in the order of observations."""
        return values[..., self.mask]


@contextmanager
def _silent():
    """Leave out what torch says of sparse rows once a process: they are "beta"."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield


def _both(H: Tensor) -> tuple[Tensor, Tensor]:
    """Return a sparse matrix and its transpose, both by rows."""
    return H, H.to_sparse_coo().coalesce().t().coalesce().to_sparse_csr()


def _matrix(view: View, there: Tensor) -> Tensor:  # sparse (o, c y x)
    """Return the map of a view, of fields that are 0 where nothing is `there`."""
    c, (rows, y), (columns, x) = len(there), view.rows.shape, view.columns.shape
    one = torch.kron(view.rows, view.columns).to_sparse_coo()  # (y' x', y x)
    i, j = one.indices()
    number = torch.arange(c)[:, None]
    at = torch.stack([(number * rows * columns + i).flatten(), (number * y * x + j).flatten()])
    values = (one.values() * there.flatten(1)[:, j]).flatten()
    whole = torch.sparse_coo_tensor(at, values, (c * rows * columns, c * y * x)).coalesce()
    return whole.index_select(0, view.seen.flatten().nonzero()[:, 0]).coalesce().to_sparse_csr()
