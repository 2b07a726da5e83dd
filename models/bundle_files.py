"""What lies in a bundle's directory: its manifest, digests and weight headers, checked without loading a weight."""

import hashlib
import json
import os
import re
import struct
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from models.errors import BundleError
from models.ontology import Ontology

FORMAT = 2
"""Format 1 had no `min_score`; it is still read."""

MANIFEST_NAME = "bundle.json"
_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}\.safetensors")
_MAX_MANIFEST_BYTES = 16 * 2**20
_MAX_HEADER_BYTES = 16 * 2**20
_KEYS = {
    "": {"format", "name", "version", "ontology", "files", "detector", "classifiers", "quality", "training"},
    "detector": {"weights", "spec", "min_score"},
    "classifiers": {"weights", "spec", "temperatures", "thresholds"},
}
_FETCH_AGAIN = "fetch or build the bundle again"


def parse_manifest(text: str) -> dict[str, Any]:
    """Read bundle.json and check its form: format, keys, file names.

    Raises:
        BundleError: saying what to do.
    """
    try:
        manifest = json.loads(text)
    except ValueError as exc:
        raise BundleError(f"{MANIFEST_NAME} is no JSON; {_FETCH_AGAIN}", str(exc)) from exc
    if not isinstance(manifest, dict):
        raise BundleError(f"{MANIFEST_NAME} is no JSON object; {_FETCH_AGAIN}")
    if manifest.get("format") not in (1, FORMAT):
        raise BundleError(
            f"the bundle has format {manifest.get('format')!r}, this program reads 1 and {FORMAT}; "
            "install the matching version of fashion-tagger, or build the bundle again"
        )
    for section, known in _KEYS.items():
        fields = manifest[section] if section else manifest
        if not isinstance(fields, dict):
            raise BundleError(f"{section} in {MANIFEST_NAME} is no JSON object; {_FETCH_AGAIN}")
        if manifest["format"] == 1:
            known = known - {"min_score"}
        if odd := sorted(fields.keys() ^ known):
            what = "misses" if odd[0] in known else "has an unknown key"
            raise BundleError(f"{section or MANIFEST_NAME} {what}: {odd[0]}; {_FETCH_AGAIN}")
    for name, facts in _mapping(manifest, "files").items():
        if not _FILE_NAME.fullmatch(name):
            raise BundleError(f"{name!r} is no file name for a bundle; only NAME.safetensors beside {MANIFEST_NAME} is")
        if not isinstance(facts, dict) or facts.keys() != {"sha256", "bytes"}:
            raise BundleError(f"files.{name} needs sha256 and bytes; {_FETCH_AGAIN}")
    for name in weight_files(manifest):
        if name not in manifest["files"]:
            raise BundleError(f"{name!r} is used but not listed under files; {_FETCH_AGAIN}")
    return manifest


def weight_files(manifest: Mapping[str, Any]) -> set[str]:
    """Names of the files that the models of a manifest are read from."""
    try:
        heads = [parts[key] for parts in manifest["classifiers"]["weights"].values() for key in ("trunk", "heads")]
        return {manifest["detector"]["weights"], *heads}
    except (AttributeError, KeyError, TypeError) as exc:
        raise BundleError(f"detector or classifiers name no weights; {_FETCH_AGAIN}", repr(exc)) from exc


def manifest_digest(manifest: Mapping[str, Any]) -> str:
    """SHA-256 over the manifest in canonical JSON, but for the measured quality, which changes no answer."""
    answering = {key: value for key, value in manifest.items() if key != "quality"}
    canonical = json.dumps(answering, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).hexdigest()


def file_facts(path: Path) -> dict[str, Any]:
    """Digest and size of a file, as a manifest lists them."""
    with path.open("rb") as file:
        return {"sha256": hashlib.file_digest(file, "sha256").hexdigest(), "bytes": path.stat().st_size}


def check_file(directory: Path, name: str, facts: Mapping[str, Any], *, check_digest: bool = True) -> None:
    """Make sure that a file is there, inside the directory, and the one that the manifest means.

    Raises:
        BundleError: saying what to do.
    """
    path = directory / name
    if not path.is_file():
        raise BundleError(f"the bundle misses {name}; {_FETCH_AGAIN}", str(path))
    if not path.resolve().is_relative_to(directory.resolve()):
        raise BundleError(f"{name} is a link out of the bundle; put the file itself there", str(path.resolve()))
    if path.stat().st_size != facts["bytes"] or (check_digest and file_facts(path) != facts):
        raise BundleError(f"{name} is not the file that {MANIFEST_NAME} names; {_FETCH_AGAIN}", str(path))


