"""Writes the three Grafana dashboards beside it: a panel is a line here and thirty lines there.

Run it after a change: `python k8s/components/monitoring/dashboards.py`.
"""

import json
from pathlib import Path
from typing import Any

from serve_app.deployments import deployment_options

ERROR_OBJECTIVE, SLOW_OBJECTIVE = 0.001, 0.01  # as in prometheusrule.yaml
NS = 'namespace="$namespace"'
DEP = f'{NS},deployment=~"$deployment"'
R = "$__rate_interval"

# title, unit, {legend: PromQL}; two panels to a row
Panel = tuple[str, str, dict[str, str]]


def stage_quantile(quantile: float, stage: str) -> str:
    """Seconds of a stage at a quantile, from the buckets."""
    series = f'ray_tagger_stage_duration_seconds_bucket{{{NS},stage="{stage}"}}'
    return f"histogram_quantile({quantile}, sum by (le) (rate({series}[{R}])))"


def call_quantile(quantile: float) -> str:
    """Milliseconds of a call to each deployment at a quantile, waiting for its batch included."""
    series = f"ray_serve_deployment_processing_latency_ms_bucket{{{DEP}}}"
    return f"histogram_quantile({quantile}, sum by (deployment, le) (rate({series}[{R}])))"


def gpu_share(deployment: str) -> float:
    """Share of a GPU that a replica has in production."""
    return float(deployment_options(deployment, "gpu-prod")["ray_actor_options"]["num_gpus"])


def healthy_gpus(deployments: str) -> str:
    """GPUs that all replicas of some deployments, a pattern, hold."""
    return f'{gpu_share(deployments)} * sum(ray_serve_deployment_replica_healthy{{{NS},deployment=~"{deployments}"}})'


def budget_left(kind: str, objective: float) -> str:
    """Share of the error budget that is left if every month were like the last three days."""
    return f"1 - tagger:{kind}:ratio_rate3d{{{NS}}} / {objective}"


SERVICE: list[Panel] = [
    (
        "Requests by outcome",
        "reqps",
        {"{{outcome}}": f"sum by (outcome) (rate(ray_tagger_requests_total{{{NS}}}[{R}]))"},
    ),
    (
        "Our faults",
        "percentunit",
        {"5 minutes": f"tagger:errors:ratio_rate5m{{{NS}}}", "1 hour": f"tagger:errors:ratio_rate1h{{{NS}}}"},
    ),
    ("Time to the answer", "s", {f"p{q:.0%}"[:-1]: stage_quantile(q, "total") for q in (0.5, 0.95, 0.99)}),
    ("p95 of each stage", "s", {stage: stage_quantile(0.95, stage) for stage in ("decode", "detect", "classify")}),
    (
        "Budget left (1: all, below 0: objective missed)",
        "percentunit",
        {
            "no failures": budget_left("errors", ERROR_OBJECTIVE),
            "within a second": budget_left("slow", SLOW_OBJECTIVE),
        },
    ),
    (
        "Calls repeated and dropped",
        "ops",
        {
            "repeated: {{stage}}": f"sum by (stage) (rate(ray_tagger_retries_total{{{NS}}}[{R}]))",
            "dropped: {{reason}}": f"sum by (reason) (rate(ray_tagger_dropped_total{{{NS}}}[{R}]))",
        },
    ),
    (
        "Errors at the proxy, short photos aside",
        "reqps",
        {
            "{{status_code}}": "sum by (status_code) (rate(ray_serve_num_http_requests_total"
            f'{{{NS},application="tagger",status_code=~"[45].."}}[{R}]))'
        },
    ),
    (
        "Requests by key and status",
        "reqps",
        {"{{key}} {{status}}": f"sum by (key, status) (rate(ray_tagger_key_requests_total{{{NS}}}[{R}]))"},
    ),
    (
        "Nodes",
        "short",
        {
            "{{NodeType}}": f"sum by (NodeType) (autoscaler_active_nodes{{{NS}}})",
            "{{NodeType}} pending": f"sum by (NodeType) (autoscaler_pending_nodes{{{NS}}})",
        },
    ),
]

