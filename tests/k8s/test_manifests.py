"""The rendered manifests pass every check, and every check catches what it is for."""

import copy
from collections.abc import Mapping
from typing import Any

import pytest
import yaml

from models.ontology import load_ontology
from serve_app.serve_config import serve_config
from tests.k8s import checks
from tests.k8s.checks import CHECKS, Check, Objects, of_kind

pytestmark = pytest.mark.filterwarnings("ignore:The `metrics_interval_s` field:DeprecationWarning")
CLUSTER = ("RayService", "spec", "rayClusterConfig")
CPU_GROUP = (*CLUSTER, "workerGroupSpecs", 0)
GPU_GROUP = (*CLUSTER, "workerGroupSpecs", 1)
HEAD = (*CLUSTER, "headGroupSpec")
SERVE = ("serve config",)
APPLICATION = (*SERVE, "applications", 0)
DETECTOR = (*APPLICATION, "deployments", 1)
DRESS = (*APPLICATION, "deployments", 4)
JOB = ("CronJob", "spec", "jobTemplate", "spec")
GONE = object()


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("overlay", ["kind-cpu", "gpu-prod"])
def test_rendered_manifests_pass(manifests: Mapping[str, Objects], overlay: str, check: Check) -> None:
    assert list(check(manifests[overlay])) == []


@pytest.mark.parametrize("overlay", ["kind-cpu", "gpu-prod"])
def test_serve_config_in_the_overlay_is_what_the_command_writes(manifests: Mapping[str, Objects], overlay: Any) -> None:
    written = serve_config(load_ontology().category_names, "demo", overlay)
    assert checks.serve_config(manifests[overlay]) == written


