"""Fetching by address: what is allowed arrives, and none of the hostile addresses is fetched."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import suppress
from typing import Any
from urllib.parse import unquote

import httpcore
import httpx
import pytest
from pydantic import ValidationError

from models.errors import TaggingError
from serve_app.config import TaggerArgs
from serve_app.download import Downloader, is_public, resolve_host

PUBLIC = "93.184.216.34"
MAX_BYTES = 1000
PATIENCE_S = 30.0


class Host:
    """A server on loopback, so that whatever passed the checks by mistake would reach it, and would be counted."""

    def __init__(self) -> None:
        self.port = 0
        self.hits: list[str] = []
        self.num_sent = 0
        self._end = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            path = head.split()[1]
            self.hits.append(path)
            await self._answer(path, writer)
        writer.close()

    async def _answer(self, path: str, writer: asyncio.StreamWriter) -> None:
        match unquote(path).partition("?")[::2]:
            case "/redirect", to:
                writer.write(f"HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n".encode())
            case "/huge", _:
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\n\r\n")
                while self.num_sent < 100 * 2**20:
                    writer.write(bytes(2**16))
                    self.num_sent += 2**16
                    await writer.drain()
            case "/slow", _:
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nContent-Length: 9\r\n\r\nslow")
                await self._end.wait()
            case "/silent", _:
                await self._end.wait()
            case _, headers:
                head = "\r\n".join(["HTTP/1.1 200 OK", *filter(None, headers.split("&"))])
                writer.write(f"{head}\r\nConnection: close\r\n\r\nphoto".encode())
        await writer.drain()

    def end(self) -> None:
        self._end.set()


@pytest.fixture
async def host() -> AsyncIterator[Host]:
    host = Host()
    server = await asyncio.start_server(host.serve, "127.0.0.1", 0)
    host.port = server.sockets[0].getsockname()[1]
    yield host
    host.end()
    server.close()


class Network(httpcore.AsyncNetworkBackend):
    """Leads the public address to the host on loopback, and any other to where it says; remembers all of them."""

    def __init__(self, host: Host) -> None:
        self.addresses: list[str] = []
        self._host = host
        self._network = httpcore.AnyIOBackend()

    async def connect_tcp(  # type: ignore[override]
        self, host: str, port: int, *args: Any
    ) -> httpcore.AsyncNetworkStream:
        self.addresses.append(host)
        target = ("127.0.0.1", self._host.port) if host == PUBLIC else (host, port)
        return await self._network.connect_tcp(*target, *args)


class Names:
    """A resolver that gives the answers of a script in turn, the last one for ever; numbers go to the system's."""

    def __init__(self, **answers: Sequence[Sequence[str]]) -> None:
        self._answers = {name.replace("_", "."): list(script) for name, script in answers.items()}
        self.asked: list[str] = []

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked.append(host)
        script = self._answers.get(host)
        if script is None:
            return await resolve_host(host, port)
        return script.pop(0) if len(script) > 1 else script[0]


def _downloader(network: Network, hosts: Iterable[str], resolve: Names | None = None, **options: Any) -> Downloader:
    names = resolve or Names(cdn_example=[[PUBLIC]])
    return Downloader(tuple(hosts), MAX_BYTES, allows_http=True, resolve=names, network=network, **options)


async def _code(downloader: Downloader, url: str, deadline_s: float = PATIENCE_S) -> str:
    try:
        await downloader.fetch(url, deadline_s)
    except TaggingError as exc:
        assert "127.0.0" not in exc.message and len(exc.message) < 200
        return exc.code
    finally:
        await downloader.close()
    return "fetched"


@pytest.mark.parametrize(
    ("url", "hosts"),
    [
        pytest.param("http://cdn.example/a.jpg?Content-Type: image/jpeg", ["cdn.example"], id="exact"),
        pytest.param("http://CDN.example/a.jpg?Content-Type: image/jpeg", ["cdn.example"], id="capitals"),
        pytest.param("http://eu.cdn.example/a?Content-Type: image/jpg", ["*.cdn.example"], id="below_a_wildcard"),
        pytest.param("http://cdn.example:8443/a?Content-Type: image/png", ["cdn.example:8443"], id="other_port"),
        pytest.param("http://cdn.example/a.jpg", ["cdn.example"], id="undeclared_type"),
        pytest.param("http://cdn.example/a?Content-Type: application/octet-stream", ["cdn.example"], id="octets"),
        pytest.param("http://cdn.example/redirect?http://cdn.example/b", ["cdn.example"], id="redirect"),
        pytest.param("http://cdn.example/redirect?/b", ["cdn.example"], id="relative_redirect"),
    ],
)
async def test_allowed_photos_arrive(host: Host, url: str, hosts: list[str]) -> None:
    network = Network(host)
    downloader = _downloader(network, hosts, Names(cdn_example=[[PUBLIC]], eu_cdn_example=[[PUBLIC]]))
    data, declared = await downloader.fetch(url, PATIENCE_S)
    await downloader.close()
    assert data == b"photo"
    assert declared is None or declared.startswith("image/")
    assert set(network.addresses) == {PUBLIC}


