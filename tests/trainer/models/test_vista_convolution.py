"""Convolutions over time as planes: the same answers, gradients and names."""

import copy

import pytest
import torch
from torch import nn

from trainer.models.vista.convolution import OverTime, flatten_convolutions


@pytest.mark.parametrize("length", [1, 3])
def test_planes_give_the_answers_and_gradients_of_volumes(length):
    torch.manual_seed(0)
    volume = nn.Conv3d(4, 6, (length, 1, 1), padding=(length // 2, 0, 0))
    plane = OverTime(copy.deepcopy(volume))
    clips = torch.randn(2, 5, 4, 7, 3).transpose(1, 2)  # as the blocks give them: not contiguous
    ours, theirs = clips.clone().requires_grad_(), clips.clone().requires_grad_()
    for layer, taken in ((plane, ours), (volume, theirs)):
        layer(taken).square().sum().backward()
    torch.testing.assert_close(plane(clips), volume(clips))
    torch.testing.assert_close(ours.grad, theirs.grad)
    torch.testing.assert_close(plane.weight.grad, volume.weight.grad)
    torch.testing.assert_close(plane.bias.grad, volume.bias.grad)


def test_only_layers_over_time_are_changed_and_names_stay():
    over_time, in_space = nn.Conv3d(2, 2, (3, 1, 1), padding=(1, 0, 0)), nn.Conv3d(2, 2, 3, padding=1)
    network = nn.ModuleDict({"a": nn.Sequential(over_time), "b": in_space, "c": nn.Conv3d(2, 2, (3, 1, 1), stride=2)})
    names = list(network.state_dict())
    flatten_convolutions(network)
    assert list(network.state_dict()) == names
    assert type(network["a"][0]) is OverTime
    assert network["a"][0].weight is over_time.weight
    assert type(network["b"]) is type(network["c"]) is nn.Conv3d


def test_no_slow_layer_is_left_in_vistas_networks():
    from trainer.models.vista.build import make_autoencoder, make_unet
    from trainer.models.vista.config import FROZEN, PRESETS

    for network in (make_unet(PRESETS["tiny"]), make_autoencoder(FROZEN["tiny"][0])):
        kinds = [type(layer) for layer in network.modules() if isinstance(layer, nn.Conv3d)]
        assert kinds
        assert set(kinds) == {OverTime}
