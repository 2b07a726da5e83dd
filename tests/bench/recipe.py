"""Whether the recipe of the classifiers works on real labels, and what its choices are worth: a table and JSON.

    python -m tests.bench.recipe prepare myntra/attributes.jsonl runs/myntra
    python -m tests.bench.recipe compare runs/myntra/train --val runs/myntra/val --test runs/myntra/test --epochs 12
    python -m tests.bench.recipe prepare cad/labels.csv runs/cad --mapping cad
    python -m tests.bench.recipe compare runs/myntra/train --test runs/myntra/test --test runs/cad/train --arm joint

Three arms learn the same crops for as many passes: `joint`, one trunk under the heads of every category; `separate`, a
trunk for each category; `generic`, one trunk and one set of heads that is not told the category. Beside them stand the
most frequent value of the training set, and the most frequent one of each category.
"""

import json
import os
import platform
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from models.classifier import CategoryHeads, Classifier, InceptionTrunk
from models.classifier_training import ClassifierTraining
from models.converting import convert
from models.crops import UNLABELLED, cut_crops
from models.datasets import read_dataset, read_facts
from models.metrics import several_choice_quality
from models.ontology import Category, Ontology, load_ontology
from models.readers import load_mapping, read_labels
from models.score_metrics import macro_f1_interval
from models.train_classifiers import train_classifiers
from models.types import LabelledPhoto
from models.weights import load_weights

ARMS = ("joint", "separate", "generic")
_GENERIC = "garment"
_HERE = Path(__file__).parent
app = typer.Typer(no_args_is_help=True)

Cells = dict[str, list[tuple[NDArray[np.bool_], NDArray[np.bool_]]]]
"""By attribute, for each labelled garment the value answered and the true one, as (V,) rows."""


@app.command()
def prepare(
    source: Path, directory: Path, name: Annotated[str, typer.Option("--mapping", help="myntra or cad")] = "myntra"
) -> None:
    """Convert the splits of Myntra's records, or of the Clothing Attribute Dataset, in the words of the former."""
    ontology = load_ontology(_HERE / "myntra_ontology.yaml")
    mapping = load_mapping(_HERE / f"{name}_mapping.yaml", ontology)
    for split in ("train", "val", "test"):
        photos = read_labels(source, mapping, ontology, split=split)
        convert(photos, mapping, directory / split, ontology, {"source": f"{name} {split}"})
        print(f"{split}: {len(photos)} photos")


@app.command()
def compare(
    train: Path,
    test: Annotated[list[Path], typer.Option()],
    val: Path | None = None,
    arm: Annotated[list[str] | None, typer.Option(help=", ".join(ARMS))] = None,
    seeds: int = 3,
    epochs: float = 12,
    minutes: Annotated[float | None, typer.Option(help="End each arm after so long, whatever passes it made.")] = None,
    size: int = 128,
    small: Annotated[int, typer.Option(help="Side of the crops in the first two fifths of a run; 0: as later.")] = 0,
    start: Annotated[str, typer.Option(help="A trunk to start from; empty: from nothing.")] = "",
    out: Path = Path("out/recipe"),
) -> None:
    """Train every arm with every seed, and measure macro-F1 by attribute over the garments of all categories."""
    ontology = Ontology.from_dict(read_facts(train)["ontology"])
    photos = {path: read_dataset(path, ontology) for path in (train, *test, *([val] if val else []))}
    # A category that is not learnt cannot be asked.
    shown = {garment.category for photo in photos[train] for garment in photo.garments}
    ontology = Ontology(
        ontology.name, ontology.version, {name: each for name, each in ontology.categories.items() if name in shown}
    )
    config = ClassifierTraining(
        size_px=size, sizes=((0, small), (0.4, size)) if small else (), epochs=epochs, max_minutes=minutes, batch=16,
        start=start, threads=torch.get_num_threads(),
    )  # fmt: skip
    rows = []
    for path in test:
        known = [_only(photo, shown) for photo in photos[path]]
        for name, cells in _constants(ontology, photos[train], known).items():
            rows += _rows(_name(path), name, [cells], ontology)
        for each in arm or ARMS:
            its_ontology = _generic(ontology) if each == "generic" else ontology
            learnt = {at: [_as(each, photo) for photo in photos[at]] for at in (train, *([val] if val else []))}
            found = []
            for seed in range(seeds):
                its_config = replace(config, seed=seed, shared_trunk=each != "separate")
                folder = out / f"{each}-{seed}"
                train_classifiers(its_config, learnt[train], learnt.get(val, []), its_ontology, folder)
                found.append(_answers(folder, its_config, its_ontology, [_as(each, photo) for photo in known]))
            rows += _rows(_name(path), each, found, ontology)
    machine = f"{platform.machine()}, {os.cpu_count()} cores"
    length = f"{epochs:g} passes" + (f" or {minutes:g} minutes" if minutes else "")
    report = {"train": train.name, "start": start, "length": length, "size_px": size, "machine": machine, "rows": rows}
    (out / "recipe.json").write_text(json.dumps(report, indent=1) + "\n")
    _show(rows, f"macro-F1 after training on {train.name}, {seeds} seeds, {length}, {size} px; {machine}")


