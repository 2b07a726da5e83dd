"""The real interface around scripted models, over real HTTP, without Ray."""

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import uvicorn

from models.ontology import load_ontology
from serve_app.api import make_asgi
from serve_app.config import TaggerArgs
from serve_app.jobs.api import job_routes
from serve_app.jobs.deployment import JobsDeployment
from serve_app.openapi import openapi_routes
from serve_app.web import web_routes
from tests.fakes import FakeMeter, tagging_service


@pytest.fixture(scope="session")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    meter = FakeMeter()
    folders = {name: str(tmp_path_factory.mktemp(name)) for name in ("feedback", "jobs_dir")}
    with ThreadPoolExecutor(2) as threads, socket.socket() as listener:
        args = TaggerArgs.model_validate(folders)
        jobs = JobsDeployment(args, "fake@1.0.0 0", lambda *plan: iter(()))
        pages = [*job_routes(jobs, load_ontology(), args.upload_deadline_s), *web_routes(), *openapi_routes()]
        app = make_asgi(tagging_service(threads, meter, feedback=folders["feedback"]), meter, pages)
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", ws="none", lifespan="off"))
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = server.force_exit = True
        thread.join(timeout=20)
