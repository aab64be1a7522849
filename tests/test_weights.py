"""Weights load under their own identity alone; anything else is an error that says what differs."""

import math

import pytest
import torch
from safetensors import safe_open
from torch import nn

from latentkit.models import weights
from latentkit.models.cvae import CVAE
from latentkit.models.train import History, generator
from latentkit.presets import preset
from latentkit.presets.lccvae import JOINT

DATA = {"name": "archive", "period": ["1979-01", "1986-12"], "sha256": "00", "opened": "as is"}


def model(seed):
    return CVAE(5, 3, 2, (4,), [generator(seed), generator(seed + 1)])


def history():
    found = History(every=20, seconds=12.0)
    found.add({"total": [1.0, 2.0]})
    return found


def who(**more):
    return weights.identity(preset("lccvae", "teaching", **more), [0, 1], DATA)


def test_round_trip(tmp_path):
    first, second = model(0), model(7)
    weights.save(first, tmp_path / "a.safetensors", who(), history())
    found = weights.load(second, tmp_path / "a.safetensors", who())
    for a, b in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(a, b)
    assert found.seconds == 12.0 and found.every == 20 and found.values["total"].tolist() == [[1.0, 2.0]]


def test_another_identity_is_an_error_that_lists_the_differences(tmp_path):
    weights.save(model(0), tmp_path / "a.safetensors", who(), history())
    kept = model(7)
    before = [p.clone() for p in kept.parameters()]
    with pytest.raises(weights.MismatchError, match="preset.steps is 2000 there and 5 here. Train anew"):
        weights.load(kept, tmp_path / "a.safetensors", who(steps=5))
    other = weights.identity(preset("lccvae", "teaching"), [3, 4], DATA | {"sha256": "11"})
    with pytest.raises(weights.MismatchError, match=r'data.sha256 is "00" there and "11" here; seeds is \[0, 1\]'):
        weights.load(kept, tmp_path / "a.safetensors", other)
    assert all(torch.equal(a, b) for a, b in zip(before, kept.parameters(), strict=True))


def test_a_file_without_identity_is_an_error(tmp_path):
    from safetensors.torch import save_file

    save_file({"x": torch.zeros(2)}, tmp_path / "a.safetensors")
    with pytest.raises(weights.MismatchError):
        weights.load(model(0), tmp_path / "a.safetensors", who())


