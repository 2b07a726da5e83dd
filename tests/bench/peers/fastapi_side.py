"""Plain FastAPI: a uvicorn worker per core with all models in it, one thread of each for the models."""

import asyncio
import os
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

import uvicorn
from fastapi import FastAPI, Request

from tests.bench.peers.steps import Pipeline, port


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    app.state.pipeline, app.state.thread = Pipeline(), ThreadPoolExecutor(1)
    yield


app = FastAPI(lifespan=_lifespan)


@app.post("/v1/tag")
async def tag(request: Request) -> dict[str, Any]:
    """Tag the photo in the body."""
    data = await request.body()
    (garments,) = await asyncio.get_running_loop().run_in_executor(app.state.thread, app.state.pipeline.tag_all, [data])
    return {"garments": garments}


if __name__ == "__main__":
    uvicorn.run(
        "tests.bench.peers.fastapi_side:app",
        host="127.0.0.1",
        port=port(),
        workers=os.cpu_count(),
        log_level="warning",
        access_log=False,
    )
