"""The application as it is bound: one deployment per category, and the same settings everywhere."""

from typing import Any

import pytest

from models.errors import BundleError
from serve_app.config import TaggerArgs
from serve_app.deployments import deployment_names, deployment_options
from serve_app.errors import KeyFileError
from tests.e2e.painted import PaintedLoader, extended_ontology, load_painted_detector
from tests.fakes import facts


def _bound_options(**given: str) -> dict[str, dict[str, Any]]:
    from ray.serve._private.build_app import build_app

    from serve_app.app import bind_app

    ontology = extended_ontology()
    args = TaggerArgs.model_validate(given)
    application = bind_app(args, facts(ontology), load_painted_detector, PaintedLoader(ontology))
    deployments = build_app(application, name="tagger").deployments
    return {deployment.name: deployment.ray_actor_options or {} for deployment in deployments}


def test_every_category_has_a_deployment_of_its_own() -> None:
    assert set(_bound_options()) == set(deployment_names(extended_ontology().category_names))
    assert "classifier-hat" in _bound_options()


def test_jobs_are_deployed_where_they_have_a_place() -> None:
    assert _bound_options(jobs_dir="/jobs", device="cuda")["jobs"] == {"num_cpus": 0.1}


def test_on_a_gpu_every_model_gets_a_share_that_fits_on_one() -> None:
    shares = {name: options.get("num_gpus", 0) for name, options in _bound_options(device="cuda").items()}
    assert shares.pop("router") == 0
    assert all(share > 0 for share in shares.values())
    assert sum(shares.values()) <= 1
    assert "num_gpus" not in deployment_options("detector")["ray_actor_options"]


def test_a_missing_bundle_stops_the_build_with_a_sentence() -> None:
    from serve_app.app import build_app

    with pytest.raises(BundleError, match="there is no bundle"):
        build_app(TaggerArgs(bundle="/nowhere/at/all", no_auth=True))
    with pytest.raises(BundleError):
        build_app({"bundle": "/nowhere/at/all", "no_auth": True})  # type: ignore[arg-type]  # as Serve hands it over


def test_a_cluster_without_keys_has_to_say_so() -> None:
    from serve_app.app import build_app

    with pytest.raises(KeyFileError, match="no_auth"):
        build_app(TaggerArgs())
