"""Rules and dashboards: valid, tested, up to date, and naming only what something exports."""

import importlib.util
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from serve_app.compose import StageTimes
from serve_app.errors import STATUS_BY_CODE
from serve_app.metrics import ALL_METRICS

ROOT = Path(__file__).parents[2]
MONITORING = ROOT / "k8s" / "components" / "monitoring"
RULES: dict[str, Any] = yaml.safe_load((MONITORING / "prometheusrule.yaml").read_text(encoding="utf-8"))["spec"]
ALERTS = [rule for group in RULES["groups"] for rule in group["rules"] if "alert" in rule]
RECORDS = [rule for group in RULES["groups"] for rule in group["rules"] if "record" in rule]
DASHBOARDS = sorted((MONITORING / "dashboards").glob("*.json"))
RAY_METRICS = set((Path(__file__).parent / "ray_metrics.txt").read_text(encoding="utf-8").split())
RULE_TESTS = sorted(MONITORING.glob("*_test.yaml"))
OUTSIDE = {"up", "kuberay_service_condition_ready"}
_METRIC = re.compile(r"(?<![\w:.])(?:ray_(?!io_cluster)|autoscaler_|tagger:|kuberay_)[\w:]+|\bup\b(?=\{)")


def _dashboard_exprs() -> Iterator[str]:
    for path in DASHBOARDS:
        for panel in json.loads(path.read_text(encoding="utf-8"))["panels"]:
            yield from (target["expr"] for target in panel["targets"])


def _concrete(expr: str) -> str:
    """A panel's query with Grafana's variables filled in."""
    return expr.replace("$__rate_interval", "5m").replace("$gpu_hour_price", "1")


def _exported() -> set[str]:
    ours = {metric.exported_name for metric in ALL_METRICS if metric.kind != "histogram"}
    for metric in ALL_METRICS:
        if metric.kind == "histogram":
            ours |= {f"{metric.exported_name}{suffix}" for suffix in ("_bucket", "_count")}  # never _sum: it is made up
    return ours | RAY_METRICS | OUTSIDE | {rule["record"] for rule in RECORDS}


@pytest.mark.parametrize("source", ["rules", "dashboards"])
def test_only_exported_metrics_are_named(source: str) -> None:
    exprs = list(_dashboard_exprs()) if source == "dashboards" else [rule["expr"] for rule in ALERTS + RECORDS]
    named = {name for expr in exprs for name in _METRIC.findall(expr)}
    assert named
    assert named <= _exported()


def test_every_metric_of_ours_is_looked_at() -> None:
    text = " ".join([*_dashboard_exprs(), *(rule["expr"] for rule in ALERTS + RECORDS)])
    unseen = {metric.exported_name for metric in ALL_METRICS if metric.exported_name not in text}
    assert unseen == set()


def test_tag_keys_are_declared() -> None:
    keys_by_name = {metric.exported_name: {*metric.tag_keys, "le"} for metric in ALL_METRICS}
    added = {"namespace", "deployment"}  # by Prometheus and Ray
    for expr in [*_dashboard_exprs(), *(rule["expr"] for rule in ALERTS + RECORDS)]:
        for name, selector in re.findall(r"(ray_tagger_\w+?)(?:_bucket|_count)?\{([^}]*)\}", expr):
            assert set(re.findall(r"(\w+)\s*=", selector)) <= keys_by_name[name] | added, expr


def test_objectives_blame_us_for_every_server_error() -> None:
    # those of tagging photos; corrections and jobs are not counted there
    faults = {code for code, status in STATUS_BY_CODE.items() if status >= 500} - {
        "feedback_unavailable",
        "jobs_unavailable",
    }
    errors = next(rule["expr"] for rule in RECORDS if rule["record"] == "tagger:errors:ratio_rate5m")
    ours, answered = re.findall(r'outcome=~"([^"]+)"', errors)
    assert set(ours.split("|")) == faults
    assert set(answered.split("|")) == faults | {"ok", "partial"}


