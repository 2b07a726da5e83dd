"""Loading the models of a bundle inside a replica, with its threads set; the only place of the service with torch."""

from serve_app.classifier import ClassifierModel
from serve_app.detector import DetectorModel


def load_detector(bundle_uri: str, device: str, num_threads: int) -> DetectorModel:
    """Load a bundle's detector into this process.

    Raises:
        BundleError: if the bundle is missing or damaged.
    """
    from models.bundle import load_bundle

    _set_threads(num_threads)
    return load_bundle(bundle_uri).load_detector(device)


def load_classifier(bundle_uri: str, category: str, device: str, num_threads: int) -> ClassifierModel:
    """Load the classifier of a category into this process.

    Raises:
        BundleError: if the bundle is missing or damaged.
    """
    from models.bundle import load_bundle

    _set_threads(num_threads)
    return load_bundle(bundle_uri).load_classifier(category, device)


def _set_threads(num_threads: int) -> None:
    """Tell torch itself, for all threads: Ray sets OMP_NUM_THREADS from the logical CPUs of the replica."""
    import torch  # here, so that the router and the builder load none

    torch.set_num_threads(num_threads)
