"""Which node and file an option of ``remotemedia run`` means, where ids look like options themselves."""

import pytest

from remotemedia.cli._run_plan import plan_inputs, plan_outputs
from remotemedia.core.multiprocessing import MultiprocessNode, Pipeline, register_node


@register_node("plan-any")
class Any(MultiprocessNode):
    async def initialize(self):
        pass

    async def process(self, data):
        return data

    async def cleanup(self):
        pass


def apart(*node_ids):
    pipeline = Pipeline()
    for node_id in node_ids:
        pipeline.add_node("plan-any", node_id)
    return pipeline


def test_the_longest_id_is_meant():
    pipeline = apart("a", "a=b", "a.b", "x/y")
    given = ["a=1", "a=b=2", "a.b=c=3", "x/y=4"]
    assert plan_inputs(pipeline, given) == {"a": "1", "a=b": "2", "a.b": "c=3", "x/y": "4"}
    assert plan_outputs(pipeline, ["a.p=1", "a.b=2", "a.b.p=3", "x/y.p.q=4"], []) == [
        ("a", "p", "1"),
        ("a.b", None, "2"),
        ("a.b", "p", "3"),
        ("x/y", "p.q", "4"),
    ]


@pytest.mark.parametrize("file", ["./a=1", "/tmp/x=y", "plain"])
def test_a_path_is_no_node(file):
    assert plan_inputs(apart("node"), [file]) == {"node": file}
    assert plan_outputs(apart("node"), [file], []) == [("node", None, file)]