HOSTILE_HOSTS = [
    pytest.param("127.0.0.1", id="loopback"),
    pytest.param("127.1", id="loopback_short"),
    pytest.param("2130706433", id="loopback_decimal"),
    pytest.param("0x7f000001", id="loopback_hexadecimal"),
    pytest.param("0x7f.0.0.01", id="loopback_mixed"),
    pytest.param("127。0。0。1", id="loopback_ideographic_dots"),
    pytest.param("0.0.0.0", id="unspecified"),
    pytest.param("[::1]", id="loopback_v6"),
    pytest.param("[::]", id="unspecified_v6"),
    pytest.param("[::ffff:127.0.0.1]", id="mapped_loopback"),
    pytest.param("[::ffff:7f00:1]", id="mapped_loopback_hexadecimal"),
    pytest.param("[::127.0.0.1]", id="compatible_loopback"),
    pytest.param("[64:ff9b::7f00:1]", id="nat64_loopback"),
    pytest.param("[2002:7f00:1::]", id="6to4_loopback"),
    pytest.param("[2001:0:7f00:1::]", id="teredo"),
    pytest.param("169.254.169.254", id="metadata"),
    pytest.param("2852039166", id="metadata_decimal"),
    pytest.param("[::ffff:169.254.169.254]", id="metadata_mapped"),
    pytest.param("[fd00:ec2::254]", id="metadata_v6"),
    pytest.param("100.100.100.200", id="metadata_in_shared_space"),
    pytest.param("192.0.0.192", id="metadata_in_protocol_space"),
    pytest.param("168.63.129.16", id="platform_on_a_public_address"),
    pytest.param("10.0.0.1", id="private_10"),
    pytest.param("172.16.0.1", id="private_172"),
    pytest.param("192.168.1.1", id="private_192"),
    pytest.param("[fe80::1%25eth0]", id="link_local_v6"),
    pytest.param("[fec0::1]", id="site_local_v6"),
    pytest.param("[ff02::1]", id="multicast_v6"),
    pytest.param("224.0.0.1", id="multicast"),
    pytest.param("255.255.255.255", id="broadcast"),
]


@pytest.mark.parametrize("name", HOSTILE_HOSTS)
async def test_no_address_inside_is_fetched_even_where_its_host_is_listed(host: Host, name: str) -> None:
    network, names = Network(host), Names()
    url = f"http://{name}:{host.port}/secret"
    listed = f"{httpx.URL(url).raw_host.decode()}:{host.port}"
    assert await _code(_downloader(network, [listed], names), url) in ("image_url_refused", "image_url_failed")
    assert names.asked
    assert await _code(_downloader(network, ["cdn.example"]), url) == "image_url_refused"
    assert (host.hits, network.addresses) == ([], [])


@pytest.mark.parametrize(
    "answers",
    [
        pytest.param(["127.0.0.1"], id="loopback"),
        pytest.param(["169.254.169.254"], id="metadata"),
        pytest.param(["::ffff:10.0.0.1"], id="mapped"),
        pytest.param([PUBLIC, "127.0.0.1"], id="one_of_two"),
        pytest.param(["fe80::1%eth0"], id="scoped"),
        pytest.param(["no address"], id="nonsense"),
    ],
)
async def test_a_listed_name_that_leads_inside_is_refused(host: Host, answers: list[str]) -> None:
    network, url = Network(host), f"http://cdn.example:{host.port}/secret"
    downloader = _downloader(network, [f"cdn.example:{host.port}"], Names(cdn_example=[answers]))
    assert await _code(downloader, url) == "image_url_refused"
    assert (host.hits, network.addresses) == ([], [])


