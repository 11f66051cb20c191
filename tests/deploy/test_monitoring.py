"""Every metric that alerts and dashboard name is one that a process exports, and every alert is explained."""

import importlib
import json
import re
from collections.abc import Iterator
from types import SimpleNamespace

from prometheus_client import REGISTRY
from support.manifests import KUBERNETES, ROOT, of_kind

MONITORING = KUBERNETES / "components" / "monitoring"


def exported() -> set[str]:
    from adsml_common.serving.telemetry import ModelCollector
    from adsml_common.store.freshness import account_gauges
    from adsml_common.training.metrics import run_gauges

    for module in ("adsml_common.serving.telemetry", "adsml_common.training.launcher"):
        importlib.import_module(module)
    families = [
        *REGISTRY.collect(),
        *ModelCollector(SimpleNamespace(in_memory=list, stats=dict)).collect(),  # type: ignore[arg-type]  # likewise
        *run_gauges(SimpleNamespace(), ()),  # type: ignore[arg-type]  # not read
        *account_gauges(SimpleNamespace(list=list)),  # type: ignore[arg-type]  # likewise
    ]
    names: set[str] = set()
    for family in families:
        suffixes = {"counter": ("_total",), "histogram": ("_bucket", "_count", "_sum")}.get(
            family.type, ("",)
        )
        names |= {f"{family.name}{suffix}" for suffix in suffixes}
    return names


def expressions() -> Iterator[str]:
    for rule in of_kind("overlays/production", "PrometheusRule").values():
        for group in rule["spec"]["groups"]:
            yield from (one["expr"] for one in group["rules"])
    dashboard = json.loads((MONITORING / "adsml.json").read_text())
    for panel in dashboard["panels"]:
        yield from (target["expr"] for target in panel.get("targets", ()))


def test_they_exist() -> None:
    named = {name for one in expressions() for name in re.findall(r"\badsml_[a-z_]+", one)}
    assert len(named) > 10
    assert named <= exported()


def test_every_alert_is_explained() -> None:
    page = (ROOT / "docs" / "operations.md").read_text()
    for rule in of_kind("overlays/production", "PrometheusRule").values():
        for group in rule["spec"]["groups"]:
            for one in group["rules"]:
                assert f"`{one['alert']}`" in page


def test_every_alert_has_a_test() -> None:
    tests = (MONITORING / "rules_test.yaml").read_text()
    for rule in of_kind("overlays/production", "PrometheusRule").values():
        for group in rule["spec"]["groups"]:
            for one in group["rules"]:
                assert f"alertname: {one['alert']}\n" in tests


def test_the_dashboard_is_shipped_as_it_is() -> None:
    (shipped,) = [
        one["data"]
        for name, one in of_kind("overlays/production", "ConfigMap").items()
        if "dashboard" in name
    ]
    assert json.loads(shipped["adsml.json"]) == json.loads((MONITORING / "adsml.json").read_text())
