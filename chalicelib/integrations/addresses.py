"""Where a tenant may lead our calls: the internet's public addresses, and what the operator allows besides.

A base URL is judged when it is saved, and its host's addresses again at each connection: what a name resolves to may
change in between.
"""

import ipaddress
import re
import socket
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import SplitResult, urlsplit

from chalicelib.domain.errors import Invalid

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

LONGEST_URL: Final = 500
HTTPS: Final = 443
HTTP: Final = 80
FIRST_UNPRIVILEGED: Final = 1024
HIGHEST_PORT: Final = 65535

_NAME: Final = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)(\.(?!-)[a-z0-9_-]{1,63}(?<!-))*\.?", re.IGNORECASE)
_PATH: Final = re.compile(r"[A-Za-z0-9._~/%@:+-]*")
_NUMERIC: Final = re.compile(r"(.*\.)?(0x[0-9a-f]*|[0-9]+)\.?", re.IGNORECASE)
_GLOBAL_UNICAST: Final = ipaddress.IPv6Network("2000::/3")
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")


class NotAllowed(Exception):
    """The host has an address that is not the internet's."""


class NotFoundThere(Exception):
    """The host has no address."""


@dataclass(frozen=True, slots=True)
class Allowed:
    """Private hosts and networks that the operator allows."""

    hosts: frozenset[str] = frozenset()
    networks: tuple[Network, ...] = ()

    @classmethod
    def of(cls, entries: Iterable[str]) -> "Allowed":
        """Names, addresses and networks in CIDR form, as a setting lists them."""
        hosts, networks = set[str](), list[Network]()
        for entry in entries:
            try:
                networks.append(ipaddress.ip_network(entry, strict=False))
            except ValueError:
                hosts.add(_plain(entry))
        return cls(frozenset(hosts), tuple(networks))

    def has(self, host: str, address: Address) -> bool:
        return host in self.hosts or any(
            address.version == network.version and address in network for network in self.networks
        )

    def checked(self, host: str, port: int) -> Sequence[str]:
        """The host's addresses, each of which may be called.

        Raises NotAllowed when one of them may not, NotFoundThere when there is none.
        """
        host = _plain(host)
        try:
            told = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            raise NotFoundThere(host) from None
        found = list(dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in told))
        if not found:
            raise NotFoundThere(host)
        for text in found:
            address = ipaddress.ip_address(text)
            if not (is_public(address) or self.has(host, _embedded(address) or address)):
                raise NotAllowed(host)
        return found

    def check_url(self, url: str, *, pointer: str) -> str:
        """A provider's base URL, without a slash at its end. Raises Invalid with the reason."""
        parts = _split(url, pointer)
        host, port = _plain(parts.hostname or ""), _port(parts, pointer)
        try:
            found = self.checked(host, port)
        except NotFoundThere:
            raise Invalid(f"There is no host {host}.", pointer=pointer, code="unknown_host") from None
        except NotAllowed:
            raise Invalid(
                f"{host} leads into a private network, where this installation calls nobody. An operator can allow it"
                " with the setting PROVIDER_PRIVATE_HOSTS.",
                pointer=pointer,
                code="private_address",
            ) from None
        is_private = not all(is_public(ipaddress.ip_address(text)) for text in found)
        if parts.scheme == "http" and not is_private:
            raise Invalid("Over the internet a base URL begins with https://.", pointer=pointer)
        if not is_private and port != HTTPS and port < FIRST_UNPRIVILEGED:
            raise Invalid("The port is 443, or one from 1024 on.", pointer=pointer)
        return url.rstrip("/")


def is_public(address: Address) -> bool:
    """Whether it is one of the internet's, for one machine each; of NAT64 and mapped ones the IPv4 address counts."""
    if isinstance(address, ipaddress.IPv6Address):
        embedded = _embedded(address)
        if embedded is not None:
            return is_public(embedded)
        if address not in _GLOBAL_UNICAST or address.sixtofour is not None or address.teredo is not None:
            return False
    return address.is_global and not (
        address.is_multicast or address.is_reserved or address.is_unspecified or address.is_link_local
    )


def _embedded(address: Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address that an IPv6 one stands for, if it is a mapped one or NAT64's."""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address in _NAT64:
            return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return None


def _split(url: str, pointer: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        raise Invalid("This is no URL.", pointer=pointer) from None
    reasons = {
        f"A base URL has at most {LONGEST_URL} characters.": len(url) > LONGEST_URL,
        "A base URL begins with https://, such as https://api.example.com/v1.": parts.scheme
        not in {"https", "http"}
        or not parts.netloc
        or not url.isascii()
        or not url.isprintable()
        or " " in url
        or "\\" in url,
        "A base URL holds no user and no password.": "@" in parts.netloc,
        "A base URL has no ? and no #.": "?" in url or "#" in url,
        "The path of the base URL holds a character that does not belong there.": not _PATH.fullmatch(
            parts.path
        ),
        "The path of the base URL goes up.": ".." in parts.path.lower().replace("%2e", "."),
        "The host of the base URL is none.": not (_is_address(host) or _NAME.fullmatch(host)),
        "Write the host's address in its usual form.": not _is_address(host)
        and _NUMERIC.fullmatch(host) is not None,
    }
    for reason, holds in reasons.items():
        if holds:
            raise Invalid(reason, pointer=pointer)
    return parts


def _port(parts: SplitResult, pointer: str) -> int:
    try:
        port = parts.port
    except ValueError:
        port = 0
    if port is None:
        return HTTPS if parts.scheme == "https" else HTTP
    if not 1 <= port <= HIGHEST_PORT:
        raise Invalid("The port of the base URL is none.", pointer=pointer)
    return port


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _plain(host: str) -> str:
    return host.strip().rstrip(".").lower()