@pytest.mark.parametrize(
    "url",
    [
        pytest.param("", id="empty"),
        pytest.param("cdn.example/secret", id="no_scheme"),
        pytest.param("//cdn.example/secret", id="relative"),
        pytest.param("http:///secret", id="no_host"),
        pytest.param("file:///etc/passwd", id="file"),
        pytest.param("file://cdn.example/secret", id="file_with_a_host"),
        pytest.param("ftp://cdn.example/secret", id="ftp"),
        pytest.param("gopher://cdn.example:PORT/_GET%20/secret", id="gopher"),
        pytest.param("data:image/png;base64,AAAA", id="data"),
        pytest.param("unix:///run/secret.sock", id="unix"),
        pytest.param("http://cdn.example@127.0.0.1:PORT/secret", id="userinfo"),
        pytest.param("http://cdn.example:80@127.0.0.1:PORT/secret", id="userinfo_with_password"),
        pytest.param("http://user:pass@cdn.example/secret", id="userinfo_of_a_listed_host"),
        pytest.param("http://127.0.0.1:PORT\\@cdn.example/secret", id="backslash_before_at"),
        pytest.param("http://cdn.example%00.evil.test/secret", id="zero_byte_in_host"),
        pytest.param("http://cdn.example\r\nHost: evil.test/secret", id="line_break"),
        pytest.param("http://evil.test/secret", id="unlisted"),
        pytest.param("http://cdn.example.evil.test/secret", id="listed_name_as_prefix"),
        pytest.param("http://evilcdn.example/secret", id="listed_name_as_suffix"),
        pytest.param("http://eu.cdn.example/secret", id="below_a_listed_name"),
        pytest.param("http://cdn.example./secret", id="final_dot"),
        pytest.param("http://cdn.example:PORT/secret", id="unlisted_port"),
        pytest.param("http://cdn.example:99999999/secret", id="no_port"),
        pytest.param("http://localhost:PORT/secret", id="localhost"),
        pytest.param("http://0177.0.0.1:PORT/secret", id="loopback_octal"),
        pytest.param("http://cdn.example/" + "a" * 3000, id="long"),
    ],
)
async def test_other_addresses_are_refused_and_reach_nobody(host: Host, url: str) -> None:
    network, names = Network(host), Names(cdn_example=[[PUBLIC]])
    downloader = _downloader(network, ["cdn.example"], names)
    assert await _code(downloader, url.replace("PORT", str(host.port))) == "image_url_refused"
    assert (host.hits, network.addresses, names.asked) == ([], [], [])


@pytest.mark.parametrize(
    "to",
    [
        pytest.param("http://127.0.0.1:PORT/secret", id="loopback"),
        pytest.param("http://169.254.169.254/latest/meta-data/", id="metadata"),
        pytest.param("http://inside.example:PORT/secret", id="listed_name_that_leads_inside"),
        pytest.param("http://evil.test/secret", id="unlisted"),
        pytest.param("file:///etc/passwd", id="file"),
        pytest.param("//127.0.0.1:PORT/secret", id="without_scheme"),
        pytest.param("http://u@cdn.example/secret", id="userinfo"),
        pytest.param("", id="nowhere"),
    ],
)
async def test_redirects_pass_all_checks_again(host: Host, to: str) -> None:
    network = Network(host)
    names = Names(cdn_example=[[PUBLIC]], inside_example=[["127.0.0.1"]])
    downloader = _downloader(network, ["cdn.example", f"inside.example:{host.port}"], names)
    url = f"http://cdn.example/redirect?{to.replace('PORT', str(host.port))}"
    assert await _code(downloader, url) == "image_url_refused"
    assert network.addresses == [PUBLIC]
    assert len(host.hits) == 1


async def test_a_name_that_changes_its_answer_gains_nothing(host: Host) -> None:
    network, names = Network(host), Names(cdn_example=[[PUBLIC], ["127.0.0.1"]])
    downloader = _downloader(network, ["cdn.example"], names)
    await downloader.fetch(
        "http://cdn.example/photo", PATIENCE_S
    )  # one question, and the answer is the one connected to
    assert (names.asked, network.addresses) == (["cdn.example"], [PUBLIC])
    assert await _code(downloader, "http://cdn.example/secret") == "image_url_refused"
    assert (host.hits, network.addresses) == (["/photo"], [PUBLIC])


