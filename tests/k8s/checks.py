"""What has to hold of rendered manifests beyond their syntax: each check returns what it found wrong, in words.

KubeRay's rules of its own admission are here too: the API server accepts what the operator refuses later.
"""

import json
import math
import os
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate
import yaml
from jsonschema import Draft202012Validator
from pydantic import ValidationError
from ray._raylet import IMPLICIT_RESOURCE_PREFIX
from ray.autoscaler._private.kuberay.autoscaling_config import _derive_autoscaling_config_from_ray_cr
from ray.autoscaler.v2.instance_manager.config import AutoscalingConfig
from ray.autoscaler.v2.scheduler import ResourceDemandScheduler, SchedulingRequest
from ray.autoscaler.v2.utils import ResourceRequestUtil
from ray.core.generated.autoscaler_pb2 import ResourceRequest, ResourceRequestByCount
from ray.core.generated.common_pb2 import LabelSelectorOperator
from ray.serve.config import AutoscalingConfig as ServeAutoscaling
from ray.serve.schema import (
    DeploymentSchema,
    HTTPOptionsSchema,
    LoggingConfig,
    RayActorOptionsSchema,
    ServeApplicationSchema,
    ServeDeploySchema,
)

from models.ontology import load_ontology
from serve_app.config import TaggerArgs
from serve_app.deployments import deployment_names

ROOT = Path(__file__).parents[2]
SCHEMAS = Path(os.environ.get("FASHION_TAGGER_SHARED", ROOT.parent / "shared")) / "k8s" / "schemas"
Objects = list[dict[str, Any]]
Check = Callable[[Objects], Iterator[str]]
_HEAD_PORTS = {
    "gcs-server": 6379,
    "dashboard": 8265,
    "client": 10001,
    "serve": 8000,
    "metrics": 8080,
    "as-metrics": 44217,
    "dash-metrics": 44227,
}
_WORKER_PORTS = {"serve": 8000, "metrics": 8080}


def of_kind(objects: Objects, kind: str) -> Objects:
    """Objects of a kind, in order."""
    return [item for item in objects if item["kind"] == kind]


def ray_service(objects: Objects) -> dict[str, Any]:
    """The spec of the one RayService."""
    (service,) = of_kind(objects, "RayService")
    spec: dict[str, Any] = service["spec"]
    return spec


def serve_config(objects: Objects) -> dict[str, Any]:
    """The Serve config inside the RayService."""
    config: dict[str, Any] = yaml.safe_load(ray_service(objects)["serveConfigV2"])
    return config


def deployments(objects: Objects) -> list[dict[str, Any]]:
    """The deployments of the Serve config."""
    (application,) = serve_config(objects)["applications"]
    listed: list[dict[str, Any]] = application["deployments"]
    return listed


def _groups(objects: Objects) -> Iterator[tuple[str, dict[str, Any]]]:
    cluster = ray_service(objects)["rayClusterConfig"]
    yield "head", cluster["headGroupSpec"]
    for group in cluster["workerGroupSpecs"]:
        yield group["groupName"], group


def _pod_templates(objects: Objects) -> Iterator[tuple[str, dict[str, Any], dict[str, str]]]:
    """Name, pod spec and labels of every pod that comes from these objects; KubeRay adds group labels to the pods."""
    for name, group in _groups(objects):
        labels = {**group["template"]["metadata"]["labels"], **group.get("labels", {})}
        yield name, group["template"]["spec"], labels
    for item in of_kind(objects, "StatefulSet"):
        template = item["spec"]["template"]
        yield item["metadata"]["name"], template["spec"], template["metadata"]["labels"]
    for item in of_kind(objects, "CronJob"):
        template = item["spec"]["jobTemplate"]["spec"]["template"]
        yield item["metadata"]["name"], template["spec"], template["metadata"]["labels"]


