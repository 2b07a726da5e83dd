import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from models.bundle import load_bundle
from models.bundle_files import file_facts
from models.bundle_writer import record_calibration, record_quality, write_bundle
from models.calibration import Calibration
from models.errors import BundleError, OntologyError
from models.ontology import Attribute, Category, Ontology

ROOT = Path(__file__).parents[2]
ONTOLOGY = Ontology(
    "small",
    "1",
    {
        "skirt": Category("skirt", {"length": Attribute("length", "single", ("mini", "midi"))}),
        "top": Category("top", {"colour": Attribute("colour", "several", ("red", "blue", "green"))}),
    },
)


def write_results(directory: Path, ontology: Ontology = ONTOLOGY) -> tuple[Path, Path]:
    """What both trainings leave behind, with weights of the right shapes for the heads only."""
    directory.mkdir(parents=True, exist_ok=True)
    save_file({"layer": np.zeros((2, 2), np.float16)}, directory / "trunk.safetensors")
    save_file({"head.cls_score.weight": np.zeros((3, 4), np.float16)}, directory / "detector.safetensors")
    weights = {}
    for category in ONTOLOGY.categories.values():
        heads = {}
        for attribute in category.attributes.values():
            heads[f"{attribute.name}.weight"] = np.zeros((len(attribute.values), 4), np.float16)
            heads[f"{attribute.name}.bias"] = np.zeros(len(attribute.values), np.float32)
        save_file(heads, directory / f"classifier-{category.name}.safetensors")
        weights[category.name] = {"trunk": "trunk.safetensors", "heads": f"classifier-{category.name}.safetensors"}
    common = {"format": 1, "ontology": ontology.to_dict(), "training": {"steps": 3}}
    detector, classifiers = directory / "detector.json", directory / "classifiers.json"
    spec = {"backbone": "mobilenet_v3_large_320_fpn", "long_side_px": 128, "box_head_dim": 4, "num_categories": 2}
    detector.write_text(json.dumps({**common, "spec": spec, "weights": "detector.safetensors"}))
    classifiers.write_text(json.dumps({**common, "spec": {"size_px": 75, "pad_ratio": 0.05}, "weights": weights}))
    return detector, classifiers


@pytest.fixture
def bundle_dir(tmp_path: Path) -> Path:
    detector, classifiers = write_results(tmp_path / "training")
    return write_bundle(
        tmp_path / "bundle",
        name="tiny",
        version="1.2.0",
        detectors=[detector],
        classifiers=classifiers,
        training={"command": "train"},
    )


def edit(directory: Path, change: Callable[[dict[str, Any]], object]) -> None:
    manifest = json.loads((directory / "bundle.json").read_text())
    change(manifest)
    (directory / "bundle.json").write_text(json.dumps(manifest))


def test_a_bundle_says_what_it_is(bundle_dir: Path) -> None:
    bundle = load_bundle(bundle_dir)
    assert (bundle.label, bundle.ontology) == ("tiny@1.2.0", ONTOLOGY)
    assert (bundle.detector_long_side_px, bundle.crop_size_px, bundle.crop_pad_ratio, bundle.min_score) == (
        128,
        75,
        0.05,
        0.5,
    )
    assert bundle.training["command"] == "train"
    assert bundle.num_bytes == sum(path.stat().st_size for path in bundle_dir.glob("*.safetensors"))
    assert len(bundle.digest) == 64


def test_the_digest_names_the_answers_not_the_measured_quality(bundle_dir: Path) -> None:
    first = load_bundle(bundle_dir).digest
    record_quality(bundle_dir, {"macro_f1": 0.5})
    assert load_bundle(bundle_dir).digest == first
    assert load_bundle(bundle_dir).quality == {"macro_f1": 0.5}
    record_calibration(bundle_dir, Calibration({"skirt": {"length": 1.5}}, {"top": {"colour": 0.4}}, 0.45))
    calibrated = load_bundle(bundle_dir)
    assert calibrated.digest != first
    assert calibrated.temperatures["skirt"]["length"] == 1.5
    assert calibrated.thresholds["top"]["colour"] == 0.4
    assert calibrated.min_score == 0.45


def test_a_bundle_of_format_1_is_read_and_calibrated(bundle_dir: Path) -> None:
    def as_it_was(manifest: dict[str, Any]) -> None:
        manifest["format"] = 1
        del manifest["detector"]["min_score"]

    edit(bundle_dir, as_it_was)
    assert load_bundle(bundle_dir).min_score == 0.5
    record_calibration(bundle_dir, Calibration({}, {}, 0.3))
    assert load_bundle(bundle_dir).min_score == 0.3


