"""The service's own composition in this process: the same stages and answers, without Ray and HTTP."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Self, Unpack

import numpy as np
from numpy.typing import NDArray

from models.bundle import load_bundle
from models.classifier import Classifier
from models.types import AttributeScores, Detection
from serve_app.answer import Answerer
from serve_app.bundle_facts import BundleFacts
from serve_app.compose import Composer
from serve_app.config import TaggerArgs
from serve_app.exchange import TagQuery, query_params
from serve_app.metrics import NullMeter
from serve_app.naming import Names
from serve_app.query import parse_query
from serve_app.schemas import TagResponse

_NO_DEADLINE_S = 3600.0  # a person waits for the answer; nobody else queues


class LocalTagger:
    """Tags photos one after the other with a bundle's models loaded here.

    Args:
        bundle: path or fsspec URL, or `demo`.
        device: cpu or cuda.
        profiles: path or fsspec URL of a renaming profile or a folder of them; empty: there are none.
    """

    def __init__(self, bundle: str, device: str, profiles: str = "") -> None:
        self._args = TaggerArgs(
            bundle=bundle,
            profiles=profiles,
            device=device,
            request_deadline_s=_NO_DEADLINE_S,
            detect_deadline_s=_NO_DEADLINE_S,
            classify_deadline_s=_NO_DEADLINE_S,
        )
        loaded = load_bundle(self._args.bundle_uri)
        facts = BundleFacts.of(loaded)
        self._ontology = loaded.ontology
        self._min_score = loaded.min_score
        self._names = Names.load(self._args.profiles_uri, loaded.ontology)
        self._detector = loaded.load_detector(device)
        self._threads = ThreadPoolExecutor(1)
        classifiers = {name: loaded.load_classifier(name, device) for name in loaded.ontology.category_names}
        self._composer = Composer(
            self._args,
            facts,
            self._detect,
            {name: _Call(classifier) for name, classifier in classifiers.items()},
            self._threads,
            NullMeter(),
        )
        self._answerer = Answerer(facts, self._args.min_several_score, self._args.low_confidence_score, NullMeter())

    def tag(self, photo: Path, **query: Unpack[TagQuery]) -> TagResponse:
        """Tag one photo file; the query is that of the service.

        Raises:
            BadRequest: if the query does not fit the bundle.
            InputError: if the photo cannot be used.
            OSError: if it cannot be read.
        """
        data = photo.read_bytes()
        pairs = list(query_params(query).items())
        options = parse_query(pairs, self._ontology, self._min_score, self._names)
        tagged = asyncio.run(self._composer.tag(lambda: (data, None), options))
        return self._answerer.response(tagged, options, request_id=photo.name)

    async def _detect(self, canvas: NDArray[np.uint8], min_score: float, budget_s: float) -> Sequence[Detection]:
        return self._detector.detect([canvas], min_score)[0]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._threads.shutdown()


class _Call:
    """A classifier as the composer calls it."""

    def __init__(self, classifier: Classifier) -> None:
        self._classifier = classifier

    async def __call__(self, crops: NDArray[np.uint8], budget_s: float) -> Sequence[AttributeScores]:
        return self._classifier.classify(crops)