@cache
def _validator(api_version: str, kind: str) -> Draft202012Validator | None:
    group, _, version = api_version.rpartition("/")
    path = SCHEMAS / f"{group or 'core'}_{version}_{kind}.json"
    return Draft202012Validator(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else None


def fits_schema(objects: Objects) -> Iterator[str]:
    """Core kinds by kubernetes-validate, all kinds by the strict schemas where they are at hand."""
    for item in objects:
        name = f"{item['kind']} {item['metadata']['name']}"
        try:
            kubernetes_validate.validate(item, kubernetes_validate.latest_version(), strict=True)
        except kubernetes_validate.SchemaNotFoundError:
            pass  # a custom resource
        except kubernetes_validate.ValidationError as error:
            yield f"{name}: {error.message}"
        validator = _validator(item["apiVersion"], item["kind"])
        if validator is not None:
            for problem in validator.iter_errors(item):
                yield f"{name}: {problem.json_path}: {problem.message}"


def obeys_operator(objects: Objects) -> Iterator[str]:
    """What KubeRay 1.7 refuses, or silently does otherwise."""
    spec = ray_service(objects)
    cluster = spec["rayClusterConfig"]
    if spec["upgradeStrategy"]["type"] not in ("NewCluster", "NewClusterWithIncrementalUpgrade", "None"):
        yield "the upgrade strategy is unknown"
    if cluster["autoscalerOptions"].get("version") != "v2":
        yield "autoscaler v2 is not named, so pods are not prepared for it"
    if cluster["authOptions"].get("mode") != "token":
        yield "token authentication is off"
    for name, group in _groups(objects):
        for key, value in group["rayStartParams"].items():
            if not isinstance(value, str):
                yield f"{name}: rayStartParams.{key} is no string"
        if "labels" in group["rayStartParams"]:
            yield f"{name}: labels belong to the group, not to rayStartParams"
        if group["template"]["spec"].get("restartPolicy", "Never") != "Never":
            yield f"{name}: autoscaler v2 wants restartPolicy Never"
        if name != "head" and not 0 <= group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]:
            yield f"{name}: needs min <= replicas <= max"
        container = group["template"]["spec"]["containers"][0]
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        if ports != (_HEAD_PORTS if name == "head" else _WORKER_PORTS):
            yield f"{name}: ports are {ports}"
        for variable in container.get("env", []):
            if variable["name"] in ("REDIS_PASSWORD", "RAY_REDIS_ADDRESS", "RAY_enable_autoscaler_v2"):
                yield f"{name}: {variable['name']} is KubeRay's to set"


def knows_serve_keys(objects: Objects) -> Iterator[str]:
    """Serve ignores keys it does not know; here they are refused, and values checked."""
    config = serve_config(objects)
    levels: list[tuple[str, Mapping[str, Any], Any]] = [
        ("serve config", config, ServeDeploySchema),
        ("http_options", config["http_options"], HTTPOptionsSchema),
        ("logging_config", config["logging_config"], LoggingConfig),
        *(("application", application, ServeApplicationSchema) for application in config["applications"]),
    ]
    for deployment in deployments(objects):
        name = deployment.get("name", "a deployment")
        levels.append((name, deployment, DeploymentSchema))
        levels.append((name, deployment["ray_actor_options"], RayActorOptionsSchema))
        levels.append((name, deployment.get("autoscaling_config", {}), ServeAutoscaling))
    for name, given, schema in levels:
        for key in sorted(set(given) - set(schema.model_fields)):
            yield f"{name}: {key} is no key of {schema.__name__}"
    try:
        ServeDeploySchema.model_validate(config)
    except ValidationError as error:
        yield str(error)


def names_deployments(objects: Objects) -> Iterator[str]:
    """One unknown name makes Serve refuse the whole application; a missing one runs with laptop settings."""
    expected = deployment_names(load_ontology().category_names)
    found = tuple(deployment["name"] for deployment in deployments(objects))
    if found != expected:
        yield f"deployments are {found}, the application has {expected}"


