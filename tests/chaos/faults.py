"""Faults on order: models that read theirs from files, and the processes of a running service to kill."""

import os
import resource
import signal
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.errors import BundleError
from models.ontology import Category, Ontology
from models.types import AttributeScores, Detection
from serve_app.classifier import ClassifierModel
from serve_app.detector import DetectorModel
from tests.e2e.painted import PaintedClassifier, PaintedDetector

HANG, SICKEN, STARVE = "hang", "sicken", "starve"
"""Orders for one replica: never come back from this batch; fail from now on, whatever is asked; get no more memory."""
_GREED_BYTES = 2**30


class Orders:
    """What the replicas of one deployment are told through a folder.

    Args:
        folder: shared by test and replicas.
        deployment: whose orders these are.
    """

    def __init__(self, folder: Path, deployment: str) -> None:
        self._once = folder / f"{deployment}.once"
        self._always = folder / f"{deployment}.always"
        self._damage = folder / f"{deployment}.damaged"
        self._is_sick = self._is_greedy = False
        self._num_batches = 0

    def give_one(self, order: str) -> None:
        """Order for the replica that sees it first."""
        self._once.write_text(order)

    def give_all(self, slow_s: float = 0.0, fails_every: int = 0) -> None:
        """Order for all: sleep so long in every batch, fail in every n-th. Without arguments: back to normal."""
        self._always.write_text(f"{slow_s} {fails_every}")

    def damage_bundle(self) -> None:
        """From now on no replica starts."""
        self._damage.touch()

    def mend_bundle(self) -> None:
        """Take that back."""
        self._damage.unlink()

    def check_bundle(self) -> None:
        """Called by a model that loads."""
        if self._damage.exists():
            raise BundleError("detector.safetensors is damaged: its digest is not the one in bundle.json")

    def obey(self) -> None:
        """Called by a model before each batch."""
        taken = self._once.with_suffix(f".{os.getpid()}")
        try:
            self._once.rename(taken)  # one replica only
        except FileNotFoundError:
            pass
        else:
            order = taken.read_text()
            if order == HANG:
                time.sleep(3600)
            if order == STARVE:
                _take_no_more_memory()
            self._is_sick |= order == SICKEN
            self._is_greedy |= order == STARVE
        if self._is_sick:
            raise ValueError("this model is sick")
        if self._is_greedy:
            bytearray(_GREED_BYTES)
        if self._always.exists():
            slow_s, fails_every = self._always.read_text().split()
            time.sleep(float(slow_s))
            self._num_batches += 1
            if int(fails_every) and self._num_batches % int(fails_every) == 0:
                raise ValueError("this batch fails")


class FaultyDetector(PaintedDetector):
    """The painted detector, obeying orders."""

    def __init__(self, folder: Path, bundle: str) -> None:
        super().__init__(bundle)
        self._orders = Orders(folder, "detector")
        self._orders.check_bundle()

    def detect(self, canvases: Sequence[NDArray[np.uint8]], min_score: float) -> list[list[Detection]]:
        self._orders.obey()
        return super().detect(canvases, min_score)


class FaultyClassifier(PaintedClassifier):
    """The painted classifier, obeying orders."""

    def __init__(self, category: Category, folder: Path, bundle: str) -> None:
        super().__init__(category, bundle)
        self._orders = Orders(folder, f"classifier-{category.name}")

    def classify(self, crops: NDArray[np.uint8]) -> list[AttributeScores]:
        self._orders.obey()
        return super().classify(crops)


class FaultyLoader:
    """Category -> what loads its classifier."""

    def __init__(self, ontology: Ontology, folder: Path) -> None:
        self._ontology = ontology
        self._folder = folder

    def __call__(self, category: str) -> "partial[ClassifierModel]":
        return partial(FaultyClassifier, self._ontology.categories[category], self._folder)


def load_faulty_detector(folder: Path, bundle: str) -> DetectorModel:
    return FaultyDetector(folder, bundle)


def load_damaged_detector(bundle: str) -> DetectorModel:
    raise BundleError("detector.safetensors is damaged: its digest is not the one in bundle.json")


def _take_no_more_memory() -> None:
    """As a container does whose limit is reached, but for the kernel's kill: every larger allocation fails."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (used, used))


def processes(title: str) -> list[int]:
    """Our descendants whose title begins so, oldest first: `ray::ServeReplica:tagger:detector`, `ray::ProxyActor`."""
    return [process for process in sorted(_descendants(os.getpid())) if _title(process).startswith(title)]


def kill(title: str) -> int:
    """Kill -9 the oldest process of this title; its id."""
    process = processes(title)[0]
    os.kill(process, signal.SIGKILL)
    return process


def replica(deployment: str) -> str:
    """Title of the replicas of a deployment."""
    return f"ray::ServeReplica:tagger:{deployment}"


def _descendants(process: int) -> list[int]:
    found: list[int] = []
    for path in Path("/proc", str(process), "task").glob("*/children"):
        try:
            children = path.read_text().split()
        except OSError:  # ended meanwhile
            continue
        for child in map(int, children):
            found += [child, *_descendants(child)]
    return found


def _title(process: int) -> str:
    try:
        return Path("/proc", str(process), "cmdline").read_bytes().decode(errors="replace")
    except OSError:
        return ""
