"""Losses, which are differentiated through their function bodies, against torch."""

import pytest
import torch

NO_CLASS = -1


def torch_loss(logits, reduction):
    def oracle(x, target, weight=None, *_):
        function = torch.nn.functional.cross_entropy if logits else torch.nn.functional.nll_loss
        loss = function(
            torch.from_numpy(x),
            torch.from_numpy(target),
            weight=None if weight is None else torch.from_numpy(weight),
            ignore_index=NO_CLASS,
            reduction=reduction,
        )
        return [loss.numpy()]

    return oracle


@pytest.mark.parametrize("op_type", ["SoftmaxCrossEntropyLoss", "NegativeLogLikelihoodLoss"])
@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize("with_weight", [False, True])
@pytest.mark.parametrize("space", [(), (2, 3)])
def test_losses(check_vjp, rng, op_type, reduction, with_weight, space):
    target = rng.integers(0, 4, (3, *space))
    target.flat[1] = NO_CLASS
    check_vjp(
        op_type,
        rng.standard_normal((3, 4, *space)),
        target,
        rng.uniform(0.5, 1, 4) if with_weight else None,
        wrt=[0],
        opset=18,
        oracle=torch_loss(op_type.startswith("Softmax"), reduction),
        reduction=reduction,
        ignore_index=NO_CLASS,
    )


def test_log_probabilities_have_a_gradient_too(check_vjp, rng):
    def oracle(x, target):
        (loss,) = torch_loss(True, "mean")(x, target)
        return [loss, torch.log_softmax(torch.from_numpy(x), 1).numpy()]

    x, target = rng.standard_normal((3, 4)), rng.integers(0, 4, 3)
    check_vjp("SoftmaxCrossEntropyLoss", x, target, outputs=2, oracle=oracle, opset=18)
