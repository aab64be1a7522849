"""Series of days made of blocks of days that were, which keeps what follows what within a block.

H. R. Kuensch (1989), The jackknife and the bootstrap for general stationary observations; here blocks lie within a
winter of a member, so that no block has a gap, and follow each other at random.
"""

import torch
from torch import Generator, Tensor


def runs(days, members: int = 1) -> list[tuple[int, int]]:
    """Return first and one-past-last row of each unbroken run of days, of rows (member, day) one member after another.

    days: numbers of days, such as numpy datetime64 in days, the same of each member.
    """
    days = [int(d) for d in days]
    cuts = [0, *(i for i in range(1, len(days)) if days[i] != days[i - 1] + 1), len(days)]
    pairs = list(zip(cuts[:-1], cuts[1:], strict=True))
    return [(m * len(days) + a, m * len(days) + b) for m in range(members) for a, b in pairs]


def blocks(rows: list[tuple[int, int]], length: int, block: int, rng: Generator) -> Tensor:  # (length)
    """Draw a series of rows from blocks of `block` rows within runs, the last one cut.

    Raises ValueError where no run is as long as a block.
    """
    starts = [torch.arange(a, b - block + 1) for a, b in rows if b - a >= block]
    if not starts or block < 1 or length < 1:
        longest = max((b - a for a, b in rows), default=0)
        raise ValueError(
            f"{length} days in blocks of {block}; expected blocks of 1 to {longest}, the longest run of days"
        )
    starts = torch.cat(starts)
    picked = starts[torch.randint(len(starts), (-(-length // block),), generator=rng)]
    return (picked[:, None] + torch.arange(block)).flatten()[:length]
