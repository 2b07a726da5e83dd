"""Settings of the deployments: complete keywords of Serve, refusals in words, and one meaning everywhere."""

import inspect
from typing import Any

import pytest
from ray.serve import Deployment
from ray.serve.schema import DeploymentSchema

from serve_app.config import TaggerArgs
from serve_app.deployments import (
    PROFILE_NAMES,
    REQUEST_LIMIT_S,
    DeploymentSettings,
    Scaling,
    deployment_names,
    deployment_options,
)


@pytest.mark.parametrize("profile", PROFILE_NAMES)
@pytest.mark.parametrize("name", ["router", "detector", "classifier-dress"])
def test_options_are_keywords_of_serve_and_keys_of_its_file(name: str, profile: Any) -> None:
    options = deployment_options(name, profile)
    assert set(options) <= set(inspect.signature(Deployment.options).parameters)
    assert set(options) <= set(DeploymentSchema.model_fields)


@pytest.mark.parametrize("profile", PROFILE_NAMES)
def test_options_are_the_callers_to_change(profile: Any) -> None:
    deployment_options("detector", profile)["ray_actor_options"]["num_cpus"] = 99
    assert deployment_options("detector", profile)["ray_actor_options"]["num_cpus"] != 99


def test_a_machine_of_one_core_starts_everything() -> None:
    names = deployment_names(["top", "outerwear", "dress", "trousers", "skirt"])
    assert sum(deployment_options(name)["ray_actor_options"]["num_cpus"] for name in names) < 1


@pytest.mark.parametrize("name", ["detector", "classifier-dress"])
def test_shares_of_a_gpu_add_up_in_floating_point(name: str) -> None:
    share = deployment_options(name, "gpu-prod")["ray_actor_options"]["num_gpus"]
    free, replicas = 1.0, 0
    while free >= share:
        free -= share
        replicas += 1
    assert free == 0 and replicas == 1 / share


def test_a_request_ends_before_its_replica_is_stopped() -> None:
    args = TaggerArgs()
    assert args.upload_deadline_s + args.request_deadline_s < REQUEST_LIMIT_S


def test_only_a_sleeping_classifier_scales_to_zero() -> None:
    awake = deployment_options("classifier-dress", "gpu-prod")
    asleep = deployment_options("classifier-dress", "gpu-prod", sleeps=True)
    assert asleep["autoscaling_config"].pop("min_replicas") == 0
    assert awake["autoscaling_config"].pop("min_replicas") == 1
    assert asleep == awake


@pytest.mark.parametrize(
    ("name", "profile", "sleeps"),
    [
        pytest.param("routers", "local", False, id="unknown_deployment"),
        pytest.param("classifier-", "local", False, id="classifier_of_nothing"),
        pytest.param("router", "gpu", False, id="unknown_profile"),
        pytest.param("detector", "gpu-prod", True, id="detector_never_sleeps"),
    ],
)
def test_unknown_is_refused(name: str, profile: Any, sleeps: bool) -> None:
    with pytest.raises(ValueError, match=r"no deployment|no profile|cannot scale to zero"):
        deployment_options(name, profile, sleeps)


def test_settings_that_never_scale_are_refused() -> None:
    with pytest.raises(ValueError, match="never reached"):
        DeploymentSettings(1, 8, 16, Scaling(1, 2, target_ongoing_requests=9))
    with pytest.raises(ValueError, match="got 3 and 2"):
        Scaling(3, 2, 1)
