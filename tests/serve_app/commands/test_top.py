import http.server
import threading
from collections.abc import Iterator

import pytest
from rich.console import Console
from typer.testing import CliRunner

from serve_app.cli import app
from serve_app.readings import MetricsError
from tests.serve_app.test_readings import page


@pytest.fixture
def metrics_url() -> Iterator[str]:
    """A metrics page on which 40 more requests have come at each reading."""
    num_read = iter(range(1, 1000))

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = self.path == "/metrics"
            self.send_response(200 if found else 404)
            self.end_headers()
            if found:
                self.wfile.write(page(n=40 * next(num_read)).encode())

        def log_message(self, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_one_view_names_deployments_outcomes_and_tags(metrics_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serve_app.commands.top.out", Console(width=140))
    done = CliRunner().invoke(app, ["top", metrics_url, "--once", "--interval", "0.2"])
    assert done.exit_code == 0, done.output
    for said in ("requests per second", "router", "unhealthy", "1 of 2", "overloaded", "colour red", "≤ 4"):
        assert said in done.stdout, said


@pytest.mark.parametrize("address", ["http://127.0.0.1:1", "nothing", "elsewhere"])
def test_an_address_without_metrics_is_a_sentence(metrics_url: str, address: str) -> None:
    given = f"{metrics_url}/v1/tag" if address == "elsewhere" else address
    done = CliRunner().invoke(app, ["top", given, "--once"])
    assert isinstance(done.exception, MetricsError) and "no metrics at" in done.exception.message
