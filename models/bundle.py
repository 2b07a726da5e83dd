"""A bundle: the directory that is all the service loads, with ontology, weights, thresholds and where they came from.

`load_bundle` reads and checks; it loads no torch, so routers may use it. Only `load_detector` and `load_classifier` do.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models import bundle_files
from models.errors import BundleError
from models.ontology import Ontology

if TYPE_CHECKING:
    from torch import nn

    from models.classifier import Classifier
    from models.detector import Detector, DetectorSpec

DEFAULT_THRESHOLD = 0.5
"""What counts from which score where nothing was fitted."""

_PIN = "#sha256="


@dataclass(frozen=True)
class Bundle:
    """A checked bundle on local disk.

    Attributes:
        dir: where its files lie.
        digest: SHA-256 over the manifest without the measured quality; names what gives the answers.
        manifest: content of bundle.json.
        ontology: what the weights were trained for.
    """

    dir: Path
    digest: str
    manifest: Mapping[str, Any]
    ontology: Ontology

    @property
    def name(self) -> str:
        """Name of the bundle."""
        return str(self.manifest["name"])

    @property
    def version(self) -> str:
        """Version of the bundle."""
        return str(self.manifest["version"])

    @property
    def label(self) -> str:
        """name@version."""
        return f"{self.name}@{self.version}"

    @property
    def detector_long_side_px(self) -> int:
        """Long side of the canvas that the detector takes."""
        return int(self.manifest["detector"]["spec"]["long_side_px"])

    @property
    def min_score(self) -> float:
        """Score from which a detection counts unless somebody says otherwise."""
        return float(self.manifest["detector"].get("min_score", DEFAULT_THRESHOLD))

    @property
    def crop_size_px(self) -> int:
        """Side of the squares that the classifiers take."""
        return int(self.manifest["classifiers"]["spec"]["size_px"])

    @property
    def crop_pad_ratio(self) -> float:
        """Share of a box's own size around its crop."""
        return float(self.manifest["classifiers"]["spec"]["pad_ratio"])

    @property
    def thresholds(self) -> Mapping[str, Mapping[str, float]]:
        """Category -> attribute -> score from which a value of several counts as seen, or a single one is trusted."""
        return self.manifest["classifiers"]["thresholds"]  # type: ignore[no-any-return]

    @property
    def temperatures(self) -> Mapping[str, Mapping[str, float]]:
        """Category -> attribute -> what its logits are divided by; 1 where absent."""
        return self.manifest["classifiers"]["temperatures"]  # type: ignore[no-any-return]

    @property
    def quality(self) -> Mapping[str, Any]:
        """What was measured of it, with split and counts; empty before it was evaluated."""
        return self.manifest["quality"]  # type: ignore[no-any-return]

    @property
    def training(self) -> Mapping[str, Any]:
        """Where its weights came from."""
        return self.manifest["training"]  # type: ignore[no-any-return]

    @property
    def num_bytes(self) -> int:
        """Size of all weights on disk."""
        return sum(int(facts["bytes"]) for facts in self.manifest["files"].values())

    @cached_property
    def detector_spec(self) -> "DetectorSpec":
        """Shape of the detector; loads torch."""
        from models.detector import DetectorSpec

        return DetectorSpec.from_dict(self.manifest["detector"]["spec"])

    def load_detector(self, device: str = "cpu") -> "Detector":
        """Load the detector's weights.

        Raises:
            BundleError: if they do not fit its spec.
        """
        from models.detector import Detector, build_detector

        path = self.dir / self.manifest["detector"]["weights"]
        return Detector(build_detector(self.detector_spec, path), self.detector_spec, self.ontology, device)

    def load_classifier(self, category: str, device: str = "cpu") -> "Classifier":
        """Load the trunk and the heads of a category.

        Raises:
            BundleError: if the category is unknown, or the weights do not fit.
        """
        return self.load_classifiers(device, [category])[category]

    def load_classifiers(self, device: str = "cpu", categories: list[str] | None = None) -> dict[str, "Classifier"]:
        """Load the classifiers of several categories (None: all); those with one trunk share its memory.

        Raises:
            BundleError: if a category is unknown, or the weights do not fit.
        """
        from models.classifier import CategoryHeads, Classifier
        from models.weights import load_weights

        trunks: dict[str, nn.Module] = {}
        classifiers: dict[str, Classifier] = {}
        for name in categories or self.ontology.category_names:
            if name not in self.ontology.categories:
                known = ", ".join(self.ontology.category_names)
                raise BundleError(f"the bundle has no category {name}; it has {known}")
            parts = self.manifest["classifiers"]["weights"][name]
            if parts["trunk"] not in trunks:
                trunks[parts["trunk"]] = self._load_trunk(parts["trunk"], device)
            category = self.ontology.categories[name]
            heads = CategoryHeads(category)
            load_weights(heads, self.dir / parts["heads"])
            temperatures = self.temperatures.get(name, {})
            classifiers[name] = Classifier(category, trunks[parts["trunk"]], heads, device, temperatures)
        return classifiers

    def _load_trunk(self, file_name: str, device: str) -> "nn.Module":
        from models.classifier import InceptionTrunk, quickened
        from models.weights import load_weights

        trunk = InceptionTrunk()
        load_weights(trunk, self.dir / file_name)
        return quickened(trunk, device)


