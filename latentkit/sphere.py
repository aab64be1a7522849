"""Points on the unit sphere: how far apart they are, which lie nearest, and how to spread some evenly.

Points are unit vectors (n, 3), as `fields.condition` returns them: no seam at the date line, no end at the poles.
"""

import numpy as np
import torch
from torch import Tensor


def unit(
    latitude: np.ndarray,  # (n) [degrees north]
    longitude: np.ndarray,  # (n) [degrees east]
) -> np.ndarray:  # (n, 3)
    """Return points on the unit sphere, in double precision."""
    lat, lon = (np.deg2rad(np.asarray(v, dtype=float)) for v in (latitude, longitude))
    return np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], -1)


def distance(
    a: Tensor,  # (n, 3)
    b: Tensor,  # (m, 3)
) -> Tensor:  # (n, m)
    """Return great-circle distances [rad], exact also for points that nearly coincide."""
    chord = torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")
    return 2 * torch.asin((chord / 2).clamp(max=1))


def nearest(
    points: Tensor,  # (n, 3)
    observed: Tensor,  # (o) rows of points
    count: int,
) -> Tensor:  # (n, count) rows of points
    """Return the rows of the nearest observed points of each point, nearest first; none is its own neighbor.

    Raises ValueError where fewer than count + 1 points are observed.
    """
    from scipy.spatial import cKDTree

    if len(observed) <= count:
        raise ValueError(f"{len(observed)} points are observed; {count} neighbors of each need {count + 1} or more")
    found = cKDTree(points[observed].numpy()).query(points.numpy(), count + 1)[1]
    found = observed[torch.from_numpy(found)]
    own = found == torch.arange(len(points))[:, None]
    own[~own.any(1), -1] = True  # not observed itself: the farthest of count + 1 goes
    return found[~own].reshape(len(points), count)


def spread_out(
    points: Tensor,  # (n, 3)
    count: int,
    rng: np.random.Generator,
) -> Tensor:  # (count) rows of points
    """Return points far from each other: the first at random, each next the farthest from all before it.

    The first m of them are a good choice of m, too. T. F. Gonzalez (1985), Clustering to minimize the maximum
    intercluster distance.
    """
    if not 1 <= count <= len(points):
        raise ValueError(f"cannot choose {count} of {len(points)} points")
    picked = [int(rng.integers(len(points)))]
    least = (points - points[picked[0]]).square().sum(1)
    for _ in range(count - 1):
        picked.append(int(least.argmax()))
        least = torch.minimum(least, (points - points[picked[-1]]).square().sum(1))
    return torch.tensor(picked)


def observe_share(
    points: Tensor,  # (n, 3)
    share: float,
    always: Tensor,  # rows observed in any case, such as anchors
    rng: np.random.Generator,
) -> Tensor:  # (o) rows of points, sorted
    """Return the rows of observed points: those of `always`, and others at random up to a share of all.

    Where `always` has more than the share, its first rows are taken.

    Raises ValueError for a share outside (0, 1].
    """
    if not 0 < share <= 1:
        raise ValueError(f"the share observed is {share}; expected a number above 0, 1 at most")
    count = max(1, round(share * len(points)))
    rest = np.setdiff1d(np.arange(len(points)), always.numpy())
    more = rng.permutation(rest)[: max(0, count - len(always))]
    return torch.from_numpy(np.sort(np.concatenate([always.numpy()[:count], more])))
