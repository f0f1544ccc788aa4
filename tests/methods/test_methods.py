"""Methods are values that the name or the user gives."""

import dataclasses

import pytest

import igrt
from igrt.errors import InputError
from igrt.methods import METHODS, named


@pytest.mark.parametrize("name", ["integrated_gradients", "ig", "IG", "IntegratedGradients"])
def test_names_and_aliases(name):
    assert named(name) == igrt.IntegratedGradients()


def test_a_method_object_is_taken_as_it_is():
    method = igrt.IntegratedGradients()
    assert named(method) is method
    with pytest.raises(dataclasses.FrozenInstanceError):
        method.name = "other"


@pytest.mark.parametrize("method", ["saliencyy", 3, None])
def test_anything_else_is_refused(method):
    with pytest.raises(InputError, match="method"):
        named(method)


def test_every_method_gives_a_scheme():
    for name, method in METHODS.items():
        assert method.name == name
        assert len(method.scheme("midpoint", 4, 1e-2).stages[0].alphas) == 4
