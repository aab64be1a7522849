"""A stack of networks is its networks, one by one."""

import pytest
import torch

from latentkit.models.nets import MLP, Dense, normal
from latentkit.models.train import generator


def test_dense_is_a_linear_layer_of_torch():
    dense = Dense(5, 3, [generator(0, "a"), generator(1, "a")])
    x = torch.randn(2, 7, 5, generator=generator(2))
    for s in range(2):
        expected = torch.nn.functional.linear(x[s], dense.weight[s].T, dense.bias[s, 0])
        torch.testing.assert_close(dense(x)[s], expected)


def test_stack_equals_single_networks():
    stack = MLP([4, 8, 2], [generator(0), generator(1), generator(2)])
    x = torch.randn(3, 6, 4, generator=generator(9))
    for s in range(3):
        alone = MLP([4, 8, 2], [generator(s)])
        torch.testing.assert_close(alone(x[s : s + 1])[0], stack(x)[s])


def test_noise_of_a_model_does_not_depend_on_the_stack():
    like = torch.zeros(())
    both = normal((3, 2), [generator(0), generator(1)], like)
    alone = normal((3, 2), [generator(1)], like)
    assert torch.equal(both[1], alone[0])


def test_one_width_is_no_network():
    with pytest.raises(ValueError, match="input and an output width"):
        MLP([4], [generator(0)])
