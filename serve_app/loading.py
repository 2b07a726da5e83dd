"""Loading the models of a bundle inside a replica, with its threads set; the only place of the service with torch."""

import sys
from contextlib import suppress
from types import ModuleType

from serve_app.classifier import ClassifierModel
from serve_app.config import TaggerArgs
from serve_app.detector import DetectorModel


def load_detector(bundle_uri: str, args: TaggerArgs) -> DetectorModel:
    """Load a bundle's detector into this process, to compute as `args` say.

    Raises:
        BundleError: if the bundle is missing or damaged.
    """
    from models.bundle import load_bundle

    _prepare_torch(args)
    return load_bundle(bundle_uri).load_detector(args.device)


def load_classifier(bundle_uri: str, category: str, args: TaggerArgs) -> ClassifierModel:
    """Load the classifier of a category into this process, to compute as `args` say.

    Raises:
        BundleError: if the bundle is missing or damaged.
    """
    from models.bundle import load_bundle

    _prepare_torch(args)
    return load_bundle(bundle_uri).load_classifier(category, args.device)


def _prepare_torch(args: TaggerArgs) -> None:
    """Import torchvision cheaply, and set the threads and the number format of torch.

    torchvision imports torch's compiler, sympy and all, to ask one question that matters only to deterministic
    training on a GPU. Answering it here takes a replica's start from 9.5 to 5.3 s of CPU time (torch 2.15) and saves
    150 MB; with six replicas on two cores that is 13 s until the service answers.
    """
    import torch  # here, so that the router and the builder load none

    compiler, questions = ModuleType("torch._dynamo"), ModuleType("torch._dynamo.utils")
    questions.is_compile_supported = lambda device_type: False  # type: ignore[attr-defined]
    stand_ins = {module.__name__: module for module in (compiler, questions)}
    if not stand_ins.keys() & sys.modules.keys():
        sys.modules.update(stand_ins)
        try:
            with suppress(ImportError):  # a torchvision that asks for more gets the whole compiler below
                import torchvision  # noqa: F401
        finally:
            for name in stand_ins:
                del sys.modules[name]
    # Said to torch itself, since Ray sets OMP_NUM_THREADS from the logical CPUs of the replica.
    torch.set_num_threads(args.num_threads)
    torch.set_autocast_dtype(args.device, torch.float32 if args.precision == "exact" else torch.bfloat16)
