"""One CVAE a realization, all in one stack: which series each model sees, at which anchors it is tied, and to whom.

A realization that is new is a member like the others, but only some of its places are observed: its model is trained on
these alone, is tied at those anchors that are among them, and teaches no one. Members of a group are tied to each
other; groups, such as seeds or settings that are compared, share nothing but the batched products they train in.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Generator, Tensor

from latentkit import sphere
from latentkit.models import train, weights
from latentkit.models.cvae import AnchoredCVAE, teachers
from latentkit.presets.lccvae import MEMBER


class Member(NamedTuple):
    """Describe one model: its series (n, t), its group, the rows of its anchors (a), of the places observed (o).

    observed: None for all places. weight, distance: of the penalty of equation 4; a weight of 0 leaves it untied.
    """

    series: Tensor
    group: object
    anchors: Tensor
    weight: float
    distance: float
    observed: Tensor | None = None


def anchors(
    x: Tensor,  # (n, d) places
    count: int,
    rng: np.random.Generator,
) -> Tensor:  # (count) rows of x
    """Return places to tie realizations at, spread out evenly; the first m of them are a good choice of m, too.

    Raises ValueError where they are more than half of the places: too few would be left to judge the others by.
    """
    if count > len(x) // 2:
        raise ValueError(
            f"{count} anchors are asked for, of {len(x)} places; expected at most half of these, {len(x) // 2}: "
            "give smaller `anchors` (and `tried_anchors`) in OVERRIDES, or a smaller `coarsen`"
        )
    return sphere.spread_out(x, count, rng)


def build(
    x: Tensor,  # (n, d) places
    members: Sequence[Member],
    latent: int,
    hidden: Sequence[int],
    rng: Sequence[Generator],
    *,
    noise: str = "learned",
    reference: Sequence[object] = (),
) -> tuple[AnchoredCVAE, list[Tensor]]:
    """Return the stack of models, and what it is trained on: places (s, n, d) and series (s, n, t).

    Unobserved places are filled with observed ones in turn, so that an epoch has n samples for every model. The fixed
    points are the average over the group, or, in a group that `reference` names, the codes of its first realization.

    Raises ValueError for a member with no observed anchor, anchors or observed places that are none of the places, and
    series that lack values where they are observed.
    """
    places, series, at, values, used = [], [], [], [], []
    widest = max(len(m.anchors) for m in members)
    for m in members:
        every = torch.arange(len(x))
        observed = every if m.observed is None else m.observed
        for what, numbers in (("anchor", m.anchors), ("observed place", observed)):
            if len(numbers) and not 0 <= int(numbers.min()) <= int(numbers.max()) < len(x):
                raise ValueError(
                    f"group {m.group!r}: {what}s are rows {int(numbers.min())} to {int(numbers.max())}; there are "
                    f"{len(x)} places, 0 to {len(x) - 1}"
                )
        gone = ~m.series[observed].isfinite().all(1)
        if gone.any():
            raise ValueError(
                f"group {m.group!r}: {int(gone.sum())} of {len(observed)} observed series lack values, the first in "
                f"row {int(observed[gone][0])}; fill them or leave these places out"
            )
        rows = observed[every % len(observed)]
        anchors = m.anchors[torch.isin(m.anchors, observed)]
        if not len(anchors):
            raise ValueError(f"group {m.group!r}: a member has {len(observed)} places observed, none an anchor")
        padded = anchors[torch.arange(widest) % len(anchors)]
        places.append(x[rows])
        series.append(m.series[rows])
        at.append(x[padded])
        values.append(m.series[padded])
        used.append(torch.arange(widest) < len(anchors))
    model = AnchoredCVAE(
        torch.stack(at),
        torch.stack(values),
        teachers([m.group for m in members], [m.observed is None for m in members], reference),
        latent,
        hidden,
        rng,
        weight=torch.tensor([float(m.weight) for m in members]),
        distance=torch.tensor([float(m.distance) for m in members]),
        used=torch.stack(used),
        noise=noise,
    )
    return model, [torch.stack(places), torch.stack(series)]


def trained(
    run,
    preset,
    x: Tensor,
    members: Sequence[Member],
    *,
    latent: int | None = None,
    alike: int | None = None,
    numbers: Sequence[int] | None = None,
    reference: Sequence[object] = (),
    name: str | None = None,
    retrain: bool = False,
    depends: Sequence[str] = (),
    progress: bool = True,
    **more,
) -> AnchoredCVAE:
    """Return the stack of models as the preset trains it, or as it is shipped.

    run: record.Run, for the random streams; preset: of LC-CVAE; latent: size of the codes, by default the preset's;
    alike: models i and i + alike start from the same weights and see batches in the same order; numbers: i of each,
    by default its place in the stack, so that some models of a larger stack can be had alone; reference: groups whose
    first realization makes the fixed points; name: of shipped weights, None to train in any case; retrain: likewise;
    depends, more: fields of the preset and other facts that the weights depend on besides those of every such training.
    With a name, what is trained is rounded to 8 bits: errors and place ratios of notebooks 12 and 13 change by less
    than one percent of the largest.
    """
    places = range(len(members)) if numbers is None else numbers
    if len(places) != len(members):
        raise ValueError(f"{len(places)} numbers for {len(members)} models; expected one each")
    places = [i % alike for i in places] if alike else places
    # The place is part of the name: as a copy it would make models of one seed equal to others of the next.
    streams = [run.stream(f"init of model {i}") for i in places]
    size = latent or preset.latent_dim
    model, data = build(x, members, size, preset.member_hidden, streams, noise=preset.noise, reference=reference)
    seeds = [run.stream_seed(f"train of model {i}") for i in places]
    batches = train.Shuffled(data, preset.member_batch, seeds, stacked=[True, True])

    def fit(model, checkpoint=None):
        rate = {"learning_rate": preset.member_rate, "clip": preset.clip}
        steps = preset.member_steps
        return train.fit(model, batches, steps=steps, seeds=seeds, checkpoint=checkpoint, progress=progress, **rate)

    if name is None:
        fit(model)
        return model
    who = weights.identity(preset, [run.seed], run.data[0], only=(*MEMBER, *depends), **more)
    weights.obtain(model, name, who, fit, retrain=retrain or preset.size != "teaching", bits=8)
    return model
