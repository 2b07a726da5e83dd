"""Makes bundles: from the results of training, or with random weights for tests and load tests."""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from models import bundle_files
from models.bundle import DEFAULT_THRESHOLD
from models.errors import BundleError
from models.ontology import Ontology

if TYPE_CHECKING:
    from models.calibration import Calibration


def write_bundle(
    out_dir: Path,
    *,
    name: str,
    version: str,
    detectors: Sequence[Path],
    classifiers: Path,
    training: Mapping[str, Any],
) -> Path:
    """Put trained parts together; the bundle's ontology is the one that both were trained with.

    Args:
        out_dir: made if needed; a bundle that is there already is replaced.
        name: of the bundle.
        version: of the bundle.
        detectors: detector.json of a training run, or the folder of another bundle; of several, the mean of their
            weights is taken, so they have to have begun with the same ones.
        classifiers: classifiers.json of a training run, or the folder of another bundle.
        training: what is recorded besides both runs' own records, such as the command lines and the data sets.

    Returns:
        `out_dir`; open it with `load_bundle`.

    Raises:
        BundleError: if a result is missing, they were trained with different ontologies, or the detectors are of
            different networks.
    """
    found, answered = [_Part.read(path, "detector") for path in detectors], _Part.read(classifiers, "classifiers")
    if any(each.ontology != answered.ontology for each in found):
        raise BundleError("detector and classifiers were trained with different ontologies; train both with one")
    if any(each.spec != found[0].spec for each in found):
        raise BundleError("the detectors are of different networks; average runs of one")
    weights = found[0].weights
    sources = {weights: found[0].dir / weights}
    for parts in answered.weights.values():
        sources |= {parts[key]: answered.dir / parts[key] for key in ("trunk", "heads")}
    out_dir.mkdir(parents=True, exist_ok=True)
    for source in (*sources.values(), *(each.dir / each.weights for each in found)):
        if not source.is_file():
            raise BundleError(f"{source.name} is missing beside the training's result; train again", str(source))
    if len(found) > 1:
        from models.weights import save_mean

        save_mean([each.dir / each.weights for each in found], out_dir / weights)
        sources[weights] = out_dir / weights
    for file_name, source in sources.items():
        if source.resolve() != (out_dir / file_name).resolve():
            shutil.copyfile(source, out_dir / file_name)
    manifest = {
        "format": bundle_files.FORMAT,
        "name": name,
        "version": version,
        "ontology": answered.ontology,
        "files": {file_name: bundle_files.file_facts(out_dir / file_name) for file_name in sorted(sources)},
        "detector": {"weights": weights, "spec": found[0].spec, "min_score": DEFAULT_THRESHOLD},
        "classifiers": {
            "weights": answered.weights,
            "spec": answered.spec,
            "temperatures": {},
            "thresholds": {},
        },
        "quality": {},
        "training": {
            **training,
            "detector": found[0].training if len(found) == 1 else {"mean_of": [each.training for each in found]},
            "classifiers": answered.training,
        },
    }
    bundle_files.write_manifest(out_dir, bundle_files.parse_manifest(json.dumps(manifest)))
    return out_dir


def record_calibration(bundle_dir: Path, calibration: "Calibration") -> None:
    """Set temperatures and thresholds; the bundle's digest changes, since its answers do."""
    manifest = bundle_files.parse_manifest(bundle_files.read_manifest_text(bundle_dir))
    manifest["format"] = bundle_files.FORMAT
    manifest["detector"]["min_score"] = calibration.min_score
    manifest["classifiers"]["temperatures"] = calibration.temperatures
    manifest["classifiers"]["thresholds"] = calibration.thresholds
    bundle_files.write_manifest(bundle_dir, manifest)


def record_quality(bundle_dir: Path, quality: Mapping[str, Any]) -> None:
    """Set what was measured; the bundle's digest stays, since its answers do."""
    manifest = bundle_files.parse_manifest(bundle_files.read_manifest_text(bundle_dir))
    manifest["quality"] = dict(quality)
    bundle_files.write_manifest(bundle_dir, manifest)


def write_random_bundle(out_dir: Path, ontology: Ontology, seed: int = 0, size_px: int = 75) -> Path:
    """Make a bundle that loads and answers, but knows nothing: for tests and for measuring speed before training.

    Args:
        out_dir: made if needed; some 55 MB.
        ontology: of any content.
        seed: of the weights.
        size_px: side of the crops, at least 75.

    Returns:
        `out_dir`.
    """
    import torch

    from models.classifier import CategoryHeads, ClassifierSpec, InceptionTrunk
    from models.detector import DetectorSpec, build_detector
    from models.weights import save_weights

    spec = DetectorSpec("mobilenet_v3_large_320_fpn", 128, 64, len(ontology.category_names))
    weights = {
        name: {"trunk": "trunk.safetensors", "heads": f"classifier-{name}.safetensors"}
        for name in ontology.category_names
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        save_weights(build_detector(spec), out_dir / "detector.safetensors")
        save_weights(InceptionTrunk(), out_dir / "trunk.safetensors")
        for category in ontology.categories.values():
            save_weights(CategoryHeads(category), out_dir / weights[category.name]["heads"])
    common = {"format": 1, "ontology": ontology.to_dict(), "training": {"kind": "random weights", "seed": seed}}
    detector, classifiers = out_dir / "detector.json", out_dir / "classifiers.json"
    detector.write_text(json.dumps({**common, "spec": spec.to_dict(), "weights": "detector.safetensors"}))
    crops = ClassifierSpec(size_px, 0.05).to_dict()
    classifiers.write_text(json.dumps({**common, "spec": crops, "weights": weights}))
    write_bundle(
        out_dir,
        name="random",
        version=str(seed),
        detectors=[detector],
        classifiers=classifiers,
        training={"seed": seed},
    )
    detector.unlink()
    classifiers.unlink()
    return out_dir


@dataclass(frozen=True, slots=True)
class _Part:
    """One stage's result, from its training or from a bundle."""

    dir: Path
    ontology: Any
    spec: Any
    weights: Any
    training: Any

    @classmethod
    def read(cls, path: Path, stage: Literal["detector", "classifiers"]) -> Self:
        if path.is_dir():
            manifest = bundle_files.parse_manifest(bundle_files.read_manifest_text(path))
            part, training = manifest[stage], manifest["training"].get(stage, {})
            return cls(path, manifest["ontology"], part["spec"], part["weights"], training)
        result = _read_result(path)
        return cls(path.parent, result["ontology"], result["spec"], result["weights"], result["training"])


def _read_result(path: Path) -> dict[str, Any]:
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as exc:
        raise BundleError(f"{path.name} is no training result; give the file that training wrote", str(path)) from exc
    keys = {"format", "ontology", "spec", "weights", "training"}
    if not isinstance(result, dict) or not keys <= result.keys() or result["format"] != 1:
        raise BundleError(f"{path.name} is no training result of format 1; train again with this version", str(path))
    return result
