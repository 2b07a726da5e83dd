"""How much of each deployment runs: replicas, queues, CPUs and GPU fractions, per place it runs in; the only copy.

`app.py` binds with these settings and `serve_config.py` writes them into the Serve config file, so the two cannot
disagree. What the application answers with is said elsewhere, in `TaggerArgs`.

A place is a profile: `local` (one machine, `fashion-tagger serve`), `kind-cpu` (a laptop cluster) and `gpu-prod`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

ProfileName = Literal["local", "kind-cpu", "gpu-prod"]
PROFILE_NAMES: tuple[ProfileName, ...] = get_args(ProfileName)
APPLICATION = "tagger"
ROUTER = "router"
DETECTOR = "detector"
JOBS = "jobs"
_CLASSIFIER_PREFIX = "classifier-"

REQUEST_LIMIT_S = 35
"""Longest life of a request: 20 s of upload, 10 s to the answer (TaggerArgs), 5 s so that our 504 comes first."""

# A replica that died is missed when it is asked for its health, one whose model hangs after three checks: it says so
# after stall_limit_s (TaggerArgs), 10 s, and is stopped 3 s later, so that 17 s are left for its successor to start
# within half a minute. A check costs a millisecond.
_HEALTH_CHECK_PERIOD_S = 1
_HEALTH_CHECK_TIMEOUT_S = 10


@dataclass(frozen=True, slots=True)
class Scaling:
    """Bounds and target of an autoscaled deployment.

    Args:
        min_replicas: kept when nothing happens; 0 lets the deployment sleep.
        max_replicas: never exceeded, whatever waits.
        target_ongoing_requests: calls running and waiting per replica that the autoscaler aims at.
    """

    min_replicas: int
    max_replicas: int
    target_ongoing_requests: float

    def __post_init__(self) -> None:
        if not 0 <= self.min_replicas <= self.max_replicas or self.max_replicas < 1:
            raise ValueError(f"needs 0 <= min <= max >= 1 replicas, got {self.min_replicas} and {self.max_replicas}")

    def options(self) -> dict[str, Any]:
        """Serve's `autoscaling_config`; Serve's own defaults react in a minute and sleep on it for ten."""
        return {
            "min_replicas": self.min_replicas,
            "max_replicas": self.max_replicas,
            "target_ongoing_requests": self.target_ongoing_requests,
            # Reaction to a shift of the mix: report 1 s + half the window 4 s + delay 4 s, so 9 s before a replica
            # starts; 15 s are promised. Deprecated by Ray, yet the only lever on the reports that 2.60 reads.
            "metrics_interval_s": 1,
            "look_back_period_s": 8,
            "upscale_delay_s": 4,
            # A replica costs its start (import, weights, warm-up: about 20 s on a GPU); gaps in traffic are shorter
            # than five minutes by day, and a sleeping deployment makes a person wait, so it sleeps after half an hour.
            "downscale_delay_s": 300,
            "downscale_to_zero_delay_s": 1800,
        }


@dataclass(frozen=True, slots=True)
class DeploymentSettings:
    """Everything Serve is told about one deployment.

    Args:
        num_cpus: cores that a replica is placed by.
        max_ongoing_requests: calls a replica accepts; two batches, so one gathers while one computes.
        max_queued_requests: calls that wait per caller before the next is refused.
        scaling: between how many replicas, and by what.
        num_gpus: share of a GPU that a replica is placed by; shares memory and time, and is enforced by nobody.
        max_surge_percent: replicas started beyond the target before old ones stop, when code or weights change.
        max_replicas_per_node: None lets replicas share a node.
        pool: value of the Ray node label `pool` that a replica needs; None runs anywhere.
    """

    num_cpus: float
    max_ongoing_requests: int
    max_queued_requests: int
    scaling: Scaling
    num_gpus: float = 0.0
    max_surge_percent: int = 100
    max_replicas_per_node: int | None = None
    pool: str | None = None

    def __post_init__(self) -> None:
        if self.scaling.target_ongoing_requests > self.max_ongoing_requests:
            raise ValueError(
                f"a target of {self.scaling.target_ongoing_requests} is never reached with at most "
                f"{self.max_ongoing_requests} calls per replica"
            )

    def options(self) -> dict[str, Any]:
        """Keywords of `Deployment.options`, which are the keys of a deployment in the Serve config file too."""
        actor: dict[str, Any] = {"num_cpus": self.num_cpus}
        if self.num_gpus:
            actor["num_gpus"] = self.num_gpus
        if self.pool:
            actor["label_selector"] = {"pool": self.pool}
        options: dict[str, Any] = {
            "max_ongoing_requests": self.max_ongoing_requests,
            "max_queued_requests": self.max_queued_requests,
            "max_surge_percent": self.max_surge_percent,
            "graceful_shutdown_timeout_s": REQUEST_LIMIT_S,  # an idle replica stops at once
            "health_check_period_s": _HEALTH_CHECK_PERIOD_S,
            "health_check_timeout_s": _HEALTH_CHECK_TIMEOUT_S,
            "ray_actor_options": actor,
            "autoscaling_config": self.scaling.options(),
        }
        if self.max_replicas_per_node:
            options["max_replicas_per_node"] = self.max_replicas_per_node
        return options


@dataclass(frozen=True, slots=True)
class Profile:
    """The deployments of one place; every category's classifier begins with the same settings."""

    router: DeploymentSettings
    detector: DeploymentSettings
    classifier: DeploymentSettings


