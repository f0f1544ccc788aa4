"""Ranks of tensors, from the operators that read them."""

import pytest
from onnx import parser

from igrt.graph import Graph
from igrt.graph.uses import ranks_of_uses

SQUEEZE = """
    <ir_version: 8, opset_import: ["": 18]>
    g (bool c, float[N, K, M, L] x, float[8, 4, 3] w) => (float[A, B, C] y) {{
        h = If (c) <
            then_branch = t () => (u) {{ o = Constant <value_ints = [1]> () u = Squeeze (x, o) }},
            else_branch = e () => (v) {{ v = Identity (x) }}
        >
        {}
    }}
"""


@pytest.mark.parametrize(
    "use",
    [
        "y = Conv (h, w)",
        "y = Transpose <perm = [0, 2, 1]> (h)",
        "r = Relu (h) p = Softmax (r) y = Conv (p, w)",
    ],
)
def test_an_if_whose_branches_disagree_has_the_rank_of_its_use(use):
    assert Graph(parser.parse_model(SQUEEZE.format(use))).spec("h").rank == 3


def test_a_use_that_takes_any_rank_says_nothing():
    graph = Graph(parser.parse_model(SQUEEZE.format("y = Mul (h, h)")))
    assert graph.spec("h").shape is None
    assert ranks_of_uses(graph.nodes, {}, {"h"}) == {}
