"""The penalty of equation 4 by hand, who is tied to whom, and a stack that equals its groups alone."""

import numpy as np
import pytest
import torch

from latentkit.models import tied
from latentkit.models.cvae import teachers
from latentkit.models.train import Shuffled, fit, generator
from latentkit.presets import preset
from latentkit.record import Run

X = torch.nn.functional.normalize(torch.randn(40, 3, generator=generator(0, "x")), dim=1)
Y = torch.randn(5, 40, 6, generator=generator(1, "y"))
ANCHORS = torch.tensor([0, 7, 21])


def members(groups="aaa", weight=2.0, distance=0.1, **more):
    return [tied.Member(Y[i], g, ANCHORS, weight, distance, **more) for i, g in enumerate(groups)]


def build(who, **more):
    return tied.build(X, who, 2, (8,), [generator(i, "init") for i in range(len(who))], **more)


def test_anchors_leave_half_of_the_places():
    assert len(set(tied.anchors(X, 20, np.random.default_rng(0)).tolist())) == 20
    with pytest.raises(ValueError, match="21 anchors are asked for, of 40 places; expected at most half of these, 20"):
        tied.anchors(X, 21, np.random.default_rng(0))


def test_penalty_is_equation_4():
    model, data = build(members())
    rng = [generator(i, "step") for i in range(3)]
    total, parts = model.loss(data, 0, rng)
    z = model.encode(X[ANCHORS].expand(3, -1, -1), Y[:3, ANCHORS])[0].detach()
    fixed = z.mean(0)
    for i in range(3):
        expected = sum(max(0.0, float((z[i, a] - fixed[a]).square().sum()) - 0.1**2) for a in range(3)) / 3
        assert parts["penalty"].detach()[i].item() == pytest.approx(expected, rel=1e-5)
    free, _ = super(type(model), model).loss(data, 0, [generator(i, "step") for i in range(3)])
    torch.testing.assert_close(total, free + 2 * parts["penalty"])


def test_within_the_distance_there_is_no_penalty():
    model, data = build(members(distance=100.0))
    assert model.loss(data, 0, [generator(i, "s") for i in range(3)])[1]["penalty"].eq(0).all()


def test_a_reference_teaches_and_is_not_taught():
    model, data = build(members(), reference=["a"])
    penalty = model.loss(data, 0, [generator(i, "s") for i in range(3)])[1]["penalty"]
    assert penalty[0] == 0 and (penalty[1:] > 0).all()


def test_gradients_do_not_flow_into_the_fixed_points():
    model, data = build(members())
    total = model.loss(data, 0, [generator(i, "s") for i in range(3)])[0]
    model.zero_grad()
    total[1].backward()
    weight = model.encoder.layers[0].weight.grad
    assert weight[1].abs().sum() > 0 and weight[0].abs().sum() == 0 and weight[2].abs().sum() == 0


def test_teachers_are_the_complete_members_of_the_group():
    found = teachers(["a", "b", "a", "a"], [True, True, True, False])
    assert found.tolist() == [[0.5, 0, 0.5, 0], [0, 1, 0, 0], [0.5, 0, 0.5, 0], [0.5, 0, 0.5, 0]]
    with pytest.raises(ValueError, match="no model of group 'b' teaches"):
        teachers(["a", "b"], [True, False])


def test_a_new_member_sees_observed_places_only():
    seen = torch.tensor([3, 7, 8])
    hidden = Y[4].clone()
    hidden[[i for i in range(40) if i not in seen.tolist()]] = float("nan")
    new = tied.Member(hidden, "a", ANCHORS, 2.0, 0.1, seen)
    model, (places, series) = build([*members(), new])
    assert torch.isfinite(series).all() and places[3].unique(dim=0).shape == (3, 3)
    assert model.anchor_used[3].tolist() == [True, False, False] and torch.isfinite(model.anchor_series).all()
    torch.testing.assert_close(model.anchor_places[3, 0], X[7])
    with pytest.raises(ValueError, match="none an anchor"):
        build([*members(), new._replace(observed=torch.tensor([3, 8]))])


