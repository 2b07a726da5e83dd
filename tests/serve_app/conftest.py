"""The real interface around scripted models, over real HTTP, without Ray."""

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import uvicorn

from models.ontology import load_ontology
from serve_app.answer import Answerer
from serve_app.api import make_asgi
from serve_app.compose import Composer
from serve_app.config import TaggerArgs
from serve_app.download import Downloader
from serve_app.jobs.api import job_routes
from serve_app.jobs.deployment import JobsDeployment
from serve_app.naming import Names
from serve_app.openapi import openapi_routes
from serve_app.service import TaggingService
from serve_app.web import web_routes
from tests.fakes import DRESS, FakeClassify, FakeDetect, FakeMeter, facts

NAMES = Names.load("", load_ontology())


@pytest.fixture(scope="session")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    async def is_alive() -> None:
        pass

    args, meter = TaggerArgs(feedback=str(tmp_path_factory.mktemp("feedback"))), FakeMeter()
    with ThreadPoolExecutor(2) as threads, socket.socket() as listener:
        classify = {name: FakeClassify(name) for name in load_ontology().category_names}
        composer = Composer(args, facts(), FakeDetect([DRESS]), classify, threads, meter)
        answerer = Answerer(facts(), args.min_several_score, args.low_confidence_score, meter)
        service = TaggingService(
            args, facts(), composer, answerer, is_alive, Downloader((), args.max_image_bytes).fetch, meter, NAMES
        )
        jobs_args = args.model_copy(update={"jobs_dir": str(tmp_path_factory.mktemp("jobs"))})
        jobs = JobsDeployment(jobs_args, "fake@1.0.0 0", lambda *plan: iter(()))
        pages = job_routes(jobs, load_ontology(), args.upload_deadline_s)
        app = make_asgi(service, meter, [*pages, *web_routes(), *openapi_routes()])
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", ws="none", lifespan="off"))
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = server.force_exit = True
        thread.join(timeout=20)
