"""Methods are values that the name or the user gives."""

import dataclasses

import pytest

import igrt
from igrt.errors import InputError
from igrt.methods import LRP, METHODS, DeepLift, Gradients, InputXGradient, named

POINT = sorted(set(METHODS) - {"integrated_gradients"})


@pytest.mark.parametrize("name", ["integrated_gradients", "ig", "IG", "IntegratedGradients"])
def test_names_and_aliases(name):
    assert named(name) == igrt.IntegratedGradients()


@pytest.mark.parametrize(
    ("name", "method"),
    [
        ("saliency", Gradients()),
        ("InputXGradient", InputXGradient()),
        ("gradient_x_input", InputXGradient()),
        ("DeepLift", DeepLift()),
        ("lrp", LRP()),
    ],
)
def test_names_of_other_tools(name, method):
    assert named(name) == method


def test_a_method_object_is_taken_as_it_is():
    method = igrt.IntegratedGradients()
    assert named(method) is method
    with pytest.raises(dataclasses.FrozenInstanceError):
        method.name = "other"


@pytest.mark.parametrize("method", ["saliencyy", 3, None])
def test_anything_else_is_refused(method):
    with pytest.raises(InputError, match="method"):
        named(method)


def test_every_method_is_known_by_its_name():
    assert all(method.name == name for name, method in METHODS.items())


def test_a_path_has_the_steps_asked_for():
    scheme = igrt.IntegratedGradients().scheme("midpoint", 4, 1e-2)
    assert len(scheme.stages[0].alphas) == 4


@pytest.mark.parametrize("name", POINT)
def test_a_point_is_one_evaluation_at_the_input(name):
    scheme = METHODS[name].scheme(None, None, 1e-2)
    assert scheme.name == "none"
    assert scheme.tolerance is None
    assert [s.alphas.tolist() for s in scheme.stages] == [[1.0]]


@pytest.mark.parametrize("name", POINT)
@pytest.mark.parametrize(("rule", "n_steps"), [("midpoint", None), (None, 50), ("left", 1)])
def test_a_point_has_no_steps(name, rule, n_steps):
    with pytest.raises(InputError, match=f"{name} is one evaluation at the input"):
        METHODS[name].scheme(rule, n_steps, 1e-2)


@pytest.mark.parametrize("method", [DeepLift, LRP])
@pytest.mark.parametrize("epsilon", [0, -1e-6, float("nan"), float("inf"), "small", True])
def test_epsilon_is_a_positive_number(method, epsilon):
    with pytest.raises(InputError, match="epsilon"):
        method(epsilon=epsilon)