def takes_arguments(objects: Objects) -> Iterator[str]:
    """The arguments are those of the application."""
    (application,) = serve_config(objects)["applications"]
    try:
        TaggerArgs.model_validate(application["args"])
    except ValidationError as error:
        yield str(error)


def queues_hold_batches(objects: Objects) -> Iterator[str]:
    """A replica accepts two batches, one computing and one gathering, and the target can be reached."""
    args = TaggerArgs.model_validate(serve_config(objects)["applications"][0]["args"])
    for deployment in deployments(objects):
        name, accepted = deployment["name"], deployment["max_ongoing_requests"]
        batch = {"router": 1, "detector": args.detector_max_batch}.get(name, args.classifier_max_batch)
        if accepted < 2 * batch:
            yield f"{name}: {accepted} calls are less than two batches of {batch}"
        if deployment["autoscaling_config"]["target_ongoing_requests"] > accepted:
            yield f"{name}: the target lies above the {accepted} calls a replica accepts"


def _requests(deployment: dict[str, Any], replicas: int) -> ResourceRequestByCount:
    """What Serve asks of Ray for so many replicas of a deployment, as the autoscaler sees it."""
    options = deployment["ray_actor_options"]
    resources = {"CPU": options["num_cpus"], "GPU": options.get("num_gpus", 0)}
    if per_node := deployment.get("max_replicas_per_node"):
        resources[f"{IMPLICIT_RESOURCE_PREFIX}tagger:{deployment['name']}"] = 1 / per_node
    within = LabelSelectorOperator.LABEL_OPERATOR_IN
    selector = [(key, within, [value]) for key, value in options.get("label_selector", {}).items()]
    request: ResourceRequest = ResourceRequestUtil.make(resources, label_selectors=[selector] if selector else None)
    return ResourceRequestByCount(request=request, count=replicas)


def fits_cluster(objects: Objects) -> Iterator[str]:
    """Ray's own autoscaler finds nodes for all replicas, at the minima (within the groups' minima) and the maxima."""
    cluster = ray_service(objects)["rayClusterConfig"]
    derived = _derive_autoscaling_config_from_ray_cr({"metadata": {"name": "c", "namespace": "n"}, "spec": cluster})
    types = AutoscalingConfig(derived, skip_content_hash=True).get_node_type_configs()
    for bound in ("min_replicas", "max_replicas"):
        if bound == "min_replicas":
            for node_type in types.values():
                node_type.max_worker_nodes = node_type.min_worker_nodes
        else:
            types = AutoscalingConfig(derived, skip_content_hash=True).get_node_type_configs()
        asked = [_requests(each, each["autoscaling_config"][bound]) for each in deployments(objects)]
        reply = ResourceDemandScheduler().schedule(
            SchedulingRequest(disable_launch_config_check=True, node_type_configs=types, resource_requests=asked)
        )
        for refused in reply.infeasible_resource_requests:
            yield f"{bound}: no node for {dict(refused.resources_bundle)}"


def agrees_on_versions(objects: Objects) -> Iterator[str]:
    """Ray as locked, images of this release, nothing pulled by a name that moves."""
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    locked = re.search(r"^ray==([\d.]+)", lock, re.MULTILINE)
    ray_version = ray_service(objects)["rayClusterConfig"]["rayVersion"]
    if locked is None or ray_version != locked[1]:
        yield f"rayVersion is {ray_version}, the lock has {locked and locked[1]}"
    for name, spec, _ in _pod_templates(objects):
        image, _, tag = spec["containers"][0]["image"].rpartition(":")
        if image.endswith("fashion-tagger"):
            if tag not in (f"{project}-cpu", f"{project}-cuda"):
                yield f"{name}: image tag {tag} is not of release {project}"
        elif not re.fullmatch(r"\d+\.\d+\.\d+\S*", tag):
            yield f"{name}: image {image} is not pinned"