def test_what_is_not_shipped_is_trained_and_kept_where_asked(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("LATENTKIT_WEIGHTS", str(tmp_path))
    weights.obtain(model(0), "no_such_weights", who(), lambda m, checkpoint: history())
    assert "no_such_weights: trained anew (none are shipped)" in capsys.readouterr().out
    weights.load(model(1), next(tmp_path.glob("no_such_weights-*.safetensors")), who())


def test_half_precision_is_the_same_for_a_trained_model_and_a_loaded_one(tmp_path, monkeypatch):
    monkeypatch.setenv("LATENTKIT_WEIGHTS", str(tmp_path))
    trained, loaded = model(0), model(7)
    weights.obtain(trained, "no_such_weights", who(), lambda m, checkpoint: history(), bits=16)
    weights.load(loaded, next(tmp_path.glob("no_such_weights-*.safetensors")), who())
    for a, b in zip(trained.parameters(), loaded.parameters(), strict=True):
        assert a.dtype == b.dtype == torch.float32 and torch.equal(a, b)
    weights.save(trained, tmp_path / "whole.safetensors", who(), history())
    state = trained.state_dict()
    for file, kind in (("no_such_weights", torch.float16), ("whole", torch.float32)):
        with safe_open(next(tmp_path.glob(f"{file}*")), "pt") as content:
            found = {k: content.get_tensor(k) for k in content.keys() if not k.startswith("history/")}
        assert found.keys() == {f"model/{name}" for name in state}
        assert all(torch.equal(tensor, state[k.removeprefix("model/")].to(kind)) for k, tensor in found.items())
        assert {tensor.dtype for tensor in found.values()} == {kind}
    sizes = [next(tmp_path.glob(f"{name}*")).stat().st_size for name in ("no_such_weights", "whole")]
    assert sizes[0] < sizes[1]


def rounded(tensor, bits=8):
    """Return a tensor after rounding it as a parameter."""
    net = nn.ParameterList([tensor.clone()])
    weights.round_to(net, bits)
    return net[0].detach()


def wide(seed):
    """Return a model with matrices of 24, 20 and 2 rows, and a buffer."""
    net = CVAE(20, 4, 2, (32,), [generator(seed), generator(seed + 1)])
    net.register_buffer("table", torch.randn(2, 40, 3, generator=generator(seed)))
    return net


def test_eight_bits_are_the_same_for_a_trained_model_and_a_loaded_one(tmp_path, monkeypatch):
    monkeypatch.setenv("LATENTKIT_WEIGHTS", str(tmp_path))
    before, trained, loaded = wide(0), wide(0), wide(7)
    weights.obtain(trained, "no_such_weights", who(), lambda m, checkpoint: history(), bits=8)
    (file,) = tmp_path.glob("no_such_weights-*.safetensors")
    weights.load(loaded, file, who())
    for (name, a), b in zip(trained.state_dict().items(), loaded.state_dict().values(), strict=True):
        assert a.dtype == b.dtype == torch.float32 and torch.equal(a, b), name
    with safe_open(file, "pt") as content:
        kinds = {k: content.get_tensor(k).dtype for k in content.keys()}
    assert kinds["model/encoder.layers.0.weight"] == torch.int8, "24 rows"
    assert kinds["scale/encoder.layers.0.weight"] == torch.float16
    small = ("conditional.layers.0.weight", "encoder.layers.0.bias", "log_noise", "table")
    assert all(kinds[f"model/{name}"] == torch.float16 and f"scale/{name}" not in kinds for name in small)
    assert torch.equal(trained.table, before.table.half().float()), "a buffer is no parameter"
    weights.save(trained, tmp_path / "again.safetensors", who(), history(), bits=8)
    weights.load(before, tmp_path / "again.safetensors", who())
    assert all(torch.equal(a, b) for a, b in zip(trained.parameters(), before.parameters(), strict=True))
    weights.save(trained, tmp_path / "half.safetensors", who(), history(), bits=16)
    assert file.stat().st_size < (tmp_path / "half.safetensors").stat().st_size


@pytest.mark.parametrize("bits", [16, 8])
def test_what_was_rounded_once_is_rounded_to_itself(bits):
    columns = torch.randn(3, 40, 200, generator=generator(0)) * torch.logspace(-12, 4, 200)
    columns[:, :, 7] = 0.0
    columns[:, 1:, 8] = 0.0
    once = rounded(columns, bits)
    assert torch.equal(rounded(once, bits), once) and not once[:, :, 7].any() and once.isfinite().all()
    if bits == 8:
        largest = columns.abs().amax(1, keepdim=True)
        step = (largest / 127).clamp_min(2.0**-17) * (1 + 2.0**-8)  # (1), with what half precision leaves of it
        assert ((once - columns).abs() <= step / 2).all()


def test_a_column_in_eight_bits_is_the_formula():
    column = torch.linspace(-2.54, 1.27, 16)[:, None]
    scale = float(torch.tensor(2.54 / 127).half())
    expected = [max(-127, min(127, round(float(w) / scale))) * scale for w in column[:, 0]]
    assert rounded(column)[:, 0].tolist() == pytest.approx(expected, rel=1e-6)
    assert torch.equal(rounded(column[1:]), column[1:].half().float()), "fifteen rows"


def test_what_half_precision_does_not_hold_is_an_error(tmp_path):
    big = torch.ones(2, 20, 3)
    big[0, 0, 0] = 7e4
    assert rounded(big)[0, 0, 0] == pytest.approx(7e4, rel=1e-3), "its scale is held"
    for tensor, bits, told in (
        (big, 16, "0 reaches 7e\\+04; expected .* within 65504, .* bits=32"),
        (big[:, :15], 8, "0 reaches 7e\\+04"),
        (big * 200, 8, "0 reaches 1.4e\\+07"),
        (big * math.nan, 8, "0 reaches nan"),
    ):
        with pytest.raises(ValueError, match=told):
            rounded(tensor, bits)
    with pytest.raises(ValueError, match="weights of 4 bits are asked for; expected 32, 16 or 8"):
        weights.save(model(0), tmp_path / "a.safetensors", who(), history(), bits=4)
    assert not list(tmp_path.iterdir())


def test_fields_that_a_training_does_not_depend_on_may_differ():
    first, second = (weights.identity(preset("lccvae", "teaching", neighbors=k), [0], DATA, only=JOINT) for k in (3, 5))
    assert first == second
    other = weights.identity(preset("lccvae", "teaching", steps=5), [0], DATA, only=JOINT)
    assert list(weights.differences(first, other)) == ["preset.steps"]


def test_weights_of_one_s_own_are_found_again(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("LATENTKIT_WEIGHTS", str(tmp_path))
    trained, found, calls = model(0), model(7), []

    def fit(m, checkpoint):
        calls.append(1)
        return history()

    for one in (trained, found):
        weights.obtain(one, "no_such_weights", who(), fit, bits=16)
    assert len(calls) == 1 and "weights of one's own" in capsys.readouterr().out
    assert all(torch.equal(a, b) for a, b in zip(trained.parameters(), found.parameters(), strict=True))
    weights.obtain(model(1), "no_such_weights", who(steps=5), fit)
    assert len(calls) == 2, "another training is another identity"
    weights.obtain(model(1), "no_such_weights", who(steps=5), fit, retrain=True)
    weights.obtain(found, "no_such_weights", who(), fit, bits=16)
    assert len(calls) == 3, "another identity of the same name does not replace it"
    monkeypatch.delenv("LATENTKIT_WEIGHTS")
    weights.obtain(model(1), "no_such_weights", who(steps=5), fit)
    assert len(calls) == 4
