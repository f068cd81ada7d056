"""The dashboard in docs/grafana is one that Grafana takes, and asks for nothing that a real service does not have."""

from __future__ import annotations

import asyncio
import json
import re
import urllib.request
from itertools import product
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("grpc")
pytest.importorskip("prometheus_client")

import jsonschema
from prometheus_client.parser import text_string_to_metric_families

pytestmark = pytest.mark.usefixtures("leak_check")

DASHBOARD = json.loads((Path(__file__).parents[2] / "docs" / "grafana" / "remotemedia.json").read_text())
SCHEMA = json.loads((Path(__file__).parent / "data" / "dashboard.schema.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
QUERIES = [(target["expr"], target["legendFormat"]) for panel in PANELS for target in panel["targets"]]
VARIABLES = [variable for variable in DASHBOARD["templating"]["list"] if variable["type"] == "query"]


def metrics_in(query: str) -> set[str]:
    return set(re.findall(r"\bremotemedia_\w+", query))


def labels_in(query: str) -> set[str]:
    grouped = [label for labels in re.findall(r"\bby \(([^)]*)\)", query) for label in labels.split(", ")]
    return {*grouped, *re.findall(r"(\w+)=~?\"", query)}


def test_its_form() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    jsonschema.Draft202012Validator(SCHEMA).validate(DASHBOARD)
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
    titles = [panel["title"] for panel in PANELS]
    assert len(set(titles)) == len(titles)


def test_no_panel_lies_on_another() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = set(product(range(at["x"], at["x"] + at["w"]), range(at["y"], at["y"] + at["h"])))
        assert not taken & cells and at["x"] + at["w"] <= 24, panel["title"]
        taken |= cells


@pytest.mark.parametrize(("query", "legend"), QUERIES)
def test_a_query(query: str, legend: str) -> None:
    """What is often wrong in one, and shows nothing, or nonsense, in Grafana."""
    assert all(query.count(opening) == query.count(closing) for opening, closing in ("()", "{}", "[]"))
    grouped = labels_in(query)
    assert set(re.findall(r"{{(\w+)}}", legend)) <= grouped - {"le"}
    assert set(re.findall(r"\$(\w+)", query)) <= {"__rate_interval", *(variable["name"] for variable in VARIABLES)}
    assert ("histogram_quantile(" in query) == ("_bucket" in query) == ("le" in grouped)
    for metric in metrics_in(query):
        counts = metric.endswith(("_total", "_bucket", "_count", "_sum"))
        assert (f"rate({metric}" in query) == counts, f"{metric} is a counter, or is none"


def test_a_real_service_has_all_of_it(sv: Any) -> None:
    def scrape(url: str) -> dict[str, set[str]]:
        with urllib.request.urlopen(url) as answer:
            families = text_string_to_metric_families(answer.read().decode())
        labels: dict[str, set[str]] = {}
        for sample in (sample for family in families for sample in family.samples):
            labels.setdefault(sample.name, set()).update(sample.labels)
        return labels

    async def main() -> dict[str, set[str]]:
        async with sv.serving(metrics_port=0) as client:
            await client.result(sv.chain("t-echo", "t-echo"), {"n0": "x"})
            stream = await client.ready(sv.chain("t-echo", "t-echo"))
            await stream.chunk("n0", "x")
            await stream.result()
            found = await asyncio.to_thread(scrape, client.service.metrics_url)
            await stream.close()
            await stream.finish()
            return found

    labels = asyncio.run(main())
    asked = [query for query, _ in QUERIES]
    for query in asked:
        for metric in metrics_in(query):
            assert metric in labels, f"{metric} is on no page of metrics"
            assert labels_in(query) <= labels[metric], query
    for variable in VARIABLES:
        (metric,) = metrics_in(variable["query"])
        label = re.fullmatch(r"label_values\(.*, (\w+)\)", variable["query"])
        assert label is not None and label[1] in labels[metric]
    # And it leaves out nothing that an operator would look for first.
    for part in ("first_output", "latency", "failures", "drops", "blocked", "sessions", "memory", "cpu", "refused"):
        assert any(part in metric for query in asked for metric in metrics_in(query)), part
