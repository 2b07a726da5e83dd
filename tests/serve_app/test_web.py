import re
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette

import serve_app.web
from serve_app.web import web_routes

WEB = Path(serve_app.web.__file__).with_name("web")
PAGES = sorted(WEB.glob("*.html"))


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(Starlette(routes=web_routes()))
    async with httpx.AsyncClient(transport=transport, base_url="http://tagger") as client:
        yield client


async def test_page_answers_html_under_a_strict_policy(client: httpx.AsyncClient) -> None:
    response = await client.get("/")
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    policy = dict(part.strip().split(" ", 1) for part in response.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert policy["img-src"] == "'self' blob: data:"
    assert policy["frame-ancestors"] == "'none'"
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["referrer-policy"] == "no-referrer"


@pytest.mark.parametrize(
    ("path", "media_type"),
    [
        pytest.param("/assets/app.js", "text/javascript; charset=utf-8", id="script"),
        pytest.param("/assets/style.css", "text/css; charset=utf-8", id="style"),
        pytest.param("/assets/icon.svg", "image/svg+xml", id="icon"),
    ],
)
async def test_asset_has_the_type_a_browser_obeys_under_nosniff(
    client: httpx.AsyncClient, path: str, media_type: str
) -> None:
    response = await client.get(path)
    assert (response.status_code, response.headers["content-type"]) == (200, media_type)
    assert response.headers["x-content-type-options"] == "nosniff"


async def test_second_visit_costs_no_bytes_until_the_file_changes(client: httpx.AsyncClient) -> None:
    first = await client.get("/assets/app.js")
    again = await client.get("/assets/app.js", headers={"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert (await client.get("/assets/app.js", headers={"if-none-match": '"another"'})).status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        pytest.param("/assets/", id="folder"),
        pytest.param("/assets/index.html", id="page_as_asset"),
        pytest.param("/assets/../web.py", id="parent"),
        pytest.param("/assets/%2e%2e/web.py", id="encoded_parent"),
        pytest.param("/assets/%2fetc%2fpasswd", id="absolute"),
    ],
)
async def test_nothing_but_the_pages_own_files_is_served(client: httpx.AsyncClient, path: str) -> None:
    assert (await client.get(path)).status_code == 404


async def test_page_refuses_other_methods_and_answers_head(client: httpx.AsyncClient) -> None:
    assert (await client.post("/")).status_code == 405
    assert (await client.head("/")).status_code == 200


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_page_needs_no_inline_code_and_no_other_host(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"<script(?![^>]*\bsrc=)", text)
    assert not re.search(r"<style|\sstyle=|\son\w+=", text)
    assert not re.search(r"(?:src|href|action)=[\"'](?:https?:)?//", text)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
async def test_every_file_a_page_names_is_served(client: httpx.AsyncClient, path: Path) -> None:
    names = re.findall(r'(?:src|href)="(assets/[^"]+)"', path.read_text(encoding="utf-8"))
    assert names
    assert {name: (await client.get(f"/{name}")).status_code for name in names} == dict.fromkeys(names, 200)


@pytest.mark.parametrize("path", sorted(WEB.glob("*.js")), ids=lambda path: path.name)
def test_scripts_put_no_answer_into_the_page_as_markup(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(", text)
