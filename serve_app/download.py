"""Photos fetched from addresses that callers name: from allowed hosts only, and from public network addresses only.

A name is resolved once, while the connection is made, and the connection goes to the very address that was checked, so
a name that resolves otherwise a moment later gains nothing. A redirect is an address like any other and passes all
checks again. Proxies of the environment are not used: behind one there would be no address to check.
"""

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from functools import cache

import httpcore
import httpx

from models.errors import ImageTooLarge, UnsupportedImageType
from models.image_headers import ACCEPTED_TYPES
from serve_app.errors import ImageUrlFailed, ImageUrlRefused

Fetch = Callable[[str, float], Awaitable[tuple[bytes, str | None]]]
"""(address, seconds) -> the file and its declared type; raises like `Downloader.fetch`."""
Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""(host, port) -> network addresses as text; raises OSError."""

MAX_URL_LENGTH = 2048
_MAX_REDIRECTS = 3
_REDIRECTS = (301, 302, 303, 307, 308)
_UNDECLARED_TYPES = ("", "application/octet-stream", "binary/octet-stream")  # the last is what object stores say
_HEADERS: Sequence[tuple[bytes | str, bytes | str]] = [
    ("accept", ", ".join(ACCEPTED_TYPES)),
    ("accept-encoding", "identity"),
    ("user-agent", "fashion-tagger"),
]
_REFUSAL = "the address of the photo is not one that this service fetches from"

# What `is_global` lets through in some Python version, though it leads back to ourselves or to the platform.
_REFUSED_V4 = [
    ipaddress.ip_network(text)
    for text in (
        "192.0.0.0/24",  # protocol assignments; the metadata service of one cloud
        "192.88.99.0/24",  # 6to4 relays
        "168.63.129.16/32",  # the platform's own address in another cloud
    )
]
_GLOBAL_UNICAST = ipaddress.ip_network("2000::/3")
_NAT64 = ipaddress.ip_network("64:ff9b::/96")  # the last 32 bits are an IPv4 address


def is_public(address: str) -> bool:
    """Whether a network address is one on the public internet; what embeds another address is judged by that one."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address):
        embedded = ip.ipv4_mapped or (ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF) if ip in _NAT64 else None)
        if embedded is None:
            return ip in _GLOBAL_UNICAST and ip.is_global and ip.sixtofour is None and ip.teredo is None
        ip = embedded
    return ip.is_global and not ip.is_multicast and not any(ip in network for network in _REFUSED_V4)


