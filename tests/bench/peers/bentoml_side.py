"""BentoML: three services composed by `bentoml.depends`, the models' methods batched adaptively."""

import asyncio
import sys
from pathlib import Path
from typing import Annotated, Any

import bentoml
import numpy as np

from tests.bench.peers.steps import MAX_BATCH, ClassifierSteps, DetectorSteps, Photo, bundle, port

_QUIET = {"access": {"enabled": False}}


@bentoml.service(workers=1, logging=_QUIET)
class Detector:
    def __init__(self) -> None:
        self._steps = DetectorSteps()

    @bentoml.api(batchable=True, max_batch_size=MAX_BATCH)
    def detect(self, canvases: list[np.ndarray]) -> list[Any]:
        return self._steps.detect(canvases)


def _method(category: str) -> Any:
    def classify(self: Any, crops: np.ndarray) -> list[Any]:
        return self._steps.classify(category, crops)

    classify.__name__ = category
    return bentoml.api(batchable=True, max_batch_size=4 * MAX_BATCH)(classify)


@bentoml.service(workers=1, logging=_QUIET)
class Classifiers:
    """A batched method for each category."""

    def __init__(self) -> None:
        self._steps = ClassifierSteps()

    for _category in bundle().ontology.category_names:
        locals()[_category] = _method(_category)


@bentoml.service(workers=1, logging=_QUIET)
class Tagger:
    detector = bentoml.depends(Detector)
    classifiers = bentoml.depends(Classifiers)

    def __init__(self) -> None:
        self._bundle = bundle()

    @bentoml.api(route="/v1/tag")
    async def tag(self, image: Annotated[Path, bentoml.validators.ContentType("image/jpeg")], /) -> dict[str, Any]:
        photo = await asyncio.to_thread(Photo, image.read_bytes(), self._bundle)
        (found,) = await self.detector.to_async.detect([photo.canvas])
        parts = await asyncio.to_thread(photo.cut, found)
        calls = [getattr(self.classifiers.to_async, category)(crops) for category, crops in parts.items()]
        for category, answers in zip(parts, await asyncio.gather(*calls), strict=True):
            photo.answer(category, answers)
        return {"garments": photo.garments}


if __name__ == "__main__":
    from bentoml_cli.cli import cli

    sys.argv = [
        "bentoml",
        "serve",
        "tests.bench.peers.bentoml_side:Tagger",
        "--host",
        "127.0.0.1",
        "--port",
        str(port()),
    ]
    cli()
