"""What is seen of plankton: chlorophyll in every cell, light and temperature on a grid ten times as coarse.

A record is an interval of some days, of one member. Its proxies are means over these days, and over blocks of cells;
its chlorophyll is that of the interval's end, as the logarithm to base 10 [of mg m-3], since it spans decades. The
coarse chlorophyll is the mean of that logarithm over a block, not the logarithm of the mean: kind to interpolation,
which is then not biased where chlorophyll is patchy. For budgets the means of N and P themselves are kept.
"""

from typing import NamedTuple

import torch
from torch import Generator, Tensor

from latentkit.testbeds.plankton import CHLOROPHYLL, Plankton, coarsened
from latentkit.testbeds.sea import Sea

LEAST = 1e-4  # chlorophyll below is taken as this [mg m-3]


class Records(NamedTuple):
    """Hold records, members first, then times; on the fine grid (m, t, y, x), the rest coarse.

    day (t): end of each interval; fine: log10 chlorophyll; chlorophyll: its block means; light, temperature, growth:
    block and interval means, of growth too [d-1]; nutrient, phytoplankton (m, t + 1, y, x): block means [mmol m-3] at
    the start of the first interval and the ends of all.
    """

    day: Tensor
    fine: Tensor
    chlorophyll: Tensor
    light: Tensor
    temperature: Tensor
    growth: Tensor
    nutrient: Tensor
    phytoplankton: Tensor

    def of(self, members: slice) -> "Records":
        """Return the records of some members."""
        return Records(self.day, *[x[members] for x in self[1:]])


def recorded(
    members: int,
    rng: Generator,
    *,
    factor: int = 10,
    size: tuple[int, int] = (80, 80),
    interval: int = 6,
    spin_up: int = 20,
    count: int = 61,
    device: torch.device | str | None = None,
) -> tuple[Records, Sea, Plankton]:
    """Let plankton grow in a sea of its own for each member; return its records, and both.

    factor: fine cells a coarse one, each way; interval: days of a record; spin_up, count: intervals that are not kept,
    from a first of January, and that are.

    Raises ValueError for an interval that is no whole number of steps, and as testbeds do.
    """
    plankton = Plankton(size, device=device)
    every = round(interval / plankton.step)
    if abs(every * plankton.step - interval) > 1e-9:
        raise ValueError(f"an interval of {interval} d is no whole number of steps of {plankton.step} d; take 2, 4, 6")
    if count < 1 or spin_up < 0:
        raise ValueError(f"{count} records after {spin_up}; expected 1 or more, after 0 or more")
    sea = Sea(members, interval * (spin_up + count) + 1, rng, size, device=device)
    state = plankton.start(sea(0.0).nutrient)
    state = plankton.advance(state, every * spin_up, sea)
    ends, proxies = [state], []
    for i in range(spin_up, spin_up + count):
        start = i * interval
        days = [sea.skies(day) for day in range(start, start + interval)]
        means = [torch.stack(x).mean(0) for x in zip(*[(*d, plankton.growth(*d)) for d in days], strict=True)]
        proxies.append([coarsened(x, factor) for x in means])
        ends.append(plankton.advance(ends[-1], every, sea, start))
    states = torch.stack(ends, 1)  # (m, t + 1, 2, y, x)
    fine = (CHLOROPHYLL * states[:, 1:, 1]).clamp_min(LEAST).log10()
    nutrient, phytoplankton = coarsened(states, factor).unbind(2)
    day = interval * torch.arange(spin_up + 1, spin_up + count + 1, device=device)
    light, temperature, growth = (torch.stack(x, 1) for x in zip(*proxies, strict=True))
    kept = Records(day, fine, coarsened(fine, factor), light, temperature, growth, nutrient, phytoplankton)
    return kept, sea, plankton


def diagnosed(records: Records, plankton: Plankton) -> tuple[Tensor, Tensor]:  # each (m, t, y, x)
    """Return growth as the budget of coarse phytoplankton has it [d-1], and the nutrient's limitation [1].

    From equation 2 of `plankton` without transport, between two records: (d(log P)/dt + loss + grazing P) is growth
    times N / (N + half). It takes means of blocks for what is in them, and the constants of losses as known.
    """
    p, n = ((x[:, 1:] + x[:, :-1]) / 2 for x in (records.phytoplankton, records.nutrient))
    days = float(records.day[1] - records.day[0]) if len(records.day) > 1 else float("nan")
    rate = (records.phytoplankton[:, 1:] / records.phytoplankton[:, :-1]).log() / days
    return rate + plankton.loss + plankton.grazing * p, n / (n + plankton.half)