CATEGORY: list[Panel] = [
    (
        "Calls",
        "reqps",
        {"{{deployment}}": f"sum by (deployment) (rate(ray_serve_deployment_request_counter_total{{{DEP}}}[{R}]))"},
    ),
    (
        "Waiting",
        "short",
        {"{{deployment}}": f"sum by (deployment) (ray_serve_deployment_queued_queries{{{DEP}}})"},
    ),
    (
        "Time of a call",
        "ms",
        {f"{{{{deployment}}}} p{q:.0%}"[:-1]: call_quantile(q) for q in (0.5, 0.95, 0.99)},
    ),
    (
        "Photos or crops per batch, p50 and p95",
        "short",
        {
            # up to a whole number: between the bounds 0 and 1 Prometheus finds batches of half a photo
            f"{{{{deployment}}}} p{q:.0%}"[:-1]: f"ceil(histogram_quantile({q}, sum by (deployment, le) "
            f"(rate(ray_tagger_batch_size_bucket{{{DEP}}}[{R}]))))"
            for q in (0.5, 0.95)
        },
    ),
    (
        "Replicas wanted",
        "short",
        {"{{deployment}}": f"max by (deployment) (ray_serve_autoscaling_target_replicas{{{DEP}}})"},
    ),
    (
        "Replicas running",
        "short",
        {"{{deployment}}": f"sum by (deployment) (ray_serve_deployment_replica_healthy{{{DEP}}})"},
    ),
    (
        "GPU busy",
        "percent",
        {"{{instance}} {{GpuIndex}}": f"avg by (instance, GpuIndex) (ray_node_gpus_utilization{{{NS}}})"},
    ),
    (
        "GPU memory",
        "percentunit",
        {
            "{{instance}} {{GpuIndex}}": f"max by (instance, GpuIndex) (ray_node_gram_used{{{NS}}} / "
            f"(ray_node_gram_used{{{NS}}} + ray_node_gram_available{{{NS}}}))"
        },
    ),
    (
        "Cost of 1,000 calls and of 1,000 photos at $gpu_hour_price per GPU hour",
        "none",
        {
            "photos": f"$gpu_hour_price / 3.6 * ({healthy_gpus('detector')} + {healthy_gpus('classifier-.*')})"
            f' / (sum(rate(ray_tagger_requests_total{{{NS},outcome=~"ok|partial"}}[{R}])) > 0)',
            "{{deployment}}": "$gpu_hour_price / 3.6 * ("
            f"{gpu_share('detector')} * "
            f'sum by (deployment) (ray_serve_deployment_replica_healthy{{{DEP},deployment="detector"}}) or '
            f"{gpu_share('classifier-any')} * "
            f'sum by (deployment) (ray_serve_deployment_replica_healthy{{{DEP},deployment=~"classifier-.*"}}))'
            f" / (sum by (deployment) (rate(ray_serve_deployment_request_counter_total{{{DEP}}}[{R}])) > 0)",
        },
    ),
]

