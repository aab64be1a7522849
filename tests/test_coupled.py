"""Coupled autoencoders: states and observations meet in one latent space, and the testbed forecasts in between."""

import pytest
import torch

from latentkit.assimilation.drivers import cycle
from latentkit.assimilation.encoded import PUBLISHED, encoded, whole
from latentkit.assimilation.ensf import EnSF
from latentkit.assimilation.etkf import etkf
from latentkit.assimilation.full_space import FullSpace
from latentkit.assimilation.observations import everywhere, measure
from latentkit.models import coupled, surrogates, weights
from latentkit.models.basis import Basis
from latentkit.models.nets import pick
from latentkit.models.train import History, Shuffled, fit, generator
from latentkit.testbeds import cases

CASE = cases.tsunami(12, width=2e5, outputs=5)
POINTS = 1e6 * torch.cartesian_prod(*[torch.tensor([0.2, 0.4, 0.6, 0.8])] * 2)
ONCE = everywhere(POINTS, torch.zeros(1), [2])
SIZES = {"latent": 6, "count": 24, "encoder": (48,), "decoder": (48,)}
TIMES = CASE.times.tolist()


@pytest.fixture(scope="module")
def library():
    return coupled.library_states(CASE, surrogates.library_parameters(CASE, 60), ONCE)


@pytest.fixture(scope="module")
def model(library):
    states, seen = library
    made = coupled.Coupled(CASE, ONCE, seeds=[0, 1], **SIZES)
    c = made.basis.learn(states.flatten(0, 1), SIZES["count"], 0)
    data = Shuffled([c, made.sensors.learn(seen).flatten(0, 1)], 128, [0, 1], [False, False])
    fit(made, data, steps=400, seeds=[0, 1], learning_rate=1e-2, clip=1.0, progress=False)
    made.learn(c)
    return made


def distance(model, found, truth):
    """Return the relative distance of states (n, c, y, x), channels by their deviations."""
    d = model.basis.deviation
    return float((((found - truth) / d).square().sum() / (truth / d).square().sum()).sqrt())