def is_confined(objects: Objects) -> Iterator[str]:
    """Pods meet the restricted standard, read-only besides, and nothing here is a secret."""
    (namespace,) = of_kind(objects, "Namespace")
    if namespace["metadata"]["labels"].get("pod-security.kubernetes.io/enforce") != "restricted":
        yield "the namespace does not enforce the restricted standard"
    containers = [(name, spec, spec["containers"][0]) for name, spec, _ in _pod_templates(objects)]
    autoscaler = ray_service(objects)["rayClusterConfig"]["autoscalerOptions"]
    containers.append(
        ("autoscaler", ray_service(objects)["rayClusterConfig"]["headGroupSpec"]["template"]["spec"], autoscaler)
    )
    for name, spec, container in containers:
        pod, own = spec["securityContext"], container.get("securityContext", {})
        wanted = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
        if own != wanted:
            yield f"{name}: container security is {own}"
        if not pod.get("runAsNonRoot") or pod.get("seccompProfile") != {"type": "RuntimeDefault"}:
            yield f"{name}: pod security is {pod}"
    for name, spec, labels in _pod_templates(objects):
        if (
            labels.get("app.kubernetes.io/component") != "head"
            and spec.get("automountServiceAccountToken") is not False
        ):
            yield f"{name}: mounts a service account token that it does not need"
    if of_kind(objects, "Secret"):
        yield "a Secret is among the manifests"


def asks_for_what_it_counts(objects: Objects) -> Iterator[str]:
    """Ray counts limits: whole cores, and no more memory promised than is set aside."""
    for name, group in _groups(objects):
        resources = group["template"]["spec"]["containers"][0]["resources"]
        if not re.fullmatch(r"\d+", str(resources["limits"]["cpu"])):
            yield f"{name}: {resources['limits']['cpu']} CPUs are no whole number"
        if resources["limits"]["memory"] != resources["requests"]["memory"]:
            yield f"{name}: memory limit and request differ"
        if not re.fullmatch(r"\d+Gi", resources["limits"]["memory"]):
            yield f"{name}: memory {resources['limits']['memory']} is not in Gi"


def ends_gently(objects: Objects) -> Iterator[str]:
    """Every limit is above the one inside it: requests, replicas, pods, the old cluster, the gateway."""
    config = serve_config(objects)
    args = TaggerArgs.model_validate(config["applications"][0]["args"])
    request_s = config["http_options"]["request_timeout_s"]
    if request_s < args.upload_deadline_s + args.request_deadline_s:
        yield "Serve's request limit is below upload and answer"
    replica_s = max(deployment["graceful_shutdown_timeout_s"] for deployment in deployments(objects))
    if replica_s < request_s:
        yield "replicas stop before their requests end"
    for name, group in list(_groups(objects))[1:]:
        spec = group["template"]["spec"]
        command = spec["containers"][0]["lifecycle"]["preStop"]["exec"]["command"][-1]
        slept = re.search(r"sleep (\d+)", command)
        slept_s = int(slept[1]) if slept else 0
        if slept_s < replica_s or spec.get("terminationGracePeriodSeconds", 30) < slept_s + 30:
            yield f"{name}: the pod is killed before its replicas have stopped"
    if ray_service(objects)["rayClusterDeletionDelaySeconds"] < replica_s + 30:
        yield "the old cluster goes before its requests end"
    for route in of_kind(objects, "HTTPRoute"):
        for rule in route["spec"]["rules"]:
            if float(rule["timeouts"]["request"].removesuffix("s")) <= request_s:
                yield "the gateway gives up before Serve answers"


def rolls_without_gap(objects: Objects) -> Iterator[str]:
    """New replicas come before old ones go, and what everything needs runs twice in production."""
    for deployment in deployments(objects):
        target = max(1, deployment["autoscaling_config"]["min_replicas"])
        if math.ceil(deployment.get("max_surge_percent", 0) * target / 100) < 1:
            yield f"{deployment['name']}: stops old replicas before it starts new ones"
        is_gpu = any(each["ray_actor_options"].get("num_gpus") for each in deployments(objects))
        if is_gpu and deployment["name"] in ("router", "detector") and target < 2:
            yield f"{deployment['name']}: one replica is no replica when its node goes"