def _set(*path: str, to: Any) -> Callable[[dict[str, Any]], None]:
    def change(manifest: dict[str, Any]) -> None:
        for key in path[:-1]:
            manifest = manifest[key]
        manifest[path[-1]] = to

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        pytest.param(_set("format", to=3), "format 3.*install the matching version", id="unknown_format"),
        pytest.param(_set("extra", to=1), "unknown key: extra", id="unknown_key"),
        pytest.param(lambda manifest: manifest.pop("files"), "misses: files", id="missing_key"),
        pytest.param(_set("detector", "extra", to=1), "detector has an unknown key", id="unknown_key_within"),
        pytest.param(_set("files", "../trunk.safetensors", to={}), "no file name for a bundle", id="path_traversal"),
        pytest.param(_set("files", "/etc/passwd", to={}), "no file name for a bundle", id="absolute_path"),
        pytest.param(_set("files", "model.pt", to={}), "no file name for a bundle", id="pickle"),
        pytest.param(_set("files", "trunk.safetensors", to={}), "needs sha256 and bytes", id="no_digest"),
        pytest.param(_set("format", to=1), "detector has an unknown key: min_score", id="key_of_a_later_format"),
        pytest.param(_set("detector", "min_score", to="high"), "unusable", id="score_of_another_form"),
        pytest.param(_set("detector", "weights", to="../x"), "not listed under files", id="weights_elsewhere"),
        pytest.param(_set("classifiers", "weights", to=[]), "name no weights", id="weights_of_another_form"),
        pytest.param(_set("files", to=[]), "files .* no JSON object", id="files_of_another_form"),
        pytest.param(_set("classifiers", "spec", to={}), "unusable", id="no_crop_size"),
        pytest.param(_set("classifiers", "temperatures", to={"skirt": {"length": 0}}), "unusable", id="temperature_0"),
        pytest.param(_set("classifiers", "thresholds", to={"hat": {}}), "unusable", id="threshold_of_no_category"),
    ],
)
def test_a_manifest_is_refused(bundle_dir: Path, change: Callable[[dict[str, Any]], object], said: str) -> None:
    edit(bundle_dir, change)
    with pytest.raises(BundleError, match=said):
        load_bundle(bundle_dir)


def test_an_ontology_that_contradicts_itself_is_refused(bundle_dir: Path) -> None:
    edit(bundle_dir, _set("ontology", "categories", to={}))
    with pytest.raises(OntologyError):
        load_bundle(bundle_dir)


@pytest.mark.parametrize(
    ("text", "said"),
    [pytest.param("{", "no JSON", id="broken"), pytest.param("[]", "no JSON object", id="a_list")],
)
def test_a_manifest_that_is_no_object_is_refused(bundle_dir: Path, text: str, said: str) -> None:
    (bundle_dir / "bundle.json").write_text(text)
    with pytest.raises(BundleError, match=said):
        load_bundle(bundle_dir)


def test_a_directory_without_manifest_or_without_itself_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"no readable bundle\.json"):
        load_bundle(tmp_path)
    with pytest.raises(BundleError, match="no bundle directory"):
        load_bundle(tmp_path / "nowhere")


def test_damaged_missing_and_linked_files_are_refused(bundle_dir: Path, tmp_path: Path) -> None:
    trunk = bundle_dir / "trunk.safetensors"
    content = trunk.read_bytes()
    trunk.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(BundleError, match=r"trunk\.safetensors is not the file"):
        load_bundle(bundle_dir)
    load_bundle(bundle_dir, check_digests=False)
    trunk.unlink()
    with pytest.raises(BundleError, match=r"misses trunk\.safetensors"):
        load_bundle(bundle_dir)
    (tmp_path / "elsewhere").write_bytes(content)
    trunk.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BundleError, match="link out of the bundle"):
        load_bundle(bundle_dir)


@pytest.mark.parametrize(
    ("file_name", "tensors", "said"),
    [
        pytest.param(
            "classifier-skirt.safetensors",
            {"length.weight": np.zeros((3, 4)), "length.bias": np.zeros(3)},
            "skirt.length has 3 outputs, the ontology 2",
            id="another_number_of_values",
        ),
        pytest.param(
            "classifier-skirt.safetensors",
            {"hem.weight": np.zeros((2, 4)), "hem.bias": np.zeros(2)},
            "classifier of skirt and the ontology differ",
            id="another_attribute",
        ),
        pytest.param(
            "detector.safetensors",
            {"head.cls_score.weight": np.zeros((4, 4))},
            "detector knows 3 categories, the ontology 2",
            id="another_number_of_categories",
        ),
    ],
)
def test_weights_that_do_not_fit_the_ontology_are_refused(
    bundle_dir: Path, file_name: str, tensors: dict[str, Any], said: str
) -> None:
    save_file(tensors, bundle_dir / file_name)
    edit(bundle_dir, _set("files", file_name, to=file_facts(bundle_dir / file_name)))
    with pytest.raises(BundleError, match=said):
        load_bundle(bundle_dir)