def tensor_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Shapes by name from the header of a safetensors file; the weights are not read.

    Raises:
        BundleError: if the file is none.
    """
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > _MAX_HEADER_BYTES:
                raise ValueError(f"header of {length} bytes")
            header = json.loads(file.read(length))
        return {name: tuple(facts["shape"]) for name, facts in header.items() if name != "__metadata__"}
    except (OSError, ValueError, struct.error, KeyError, TypeError, AttributeError) as exc:
        raise BundleError(f"{path.name} is no safetensors file; {_FETCH_AGAIN}", repr(exc)) from exc


def check_weights_fit(directory: Path, manifest: Mapping[str, Any], ontology: Ontology) -> None:
    """Make sure, by the shapes alone, that every category has a classifier and every head the ontology's values.

    Raises:
        BundleError: naming the category, attribute or number that differs.
    """
    weights = manifest["classifiers"]["weights"]
    if odd := sorted(weights.keys() ^ set(ontology.category_names)):
        raise BundleError(
            f"classifiers and ontology differ in {', '.join(odd)}; train a classifier for every category, "
            "or take the category out"
        )
    for category in ontology.categories.values():
        shapes = tensor_shapes(directory / weights[category.name]["heads"])
        wanted: dict[str, int] = {}
        for attribute in category.attributes.values():
            wanted |= {f"{attribute.name}.{part}": len(attribute.values) for part in ("weight", "bias")}
        if odd := sorted(shapes.keys() ^ wanted.keys()):
            raise BundleError(
                f"the classifier of {category.name} and the ontology differ in {odd[0].partition('.')[0]}; "
                "train it again with this ontology"
            )
        for name, num_values in wanted.items():
            if shapes[name][0] != num_values:
                raise BundleError(
                    f"{category.name}.{name.partition('.')[0]} has {shapes[name][0]} outputs, the ontology "
                    f"{num_values} values; train it again with this ontology"
                )
    _check_detector_fits(tensor_shapes(directory / manifest["detector"]["weights"]), ontology)


def _check_detector_fits(shapes: Mapping[str, tuple[int, ...]], ontology: Ontology) -> None:
    scores = [shape for name, shape in shapes.items() if name.endswith("cls_score.weight")]
    num_known = scores[0][0] - 1 if len(scores) == 1 else 0
    if num_known != len(ontology.category_names):
        raise BundleError(
            f"the detector knows {num_known} categories, the ontology {len(ontology.category_names)}; "
            "train it again with this ontology"
        )


def write_manifest(directory: Path, manifest: Mapping[str, Any]) -> None:
    """Write bundle.json as a whole: an interruption leaves the old one or the new one."""
    partial = directory / f".{MANIFEST_NAME}.{uuid.uuid4().hex}"
    partial.write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    partial.replace(directory / MANIFEST_NAME)


def read_manifest_text(directory: Path) -> str:
    """Text of bundle.json.

    Raises:
        BundleError: if there is none.
    """
    path = directory / MANIFEST_NAME
    try:
        return path.read_bytes()[:_MAX_MANIFEST_BYTES].decode()
    except (OSError, UnicodeDecodeError) as exc:
        raise BundleError(
            f"there is no readable {MANIFEST_NAME} in {directory.name}; give the directory of a bundle", str(exc)
        ) from exc


def fetch(url: str, cache_dir: Path) -> Path:
    """Copy a bundle from an fsspec URL into the cache, unless it is there already.

    Args:
        url: of the bundle's directory.
        cache_dir: gets one directory per digest; several processes may fetch at once.

    Returns:
        The local directory, its files checked against the manifest.

    Raises:
        BundleError: if the URL cannot be read, or what comes is not what the manifest names.
    """
    base = url.rstrip("/")
    text = _fetch_bytes(f"{base}/{MANIFEST_NAME}", _MAX_MANIFEST_BYTES).decode(errors="replace")
    manifest = parse_manifest(text)
    directory = cache_dir / manifest_digest(manifest)
    directory.mkdir(parents=True, exist_ok=True)
    for name, facts in manifest["files"].items():
        try:
            check_file(directory, name, facts)
        except BundleError:
            _write_whole(directory / name, _fetch_bytes(f"{base}/{name}", facts["bytes"]))
            check_file(directory, name, facts)
    _write_whole(directory / MANIFEST_NAME, text.encode())
    return directory


def _fetch_bytes(url: str, max_bytes: int) -> bytes:
    import fsspec  # type: ignore[import-untyped]

    try:
        with fsspec.open(url, "rb") as file:
            content: bytes = file.read(max_bytes + 1)
    except ImportError as exc:
        raise BundleError(f"reading {url.partition(':')[0]} URLs needs another package: {exc}") from exc
    except (OSError, ValueError) as exc:
        raise BundleError("the bundle's URL cannot be read; check it and the access to it", f"{url}: {exc!r}") from exc
    if len(content) > max_bytes:
        raise BundleError(f"{url.rpartition('/')[2]} is larger than it should be; {_FETCH_AGAIN}", url)
    return content


def _write_whole(path: Path, content: bytes) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}.{uuid.uuid4().hex}")
    partial.write_bytes(content)
    partial.replace(path)


def _mapping(manifest: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    if not isinstance(manifest[key], dict):
        raise BundleError(f"{key} in {MANIFEST_NAME} is no JSON object; {_FETCH_AGAIN}")
    return manifest[key]  # type: ignore[no-any-return]