def test_library_states_are_those_of_the_case(library):
    states, seen = library
    fields = CASE.trajectories(surrogates.library_parameters(CASE, 60))
    torch.testing.assert_close(states, fields, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(seen[3], CASE.points(ONCE)(fields[3]), rtol=1e-4, atol=1e-5)


def test_states_of_a_flow_are_vorticities_and_what_is_seen_are_velocities():
    case = cases.flow(16, generator(0, "start"), outputs=2)
    net = everywhere(torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.zeros(1), [0, 1])
    states, seen = coupled.library_states(case, torch.tensor([[600.0], [900.0], [1200.0]]), net)
    assert states.shape == (3, 3, 16, 16) and seen.shape == (3, 3, 4)
    torch.testing.assert_close(seen[2], case.points(net)(case.joint.see(states[2])))
    made = coupled.Coupled(case, net, 2, 4, (8,), (8,), [0])
    made.basis.learn(states.flatten(0, 1)[:, None], 4, 0)
    members = FullSpace(made, torch.tensor([[600.0], [900.0]]))
    E = members.start()
    ahead = members.forecast(E, *case.times[:2].tolist())
    assert ahead.shape == (2, 2) and members.fields(ahead).shape == (2, *case.shape)
    full = case.joint.pack(members.decode(E), members.drawn)
    one = case.joint.unpack(case.joint.forecast(full, *case.times[:2].tolist()))[0]
    torch.testing.assert_close(ahead, members.encode(one))


def test_coefficients_of_a_basis_give_the_states_back(library):
    states = library[0].flatten(0, 1)
    basis = Basis(CASE.weights[0])
    c = basis.learn(states, 80, 0)
    torch.testing.assert_close(c.square().mean(), torch.tensor(1.0))
    torch.testing.assert_close(basis.coefficients(states), c, rtol=1e-3, atol=1e-3)
    off = ((basis.states(c) - states) / basis.deviation).square().mean().sqrt()
    assert off < 0.01 and abs(float(off.square()) - float(basis.left)) < 1e-4


def test_both_encoders_find_states_they_have_not_seen(model):
    states, seen = coupled.library_states(CASE, CASE.draw(20, generator(9, "held out")), ONCE)
    truth = states.flatten(0, 1)
    for i in (0, 1):
        z = model.encode(truth, i)
        read = model.read(seen.transpose(0, 1), i).transpose(0, 1).flatten(0, 1)
        assert distance(model, model.decode(z, i), truth) < 0.25
        assert distance(model, model.decode(read, i), truth) < 0.3
        assert (z - read).square().mean().sqrt() < 0.2 * model.scale[i, 0]


def test_one_model_is_what_the_stack_is(model, library):
    x, y = model.basis.coefficients(library[0][1]), model.sensors(library[1][1])
    batch = [x.expand(2, -1, -1), y.expand(2, -1, -1)]
    rng = lambda: [generator(i, "loss") for i in (0, 1)]  # noqa: E731
    both, parts = model.loss(batch, 0, rng())
    assert parts.keys() == {"state", "seen", "match"}
    alone = coupled.Coupled(CASE, ONCE, seeds=[1], **SIZES)
    for name in ("state", "seen", "decoder"):
        setattr(alone, name, pick(getattr(model, name), [1]))
    torch.testing.assert_close(alone.loss([b[1:] for b in batch], 0, rng()[1:])[0], both[1:])


def test_a_forecast_is_the_testbed_between_decoder_and_encoder(model):
    p = CASE.draw(6, generator(1, "p")).reshape(2, 3, 2)
    members = FullSpace(model, p, 1)
    E = members.start()
    states = members.decode(E)
    assert E.shape == (2, 3, 6) and states.shape == (2, 3, 3, 12, 12)
    torch.testing.assert_close(E, members.encode(CASE.begin(p.flatten(0, 1)).unflatten(0, (2, 3))))
    ahead = CASE.joint.forecast(CASE.joint.pack(states), *TIMES[:2])
    expected = members.encode(CASE.joint.unpack(ahead)[0])
    torch.testing.assert_close(members.forecast(E, *TIMES[:2]), expected)
    torch.testing.assert_close(FullSpace(model, p[1], 1).forecast(E[1], *TIMES[:2]), expected[1], rtol=1e-4, atol=1e-4)
    with pytest.raises(ValueError, match=r"an ensemble of \(3,\) .* parameters of \(2, 3\); expected the same"):
        members.forecast(E[0], *TIMES[:2])


def observed(runs):
    truth = CASE.trajectories(CASE.draw(torch.Size(runs).numel(), generator(5, "truth")))
    seen = CASE.points(ONCE)(truth[1:]).transpose(0, 1).flatten(1).reshape(*runs, -1)
    return truth, measure(everywhere(POINTS, CASE.times[1:], [2]), seen, 0.01, generator(6, "noise"))


def test_the_filter_comes_nearer_to_the_truth_in_several_runs_at_once(model):
    truth, obs = observed((2, 2))
    members = FullSpace(model, CASE.draw(80, generator(7, "members")).reshape(2, 2, 20, 2))
    E, unit = members.start(), model.scale[0] / 100
    course = cycle(
        E, TIMES, encoded(model, obs, std=0.1 * unit), forecast=members.forecast, observe=whole,
        analyze=EnSF(whole, scale=unit, **PUBLISHED | {"eps_alpha": 0.5}), rng=generator(8, "filter"),
    )  # fmt: skip
    assert course.mean.shape == (5, 2, 2, 6) and course.diverged is None
    found = members.fields(course.mean[-1]).flatten(0, 1)
    for start, end in zip(TIMES[:-1], TIMES[1:], strict=True):
        E = members.forecast(E, start, end)
    prior = members.fields(E).mean(2).flatten(0, 1)
    assert distance(model, found, truth[-1]) < 0.5 * distance(model, prior, truth[-1])


def test_runs_side_by_side_are_runs_alone(model):
    _, obs = observed((2,))
    p = CASE.draw(40, generator(7, "members")).reshape(2, 20, 2)
    courses = [
        cycle(members.start(), TIMES, encoded(model, one), forecast=members.forecast, observe=whole, analyze=etkf,
              rng=generator(8, "filter"))
        for members, one in ((FullSpace(model, p), obs), (FullSpace(model, p[1]), obs._replace(value=obs.value[1])))
    ]  # fmt: skip
    torch.testing.assert_close(courses[0].mean[:, 1], courses[1].mean, rtol=1e-2, atol=1e-2)


def test_each_moment_is_read_on_its_own_but_no_sensor_may_lack(model):
    _, obs = observed(())
    later = obs.rows(obs.time > TIMES[2] + 1)
    torch.testing.assert_close(encoded(model, later).value, encoded(model, obs).value[12:])
    with pytest.raises(ValueError, match="there are 15 observations; expected 16"):
        encoded(model, obs.rows(torch.arange(80) != 20))


def test_weights_come_back_with_modes_of_any_size(model, library, tmp_path):
    weights.save(model, tmp_path / "c.safetensors", {"a": 1}, History())
    again = coupled.Coupled(CASE, ONCE, seeds=[3, 4], **SIZES)
    weights.load(again, tmp_path / "c.safetensors", {"a": 1})
    z = model.encode(library[0][2], 1)
    torch.testing.assert_close(again.encode(library[0][2], 1), z)
    torch.testing.assert_close(again.decode(z, 1), model.decode(z, 1))


def test_autoencoders_are_trained_from_nothing(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("LATENTKIT_WEIGHTS", str(tmp_path))
    made, history = coupled.obtain(
        CASE, "tiny_coupled", ONCE, **SIZES, library=12, steps=40, learning_rate=1e-2, seeds=[0, 1],
        settings={"width": 2e5}, noise=0.1,
    )  # fmt: skip
    assert "trained anew" in capsys.readouterr().out
    assert history.values["seen"][-1].mean() < history.values["seen"][0].mean()
    assert (next(tmp_path.glob("tiny_coupled-*.safetensors"))).stat().st_size < 1e5
    assert made.scale.shape == (2, 6) and (made.scale > 0).all() and (made.scale != 1).all()