def test_a_category_without_classifier_is_refused(bundle_dir: Path) -> None:
    edit(bundle_dir, lambda manifest: manifest["classifiers"]["weights"].pop("top"))
    with pytest.raises(BundleError, match="differ in top"):
        load_bundle(bundle_dir)


def test_parts_of_different_ontologies_are_not_put_together(tmp_path: Path) -> None:
    other = Ontology("other", "2", ONTOLOGY.categories)
    detector, _ = write_results(tmp_path / "one")
    _, classifiers = write_results(tmp_path / "two", other)
    with pytest.raises(BundleError, match="different ontologies"):
        write_bundle(tmp_path / "b", name="x", version="1", detectors=[detector], classifiers=classifiers, training={})


def test_of_several_detectors_the_mean_is_taken_and_a_bundle_gives_its_parts(bundle_dir: Path, tmp_path: Path) -> None:
    detector, _ = write_results(tmp_path / "two")
    name = "head.cls_score.weight"
    save_file({name: np.full((3, 4), 3, np.float16)}, tmp_path / "two" / "detector.safetensors")
    mean = write_bundle(  # into the place of one of them
        bundle_dir, name="mean", version="2", detectors=[detector, bundle_dir], classifiers=bundle_dir, training={}
    )
    np.testing.assert_array_equal(load_file(mean / "detector.safetensors")[name], np.full((3, 4), 1.5, np.float16))
    bundle = load_bundle(mean)
    assert bundle.training["detector"] == {"mean_of": [{"steps": 3}, {"steps": 3}]}
    assert (bundle.ontology, bundle.crop_size_px) == (ONTOLOGY, 75)


def test_detectors_of_different_networks_are_not_averaged(bundle_dir: Path, tmp_path: Path) -> None:
    detector, classifiers = write_results(tmp_path / "two")
    result = json.loads(detector.read_text())
    result["spec"]["box_head_dim"] = 8
    detector.write_text(json.dumps(result))
    with pytest.raises(BundleError, match="different networks"):
        write_bundle(
            tmp_path / "b",
            name="x",
            version="1",
            detectors=[bundle_dir, detector],
            classifiers=classifiers,
            training={},
        )


def test_a_url_is_fetched_once_and_checked(bundle_dir: Path, tmp_path: Path) -> None:
    import fsspec

    store = fsspec.filesystem("memory")
    store.put(str(bundle_dir), "/shop/tiny", recursive=True)
    bundle = load_bundle("memory://shop/tiny", tmp_path / "cache")
    assert bundle.digest == load_bundle(bundle_dir).digest
    assert bundle.dir == tmp_path / "cache" / bundle.digest
    store.rm("/shop/tiny/trunk.safetensors")
    assert load_bundle("memory://shop/tiny", tmp_path / "cache").digest == bundle.digest
    shutil.rmtree(tmp_path / "cache")
    with pytest.raises(BundleError, match="cannot be read"):
        load_bundle("memory://shop/tiny", tmp_path / "cache")
    store.pipe_file("/shop/tiny/trunk.safetensors", b"x" * (bundle_dir / "trunk.safetensors").stat().st_size)
    with pytest.raises(BundleError, match="is not the file"):
        load_bundle("memory://shop/tiny", tmp_path / "cache")


def test_an_address_with_a_digest_opens_that_bundle_alone(bundle_dir: Path) -> None:
    digest = load_bundle(bundle_dir).digest
    for address in (str(bundle_dir), f"file://{bundle_dir}"):
        assert load_bundle(f"{address}#sha256={digest}").digest == digest
    manifest = json.loads((bundle_dir / "bundle.json").read_text())
    manifest["classifiers"]["thresholds"] = {"top": {"colour": 0.9}}  # whole in itself, and somebody else's
    (bundle_dir / "bundle.json").write_text(json.dumps(manifest))
    assert load_bundle(bundle_dir).digest != digest
    for wanted in (digest, ""):
        with pytest.raises(BundleError, match="not the one whose digest"):
            load_bundle(f"{bundle_dir}#sha256={wanted}")


def test_opening_loads_no_torch(bundle_dir: Path) -> None:
    program = (
        "import sys; from models.bundle import load_bundle; load_bundle(sys.argv[1]); print('torch' in sys.modules)"
    )
    result = subprocess.run(
        [sys.executable, "-c", program, bundle_dir], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert result.stdout.strip() == "False"