QUALITY: list[Panel] = [
    (
        "Garments by category",
        "ops",
        {"{{category}}": f"sum by (category) (rate(ray_tagger_detections_total{{{NS}}}[{R}]))"},
    ),
    (
        "Garments per photo, p50 and p95",
        "short",
        {
            f"p{q:.0%}"[:-1]: f"histogram_quantile({q}, sum by (le) "
            f"(rate(ray_tagger_crops_per_request_bucket{{{NS}}}[{R}])))"
            for q in (0.5, 0.95)
        },
    ),
    (
        "Values of $attribute, share of a day",
        "percentunit",
        {"{{value}}": f'tagger:value_share:1d{{{NS},attribute="$attribute"}}'},
    ),
    (
        "Moved within a week (an alert from 15 %)",
        "percentunit",
        {
            "{{attribute}} {{value}}": f"topk(10, abs(tagger:value_share:1d{{{NS}}} "
            f"- tagger:value_share:1d{{{NS}}} offset 7d))"
        },
    ),
    (
        "Unsure answers per garment",
        "short",
        {
            "{{category}}": f"sum by (category) (rate(ray_tagger_low_confidence_total{{{NS}}}[{R}])) "
            f"/ sum by (category) (rate(ray_tagger_detections_total{{{NS}}}[{R}]))"
        },
    ),
    (
        "Answers 'not visible'",
        "percentunit",
        {
            "{{attribute}}": f'sum by (attribute) (rate(ray_tagger_tags_total{{{NS},value="not_visible"}}[{R}])) '
            f"/ sum by (attribute) (rate(ray_tagger_tags_total{{{NS}}}[{R}]))"
        },
    ),
    (
        "Garments without attributes",
        "ops",
        {"{{category}}": f"sum by (category) (rate(ray_tagger_partial_answers_total{{{NS}}}[{R}]))"},
    ),
    (
        "Corrections, of 1,000 garments",
        "short",
        {
            "{{category}}": f"1000 * sum by (category) (rate(ray_tagger_feedback_total{{{NS}}}[{R}])) "
            f"/ sum by (category) (rate(ray_tagger_detections_total{{{NS}}}[{R}]))"
        },
    ),
]


def variable(name: str, query: str, multi: bool = False) -> dict[str, Any]:
    """A choice at the top of the dashboard, filled from Prometheus."""
    return {
        "name": name,
        "type": "query",
        "datasource": {"type": "prometheus", "uid": "$datasource"},
        "query": query,
        "refresh": 2,
        "multi": multi,
        "includeAll": multi,
    }


DATASOURCE = {"name": "datasource", "type": "datasource", "query": "prometheus"}
NAMESPACE = variable("namespace", "label_values(ray_tagger_requests_total, namespace)")
DEPLOYMENT = variable(
    "deployment", f"label_values(ray_serve_deployment_replica_healthy{{{NS}}}, deployment)", multi=True
)
ATTRIBUTE = variable("attribute", f"label_values(ray_tagger_tags_total{{{NS}}}, attribute)")
PRICE = {"name": "gpu_hour_price", "type": "textbox", "query": "0.8"}  # an hour of a 24 GB card; set yours


def dashboard(name: str, panels: list[Panel], variables: list[dict[str, Any]]) -> dict[str, Any]:
    """A dashboard of two panels to a row."""
    return {
        "uid": f"fashion-tagger-{name}",
        "title": f"Fashion tagger: {name}",
        "tags": ["fashion-tagger"],
        "schemaVersion": 39,
        "time": {"from": "now-6h", "to": "now"},
        "refresh": "30s",
        "templating": {"list": [DATASOURCE, NAMESPACE, *variables]},
        "panels": [
            {
                "id": number + 1,
                "type": "timeseries",
                "title": title,
                "datasource": {"type": "prometheus", "uid": "$datasource"},
                "gridPos": {"x": number % 2 * 12, "y": number // 2 * 8, "w": 12, "h": 8},
                "fieldConfig": {"defaults": {"unit": unit, "min": 0 if unit != "percentunit" else None}},
                "targets": [
                    {"refId": chr(ord("A") + position), "expr": expr, "legendFormat": legend}
                    for position, (legend, expr) in enumerate(targets.items())
                ],
            }
            for number, (title, unit, targets) in enumerate(panels)
        ],
    }


DASHBOARDS = {
    "service": dashboard("service", SERVICE, []),
    "category": dashboard("category", CATEGORY, [DEPLOYMENT, PRICE]),
    "quality": dashboard("quality", QUALITY, [ATTRIBUTE]),
}


def text(name: str) -> str:
    """The JSON file of a dashboard."""
    return json.dumps(DASHBOARDS[name], indent=1) + "\n"


if __name__ == "__main__":
    for name in DASHBOARDS:
        (Path(__file__).parent / "dashboards" / f"{name}.json").write_text(text(name), encoding="utf-8")