async def test_http_is_refused_unless_allowed_also_as_a_redirect(host: Host) -> None:
    network = Network(host)
    for url in ("http://cdn.example/secret", "HTTP://cdn.example/secret"):
        downloader = Downloader(("cdn.example",), MAX_BYTES, resolve=Names(cdn_example=[[PUBLIC]]), network=network)
        assert await _code(downloader, url) == "image_url_refused"
    assert (host.hits, network.addresses) == ([], [])
    answer = b"HTTP/1.1 302 Found\r\nLocation: http://cdn.example/secret\r\nContent-Length: 0\r\n\r\n"
    over_tls = httpcore.AsyncMockBackend([answer, b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nphoto"])
    downloader = Downloader(("cdn.example",), MAX_BYTES, resolve=Names(cdn_example=[[PUBLIC]]), network=over_tls)
    assert await _code(downloader, "https://cdn.example/redirect") == "image_url_refused"


class TlsNetwork(httpcore.AsyncMockBackend):
    """Notes which name the certificate has to be of, and goes no further."""

    def __init__(self) -> None:
        super().__init__([])
        self.names: list[tuple[str | None, bool]] = []

    async def connect_tcp(self, *args: Any, **options: Any) -> httpcore.AsyncNetworkStream:
        note = self.names.append

        class Stream(httpcore.AsyncMockStream):
            async def start_tls(
                self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
            ) -> httpcore.AsyncNetworkStream:
                note((server_hostname, ssl_context.check_hostname and ssl_context.verify_mode is ssl.CERT_REQUIRED))
                raise httpcore.ConnectError

        return Stream([])


async def test_the_certificate_has_to_be_of_the_name_not_of_the_address() -> None:
    network = TlsNetwork()
    downloader = Downloader(("cdn.example",), MAX_BYTES, resolve=Names(cdn_example=[[PUBLIC]]), network=network)
    assert await _code(downloader, "https://cdn.example/a.jpg") == "image_url_failed"
    assert network.names == [("cdn.example", True)]


@pytest.mark.parametrize(
    ("path", "code", "deadline_s"),
    [
        pytest.param("/huge", "image_too_large", PATIENCE_S, id="huge"),
        pytest.param("/a?Content-Length: 1001", "image_too_large", PATIENCE_S, id="huge_by_its_length"),
        pytest.param("/slow", "image_url_failed", 0.1, id="slow_body"),
        pytest.param("/silent", "image_url_failed", 0.1, id="silent"),
        pytest.param("/a?Content-Length: 9", "image_url_failed", PATIENCE_S, id="cut_off"),
        pytest.param("/a?Content-Type: text/html", "image_type_unsupported", PATIENCE_S, id="page"),
        pytest.param("/a?Content-Type: image/svg+xml", "image_type_unsupported", PATIENCE_S, id="drawing"),
        pytest.param("/a?Content-Encoding: gzip", "image_type_unsupported", PATIENCE_S, id="compressed"),
        pytest.param("/redirect?/redirect?/redirect?/redirect?/a", "image_url_failed", PATIENCE_S, id="redirects"),
    ],
)
async def test_hostile_answers_are_given_up(host: Host, path: str, code: str, deadline_s: float) -> None:
    assert await _code(_downloader(Network(host), ["cdn.example"]), f"http://cdn.example{path}", deadline_s) == code
    assert host.num_sent < 50 * 2**20


@pytest.mark.parametrize(
    ("answers", "says"),
    [
        pytest.param([[]], "does not answer", id="no_address"),
        pytest.param([["203.0.113.1"]], "not one", id="documentation_address"),
    ],
)
async def test_names_without_an_address_fail(host: Host, answers: list[list[str]], says: str) -> None:
    downloader = _downloader(Network(host), ["cdn.example"], Names(cdn_example=answers))
    with pytest.raises(TaggingError, match=says):
        await downloader.fetch("http://cdn.example/a", PATIENCE_S)


@pytest.mark.parametrize("address", ["8.8.8.8", PUBLIC, "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"])
def test_public_addresses_are_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "host_name",
    ["127.0.0.1", "0x7f.1", "localhost", "*", "*.com:0", "http://cdn.example", "cdn.example/", "CDN.example", "[::1]"],
)
def test_only_names_can_be_listed(host_name: str) -> None:
    with pytest.raises(ValidationError):
        TaggerArgs(image_url_hosts=(host_name,))
    assert TaggerArgs(image_url_hosts=("cdn.example", "*.shop.example", "cdn.example:8443")).image_url_hosts
