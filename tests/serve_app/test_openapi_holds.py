"""The OpenAPI document against the interface it describes: generated requests, right and wrong, over real HTTP."""

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import schemathesis
import uvicorn
from hypothesis import HealthCheck, given, settings
from schemathesis import Case, GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance

from models.ontology import load_ontology
from serve_app.answer import Answerer
from serve_app.api import make_asgi
from serve_app.compose import Composer
from serve_app.config import TaggerArgs
from serve_app.openapi import openapi_document, openapi_routes
from serve_app.service import TaggingService
from serve_app.web import web_routes
from tests.fakes import DRESS, FakeClassify, FakeDetect, FakeMeter, facts

OPERATIONS = [
    pytest.param(path, method, mode, id=f"{method}_{path}_{mode.name.lower()}")
    for path, item in openapi_document()["paths"].items()
    for method in item
    for mode in GenerationMode
    if "parameters" in item[method] or mode is GenerationMode.POSITIVE  # nothing can be wrong with nothing
]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    async def is_alive() -> None:
        pass

    args, meter = TaggerArgs.model_validate({}), FakeMeter()
    with ThreadPoolExecutor(2) as threads, socket.socket() as listener:
        classify = {name: FakeClassify(name) for name in load_ontology().category_names}
        composer = Composer(args, facts(), FakeDetect([DRESS]), classify, threads, meter)
        answerer = Answerer(facts(), args.min_several_score, args.low_confidence_score, meter)
        service = TaggingService(args, facts(), composer, answerer, is_alive)
        app = make_asgi(service, meter, [*web_routes(), *openapi_routes()])
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", ws="none", lifespan="off"))
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = server.force_exit = True
        thread.join(timeout=20)


@pytest.mark.parametrize(("path", "method", "mode"), OPERATIONS)
def test_answers_are_as_documented(url: str, path: str, method: str, mode: GenerationMode) -> None:
    operation = schemathesis.openapi.from_url(f"{url}/openapi.json")[path][method]

    @settings(max_examples=25, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy(generation_mode=mode))
    def holds(case: Case) -> None:
        # Which names exist is the ontology's to say, so a name of the right form may be refused.
        case.call_and_validate(excluded_checks=[positive_data_acceptance])

    holds()
