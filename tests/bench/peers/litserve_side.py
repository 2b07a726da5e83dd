"""LitServe: an inference worker per core with all models in it, batches of eight."""

import base64
import os
from collections.abc import Sequence
from typing import Any

import litserve as ls

from tests.bench.peers.steps import MAX_BATCH, Pipeline, port


class TaggerAPI(ls.LitAPI):  # type: ignore[misc]
    """Photos come as base64 in JSON: a body that is neither JSON nor a form is not taken."""

    def setup(self, device: str) -> None:
        self._pipeline = Pipeline()

    def decode_request(self, request: dict[str, str]) -> bytes:
        return base64.b64decode(request["image_data"])

    def batch(self, inputs: Sequence[bytes]) -> Sequence[bytes]:
        return inputs

    def predict(self, inputs: Sequence[bytes]) -> list[list[dict[str, Any]]]:
        return self._pipeline.tag_all(inputs)

    def unbatch(self, output: list[list[dict[str, Any]]]) -> list[list[dict[str, Any]]]:
        return output

    def encode_response(self, output: list[dict[str, Any]]) -> dict[str, Any]:
        return {"garments": output}


if __name__ == "__main__":
    api = TaggerAPI(max_batch_size=MAX_BATCH, batch_timeout=0.01, api_path="/v1/tag")
    server = ls.LitServer(api, accelerator="cpu", workers_per_device=os.cpu_count() or 1)
    server.run(host="127.0.0.1", port=port(), log_level="warning", generate_client_file=False)