def selects_something(objects: Objects) -> Iterator[str]:
    """Every selector matches a pod, every backend exists."""
    pods = [labels for _, _, labels in _pod_templates(objects)]
    for kind, path in (
        ("NetworkPolicy", "podSelector"),
        ("PodDisruptionBudget", "selector"),
        ("PodMonitor", "selector"),
    ):
        for item in of_kind(objects, kind):
            wanted = item["spec"][path].get("matchLabels", {})
            if not any(wanted.items() <= labels.items() for labels in pods):
                yield f"{kind} {item['metadata']['name']} selects no pod"
    name = of_kind(objects, "RayService")[0]["metadata"]["name"]
    for route in of_kind(objects, "HTTPRoute"):
        for backend in (backend for rule in route["spec"]["rules"] for backend in rule["backendRefs"]):
            if (backend["name"], backend["port"]) != (f"{name}-serve-svc", 8000):
                yield f"no service {backend['name']}:{backend['port']}"


def denies_by_default(objects: Objects) -> Iterator[str]:
    """All traffic is denied first, and the port that runs code is open to the operator alone."""
    policies = of_kind(objects, "NetworkPolicy")
    if not any(each["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]} for each in policies):
        yield "nothing denies traffic by default"
    for policy in policies:
        for rule in policy["spec"].get("ingress", []):
            sources = rule.get("from", [{}])
            namespaces = {json.dumps(source.get("namespaceSelector")) for source in sources}
            operator = json.dumps({"matchLabels": {"kubernetes.io/metadata.name": "kuberay-system"}})
            ports = {port["port"] for port in rule.get("ports", [])}
            from_inside = namespaces == {"null"} and all("podSelector" in source for source in sources)
            if not from_inside and namespaces != {operator} and (not ports or 8265 in ports):
                yield f"{policy['metadata']['name']} opens the dashboard to others than the operator"


def provides_what_arguments_name(objects: Objects) -> Iterator[str]:
    """Files that routers read or write lie on volumes that outlive a pod, and the ports they fetch from are open."""
    args = TaggerArgs.model_validate(serve_config(objects)["applications"][0]["args"])
    selector = deployments(objects)[0]["ray_actor_options"].get("label_selector", {})
    paths = [path for path in (args.api_keys, args.feedback, args.jobs_dir) if path and "://" not in path]
    for name, group in list(_groups(objects))[1:]:
        spec = group["template"]["spec"]
        lasting = {volume["name"] for volume in spec["volumes"] if "emptyDir" not in volume}
        mounts = [each["mountPath"] for each in spec["containers"][0]["volumeMounts"] if each["name"] in lasting]
        if selector.items() <= group["labels"].items():
            for path in paths:
                if not any(Path(path).is_relative_to(mount) for mount in mounts):
                    yield f"{name}: {path} is on no volume"
    wanted = {443, *(int(port) for host in args.image_url_hosts if (port := host.partition(":")[2]))}
    rules = [rule for policy in of_kind(objects, "NetworkPolicy") for rule in policy["spec"].get("egress", [])]
    outside = {port["port"] for rule in rules if "ipBlock" in rule["to"][0] for port in rule["ports"]}
    for port in (wanted | ({80} if args.image_url_allows_http else set())) - outside:
        yield f"nothing can be fetched from port {port}"


CHECKS: tuple[Check, ...] = (
    fits_schema,
    obeys_operator,
    knows_serve_keys,
    names_deployments,
    takes_arguments,
    queues_hold_batches,
    fits_cluster,
    agrees_on_versions,
    is_confined,
    asks_for_what_it_counts,
    ends_gently,
    rolls_without_gap,
    selects_something,
    denies_by_default,
    provides_what_arguments_name,
)
