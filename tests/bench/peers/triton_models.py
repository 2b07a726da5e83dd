"""The models of Triton's Python backend: the pipeline calls the others through business logic scripting (BLS)."""

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

from tests.bench.peers.steps import ClassifierSteps, DetectorSteps, Photo, bundle


class Tagger:
    """PHOTO, the file, to TAGS, a JSON text; the photos of a batch go on side by side."""

    def initialize(self, args: dict[str, str]) -> None:
        self._bundle = bundle()

    async def execute(self, requests: Sequence[Any]) -> list[Any]:
        return list(await asyncio.gather(*(self._tag(request) for request in requests)))

    async def _tag(self, request: Any) -> Any:
        photo = Photo(_input(request, "PHOTO")[0, 0], self._bundle)
        ((found,),) = await _call("detector", "CANVAS", photo.canvas[None])
        parts = photo.cut(found)
        calls = [_call(category, "CROPS", crops) for category, crops in parts.items()]
        for category, answers in zip(parts, await asyncio.gather(*calls), strict=True):
            photo.answer(category, [own for (own,) in answers])
        return _response([photo.garments])


class Detector:
    """CANVAS to TAGS: what was found in it."""

    def initialize(self, args: dict[str, str]) -> None:
        self._steps = DetectorSteps()

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        return [
            _response([each]) for each in self._steps.detect([_input(request, "CANVAS")[0] for request in requests])
        ]


class Classifier:
    """CROPS of the category that the model is named after to TAGS."""

    def initialize(self, args: dict[str, str]) -> None:
        self._category = args["model_name"]
        self._steps = ClassifierSteps([self._category])

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        parts = [_input(request, "CROPS") for request in requests]
        answers = iter(self._steps.classify(self._category, np.concatenate(parts)))
        return [_response([next(answers) for _ in crops]) for crops in parts]


def _input(request: Any, name: str) -> Any:
    return pb_utils.get_input_tensor_by_name(request, name).as_numpy()


def _response(answers: Sequence[Any]) -> Any:
    texts = np.array([[json.dumps(each).encode()] for each in answers], dtype=object)
    return pb_utils.InferenceResponse([pb_utils.Tensor("TAGS", texts)])


async def _call(model: str, name: str, pixels: Any) -> list[list[Any]]:
    request = pb_utils.InferenceRequest(
        model_name=model, requested_output_names=["TAGS"], inputs=[pb_utils.Tensor(name, np.ascontiguousarray(pixels))]
    )
    response = await request.async_exec()
    if response.has_error():
        raise pb_utils.TritonModelException(response.error().message())
    texts = pb_utils.get_output_tensor_by_name(response, "TAGS").as_numpy()
    return [[json.loads(text) for text in row] for row in texts]