def test_groups_train_as_they_would_alone():
    def trained(who, seeds):
        model, data = tied.build(X, who, 2, (8,), [generator(s, "init") for s in seeds])
        fit(model, Shuffled(data, 16, seeds, [True, True]), steps=8, seeds=seeds, learning_rate=1e-2, progress=False)
        return model.encode(X.expand(len(seeds), -1, -1), torch.stack([m.series for m in who]))[0]

    who = members("aabb")
    both = trained(who, [0, 1, 2, 3])
    torch.testing.assert_close(both[:2], trained(who[:2], [0, 1]), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(both[2:], trained(who[2:], [2, 3]), atol=1e-5, rtol=1e-4)


def test_training_brings_anchors_together():
    def apart(weight):
        model, data = build(members(weight=weight))
        batches = Shuffled(data, 40, [0, 1, 2], [True, True])
        fit(model, batches, steps=150, seeds=[0, 1, 2], learning_rate=1e-2, progress=False)
        z = model.encode(X[ANCHORS].expand(3, -1, -1), Y[:3, ANCHORS])[0]
        return (z - z.mean(0)).norm(dim=-1).mean()

    assert apart(100.0) < 0.15 < apart(0.0)


def test_trained_is_the_same_again_and_models_alike_start_alike(figures):
    P = preset("lccvae", "quick", member_steps=3, member_hidden=[8], latent_dim=2)
    run = Run("12_lccvae_anchors", P, 0, data={"name": "made", "period": [], "sha256": "00"})
    who = members("aabb", weight=0.0)
    who[2:] = [m._replace(series=first.series) for m, first in zip(who[2:], who, strict=False)]
    model = tied.trained(run, P, X, who, alike=2, progress=False)
    z = model.encode(X.expand(4, -1, -1), torch.stack([m.series for m in who]))[0]
    torch.testing.assert_close(z[:2], z[2:])
    assert not torch.allclose(z[0], z[1])
    again = tied.trained(run, P, X, who, name="no_such_weights", progress=False)
    assert again.encode(X.expand(4, -1, -1), torch.stack([m.series for m in who]))[0].shape == (4, 40, 2)
    alone = tied.trained(run, P, X, who[2:], numbers=[2, 3], alike=2, progress=False)
    for name, value in alone.state_dict().items():
        if value.is_floating_point() and value.ndim and len(value) == 2:
            torch.testing.assert_close(value, model.state_dict()[name][2:], msg=name)
    with pytest.raises(ValueError, match="1 numbers for 2 models"):
        tied.trained(run, P, X, who[2:], numbers=[2], progress=False)
    other = tied.trained(Run("12_lccvae_anchors", P, 1, data=run.data[0]), P, X, who, alike=2, progress=False)
    first, second = (m.encoder.layers[0].weight.detach() for m in (model, other))
    assert not any(torch.allclose(first[i], second[j], atol=1e-2) for i in range(2) for j in range(2))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"anchors": torch.tensor([0, 40])}, "anchors are rows 0 to 40; there are 40 places, 0 to 39"),
        ({"observed": torch.tensor([-1, 7])}, "observed places are rows -1 to 7"),
        (
            {"series": Y[0].where(torch.arange(40)[:, None] != 7, torch.nan)},
            "1 of 40 observed series lack values.*row 7",
        ),
    ],
)
def test_places_outside_and_series_without_values_are_told(change, words):
    with pytest.raises(ValueError, match=words):
        build([members("a")[0]._replace(**change)])


def test_values_that_are_not_observed_may_be_missing():
    gap = Y[0].where(torch.arange(40)[:, None] != 5, torch.nan)
    new = members("a")[0]._replace(series=gap, observed=torch.tensor([0, 7, 9]))
    _, data = build([*members("aa"), new])
    assert data[1].isfinite().all()
