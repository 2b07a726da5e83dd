"""The Serve config file of a bundle: exactly its categories, with the settings of a profile."""

from collections.abc import Collection, Sequence
from typing import Any, Protocol

import yaml

from serve_app.config import TaggerArgs
from serve_app.deployments import (
    APPLICATION,
    REQUEST_LIMIT_S,
    ProfileName,
    classifier_name,
    deployment_names,
    deployment_options,
)

IMPORT_PATH = "serve_app.app:build_app"
_ARGS: dict[ProfileName, dict[str, Any]] = {
    "local": {"device": "cpu", "no_auth": True},  # listens on loopback
    "kind-cpu": {"device": "cpu", "num_threads": 1, "no_auth": True},  # a replica has a core; reached by port-forward
    "gpu-prod": {"device": "cuda", "num_threads": 1, "api_keys": "/etc/fashion-tagger/api-keys.yaml"},
}


class _Ontology(Protocol):
    @property
    def category_names(self) -> tuple[str, ...]: ...


class CategorisedBundle(Protocol):
    """What the config file needs to know of a `models.bundle.Bundle`."""

    @property
    def ontology(self) -> _Ontology:
        """Names the categories that have a classifier."""


def serve_config(
    categories: Sequence[str], bundle_uri: str, profile: ProfileName, sleeping: Collection[str] = ()
) -> dict[str, Any]:
    """Build the Serve config.

    Args:
        categories: those of the bundle, in its order.
        bundle_uri: path or URL of the bundle as the cluster sees it.
        profile: where it runs.
        sleeping: categories whose classifiers may scale to zero.

    Returns:
        What `ServeDeploySchema` takes.

    Raises:
        ValueError: if `sleeping` names no category, or the profile is unknown.
    """
    if unknown := set(sleeping) - set(categories):
        raise ValueError(f"the bundle has no category {', '.join(sorted(unknown))}; it has {', '.join(categories)}")
    asleep = {classifier_name(category) for category in sleeping}
    deployments = [
        {"name": name, **deployment_options(name, profile, sleeps=name in asleep)}
        for name in deployment_names(categories)
    ]
    args = {"bundle": bundle_uri, **_ARGS[profile]}
    TaggerArgs.model_validate(args)
    encoding = "TEXT" if profile == "local" else "JSON"
    return {
        "proxy_location": "EveryNode",  # a worker whose proxy is missing never becomes ready
        "http_options": {
            "host": "127.0.0.1" if profile == "local" else "0.0.0.0",
            "port": 8000,
            "request_timeout_s": REQUEST_LIMIT_S,
            "keep_alive_timeout_s": 90,  # above the 60 s after which common load balancers drop an idle connection
        },
        "logging_config": {"encoding": encoding, "log_level": "INFO"},
        "applications": [
            {
                "name": APPLICATION,
                "route_prefix": "/",
                "import_path": IMPORT_PATH,
                # Of the replicas: at INFO each writes a line per call. The proxy's one per request stays.
                "logging_config": {"encoding": encoding, "log_level": "WARNING"},
                "args": args,
                "deployments": deployments,
            }
        ],
    }


def render_serve_config(
    bundle: CategorisedBundle, profile: ProfileName, bundle_uri: str = "demo", sleeping: Collection[str] = ()
) -> str:
    """YAML of the Serve config of a bundle; see `serve_config` for arguments and errors."""
    config = serve_config(bundle.ontology.category_names, bundle_uri, profile, sleeping)
    command = f"fashion-tagger config --bundle {bundle_uri} --profile {profile}"
    command += "".join(f" --sleeping {category}" for category in sleeping)
    head = f"# Written by `{command}`.\n# The numbers and their reasons are in serve_app/deployments.py.\n"
    return head + yaml.safe_dump(config, sort_keys=False, width=120)
