"""Trains the attribute classifiers: one trunk under the heads of all categories, or a trunk for each."""

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from models.classifier_run import ClassifierRun
from models.classifier_training import ClassifierTraining
from models.ontology import Ontology
from models.training import ProgressCallback, worker_rank
from models.types import LabelledPhoto

__all__ = ["RESULT_FILE", "ClassifierTraining", "train_classifiers"]

RESULT_FILE = "classifiers.json"


def train_classifiers(
    config: ClassifierTraining,
    train_photos: Sequence[LabelledPhoto],
    val_photos: Sequence[LabelledPhoto],
    ontology: Ontology,
    out_dir: Path,
    callback: ProgressCallback | None = None,
) -> Path:
    """Train the classifiers of every category of the ontology; call again with the same arguments to resume.

    Args:
        config: the run.
        train_photos: with labelled garments; an absent attribute teaches nothing.
        val_photos: measured along the way, never trained on; may be empty.
        ontology: categories, heads and labels.
        out_dir: gets weights, classifiers.json, curve.csv and the checkpoint.
        callback: called now and then with the progress.

    Returns:
        The path of classifiers.json, which names the weights.

    Raises:
        DatasetError: if a category has no garment to learn from, or a photo is unreadable.
    """
    groups = [ontology.category_names] if config.shared_trunk else [(name,) for name in ontology.category_names]
    if config.max_minutes is not None:
        config = replace(config, max_minutes=config.max_minutes / len(groups))
    trunk_file: dict[str, str] = {}
    records = []
    for names in groups:
        suffix = "" if config.shared_trunk else f"-{names[0]}"
        run = ClassifierRun(config, ontology, names, out_dir / f"run{suffix}", callback)
        records.append(run.train(train_photos, val_photos))
        if worker_rank() == 0:
            run.save(out_dir, f"trunk{suffix}.safetensors")
        trunk_file |= {name: f"trunk{suffix}.safetensors" for name in names}
    result = {
        "format": 1,
        "ontology": ontology.to_dict(),
        "spec": config.spec.to_dict(),
        "weights": {
            name: {"trunk": trunk, "heads": f"classifier-{name}.safetensors"} for name, trunk in trunk_file.items()
        },
        # A path tells of the machine it was on, and the record travels with the bundle.
        "training": {"config": asdict(config) | {"start": Path(config.start).name}, "runs": records},
    }
    path = out_dir / RESULT_FILE
    if worker_rank() == 0:
        path.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return path
