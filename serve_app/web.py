"""The page at `/` and its files: served from memory, from nowhere else, under a policy that lets in nothing foreign."""

import hashlib
from collections.abc import Awaitable, Callable
from importlib import resources
from pathlib import PurePath

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

# Blob URLs are the visitor's own photos; everything else comes from this service.
CONTENT_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
SECURITY_HEADERS = {
    "content-security-policy": CONTENT_POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}

# Spelt out: what `mimetypes` answers depends on the machine, and a wrong type with nosniff is a dead page.
_MEDIA_TYPES = {
    ".html": "text/html",
    ".js": "text/javascript",
    ".css": "text/css",
    ".svg": "image/svg+xml",
    ".jpg": "image/jpeg",
}

Endpoint = Callable[[Request], Awaitable[Response]]


def web_routes() -> list[BaseRoute]:
    """Routes of the page and its files; they need no key, since they hold nothing but the page.

    Reads every file once, so that a request opens none and no path of a request ever reaches the file system.
    """
    routes: list[BaseRoute] = [Route("/", page_endpoint("index.html"), name="page")]
    for file in sorted(resources.files(__package__).joinpath("web").iterdir(), key=lambda file: file.name):
        if file.is_file() and not file.name.endswith(".html"):
            routes.append(Route(f"/assets/{file.name}", page_endpoint(file.name)))
    return routes


def page_endpoint(name: str) -> Endpoint:
    """Endpoint answering one file of `web/`, with 304 for a browser that has it already."""
    content = resources.files(__package__).joinpath("web", name).read_bytes()
    headers = {
        **SECURITY_HEADERS,
        # Asked again at every visit: a page older than its service would read answers wrongly.
        "cache-control": "no-cache",
        "etag": f'"{hashlib.sha256(content).hexdigest()[:32]}"',
    }
    media_type = _MEDIA_TYPES[PurePath(name).suffix]

    async def answer(request: Request) -> Response:
        if headers["etag"] in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        return Response(content, headers=headers, media_type=media_type)

    return answer
