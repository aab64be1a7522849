"""How far a latent space falls apart by realization, in numbers, from codes z (n, k) with labels (n).

A joint latent space is fragmented if codes lie together by realization and not by place. Three ways to ask:

    can one name the realization from the code?  accuracy of a classifier at places it has not seen, against chance
    do the codes of a realization clump?         silhouette of the codes by realization, and by place or region
    is a place the same in all realizations?     distance of a place's codes across realizations over the distance
                                                 between places within a realization

Codes are plain arrays: their rows are samples, labelled by `Layout.sample_coords`.
"""

import numpy as np


def realization_accuracy(
    z: np.ndarray,  # (n, k) codes
    member: np.ndarray,  # (n) label of the realization
    place: np.ndarray,  # (n) label of the place
    rng: np.random.Generator,
    *,
    blocks: np.ndarray | None = None,  # (n) label of the region a place lies in
    folds: int = 5,
    neighbors: int = 25,
    permutations: int = 50,
) -> dict[str, float]:
    """Return how often the realization is named right from a code, and what chance would give.

    Nearest neighbors vote, the nearer the more. Places are dealt into folds at random, and a code is judged by codes
    of other folds only: knowing where a place lies does not help. Codes are scaled to unit variance. Weather is smooth
    in space, so a place's neighbor on the grid still gives its realization away; with `blocks` whole regions are dealt
    together, and only codes of other regions judge.

    accuracy: mean over realizations of the share named right; chance: 1 / R; null, null_std: mean and standard
    deviation of the accuracy when realizations are permuted within each place; p: share of permutations, the one at
    hand included, that do as well.

    Raises ValueError for lengths that differ, fewer than two realizations, or fewer places than folds.
    """
    from scipy.spatial import cKDTree

    z, member, places = _checked(z, member, place)
    r = member.max() + 1
    dealt, what = (
        (places, "places") if blocks is None else (np.unique(blocks, return_inverse=True)[1].ravel(), "blocks")
    )
    if len(dealt) != len(z):
        raise ValueError(f"{len(z)} codes and {len(dealt)} blocks; expected one label a code")
    if dealt.max() + 1 < folds:
        raise ValueError(f"{dealt.max() + 1} {what} do not fill {folds} folds; give more {what}, or fewer folds")
    fold = rng.permutation(np.arange(dealt.max() + 1) % folds)[dealt]
    scaled = z / np.where(z.std(0) > 0, z.std(0), 1)
    near = np.empty((len(z), min(neighbors, np.bincount(fold, minlength=folds).sum() - np.bincount(fold).max())), int)
    for f in range(folds):
        known = np.flatnonzero(fold != f)
        found = cKDTree(scaled[known]).query(scaled[fold == f], near.shape[1])[1]
        near[fold == f] = known[found.reshape(-1, near.shape[1])]
    weight = np.linspace(1, 0.5, near.shape[1])  # unequal, so that votes rarely tie
    rows = np.repeat(np.arange(len(z)), near.shape[1])

    def accuracy(labels):
        votes = np.bincount(rows * r + labels[near].ravel(), np.tile(weight, len(z)), len(z) * r).reshape(-1, r)
        right = votes.argmax(1) == labels
        return (np.bincount(labels, right, r) / np.bincount(labels, minlength=r)).mean()

    ours = accuracy(member)
    order = np.argsort(places, kind="stable")
    null = []
    for _ in range(permutations):
        shuffled = np.empty_like(member)
        shuffled[order] = member[np.lexsort((rng.random(len(z)), places))]
        null.append(accuracy(shuffled))
    as_good = (1 + sum(a >= ours for a in null)) / (1 + permutations)
    return {
        "accuracy": float(ours),
        "chance": 1 / float(r),
        "null": float(np.mean(null)) if null else float("nan"),
        "null_std": float(np.std(null)) if null else float("nan"),
        "p": float(as_good),
    }


def silhouette(
    z: np.ndarray,  # (n, k) codes
    labels: np.ndarray,  # (n)
    rng: np.random.Generator,
    *,
    sample: int = 3000,
) -> float:
    """Return the mean silhouette of the codes by label [1], of a random sample of them.

    1: labels are tight clusters far apart; 0: they overlap; below: codes lie nearer to another label's.
    P. J. Rousseeuw (1987), Silhouettes: a graphical aid to the interpretation and validation of cluster analysis.
    """
    from sklearn.metrics import silhouette_score

    z, labels = np.asarray(z, float), np.unique(np.asarray(labels), return_inverse=True)[1].ravel()
    if len(z) != len(labels):
        raise ValueError(f"{len(z)} codes and {len(labels)} labels; expected one label a code")
    pick = rng.permutation(len(z))[:sample]
    found = len(np.unique(labels[pick]))
    if not 2 <= found < len(pick):
        raise ValueError(f"{len(pick)} codes with {found} labels; a silhouette needs 2 labels or more, and more codes")
    return float(silhouette_score(z[pick], labels[pick]))


def place_distance_ratio(
    z: np.ndarray,  # (n, k) codes
    member: np.ndarray,  # (n) label of the realization
    place: np.ndarray,  # (n) label of the place
) -> float:
    """Return the mean distance of one place's codes across realizations over that between places of a realization.

    0: a place has one code whatever the realization; 1: places are no more alike across realizations than strangers
    within one; above 1: realizations lie apart. All pairs count.
    """
    z, member, place = _checked(z, member, place)
    across = _mean_distance(z, place)
    within = _mean_distance(z, member)
    if within == 0:
        raise ValueError("all places of a realization have the same code; there is no distance to compare with")
    return across / within


def _mean_distance(z, groups) -> float:
    """Return the mean distance over all pairs of codes of the same group; pairs of equal codes count."""
    from scipy.spatial.distance import cdist, pdist

    order = np.argsort(groups, kind="stable")
    sizes = np.bincount(groups)
    total = pairs = 0.0
    starts = np.cumsum(sizes) - sizes
    for size in np.unique(sizes[sizes > 1]):  # groups of one size at once
        members = order[starts[sizes == size][:, None] + np.arange(size)]  # (groups, size)
        pairs += len(members) * size * (size - 1) / 2
        if size <= 64:
            i, j = np.triu_indices(size, 1)
            total += np.linalg.norm(z[members[:, i]] - z[members[:, j]], axis=-1).sum()
        elif size <= 4096:
            total += sum(pdist(z[m]).sum() for m in members)
        else:
            total += sum(cdist(z[m[k : k + 1024]], z[m]).sum() / 2 for m in members for k in range(0, size, 1024))
    if not pairs:
        raise ValueError("no two codes share a realization and a place; expected several of each")
    return total / pairs


def _checked(z, member, place) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    z = np.asarray(z, float)
    member, place = (np.unique(np.asarray(x), return_inverse=True)[1].ravel() for x in (member, place))
    if not len(z) == len(member) == len(place):
        raise ValueError(f"{len(z)} codes, {len(member)} members, {len(place)} places; expected one label a code")
    if member.max() < 1:
        raise ValueError("codes of one realization; expected two or more")
    return z, member, place