def load_bundle(uri: str | Path, cache_dir: Path | None = None, *, check_digests: bool = True) -> Bundle:
    """Open a bundle and make sure that it is whole and fits its ontology.

    Args:
        uri: a local directory, or any fsspec URL of one (s3://, gs://, https://, ...); with `#sha256=<digest>` behind
            it only the bundle of this digest is opened, whatever lies there.
        cache_dir: where remote bundles are kept, a directory for each digest; None for the user's cache.
        check_digests: read every file in full; without it sizes and shapes are compared all the same.

    Raises:
        BundleError: saying what is wrong and what to do.
        OntologyError: if its ontology contradicts itself.
    """
    location, _, wanted = str(uri).partition(_PIN)
    directory = _local_directory(location, cache_dir)
    manifest = bundle_files.parse_manifest(bundle_files.read_manifest_text(directory))
    digest = bundle_files.manifest_digest(manifest)
    if _PIN in str(uri) and digest != wanted.lower():
        raise BundleError("the bundle is not the one whose digest its address names; compare both", digest)
    ontology = Ontology.from_dict(manifest["ontology"])
    for name, facts in manifest["files"].items():
        bundle_files.check_file(directory, name, facts, check_digest=check_digests)
    bundle_files.check_weights_fit(directory, manifest, ontology)
    bundle = Bundle(directory, digest, manifest, ontology)
    _check_numbers(bundle)
    return bundle


def _local_directory(uri: str, cache_dir: Path | None) -> Path:
    if "://" not in uri:
        directory = Path(uri).expanduser()
        if not directory.is_dir():
            raise BundleError(f"there is no bundle directory {directory.name}; check the path", str(directory))
        return directory
    if uri.startswith("file://"):
        return _local_directory(uri.removeprefix("file://"), cache_dir)
    return bundle_files.fetch(uri, cache_dir or Path.home() / ".cache" / "fashion-tagger" / "bundles")


def _check_numbers(bundle: Bundle) -> None:
    """Refuse preprocessing and calibration that no photo could be answered with."""
    try:
        numbers = [bundle.detector_long_side_px, bundle.crop_size_px, bundle.crop_pad_ratio + 1, bundle.min_score]
        for by_category in (bundle.temperatures, bundle.thresholds):
            for category, by_attribute in by_category.items():
                known = bundle.ontology.categories[category].attributes
                numbers += [float(by_attribute[name]) for name in by_attribute if known[name]]
        if not all(0 < number < 1e6 for number in numbers):
            raise ValueError(f"not all positive: {numbers}")
    except (KeyError, TypeError, ValueError, AttributeError) as exc:
        raise BundleError(
            f"sizes, temperatures or thresholds of {bundle.label} are unusable; build the bundle again", repr(exc)
        ) from exc