# Queues and batches are the same everywhere:
# router      32 photos at once bound its memory (32 x 36 MB, a decoded photo of 12 megapixels, is 1.2 GB). A core
#             decodes some 100 photos of half a megabyte a second, so 64 waiting are answered within a second.
# detector    16 = two batches of TaggerArgs.detector_max_batch; 32 waiting per router are four batches more.
# classifier  32 = two batches of TaggerArgs.classifier_max_batch; 64 waiting per router are four batches more.
#             Not more: with 64 in a replica two detectors were loaded unevenly in a flood, and 27 % less was answered.
# Targets lie below a full batch: a replica that is told to run full has no room left for the seconds until the next
# one has started. The router awaits the others: 10 calls of 0.1 to 0.2 s each keep its core busy.
_PROFILES: Mapping[ProfileName, Profile] = {
    # One replica of each on whatever machine it is, and a second one of whatever stays busy. The shares (1.4 at their
    # maxima) only place: with fewer than one core free for them nothing would start, and a roll doubles them for a
    # moment. Computing is shared out by num_threads. Targets are high, since a laptop gains little from more processes.
    "local": Profile(
        router=DeploymentSettings(0.1, 32, 64, Scaling(1, 2, 24)),
        detector=DeploymentSettings(0.1, 16, 32, Scaling(1, 2, 12)),
        classifier=DeploymentSettings(0.1, 32, 64, Scaling(1, 2, 24)),
    ),
    # A worker of 4 cores holds router, detector and five classifiers at their minima (0.25 + 1 + 5 x 0.25 = 2.5); two
    # workers hold everything at its maxima (0.5 + 2 + 5 x 3 x 0.25 = 6.25). Scaling shows, since 3 > 1.
    "kind-cpu": Profile(
        router=DeploymentSettings(0.25, 32, 64, Scaling(1, 2, 10)),
        detector=DeploymentSettings(1, 16, 32, Scaling(1, 2, 4)),
        classifier=DeploymentSettings(0.25, 32, 64, Scaling(1, 3, 4)),
    ),
    # GPU shares are eighths: a GPU is filled without a rest, and they are exact in binary. With fifths Ray's autoscaler
    # reckons 1 - 0.4 - 0.2 - 0.2 to be less than 0.2 and starts a node too many. On a card of 24 GB an eighth is 3 GB:
    # CUDA context 0.5, weights 0.1, activations of 16 crops below 1; a half holds 8 photos of 800 px.
    # At their minima 2 x 1/2 + 5 x 1/8 = 1.6 of 2 GPUs, at their maxima 6 x 1/2 + 5 x 5 x 1/8 = 6.1 of 8.
    "gpu-prod": Profile(
        # Four at least, at most three per node: two nodes, so that losing one leaves a router. A core each, since they
        # decode; CPU nodes only, so that GPU nodes keep their cores for the models, each of which has one too.
        router=DeploymentSettings(
            1, 32, 64, Scaling(4, 12, 10), max_surge_percent=50, max_replicas_per_node=3, pool="cpu"
        ),
        # Two at least, on two nodes: without a detector nothing is answered. Rolling them takes a third node meanwhile.
        detector=DeploymentSettings(
            1, 16, 32, Scaling(2, 6, 6), num_gpus=0.5, max_surge_percent=50, max_replicas_per_node=1, pool="gpu"
        ),
        # One at least: a category that is away for the 20 s of a new replica is answered as a partial answer.
        classifier=DeploymentSettings(1, 32, 64, Scaling(1, 5, 12), num_gpus=0.125, pool="gpu"),
    ),
}


