"""The rules for requests that the server itself makes, to addresses that others chose.

A name is resolved once, every address that it has is checked, and the connection is made to one that was
checked: so no second answer of the name server can lead elsewhere. TLS and the Host header still use the name.
Each redirect is a request of its own, and goes through the same. See OWASP on server-side request forgery.
"""

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import httpx

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

RESOLVE_LIMIT_S = 10.0
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_COMPATIBLE = ipaddress.IPv6Network("::/96")


class ForbiddenAddressError(Exception):
    """The address may not be called from here."""


class UnknownHostError(Exception):
    """The name has no address."""


@dataclass(frozen=True, slots=True)
class OutgoingRules:
    """Which addresses may be called: all public ones, and those of these hosts and networks."""

    hosts: frozenset[str] = frozenset()
    networks: tuple[Network, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the rules of a setting: names, addresses and networks, by commas."""
        hosts, networks = set(), []
        for item in filter(None, (part.strip().lower() for part in text.split(","))):
            try:
                networks.append(ipaddress.ip_network(item, strict=False))
            except ValueError:
                hosts.add(item)
        return cls(frozenset(hosts), tuple(networks))

    def check(self, host: str, address: Address) -> None:
        """Raise `ForbiddenAddressError` unless this host may be called at this address."""
        if host.lower().rstrip(".") in self.hosts:
            return
        for one in _meanings(address):
            if not _is_public(one) and not any(one in network for network in self.networks):
                raise ForbiddenAddressError(
                    f"{host} is at {address}, which is not public; FILEMILL_OUTGOING_ALLOW can allow the host"
                )


def _meanings(address: Address) -> Iterator[Address]:
    """Yield the address, and the IPv4 address that it may carry: a router could unwrap it."""
    if isinstance(address, ipaddress.IPv4Address):
        yield address
        return
    last = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    if address.ipv4_mapped is not None or address in _NAT64:
        yield last  # it means nothing but this
        return
    yield address
    if address in _COMPATIBLE and int(address) > 1:
        yield last
    yield from filter(None, [address.sixtofour, *(address.teredo or ())])


def _is_public(address: Address) -> bool:
    return address.is_global and not (
        address.is_multicast
        or address.is_reserved
        or address.is_unspecified
        or address.is_loopback
        or address.is_link_local
        or address.is_private
    )


async def resolve(rules: OutgoingRules, host: str, port: int) -> Address:
    """Return the address to connect to, after all addresses of the host have been checked.

    Raises:
        ForbiddenAddressError: one of them is not allowed.
        UnknownHostError: there is none.
    """
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(RESOLVE_LIMIT_S):
            found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except TimeoutError:
        raise UnknownHostError(f"the name {host} could not be resolved within {RESOLVE_LIMIT_S:g} s") from None
    except (OSError, UnicodeError):
        raise UnknownHostError(f"the name {host} cannot be resolved") from None
    addresses = [ipaddress.ip_address(place[4][0]) for place in found]
    for address in addresses:
        rules.check(host, address)
    if not addresses:
        raise UnknownHostError(f"the name {host} has no address")
    return addresses[0]


class GuardedTransport(httpx.AsyncBaseTransport):
    """Sends requests by the rules; no connection is used for a second request."""

    def __init__(self, rules: OutgoingRules, tls: ssl.SSLContext) -> None:
        self._rules = rules
        # A kept connection is known by its address, and could be taken for another name there.
        limits = httpx.Limits(max_keepalive_connections=0)
        self._transport = httpx.AsyncHTTPTransport(verify=tls, trust_env=False, limits=limits)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        url = request.url
        if url.scheme not in {"http", "https"} or not url.host:
            raise ForbiddenAddressError("only http and https addresses can be called")
        host = url.raw_host.decode("ascii").strip("[]")
        port = url.port or (443 if url.scheme == "https" else 80)
        address = await resolve(self._rules, host, port)
        extensions = {**request.extensions, "sni_hostname": host}
        pinned = httpx.Request(
            request.method,
            url.copy_with(host=str(address)),
            headers=request.headers,  # the Host header among them
            stream=request.stream,
            extensions=extensions,
        )
        return await self._transport.handle_async_request(pinned)

    async def aclose(self) -> None:
        await self._transport.aclose()
