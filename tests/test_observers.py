"""Encoders of observations: they find latents, know their sensors, and come back from a file."""

import copy

import pytest
import torch

from latentkit.assimilation.drivers import cycle
from latentkit.assimilation.encoded import PUBLISHED, encoded, whole
from latentkit.assimilation.ensf import EnSF
from latentkit.assimilation.latent import Latent
from latentkit.assimilation.observations import everywhere, measure
from latentkit.models import observers, surrogates, weights
from latentkit.models.nets import pick
from latentkit.models.train import History, Shuffled, fit, generator
from latentkit.testbeds import cases

CASE = cases.tsunami(12, width=2e5, outputs=5)
POINTS = 1e6 * torch.tensor([[0.2, 0.3], [0.3, 0.7], [0.7, 0.2], [0.8, 0.8], [0.5, 0.5]])
ONCE = everywhere(POINTS, torch.zeros(1), [2])
MOMENTS = [1, 2, 3, 4, 5]


def looking(where=POINTS, times=CASE.times[1:]):
    return everywhere(where, times, [2])


@pytest.fixture(scope="module")
def surrogate():
    """Return two models of untrained dynamics: their latents are functions of parameters and time as good as any."""
    return surrogates.Surrogate(CASE, latent=3, count=8, dynamics=(8,), decoder=(8,), seeds=[0, 1])


@pytest.fixture(scope="module")
def library():
    parameters = surrogates.library_parameters(CASE, 60)
    return parameters, CASE.trajectories(parameters)


@pytest.fixture(scope="module")
def made(surrogate, library):
    return observers.pairs(surrogate, *library, ONCE, MOMENTS)


@pytest.fixture(scope="module")
def observer(made):
    model = observers.Observer(ONCE, CASE.times[1:], 5, 24, [0, 1])
    data = Shuffled(model.learn(*made), 60, [0, 1], [False, True])
    fit(model, data, steps=150, seeds=[0, 1], learning_rate=3e-2, clip=1.0, progress=False)
    return model


def observed(observer, runs=(), count=5, std=1e-9):
    parameters = CASE.draw(max(1, torch.Size(runs).numel()), generator(5, "truth"))
    truth = CASE.trajectories(parameters)[1 : count + 1]
    seen = CASE.points(ONCE)(truth).transpose(0, 1).flatten(1).reshape(*runs, -1)
    return parameters, measure(looking(times=CASE.times[1 : count + 1]), seen, std, generator(6, "noise"))


def test_pairs_are_what_sensors_see_and_the_surrogate_s_own_latents(surrogate, library, made):
    parameters, trajectories = library
    values, targets = made
    assert values.shape == (60, 5, 5) and targets.shape == (2, 60, 5, 5)
    torch.testing.assert_close(values[7, 2], CASE.points(ONCE)(trajectories[3, 7]))
    u = CASE.scaled(parameters)
    with torch.no_grad():
        torch.testing.assert_close(targets[1, :, 3, :3], surrogate.net.trajectory(u.expand(2, -1, -1))[1, 4])
    torch.testing.assert_close(targets[0, :, 0, 3:], u)
    swapped = observers.pairs(surrogate, *library, ONCE, [2], [1, 0, 1])[1]
    torch.testing.assert_close(swapped, targets[[1, 0, 1], :, 1:2])


def test_it_finds_latents_and_parameters_of_trajectories_it_has_not_seen(surrogate, observer):
    parameters = CASE.draw(20, generator(9, "held out"))
    values, targets = observers.pairs(surrogate, parameters, CASE.trajectories(parameters), ONCE, MOMENTS)
    for model in (0, 1):
        error = (observer.read(values, model) - targets[model]).square().mean((0, 1)).sqrt()
        assert (error < 0.4 * targets[model].std((0, 1))).all(), "the mean has 1"


def test_one_model_reads_what_the_stack_does_and_batches_are_single_runs(observer, made):
    values = made[0][:4]
    with torch.no_grad():
        both = observer(values.expand(2, -1, -1, -1))
    for model in (0, 1):
        torch.testing.assert_close(observer.read(values, model), both[model])
        torch.testing.assert_close(observer.read(values[1:2], model)[0], both[model, 1])


def test_a_loss_of_one_model_does_not_depend_on_the_other_and_noise_makes_it_harder(observer, made):
    batch = [observer.sensors(made[0]).expand(2, -1, -1, -1), made[1]]
    batch[1] = (batch[1] - observer.center[:, None, None]) / observer.scale[:, None, None]
    rng = lambda: [generator(i, "loss") for i in (0, 1)]  # noqa: E731
    noisy = copy.deepcopy(observer)
    noisy.noise = 0.3
    both = noisy.loss(batch, 0, rng())[0]
    assert (both > 1.2 * observer.loss(batch, 0, rng())[0]).all()
    noisy.lstm, noisy.head = pick(noisy.lstm, [1]), pick(noisy.head, [1])
    torch.testing.assert_close(noisy.loss([b[1:] for b in batch], 0, rng()[1:])[0], both[1:])