def _name(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"


def _generic(ontology: Ontology) -> Ontology:
    attributes = {
        name: attribute for each in ontology.categories.values() for name, attribute in each.attributes.items()
    }
    return Ontology(ontology.name, ontology.version, {_GENERIC: Category(_GENERIC, attributes)})


def _as(arm: str, photo: LabelledPhoto) -> LabelledPhoto:
    if arm != "generic":
        return photo
    return replace(photo, garments=tuple(replace(garment, category=_GENERIC) for garment in photo.garments))


def _only(photo: LabelledPhoto, categories: set[str]) -> LabelledPhoto:
    return replace(photo, garments=tuple(each for each in photo.garments if each.category in categories))


def _answers(folder: Path, config: ClassifierTraining, ontology: Ontology, photos: Sequence[LabelledPhoto]) -> Cells:
    """Answers on true boxes of the single-choice attributes."""
    weights = json.loads((folder / "classifiers.json").read_text())["weights"]
    crops = cut_crops(photos, ontology, size_px=config.size_px, context_ratio=config.pad_ratio + 0.1)
    cells: Cells = defaultdict(list)
    for row, category in enumerate(crops.categories):
        trunk, heads = InceptionTrunk(), CategoryHeads(category)
        load_weights(trunk, folder / weights[category.name]["trunk"])
        load_weights(heads, folder / weights[category.name]["heads"])
        classifier = Classifier(category, trunk, heads)
        members = np.flatnonzero(crops.category_rows == row)
        for part in np.array_split(members, len(members) // 32 + 1):
            if not len(part):
                continue
            pixels = np.stack([crops.crop(int(index), config.size_px, config.pad_ratio) for index in part])
            labels = crops.labels_of(category.name, part)
            for name, scores in classifier.probabilities(pixels).items():
                if category.attributes[name].is_single:
                    cells[name] += _cells(scores.argmax(axis=1), labels[name], scores.shape[1])
    return cells


def _cells(
    answered: Sequence[int] | NDArray[np.int64], true: Sequence[int] | NDArray[np.int64], num_values: int
) -> Iterator[tuple[NDArray[np.bool_], NDArray[np.bool_]]]:
    one_of = np.eye(num_values, dtype=bool)
    return ((one_of[a], one_of[t]) for a, t in zip(answered, true, strict=True) if t != UNLABELLED)


def _constants(
    ontology: Ontology, train: Sequence[LabelledPhoto], test: Sequence[LabelledPhoto]
) -> Mapping[str, Cells]:
    """Answers that need no picture: the most frequent value, of all and of each category."""
    counts: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for photo in train:
        for garment in photo.garments:
            for name, values in garment.attributes.items():
                counts["", name].update(values)
                counts[garment.category, name].update(values)
    found: dict[str, Cells] = {"constant": defaultdict(list), "constant per category": defaultdict(list)}
    for photo in test:
        for garment in photo.garments:
            for name, (value, *_) in garment.attributes.items():
                attribute = ontology.categories[garment.category].attributes[name]
                for arm, key in (("constant", ""), ("constant per category", garment.category)):
                    if attribute.is_single and counts[key, name]:
                        (best, _), *_ = counts[key, name].most_common(1)
                        labels = attribute.label_by_value[best], attribute.label_by_value[value]
                        found[arm][name] += _cells(labels[:1], labels[1:], len(attribute.values))
    return found


def _rows(test: str, arm: str, found: Sequence[Cells], ontology: Ontology) -> list[dict[str, object]]:
    """One row per attribute: the mean over seeds with its spread, and the bootstrap interval of the first seed."""
    rows: list[dict[str, object]] = []
    values = {
        name: each.values for category in ontology.categories.values() for name, each in category.attributes.items()
    }
    for name in (name for name, cells in found[0].items() if cells):  # a foreign set may have no label of an attribute
        scores = []
        for cells in found:
            answered, true = (np.stack(part) for part in zip(*cells[name], strict=True))
            scores.append(several_choice_quality(answered, true.astype(np.int64), values[name]).macro_f1)
        answered, true = (np.stack(part) for part in zip(*found[0][name], strict=True))
        low, high = macro_f1_interval(answered, true, np.arange(len(true)))
        rows.append(
            {
                "test": test, "arm": arm, "attribute": name, "garments": len(true), "macro_f1": float(np.mean(scores)),
                "spread": float(np.std(scores)), "seeds": len(scores), "interval": [low, high],
            }
        )  # fmt: skip
    return rows


def _show(rows: Sequence[Mapping[str, object]], title: str) -> None:
    table = Table("test", "attribute", "garments", "arm", "macro-F1", "over seeds", "95 % of the first", title=title)
    for row in sorted(rows, key=lambda row: (str(row["test"]), str(row["attribute"]))):
        low, high = row["interval"]  # type: ignore[misc]
        table.add_row(
            str(row["test"]), str(row["attribute"]), str(row["garments"]), str(row["arm"]), f"{row['macro_f1']:.3f}",
            f"± {row['spread']:.3f}", f"[{low:.3f}, {high:.3f}]",  # type: ignore[has-type]
        )  # fmt: skip
    Console().print(table)


if __name__ == "__main__":
    app()