async def resolve_host(host: str, port: int) -> Sequence[str]:
    """Addresses of a host by the system's resolver, in its order."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


class Downloader:
    """Fetches photos, any number concurrently.

    Args:
        hosts: allowed host names; `*.shop.example` allows every name below it, `name:8443` another port than the
            scheme's own. Empty: every address is refused.
        max_bytes: largest file.
        allows_http: whether addresses may begin with http: besides https:.
        resolve: turns a host name into addresses.
        network: makes the connections, to addresses that were checked.
        max_connections: at a time; further photos wait for one.
    """

    def __init__(
        self,
        hosts: Collection[str],
        max_bytes: int,
        *,
        allows_http: bool = False,
        resolve: Resolve = resolve_host,
        network: httpcore.AsyncNetworkBackend | None = None,
        max_connections: int = 16,
    ) -> None:
        self._hosts = frozenset(hosts)
        self._max_bytes = max_bytes
        self._schemes = ("https", "http") if allows_http else ("https",)
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=_tls() if self._hosts else None,
            max_connections=max_connections,
            keepalive_expiry=10.0,
            network_backend=_CheckedNetwork(resolve, network or httpcore.AnyIOBackend()),
        )

    async def fetch(self, url: str, deadline_s: float) -> tuple[bytes, str | None]:
        """Fetch one file.

        Args:
            url: as the caller wrote it.
            deadline_s: for everything, redirects included.

        Returns:
            The file, and its declared type if it is one of pictures.

        Raises:
            ImageUrlRefused: if the address, or one it redirects to, is not allowed or not public.
            ImageUrlFailed: if the host does not give the file in time.
            ImageTooLarge: as soon as the limit is passed.
            UnsupportedImageType: if the declared type is none of the accepted.
        """
        try:
            async with asyncio.timeout(deadline_s):
                return await self._follow(url)
        except TimeoutError as exc:
            raise ImageUrlFailed("the photo did not arrive from its address in time") from exc
        except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException) as exc:
            raise ImageUrlFailed("the address of the photo does not answer", repr(exc)) from exc

    async def close(self) -> None:
        """Close the connections."""
        await self._pool.aclose()

    async def _follow(self, url: str) -> tuple[bytes, str | None]:
        for _ in range(1 + _MAX_REDIRECTS):
            address = self._checked(url)
            target = httpcore.URL(
                scheme=address.raw_scheme, host=address.raw_host, port=address.port, target=address.raw_path
            )
            async with self._pool.stream("GET", target, headers=_HEADERS) as response:
                if response.status not in _REDIRECTS:
                    return await self._read(response)
                url = _joined(address, _header(response, b"location"))
        raise ImageUrlFailed(f"the address of the photo redirects more than {_MAX_REDIRECTS} times")

    def _checked(self, url: str) -> httpx.URL:
        """The address taken apart; everything after this uses the parts, so no second reading can differ."""
        if not self._hosts:
            raise ImageUrlRefused("this service fetches no photos by address; send the picture itself")
        try:
            address = httpx.URL(url if len(url) <= MAX_URL_LENGTH else "")
        except (httpx.InvalidURL, ValueError) as exc:
            raise ImageUrlRefused("the address of the photo is malformed") from exc
        if address.scheme not in self._schemes:
            raise ImageUrlRefused(f"the address of the photo needs to begin with {' or '.join(self._schemes)}:")
        if address.userinfo or not self._is_listed(address.raw_host.decode("ascii"), address.port):
            raise ImageUrlRefused(_REFUSAL)
        return address

    def _is_listed(self, host: str, port: int | None) -> bool:
        """Whether a host is allowed; `port` is None where it is the scheme's own."""
        labels = host.split(".")
        names = [host, *(f"*.{'.'.join(labels[start:])}" for start in range(1, len(labels)))]
        return any((name if port is None else f"{name}:{port}") in self._hosts for name in names)

    async def _read(self, response: httpcore.Response) -> tuple[bytes, str | None]:
        if response.status != 200:
            raise ImageUrlFailed(f"the address of the photo answered with status {response.status}")
        media_type = _header(response, b"content-type").split(";")[0].strip().lower()
        if media_type not in (*_UNDECLARED_TYPES, "image/jpg", *ACCEPTED_TYPES):
            raise UnsupportedImageType(f"the address of the photo gives {media_type[:60]!r}, which is no picture")
        if _header(response, b"content-encoding") not in ("", "identity"):
            raise UnsupportedImageType("the address of the photo gives a compressed body")
        length = _header(response, b"content-length")
        if length.isascii() and length.isdigit() and int(length[:18]) > self._max_bytes:
            raise self._too_large()
        data = bytearray()
        async for chunk in response.aiter_stream():
            data += chunk
            if len(data) > self._max_bytes:
                raise self._too_large()
        return bytes(data), None if media_type in _UNDECLARED_TYPES else media_type

    def _too_large(self) -> ImageTooLarge:
        return ImageTooLarge(f"the picture is too large; the limit is {self._max_bytes} bytes")


class _CheckedNetwork(httpcore.AsyncNetworkBackend):
    """Resolves, checks and connects in one step; the only way that the pool has to the network."""

    def __init__(self, resolve: Resolve, network: httpcore.AsyncNetworkBackend) -> None:
        self._resolve = resolve
        self._network = network

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to the first address of the host that answers, if all of its addresses are public."""
        try:
            addresses = await self._resolve(host, port)
        except (OSError, UnicodeError) as exc:
            raise httpcore.ConnectError("the host name is unknown") from exc
        if not all(map(is_public, addresses)):
            raise ImageUrlRefused(_REFUSAL, f"{host[:100]} resolves to an address that is not public")
        error: Exception = httpcore.ConnectError("the host has no address")
        for address in addresses:
            try:
                return await self._network.connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as exc:
                error = exc
        raise error

    async def sleep(self, seconds: float) -> None:
        """Wait, as the pool does between tries."""
        await self._network.sleep(seconds)


@cache
def _tls() -> ssl.SSLContext:
    """Reading the certificate authorities takes a moment, so once per process."""
    return httpx.create_ssl_context()


def _header(response: httpcore.Response, name: bytes) -> str:
    return next((value.decode("latin-1") for key, value in response.headers if key.lower() == name), "")


def _joined(address: httpx.URL, location: str) -> str:
    try:
        return str(address.join(location)) if location else ""
    except (httpx.InvalidURL, ValueError):
        return ""
