"""Methods are values that the name or the user gives."""

import dataclasses

import pytest

import igrt
from igrt.errors import InputError
from igrt.methods import (
    LRP,
    METHODS,
    DeepLift,
    ExpectedGradients,
    Gradients,
    InputXGradient,
    named,
)

POINT = sorted(
    n for n, m in METHODS.items() if hasattr(m, "scheme") and n != "integrated_gradients"
)


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


def test_every_method_has_its_name():
    for name, method in METHODS.items():
        assert method.name == name
        assert named(name.replace("_", "")) is method


def test_a_fixed_rule_has_the_number_of_nodes_asked_for():
    assert len(igrt.IntegratedGradients().scheme("midpoint", 4, 1e-2).stages[0].alphas) == 4
    assert named("internal_influence").inner_scheme("midpoint", 4, 1e-2).scheme.tolerance is None
    assert named("conductance").inner_scheme(None, 4, 1e-2).steps == 4


def test_methods_without_a_quadrature_rule_refuse_one():
    with pytest.raises(InputError, match="rule"):
        named("expected_gradients").sampling("left", None, 1e-2, 0)
    with pytest.raises(InputError, match="rule"):
        named("conductance").inner_scheme("left", None, 1e-2)


def test_draws_that_contradict_each_other_are_refused():
    method = ExpectedGradients(draws=10)
    assert method.sampling(None, 10, 1e-2, 0).draws == 10
    with pytest.raises(InputError, match="10 draws and n_steps=20"):
        method.sampling(None, 20, 1e-2, 0)


@pytest.mark.parametrize(("draws", "seed"), [(0, 0), (-3, 0), (2.5, 0), (True, 0), (4, -1)])
def test_draws_and_seeds_are_whole_numbers(draws, seed):
    with pytest.raises(InputError, match="whole number"):
        ExpectedGradients(draws=draws).sampling(None, None, 1e-2, seed)