def test_windows_differ_in_nothing_but_their_length() -> None:
    for kind in ("errors", "slow"):
        rules = {
            rule["record"].rsplit("_rate", 1)[1]: rule["expr"] for rule in RECORDS if f":{kind}:" in rule["record"]
        }
        assert set(rules) == {"5m", "30m", "1h", "6h", "3d"}
        assert len({expr.replace(f"[{window}]", "[window]") for window, expr in rules.items()}) == 1


def test_stages_and_the_latency_edge_exist() -> None:
    exprs = " ".join([*_dashboard_exprs(), *(rule["expr"] for rule in RECORDS)])
    stages = {name.removesuffix("_s") for name in StageTimes.__dataclass_fields__}
    assert set(re.findall(r'stage="(\w+)"', exprs)) <= stages
    duration = next(metric for metric in ALL_METRICS if metric.name == "tagger_stage_duration_seconds")
    assert {float(edge) for edge in re.findall(r'le="([\d.]+)"', exprs)} <= set(duration.boundaries)


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: f"{rule['alert']}-{rule['labels'].get('window', '')}")
def test_alert_says_for_how_long_how_bad_and_what_to_do(rule: dict[str, Any]) -> None:
    assert rule["for"]
    assert rule["labels"]["severity"] in ("page", "ticket")
    assert rule["annotations"]["summary"]
    assert rule["annotations"]["runbook_url"] == f"README.md#{rule['alert'].lower()}"


def test_every_alert_has_its_section_in_the_readme() -> None:
    readme = ROOT / "README.md"
    headings = set(re.findall(r"^#+ (Tagger\w+)$", readme.read_text(encoding="utf-8"), re.MULTILINE))
    assert headings == {rule["alert"] for rule in ALERTS}


def test_dashboards_are_what_the_script_writes() -> None:
    script = _script(MONITORING / "dashboards.py")
    assert {path.stem for path in DASHBOARDS} == set(script.DASHBOARDS)
    for path in DASHBOARDS:
        assert path.read_text(encoding="utf-8") == script.text(path.stem), f"run {script.__file__}"


def _script(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _promtool(*arguments: object) -> None:
    if shutil.which("promtool") is None:
        pytest.skip("promtool, which comes with Prometheus, is not here")
    result = subprocess.run(["promtool", *map(str, arguments)], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    """The rules as Prometheus reads them, without the object around them."""
    path = tmp_path / "rules.yaml"
    path.write_text(yaml.safe_dump(RULES), encoding="utf-8")
    return path


def test_rules_are_valid(rules: Path) -> None:
    _promtool("check", "rules", rules)


@pytest.mark.parametrize("cases", RULE_TESTS, ids=lambda path: path.stem)
def test_alerts_fire_and_clear(rules: Path, cases: Path) -> None:
    shutil.copy(cases, rules.parent)
    _promtool("test", "rules", rules.parent / cases.name)


@pytest.mark.parametrize("cases", RULE_TESTS, ids=lambda path: path.stem)
def test_rule_tests_say_in_which_order_groups_are_evaluated(cases: Path) -> None:
    order = yaml.safe_load(cases.read_text(encoding="utf-8"))["group_eval_order"]
    assert order == [group["name"] for group in RULES["groups"]], "promtool takes them in any order otherwise"


def test_records_are_renewed_before_they_are_gone() -> None:
    seconds = {"s": 1, "m": 60}
    intervals = [group.get("interval", "30s") for group in RULES["groups"]]
    assert max(int(interval[:-1]) * seconds[interval[-1]] for interval in intervals) < 300


def test_every_alert_is_seen_firing_in_the_rule_tests() -> None:
    cases = [case for path in RULE_TESTS for case in yaml.safe_load(path.read_text(encoding="utf-8"))["tests"]]
    fired = {each["alertname"] for case in cases for each in case.get("alert_rule_test", []) if each.get("exp_alerts")}
    assert fired == {rule["alert"] for rule in ALERTS}


def test_queries_of_the_dashboards_are_valid(tmp_path: Path) -> None:
    rules = [{"record": f"panel:{number}", "expr": _concrete(expr)} for number, expr in enumerate(_dashboard_exprs())]
    path = tmp_path / "panels.yaml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}), encoding="utf-8")
    _promtool("check", "rules", path)
