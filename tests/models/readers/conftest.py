"""Reading a small source with a shipped mapping, or with one written in the test."""

from collections.abc import Callable
from pathlib import Path

import pytest

import models
from models.ontology import load_ontology
from models.readers import SourcePhoto, load_mapping, read_labels

Read = Callable[..., list[SourcePhoto]]
MAPPINGS = Path(models.__path__[0]) / "mappings"


@pytest.fixture
def read(tmp_path: Path) -> Read:
    def read(source: Path, mapping: str, split: str | None = None) -> list[SourcePhoto]:
        path = MAPPINGS / f"{mapping}.yaml"
        if "\n" in mapping:
            path = tmp_path / "shop.yaml"
            path.write_text(mapping)
        ontology = load_ontology()
        return read_labels(source, load_mapping(path, ontology), ontology, split=split)

    return read
