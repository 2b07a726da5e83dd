"""Binds the application: a router, a detector and one classifier per category of the bundle, each scaled alone.

No `from __future__ import annotations` here: Serve would then skip validating the arguments without a word.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from ray import serve
from ray.serve import Application

from models.bundle import load_bundle
from models.vocabulary import load_profiles
from serve_app.bundle_facts import BundleFacts
from serve_app.classifier import ClassifierDeployment, ClassifierModel
from serve_app.config import TaggerArgs
from serve_app.deployments import DETECTOR, JOBS, ROUTER, classifier_name, deployment_options
from serve_app.detector import DetectorDeployment, DetectorModel
from serve_app.errors import KeyFileError
from serve_app.loading import load_classifier, load_detector
from serve_app.other_bundles import ModelSource
from serve_app.router import RouterDeployment
from serve_app.tracing import Tracing
from serve_app.turns import CoreTurn

OptionsOf = Callable[[str], dict[str, Any]]
"""Deployment name -> keywords of `Deployment.options`."""


def build_app(args: TaggerArgs) -> Application:
    """Build the application of a bundle; what `import_path` in the Serve config names.

    Raises:
        BundleError: if the bundle cannot be used, before any replica starts.
        KeyFileError: if neither keys are named nor everybody is welcome: a cluster is open to other machines.
    """
    args = TaggerArgs.model_validate(args)  # Serve passes a plain dict when the annotation is a string
    if not args.api_keys and not args.no_auth:
        raise KeyFileError("args: needs api_keys, the path of the file of API keys, or no_auth: true")
    return bind_bundle(args)


def bind_bundle(args: TaggerArgs, options_of: OptionsOf = deployment_options) -> Application:
    """Bind the application of the bundle in `args`; `options_of` says how much of each deployment runs.

    Raises:
        BundleError: if the bundle cannot be used.
        OntologyError: if a profile cannot be used.
    """
    bundle = load_bundle(args.bundle_uri)
    load_profiles(args.profiles_uri, bundle.ontology)  # a broken one shall stop us here, before a replica starts
    return bind_app(
        args,
        BundleFacts.of(bundle),
        partial(load_detector, args=args),
        lambda category: partial(load_classifier, category=category, args=args),
        options_of,
    )


def bind_app(
    args: TaggerArgs,
    bundle: BundleFacts,
    detector_loader: Callable[[str], DetectorModel],
    classifier_loader: Callable[[str], Callable[[str], ClassifierModel]],
    options_of: OptionsOf = deployment_options,
) -> Application:
    """Bind the deployments together.

    Args:
        args: what is answered.
        bundle: says which categories get a classifier.
        detector_loader: loads the detector of the bundle at an address in its replica.
        classifier_loader: category -> what loads its classifier, likewise.
        options_of: how much of each deployment runs.
    """

    def options(name: str) -> dict[str, Any]:
        return {"name": name, **_with_gpu(options_of(name), args.device, 1 + len(bundle.ontology.category_names))}

    def tracing(name: str) -> Callable[[], Tracing]:
        return partial(Tracing, args.trace_endpoint, args.trace_share, name)

    make_turn = partial(CoreTurn, args.num_threads) if args.device == "cpu" else None
    detector = serve.deployment(**options(DETECTOR))(DetectorDeployment).bind(
        partial(detector_loader, args.bundle_uri),
        bundle.detector_long_side_px,
        args.detector_max_batch,
        args.stall_limit_s,
        make_tracing=tracing(DETECTOR),
        source=ModelSource(args.bundle_uri, bundle.label, detector_loader),
        make_turn=make_turn,
    )
    classifiers = {
        category: serve.deployment(**options(classifier_name(category)))(ClassifierDeployment).bind(
            partial(classifier_loader(category), args.bundle_uri),
            bundle.crop_size_px,
            args.classifier_max_batch,
            args.stall_limit_s,
            make_tracing=tracing(classifier_name(category)),
            source=ModelSource(args.bundle_uri, bundle.label, classifier_loader(category)),
            make_turn=make_turn,
        )
        for category in bundle.ontology.category_names
    }
    jobs = None
    if args.jobs_dir:
        from serve_app.jobs.deployment import JobsDeployment  # here, since it brings Arrow along

        keeper = serve.deployment(name=JOBS, **options_of(JOBS))(JobsDeployment)
        jobs = keeper.bind(args, f"{bundle.label} {bundle.digest}")
    ingress: type = serve.ingress()(RouterDeployment)
    return serve.deployment(name=ROUTER, **options_of(ROUTER))(ingress).bind(args, bundle, detector, classifiers, jobs)


def _with_gpu(options: dict[str, Any], device: str, num_models: int) -> dict[str, Any]:
    """Give a model an equal share of one GPU where the profile gives none; without a share Ray hides the GPU."""
    actor = options.get("ray_actor_options", {})
    if device != "cuda" or "num_gpus" in actor:
        return options
    share = int(100 / num_models) / 100
    return {**options, "ray_actor_options": {**actor, "num_gpus": share}}
