"""A stack of recurrent networks: each is torch's own, and none looks ahead."""

import torch

from latentkit.models.lstm import LSTM
from latentkit.models.nets import pick
from latentkit.models.train import generator

MODEL = LSTM(3, 7, [generator(i, "init") for i in range(2)])
X = torch.randn(2, 5, 6, 3, generator=generator(0, "x"))


def test_each_model_is_torchs_with_the_same_weights():
    made = MODEL(X)
    for s in range(2):
        peer = torch.nn.LSTM(3, 7, batch_first=True)
        with torch.no_grad():
            peer.weight_ih_l0.copy_(MODEL.inward[s].T)
            peer.weight_hh_l0.copy_(MODEL.onward[s].T)
            peer.bias_ih_l0.copy_(MODEL.bias[s, 0])
            peer.bias_hh_l0.zero_()
        torch.testing.assert_close(made[s], peer(X[s])[0])


def test_gradients_are_torchs():
    peer = torch.nn.LSTM(3, 7, batch_first=True)
    peer.load_state_dict({
        "weight_ih_l0": MODEL.inward[1].T, "weight_hh_l0": MODEL.onward[1].T, "bias_ih_l0": MODEL.bias[1, 0],
        "bias_hh_l0": torch.zeros(28),
    })  # fmt: skip
    (slope,) = torch.autograd.grad(MODEL(X).square().sum(), MODEL.onward)
    (expected,) = torch.autograd.grad(peer(X[1])[0].square().sum(), peer.weight_hh_l0)
    torch.testing.assert_close(slope[1], expected.T)


def test_a_stack_is_its_models():
    torch.testing.assert_close(pick(MODEL, [1])(X[1:])[0], MODEL(X)[1])


def test_it_does_not_look_ahead():
    other = X.clone()
    other[:, :, 4:] += 1
    made, changed = MODEL(X), MODEL(other)
    torch.testing.assert_close(made[:, :, :4], changed[:, :, :4])
    assert (made[:, :, 4:] != changed[:, :, 4:]).all()
