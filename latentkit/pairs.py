"""Two fields of the same days: a proxy, such as pressure, and what it is to say, such as precipitation.

A pair is opened, its days are matched, precipitation is made a root (days of drizzle and of storms then differ by
numbers of one size, as in C. Heinze-Deml et al. 2021), and both are split into days to train with and days held out:
members of an ensemble where there are three or more, the last days where there is one.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from latentkit import cells, fields
from latentkit.sources import open_field


@dataclass(frozen=True)
class Split:
    """Hold days of s splits side by side, as tensors, each split's own.

    field, proxy: of training (s, n, y, x), (s, n, p); tested_field, tested_proxy: of the days held out (s, m, y, x),
    (s, m, p); area (y, x): of each point, of mean 1, and 0 where it has no value; layouts: the ways back for the
    tested fields, one a split; held_out: what each split holds out, in words; circular: whether longitude is a circle.
    """

    field: object
    proxy: object
    tested_field: object
    tested_proxy: object
    area: object
    layouts: tuple
    held_out: tuple[str, ...]
    circular: bool

    def labelled(self, tested, split: int):  # (m, y, x)
        """Return fields of the days that a split holds out as a labelled field [mm0.5 day-0.5]."""
        return fields.unpack(tested[:, None], self.layouts[split])[0]

    def averaged(self, maps):  # (s, y, x) -> (s)
        """Return the means of maps by area, over the points that have a value."""
        return (maps * self.area).sum((1, 2)) / self.area.sum()


def open_pair(source: str, proxy: str = "psl", field: str = "pr"):
    """Open a proxy and a field of the same days; return both (member, time, lat, lon), a single member where none is.

    source: "archive" (winter days of the packaged ensemble), one path or glob that has both, or two with a semicolon
    between them, the proxy first: "psl.nc; pr.nc".

    Values of the field below 0 become 0, and how many is printed. Raises ValueError for more than two sources, and for
    days or members that do not match, with the first that differ.
    """
    parts = [part.strip() for part in source.split(";")]
    if len(parts) > 2 or not all(parts):
        raise ValueError(f"SOURCE is {source!r}; expected 'archive', one path, or two with a semicolon: proxy; field")
    parts = ["archive:winter_days" if part == "archive" else part for part in parts]
    found = [open_field(part, name, members=False) for part, name in ((parts[0], proxy), (parts[-1], field))]
    x, y = (a if "member" in a.dims else a.expand_dims(member=[0]) for a in found)
    for dim in ("time", "member"):
        matching(x, y, dim)
    return x, clipped(y)


def clipped(field):
    """Return a field with its values below 0 set to 0, and print how many there were."""
    below = int((field < 0).sum())
    if below:
        every, least = int(field.notnull().sum()), float(field.min())
        print(f"{field.name}: {below} values below 0, of {every}, the least {least:.2g}; set to 0")
    return field.clip(0).assign_attrs(field.attrs)


def root(field):
    """Return the root of precipitation [mm0.5 day-0.5]."""
    attrs = {"units": "mm0.5 day-0.5", "long_name": f"root of {field.attrs.get('long_name', field.name)}"}
    return np.sqrt(field).rename(f"root_{field.name}").assign_attrs(attrs)


def split(proxy, field, splits: Sequence[int], *, members: int, tested: int = 2, days: int | None = None) -> Split:
    """Split a pair into days to train with and days held out, once for each number in `splits`.

    members: to train with, at most, where there are more than `tested`; split 0 then holds out the last `tested`
    members, split 1 the first ones, and so on. Where there are fewer, all splits hold out the last `days`, by default
    a fifth. A point is used where the field has a value on every day.

    Raises ValueError for no days left to train with, and for no such point.
    """
    import torch

    count, n = field.sizes["member"], field.sizes["time"]
    chosen, words = [], []
    for i in splits:
        if count > tested:
            out = [(tested * (i - 1) + j) % count for j in range(tested)]
            kept = [(out[-1] + 1 + j) % count for j in range(min(members, count - tested))]
            chosen.append(({"member": sorted(kept)}, {"member": sorted(out)}))
            words.append(f"members {', '.join(str(field.member.values[m]) for m in sorted(out))}")
        else:
            last = days or max(1, n // 5)
            if last >= n:
                raise ValueError(f"{last} days held out of {n}; expected fewer, some to train with")
            chosen.append(({"time": slice(None, n - last)}, {"time": slice(n - last, None)}))
            words.append(f"the last {last} days")
    there = field.notnull().all(("member", "time"))
    if not bool(there.any()):
        raise ValueError(f"no point of {field.name} has a value on every day; drop days or points that lack some")
    y = root(field).where(there)
    how = {"sample": ("member", "time"), "feature": ("lat", "lon"), "flatten": False, "missing": "keep"}
    images = [[fields.pack([y.isel(rows)], **how) for rows in pair] for pair in chosen]
    columns = [[fields.pack(proxy.isel(rows), how["sample"], how["feature"])[0] for rows in pair] for pair in chosen]
    area = torch.from_numpy(cells.area_weights(field).where(there, 0.0).transpose("lat", "lon").values).float()
    stacked = [torch.stack([torch.nan_to_num(pair[part][0][:, 0]) for pair in images]) for part in (0, 1)]
    proxies = [torch.stack([pair[part] for pair in columns]) for part in (0, 1)]
    layouts = tuple(pair[1][1] for pair in images)
    area = area / area[area > 0].mean()
    return Split(*(stacked[0], proxies[0], stacked[1], proxies[1]), area, layouts, tuple(words), around(field))


def explained(told, truth):  # (s, n, y, x) both -> (s, y, x)
    """Return the share of variance over days, R2, that was told at each point: at most 1, and -1 at the least.

    One bad point would otherwise outweigh all others in a mean.
    """
    return (1 - (told - truth).square().mean(1) / truth.var(1, correction=0).clamp_min(1e-12)).clamp_min(-1)


def around(field) -> bool:
    """Return whether the longitudes of a field go around the globe."""
    lon = field["lon"].values
    return len(lon) > 2 and bool(abs(lon[-1] - lon[0] + (lon[1] - lon[0]) - 360) < 0.5 * abs(lon[1] - lon[0]))


def matching(x, y, dim: str) -> None:
    """Raise ValueError where two fields differ along a dim, with the first labels that do."""
    a, b = x[dim].values, y[dim].values
    if len(a) != len(b) or not (a == b).all():
        k = next((i for i, (p, q) in enumerate(zip(a, b, strict=False)) if p != q), min(len(a), len(b)))
        told = [str(v[k]) if k < len(v) else "none" for v in (a, b)]
        raise ValueError(
            f"{x.name} and {y.name} differ along {dim}: {len(a)} and {len(b)} values, the first that differ, number "
            f"{k}, {told[0]} and {told[1]}; select those that both have"
        )
