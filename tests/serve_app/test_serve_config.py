"""The Serve config of a bundle: exactly its categories, and a file that Serve takes."""

from dataclasses import dataclass
from typing import Any

import pytest
import yaml
from ray.serve.schema import ServeDeploySchema

from models.ontology import Ontology
from serve_app.deployments import PROFILE_NAMES
from serve_app.serve_config import render_serve_config, serve_config

pytestmark = pytest.mark.filterwarnings("ignore:The `metrics_interval_s` field:DeprecationWarning")


@dataclass(frozen=True)
class _Bundle:
    ontology: Ontology


def _bundle(*categories: str) -> _Bundle:
    attribute = {"fit": {"choice": "single", "values": ["slim", "loose"]}}
    described = {category: {"attributes": attribute} for category in categories}
    return _Bundle(Ontology.from_dict({"name": "test", "version": "1", "categories": described}))


@pytest.mark.parametrize("profile", PROFILE_NAMES)
def test_file_is_what_serve_takes(profile: Any) -> None:
    config = yaml.safe_load(render_serve_config(_bundle("dress", "hat"), profile, "s3://bundles/shop-2"))
    (application,) = ServeDeploySchema.model_validate(config).applications
    assert [deployment.name for deployment in application.deployments] == [
        "router",
        "detector",
        "classifier-dress",
        "classifier-hat",
    ]
    assert application.args["bundle"] == "s3://bundles/shop-2"


def test_only_named_categories_sleep() -> None:
    config = serve_config(["dress", "hat"], "demo", "gpu-prod", sleeping=["hat"])
    minima = {
        deployment["name"]: deployment["autoscaling_config"]["min_replicas"]
        for deployment in config["applications"][0]["deployments"]
    }
    assert (minima["classifier-dress"], minima["classifier-hat"]) == (1, 0)


def test_a_sleeping_category_that_the_bundle_lacks_is_refused() -> None:
    with pytest.raises(ValueError, match="no category scarf; it has dress, hat"):
        serve_config(["dress", "hat"], "demo", "gpu-prod", sleeping=["scarf"])


def test_file_says_how_it_was_written() -> None:
    text = render_serve_config(_bundle("hat"), "gpu-prod", "demo", sleeping=["hat"])
    assert text.startswith("# Written by `fashion-tagger config --bundle demo --profile gpu-prod --sleeping hat`.\n")
