"""The realizations of an ensemble: what they share, how they group, and one held out from the others.

With a_r the anomaly of realization r, a = s + n_r splits into a forced signal s, common to all, and internal
variability n_r, independent between them. `hold_out` turns an ensemble into series, one a place and realization, as
*raw* values or as *anomalies* from the monthly climatology; every statistic comes from the seen realizations, and the
held-out one is normalized by them.
"""

from dataclasses import dataclass

import numpy as np

from latentkit import fields, normalization

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
        return normalization.denormalize(fields.unpack(series, layout), self.stats)


def hold_out(field, member, inputs: str, *, least: int = 3) -> Holdout:
    """Split an ensemble into one held-out member and the seen others.

    field: DataArray (member, time, lat, lon); member: label to hold out; inputs: "raw", shifted and scaled by one
    mean and one standard deviation, or "anomalies", from the climatology of each month and place, scaled by their
    standard deviation there; least: members that the ensemble has to have, the held-out one included.

    Raises ValueError for an unknown member or input, and for an ensemble of fewer members than that.
    """
    members = field["member"].values.tolist()
    if inputs not in INPUTS:
        raise ValueError(f"inputs are {inputs!r}; expected one of {INPUTS}")
    if member not in members:
        raise ValueError(f"member {member!r} is not in the ensemble; it has {members}")
    if len(members) < least:
        raise ValueError(f"an ensemble of {len(members)} leaves too few seen members; expected {least} or more in all")
    seen = [m for m in members if m != member]
    if inputs == "raw":
        stats = normalization.statistics(field, ("member", "time", "lat", "lon"), members=seen)
    else:
        stats = normalization.statistics(field, ("member", "time"), members=seen, by="month")
    normal = normalization.normalize(field, stats)
    shape = {"sample": ("member", "lat", "lon"), "feature": ("time",)}
    table, layout = fields.pack(normal.sel(member=seen), **shape)
    new, new_layout = fields.pack(normal.sel(member=[member]), **shape)
    return Holdout(member, table, new, stats, layout, new_layout)


def at_least(count: int, field):
    """Return the field if it has `count` members or more.

    Raises ValueError where it has fewer, before anything is computed.
    """
    found = field.sizes["member"]
    if found < count:
        raise ValueError(
            f"this ensemble has {found} members ({field['member'].values.tolist()}) and {count} or more are needed, to "
            "hold some out and still have an ensemble; name more files in SOURCE, by a glob, or a larger ensemble"
        )
    return field


def signal_and_noise(anomalies, years: int | None = None):
    """Return the variances in time of the forced signal and of internal variability, without bias.

    anomalies: DataArray (member, time, ...); years: how many the climatology was taken from that was removed from
    them, None for anomalies from a known mean. With R members the ensemble mean still holds 1/R of the noise, which is
    taken off the variance of the signal; an estimate can therefore fall below 0 where there is no signal. A
    climatology of Y years takes 1/Y of the variance of the ensemble mean with it, which is given back.
    """
    noise = anomalies.var("member", ddof=1).mean("time")
    mean = np.square(anomalies.mean("member")).mean("time") * (years / (years - 1) if years else 1)
    return mean - noise / anomalies.sizes["member"], noise


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


def pair_correlations(anomalies, weights, rng=None, *, block: int = 3):
    """Return the correlation in time and space of every pair of members' deviations from the ensemble mean (pairs).

    anomalies: DataArray (member, time, lat, lon); weights: of area, on lat or (lat, lon); rng: numpy generator that
    first flips the sign of each member's deviations at random, `block` times together, which shows how far chance
    alone reaches. Flips leave every variance in time and space as it is; shuffling years does not, and has too narrow
    a spread. Whatever the members are, the mean over pairs is near -1/(R - 1); members that share more than the
    ensemble does show at the upper end.
    """
    deviations = (anomalies - anomalies.mean("member")) * np.sqrt(weights)
    values = deviations.transpose("member", "time", ...).values
    values = values.reshape(*values.shape[:2], -1)
    values = values[..., np.isfinite(values).all((0, 1))]
    if rng is not None:
        signs = rng.choice([-1, 1], (len(values), -(-values.shape[1] // block))).astype(values.dtype)
        values = values * np.repeat(signs, block, 1)[:, : values.shape[1], None]
        values = values - values.mean(0)
    flat = values.reshape(len(values), -1)
    return np.corrcoef(flat)[np.triu_indices(len(flat), 1)]