def test_what_is_encoded_at_a_time_depends_on_no_later_observation(observer):
    _, obs = observed(observer, (3,))
    all_of_them = encoded(observer, obs, 1)
    assert all_of_them.value.shape == (3, 25)
    early = encoded(observer, obs.rows(obs.time < float(CASE.times[3]) - 1), 1)
    torch.testing.assert_close(early.value, all_of_them.value[:, :10])
    torch.testing.assert_close(all_of_them.std[:5], 0.1 * observer.scale[1])


def test_runs_side_by_side_are_runs_alone_in_any_order_of_times(observer):
    _, obs = observed(observer, (2, 3))
    both = encoded(observer, obs)
    shuffled = obs.rows(torch.arange(25).unflatten(0, (5, 5)).flip(0).flatten())
    torch.testing.assert_close(encoded(observer, shuffled).value, both.value)
    one = encoded(observer, obs._replace(value=obs.value[1, 2]))
    torch.testing.assert_close(one.value, both.value[1, 2])


def test_missing_sensors_and_other_networks_are_errors(observer):
    _, obs = observed(observer)
    value = obs.value.clone()
    value[7] = float("nan")
    with pytest.raises(ValueError, match="observation 7 at time .* has no finite value.*bound to the sensors.*LEVDA"):
        encoded(observer, obs._replace(value=value))
    with pytest.raises(ValueError, match="there are 4 observations; expected 5: an encoder .* train one for these"):
        encoded(observer, obs.rows(torch.arange(25) != 3))
    with pytest.raises(
        ValueError, match=r"observation 0 .* channel 2 at \[210000.0, 300000.0\]; expected channel 2 at"
    ):
        encoded(observer, obs._replace(where=obs.where + torch.tensor([1e4, 0.0])))
    with pytest.raises(ValueError, match="is of channel 1"):
        encoded(observer, obs._replace(channel=obs.channel - 1))
    with pytest.raises(ValueError, match="time 0 of the observations is .*; expected .* a memory.*`moments`"):
        encoded(observer, obs.rows(obs.time > float(CASE.times[2]) - 1))


def test_a_channel_that_never_changes_is_an_error():
    model = observers.Observer(ONCE, CASE.times[1:], 5, 8, [0])
    with pytest.raises(ValueError, match="channel 2 show 3 at all times; leave the channel out"):
        model.learn(torch.full((4, 5, 5), 3.0), torch.randn(1, 4, 5, 5, generator=generator(0)))


def test_a_network_of_several_moments_is_an_error():
    with pytest.raises(ValueError, match="a network of 5 moments; expected one"):
        observers.Observer(looking(), CASE.times[1:], 5, 8, [0])


def test_weights_come_back(observer, made, tmp_path):
    weights.save(observer, tmp_path / "o.safetensors", {"a": 1}, History())
    again = observers.Observer(ONCE, CASE.times[1:], 5, 24, [3, 4])
    weights.load(again, tmp_path / "o.safetensors", {"a": 1})
    torch.testing.assert_close(again.read(made[0], 1), observer.read(made[0], 1))


def test_encoders_are_trained_from_nothing_and_known_by_network_and_surrogate(surrogate, monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("LATENTKIT_WEIGHTS", str(tmp_path))
    more = {"hidden": 8, "library": 12, "steps": 30, "learning_rate": 1e-2, "settings": {"width": 2e5}}
    model, history = observers.obtain(surrogate, "tiny_observer", ONCE, seeds=[0, 1], **more)
    assert "trained anew" in capsys.readouterr().out
    assert history.values["error"][-1].mean() < history.values["error"][0].mean()
    assert (next(tmp_path.glob("tiny_observer-*.safetensors"))).stat().st_size < 2e4
    assert all(torch.equal(p, p.half().float()) for p in model.parameters())
    with pytest.raises(ValueError, match=r"models \[0, 1, 2\] of a surrogate of 2, 3 seeds"):
        observers.obtain(surrogate, "tiny_observer", ONCE, seeds=[0, 1, 2], **more)


@pytest.mark.parametrize("how, factor", [(PUBLISHED, 100), ({"score": "mixture"}, 1)])
def test_the_filter_finds_latents_and_parameters_in_several_runs_at_once(surrogate, observer, how, factor):
    latent, unit = Latent(surrogate, 1), observer.scale[1] / factor
    truth, obs = observed(observer, (2, 3), std=0.01)
    drawn = CASE.draw(120, generator(7, "members")).reshape(2, 3, 20, 2)
    course = cycle(
        latent.start(drawn), CASE.times.tolist(), encoded(observer, obs, 1, std=0.1 * unit), forecast=latent.forecast,
        observe=whole, analyze=EnSF(whole, scale=unit, **how), rng=generator(8, "filter"),
    )  # fmt: skip
    assert course.mean.shape == (5, 2, 3, 5) and course.diverged is None
    ideal = latent.start(truth.reshape(2, 3, 1, 2), float(CASE.times[-1]))[..., 0, :]
    off = ((course.mean[-1] - ideal) / observer.scale[1]).square().mean().sqrt()
    prior = latent.start(drawn, float(CASE.times[-1])).mean(-2)
    assert off < 0.5 * ((prior - ideal) / observer.scale[1]).square().mean().sqrt()
    found, truth = latent.parameters(course.mean[-1]), truth.reshape(2, 3, 2)
    assert (found - truth).square().mean() < 0.25 * (drawn.mean(-2) - truth).square().mean()
