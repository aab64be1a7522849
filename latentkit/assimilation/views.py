r"""What is seen of stacks of maps: block means, gaps between them, some channels only, with errors.

Y. Qu et al. (2024), section 4, degrade what is observed by a coarsening factor, a sampling gap and noise. A view is the
linear map of fields (..., c, y, x) to (..., c, y', x')

    A(v) = P_y v P_x^T                                                                                              (1)

of means by area over blocks of `coarse` x `coarse` cells, of which every `gap`-th is kept each way, from the middle of
the first gap on, and in which channels and blocks are seen as `seen` says. Where the grid is no multiple of the block,
the last one is smaller. Noise has a deviation a channel, in the units of the channel.

Several instruments, each of channels of its own with blocks and gaps of its own, are one view as well (`joined`): P_y
and P_x are theirs one below the other, and of a channel those blocks are seen where rows and columns are of one
instrument.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

LEAST = 1e-3  # deviation of an error [units of the channel]: what is told as exact is taken as this good


@dataclass(frozen=True)
class View:
    """Hold one way of seeing: rows (y', y), columns (x', x), seen (c, y', x') bool, std (c, 1, 1)."""

    rows: Tensor
    columns: Tensor
    seen: Tensor
    std: Tensor

    def __call__(self, fields: Tensor) -> Tensor:  # (..., c, y, x) -> (..., c, y', x')
        """Return what is seen without error, of all channels and blocks: equation 1."""
        return self.rows @ fields @ self.columns.mT

    def observed(self, fields: Tensor, rng: Generator) -> Tensor:  # (..., c, y, x) -> (..., c, y', x')
        """Return what is seen with errors, NaN where nothing is."""
        exact = self(fields)
        noise = torch.randn(exact.shape, generator=rng, dtype=exact.dtype, device=rng.device).to(exact.device)
        return torch.where(self.seen, exact + self.std * noise, torch.nan)

    def fitting(self, observations: Tensor) -> Tensor:  # (..., c, y', x')
        """Return observations, NaN where the view sees nothing.

        Raises ValueError for another shape, and where what the view sees is missing.
        """
        if observations.shape[-3:] != self.seen.shape:
            found = tuple(observations.shape)
            raise ValueError(f"observations have shape {found}; expected (..., {tuple(self.seen.shape)})")
        missing = int((~observations[..., self.seen].isfinite()).sum())
        if missing:
            raise ValueError(f"{missing} observations are missing or infinite where the view sees; expected numbers "
                             "there, or a view that does not look: view(..., mask=...)")
        return torch.where(self.seen, observations, torch.nan)

    def to(self, device) -> "View":
        """Return the view on a device."""
        return View(*(part.to(device) for part in (self.rows, self.columns, self.seen, self.std)))


def view(area: Tensor, there: Tensor, std, *, coarse: int = 1, gap: int = 1, channels=None, mask=None) -> View:
    """Return a view of maps.

    area (y, x): of cells; there (c, y, x): whether a channel has a value; std: of errors, a number or one a channel, 0
    is taken as 0.001; coarse, gap: see the head of this module; channels: those that are seen, all if None; mask
    (y', x') or (c, y', x'): what is seen of the blocks, besides. A block is seen where all of it has a value.

    Raises ValueError for sizes that are no whole numbers from 1 on, gaps between blocks larger than the map, negative
    or missing std, unknown channels, and a mask of another shape.
    """
    c, y, x = there.shape
    most = min(y, x)
    if not all(float(v).is_integer() and v >= 1 for v in (coarse, gap)) or coarse * gap > most:
        raise ValueError(f"coarse is {coarse} and gap {gap}; expected whole numbers from 1 on, with a product of at "
                         f"most {most} cells, the map's shorter side")
    coarse, gap = int(coarse), int(gap)
    std = torch.as_tensor(std, dtype=area.dtype).expand(c)
    if not bool((std >= 0).all()):
        raise ValueError(f"deviations of errors are {std.tolist()}; expected numbers from 0 on")
    unknown = sorted(set(channels or ()) - set(range(c)))
    if unknown:
        raise ValueError(f"channels {unknown} are not there; expected some of 0 to {c - 1}")
    rows, columns = _blocks(area.mean(1), coarse, gap), _blocks(area.mean(0), coarse, gap)
    full = rows @ there.to(rows) @ columns.mT > 1 - 1e-5
    if channels is not None:
        chosen = torch.zeros(c, dtype=torch.bool)
        chosen[list(channels)] = True
        full &= chosen[:, None, None].to(full.device)
    if mask is not None:
        mask = torch.as_tensor(mask, device=full.device).bool()
        if mask.shape not in (full.shape, full.shape[1:]):
            raise ValueError(f"the mask has shape {tuple(mask.shape)}; expected {tuple(full.shape[1:])}, or that for "
                             f"each of {c} channels")
        full &= mask
    return View(rows, columns, full, std.clamp_min(LEAST)[:, None, None].to(area.device))


def joined(views: Sequence[View]) -> View:
    """Return one view of what several see; `plain.interpolated` wants each for itself.

    Raises ValueError for no view, and for a channel that two of them see.
    """
    if not views:
        raise ValueError("no view to join; expected one or more")
    sees = torch.stack([one.seen.flatten(1).any(1) for one in views])  # (views, c)
    twice = (sees.sum(0) > 1).nonzero().flatten().tolist()
    if twice:
        raise ValueError(f"channels {twice} are seen by more than one view; expected each channel in one of them")
    masks = zip(*(one.seen.byte() for one in views), strict=True)  # of a channel, one from each view
    seen = torch.stack([torch.block_diag(*of) > 0 for of in masks])
    std = torch.stack([one.std for one in views])[sees.byte().argmax(0), torch.arange(sees.shape[1])]
    return View(torch.cat([one.rows for one in views]), torch.cat([one.columns for one in views]), seen, std)


def _blocks(weight: Tensor, coarse: int, gap: int) -> Tensor:  # (y) -> (y', y)
    """Return the means over blocks along an axis, every gap-th of them."""
    block = torch.arange(len(weight), device=weight.device) // coarse
    share = (block == torch.arange(int(block[-1]) + 1, device=weight.device)[:, None]) * weight
    share = share / share.sum(1, keepdim=True)
    return share[(gap - 1) // 2 :: gap] if len(share) > (gap - 1) // 2 else share[:1]