# The same everywhere, and only where TaggerArgs.jobs_dir is set. One replica, since it alone writes what it keeps, so
# the old one ends before its successor starts. It computes nothing itself: its workers are actors of Ray Data.
_JOBS: dict[str, Any] = {
    "num_replicas": 1,
    "max_ongoing_requests": 16,
    "max_queued_requests": 64,
    "max_surge_percent": 0,
    "health_check_period_s": _HEALTH_CHECK_PERIOD_S,
    "health_check_timeout_s": _HEALTH_CHECK_TIMEOUT_S,
    "ray_actor_options": {"num_cpus": 0.1},
}


def classifier_name(category: str) -> str:
    """Name of the deployment that classifies a category."""
    return f"{_CLASSIFIER_PREFIX}{category}"


def deployment_names(categories: Iterable[str]) -> tuple[str, ...]:
    """Names of all deployments for these categories, the ingress first."""
    return (ROUTER, DETECTOR, *map(classifier_name, categories))


def deployment_options(name: str, profile: ProfileName = "local", sleeps: bool = False) -> dict[str, Any]:
    """Settings of a deployment as keywords of Serve's `Deployment.options`.

    Args:
        name: `router`, `detector`, `jobs` or `classifier-<category>`.
        profile: where it runs.
        sleeps: let it scale to zero when nobody asks; for the classifier of a rare category.

    Returns:
        A new dict, also valid as a deployment in a Serve config file once `name` is added.

    Raises:
        ValueError: if there is no such deployment or profile, or it cannot sleep.
    """
    if name == JOBS:
        return {**_JOBS, "ray_actor_options": {**_JOBS["ray_actor_options"]}}
    settings = _settings(name, profile)
    if sleeps:
        if not name.startswith(_CLASSIFIER_PREFIX):
            raise ValueError(f"{name} of profile {profile} cannot scale to zero; a classifier can")
        settings = replace(settings, scaling=replace(settings.scaling, min_replicas=0))
    return settings.options()


def _settings(name: str, profile: ProfileName) -> DeploymentSettings:
    if profile not in _PROFILES:
        raise ValueError(f"no profile {profile!r}; there are {', '.join(PROFILE_NAMES)}")
    if name == ROUTER:
        return _PROFILES[profile].router
    if name == DETECTOR:
        return _PROFILES[profile].detector
    if name.startswith(_CLASSIFIER_PREFIX) and name != _CLASSIFIER_PREFIX:
        return _PROFILES[profile].classifier
    raise ValueError(f"no deployment {name!r}; there are router, detector and classifier-<category>")
