"""The realizations of an ensemble: what they share, how they group, and one held out from the others.

With a_r the anomaly of realization r, a = s + n_r splits into a forced signal s, common to all, and internal
variability n_r, independent between them. `hold_out` turns an ensemble into series, one a place and realization, as
*raw* values or as *anomalies* from the monthly climatology; every statistic comes from the seen realizations, and the
held-out one is normalized by them.
"""

from dataclasses import dataclass

import numpy as np

from latentkit import fields

INPUTS = ("raw", "anomalies")


@dataclass(frozen=True)
class Holdout:
    """Hold one split of an ensemble.

    held_out: label of the member left out; seen (n, t), unseen (p, t): tensors of normalized series, n = seen
    members times places; stats: what they were normalized by; layout, unseen_layout: the ways back.
    """

    held_out: object
    seen: object
    unseen: object
    stats: object
    layout: fields.Layout
    unseen_layout: fields.Layout

    @property
    def seen_members(self) -> list:
        """Return the labels of the seen members, in the order of the rows of `seen`."""
        return list(dict.fromkeys(self.layout.sample_coords()["member"].tolist()))

    def restore(self, series, *, unseen: bool = False):
        """Return normalized series (n, t) as a labelled field in its own units."""
        layout = self.unseen_layout if unseen else self.layout
        return fields.denormalize(fields.unpack(series, layout), self.stats)


def hold_out(field, member, inputs: str) -> Holdout:
    """Split an ensemble into one held-out member and the seen others.

    field: DataArray (member, time, lat, lon); member: label to hold out; inputs: "raw", shifted and scaled by one
    mean and one standard deviation, or "anomalies", from the climatology of each month and place, scaled by their
    standard deviation there.

    Raises ValueError for an unknown member or input, and for an ensemble of fewer than three members.
    """
    members = field["member"].values.tolist()
    if inputs not in INPUTS:
        raise ValueError(f"inputs are {inputs!r}; expected one of {INPUTS}")
    if member not in members:
        raise ValueError(f"member {member!r} is not in the ensemble; it has {members}")
    if len(members) < 3:
        raise ValueError(f"an ensemble of {len(members)} leaves fewer than two seen members; expected three or more")
    seen = [m for m in members if m != member]
    if inputs == "raw":
        stats = fields.statistics(field, ("member", "time", "lat", "lon"), members=seen)
    else:
        stats = fields.statistics(field, ("member", "time"), members=seen, by="month")
    normal = fields.normalize(field, stats)
    shape = {"sample": ("member", "lat", "lon"), "feature": ("time",)}
    table, layout = fields.pack(normal.sel(member=seen), **shape)
    new, new_layout = fields.pack(normal.sel(member=[member]), **shape)
    return Holdout(member, table, new, stats, layout, new_layout)


def signal_and_noise(anomalies):
    """Return the variances in time of the forced signal and of internal variability, without bias.

    anomalies: DataArray (member, time, ...). With R members the ensemble mean still holds 1/R of the noise, which is
    taken off the variance of the signal; an estimate can therefore fall below 0 where there is no signal.
    """
    noise = anomalies.var("member", ddof=1).mean("time")
    signal = anomalies.mean("member").var("time") - noise / anomalies.sizes["member"]
    return signal, noise


def member_groups(field) -> dict[str, np.ndarray]:
    """Return coordinates of words along `member` that sort the members into groups, such as a forcing.

    Each is an array of labels (m). A coordinate that names every member differently, or all alike, is no grouping.
    """
    found = {}
    for name, coordinate in field.coords.items():
        if coordinate.dims == ("member",) and coordinate.dtype.kind in "UOS":
            labels = coordinate.values.astype(str)
            if 1 < len(set(labels)) < len(labels):
                found[str(name)] = labels
    return found