@pytest.mark.parametrize(
    ("path", "value", "check"),
    [
        pytest.param((*CLUSTER, "rayVersio"), "2.60.0", checks.fits_schema, id="typo_in_a_field_of_ray"),
        pytest.param(
            ("NetworkPolicy", "spec", "policyType"), ["Ingress"], checks.fits_schema, id="typo_in_a_field_of_kubernetes"
        ),
        pytest.param((*CPU_GROUP, "rayStartParams", "num-cpus"), 4, checks.obeys_operator, id="number_for_a_string"),
        pytest.param((*CPU_GROUP, "minReplicas"), 9, checks.obeys_operator, id="more_nodes_at_least_than_at_most"),
        pytest.param(
            (*HEAD, "template", "spec", "containers", 0, "ports", 3), GONE, checks.obeys_operator, id="no_serve_port"
        ),
        pytest.param((*CLUSTER, "autoscalerOptions", "version"), GONE, checks.obeys_operator, id="autoscaler_unnamed"),
        pytest.param((*CLUSTER, "authOptions", "mode"), "disabled", checks.obeys_operator, id="no_token"),
        pytest.param(
            (*HEAD, "template", "spec", "containers", 0, "env"),
            [{"name": "RAY_REDIS_ADDRESS", "value": "redis:6379"}],
            checks.obeys_operator,
            id="redis_by_environment",
        ),
        pytest.param(
            (*DETECTOR, "autoscaling_config", "max_replica"), 3, checks.knows_serve_keys, id="typo_that_serve_ignores"
        ),
        pytest.param((*DETECTOR, "max_ongoing_requests"), "16 calls", checks.knows_serve_keys, id="unit_in_a_number"),
        pytest.param((*DRESS, "name"), "classifier-dresses", checks.names_deployments, id="unknown_deployment"),
        pytest.param((*DRESS,), GONE, checks.names_deployments, id="category_left_out"),
        pytest.param((*APPLICATION, "args", "bundel"), "demo", checks.takes_arguments, id="unknown_argument"),
        pytest.param((*DETECTOR, "max_ongoing_requests"), 8, checks.queues_hold_batches, id="room_for_one_batch"),
        pytest.param(
            (*DRESS, "autoscaling_config", "target_ongoing_requests"),
            40,
            checks.queues_hold_batches,
            id="target_out_of_reach",
        ),
        pytest.param((*DETECTOR, "ray_actor_options", "num_gpus"), 1.5, checks.fits_cluster, id="larger_than_a_gpu"),
        pytest.param(
            (*DRESS, "ray_actor_options", "label_selector"), {"pool": "gpus"}, checks.fits_cluster, id="no_such_pool"
        ),
        pytest.param((*DETECTOR, "autoscaling_config", "max_replicas"), 9, checks.fits_cluster, id="more_than_nodes"),
        pytest.param((*GPU_GROUP, "minReplicas"), 1, checks.fits_cluster, id="minima_need_more_nodes"),
        pytest.param((*CLUSTER, "rayVersion"), "2.59.0", checks.agrees_on_versions, id="ray_other_than_locked"),
        pytest.param(
            (*GPU_GROUP, "template", "spec", "containers", 0, "image"),
            "registry.example.com/fashion-tagger:latest",
            checks.agrees_on_versions,
            id="image_by_a_moving_name",
        ),
        pytest.param(
            (*GPU_GROUP, "template", "spec", "containers", 0, "securityContext", "allowPrivilegeEscalation"),
            True,
            checks.is_confined,
            id="privileges",
        ),
        pytest.param(
            (*CPU_GROUP, "template", "spec", "automountServiceAccountToken"), GONE, checks.is_confined, id="api_token"
        ),
        pytest.param(
            (*CPU_GROUP, "template", "spec", "containers", 0, "resources", "limits", "cpu"),
            "3500m",
            checks.asks_for_what_it_counts,
            id="part_of_a_core",
        ),
        pytest.param(
            (*CPU_GROUP, "template", "spec", "containers", 0, "resources", "limits", "memory"),
            "8G",
            checks.asks_for_what_it_counts,
            id="wrong_unit",
        ),
        pytest.param(
            (*CPU_GROUP, "template", "spec", "terminationGracePeriodSeconds"), 30, checks.ends_gently, id="killed_early"
        ),
        pytest.param((*SERVE, "http_options", "request_timeout_s"), 10, checks.ends_gently, id="serve_gives_up_early"),
        pytest.param((*DRESS, "max_surge_percent"), 0, checks.rolls_without_gap, id="gap_in_a_roll"),
        pytest.param(
            (*DETECTOR, "autoscaling_config", "min_replicas"), 1, checks.rolls_without_gap, id="one_detector_only"
        ),
        pytest.param(
            ("PodDisruptionBudget", "spec", "selector", "matchLabels", "pool"),
            "cpus",
            checks.selects_something,
            id="budget_for_nobody",
        ),
        pytest.param(
            ("HTTPRoute", "spec", "rules", 0, "backendRefs", 0, "port"),
            8080,
            checks.selects_something,
            id="backend_by_a_wrong_port",
        ),
        pytest.param(
            (*JOB, "template", "spec", "containers", 0, "image"),
            "registry.example.com/fashion-tagger:latest",
            checks.agrees_on_versions,
            id="job_of_another_release",
        ),
        pytest.param(
            (*JOB, "template", "spec", "securityContext", "runAsNonRoot"), False, checks.is_confined, id="job_as_root"
        ),
        pytest.param(
            ("NetworkPolicy", "spec", "policyTypes"), ["Ingress"], checks.denies_by_default, id="egress_left_open"
        ),
        pytest.param(
            (*APPLICATION, "args", "feedback"),
            "/tmp/feedback",
            checks.provides_what_arguments_name,
            id="corrections_that_go_with_the_pod",
        ),
        pytest.param(
            (*CPU_GROUP, "template", "spec", "containers", 0, "volumeMounts", 2),
            GONE,
            checks.provides_what_arguments_name,
            id="keys_not_mounted",
        ),
        pytest.param(
            (*APPLICATION, "args", "image_url_hosts"),
            ["cdn.example:8443"],
            checks.provides_what_arguments_name,
            id="photos_behind_a_closed_port",
        ),
    ],
)
def test_mistake_is_caught(
    manifests: Mapping[str, Objects], path: tuple[Any, ...], value: object, check: Check
) -> None:
    if check is checks.fits_schema and path[0] == "RayService" and not checks.SCHEMAS.exists():
        pytest.skip("the schema of KubeRay's objects is not here")
    assert list(check(_with(manifests["gpu-prod"], path, value)))


def _with(objects: Objects, path: tuple[Any, ...], value: object) -> Objects:
    """A copy with a value put in, or taken out, in the first object of a kind or in the Serve config."""
    changed = copy.deepcopy(objects)
    kind, *steps, last = path
    holder: Any = checks.serve_config(changed) if kind == "serve config" else of_kind(changed, kind)[0]
    config = holder
    for step in steps:
        holder = holder[step]
    if value is GONE:
        del holder[last]
    else:
        holder[last] = value
    if kind == "serve config":
        checks.ray_service(changed)["serveConfigV2"] = yaml.safe_dump(config)
    return changed
