"""Fragmentation is 1 where it was built in, chance where there is none."""

import numpy as np
import pytest
from scipy.spatial.distance import pdist

from latentkit.fragmentation import place_distance_ratio, realization_accuracy, silhouette

R, P = 6, 150


def codes(*, place=1.0, member=0.0, own=0.0, seed=0):
    """Return codes (n, 3) made of a part of the place, a part of the realization, and one of both, with labels."""
    rng = np.random.default_rng(seed)
    parts = [s * rng.standard_normal(n) for s, n in ((place, (1, P, 3)), (member, (R, 1, 3)), (own, (R, P, 3)))]
    labels = np.indices((R, P)).reshape(2, -1)
    return sum(parts).reshape(-1, 3), labels[0], labels[1]


def rng():
    return np.random.default_rng(11)


def test_separate_clusters_are_named_without_fault():
    z, member, place = codes(place=0.1, member=10)
    found = realization_accuracy(z, member, place, rng())
    assert found["accuracy"] == 1 and found["chance"] == 1 / R and found["p"] == 1 / 51
    assert silhouette(z, member, rng()) > 0.9
    assert place_distance_ratio(z, member, place) > 20


def test_identical_codes_give_chance_exactly():
    z, member, place = codes()
    found = realization_accuracy(z, member, place, rng())
    assert found["accuracy"] == pytest.approx(1 / R) and found["p"] == 1
    assert place_distance_ratio(z, member, place) == 0
    assert silhouette(z, place, rng()) == pytest.approx(1) and silhouette(z, member, rng()) < 0


def test_noise_without_fragments_is_chance():
    z, member, place = codes(own=0.5)
    found = realization_accuracy(z, member, place, rng())
    assert abs(found["accuracy"] - 1 / R) < 4 * found["null_std"] and found["p"] > 0.01
    assert found["null"] == pytest.approx(1 / R, abs=3 * found["null_std"])


def test_the_place_cannot_be_learned_by_heart():
    # A code that is the place and a label of the pair: no classifier may profit from having seen the same place.
    z, member, place = codes(place=5, own=1)
    found = realization_accuracy(z, member, place, rng())
    assert abs(found["accuracy"] - 1 / R) < 4 * found["null_std"]


def test_fragments_in_parts_lie_between():
    accuracy = [realization_accuracy(*codes(own=0.5, member=s), rng())["accuracy"] for s in (0, 0.3, 1, 3)]
    assert accuracy == sorted(accuracy) and accuracy[0] < 0.25 and accuracy[-1] > 0.8


def test_names_scales_and_order_do_not_matter():
    z, member, place = codes(own=0.5, member=0.5)
    names = np.array(["b", "x", "a", "q", "r", "c"])[member]
    order = np.random.default_rng(3).permutation(len(z))
    ratio = place_distance_ratio(z, member, place)
    assert place_distance_ratio(7 * z[order], names[order], place[order]) == pytest.approx(ratio)
    one = realization_accuracy(z, member, place, rng(), permutations=0)
    other = realization_accuracy(z * [1, 100, 0.01], member, place, rng(), permutations=0)
    assert one["accuracy"] == other["accuracy"]
    shuffled = realization_accuracy(z[order], names[order], place[order], rng(), permutations=0)
    assert shuffled["accuracy"] == pytest.approx(one["accuracy"], abs=0.02)  # votes that tie go by another order


def test_distance_ratio_by_hand_and_of_strangers():
    z, member, place = codes(own=1, place=0)
    assert place_distance_ratio(z, member, place) == pytest.approx(1, abs=0.05)
    z, member, place = codes(own=0.3, place=1)
    across = np.mean([pdist(z[place == p]).mean() for p in range(P)])
    within = np.mean([pdist(z[member == m]).mean() for m in range(R)])
    assert place_distance_ratio(z, member, place) == pytest.approx(across / within)
    keep = np.arange(len(z)) != 4  # one place lacks a realization
    pairs = [pdist(z[keep & (place == p)]) for p in range(P)], [pdist(z[keep & (member == m)]) for m in range(R)]
    expected = np.concatenate(pairs[0]).mean() / np.concatenate(pairs[1]).mean()
    assert place_distance_ratio(z[keep], member[keep], place[keep]) == pytest.approx(expected)
    big = np.random.default_rng(0).standard_normal((2, 5000, 2))
    labels = np.indices((2, 5000)).reshape(2, -1)
    expected = np.linalg.norm(big[0] - big[1], axis=1).mean() / np.mean([pdist(b).mean() for b in big])
    assert place_distance_ratio(big.reshape(-1, 2), *labels) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda z, m, p: realization_accuracy(z[1:], m, p, rng()), "899 codes, 900 members"),
        (lambda z, m, p: realization_accuracy(z, 0 * m, p, rng()), "codes of one realization"),
        (lambda z, m, p: realization_accuracy(z, m, p % 3, rng()), "3 places do not fill 5 folds"),
        (lambda z, m, p: silhouette(z, 0 * m, rng()), "1 labels"),
        (lambda z, m, p: silhouette(z[1:], m, rng()), "899 codes and 900 labels"),
        (lambda z, m, p: place_distance_ratio(0 * z, m, p), "same code"),
        (lambda z, m, p: place_distance_ratio(z, m, np.arange(len(m))), "no two codes share"),
    ],
)
def test_scores_say_what_is_wrong(change, words):
    with pytest.raises(ValueError, match=words):
        change(*codes())


def test_smooth_weather_is_named_by_its_neighbors_unless_regions_are_held_out_whole():
    rng = np.random.default_rng(3)
    x = np.arange(600)
    kernel = np.exp(-0.5 * (np.arange(-60, 61) / 20) ** 2)
    noise = rng.normal(size=(2, 4, 600))
    z = np.stack([[np.convolve(n, kernel, "same") for n in each] for each in noise], -1).reshape(-1, 2)
    member, place = np.repeat(np.arange(4), 600), np.tile(x, 4)
    near = realization_accuracy(z, member, place, np.random.default_rng(0), permutations=0)
    far = realization_accuracy(z, member, place, np.random.default_rng(0), blocks=place // 100, permutations=0)
    assert near["accuracy"] > 0.5 and far["accuracy"] < 0.4  # chance 0.25
