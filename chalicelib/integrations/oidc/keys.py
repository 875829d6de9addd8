"""An issuer's public keys, kept in memory. An endpoint that is out does not sign anybody out."""

import json
import logging
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from datetime import timedelta
from http import HTTPStatus
from threading import Lock
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

from chalicelib.domain.errors import NotSignedIn, Unavailable

logger = logging.getLogger(__name__)

FRESH_SECONDS: Final = 300.0
RETRY_SECONDS: Final = 10.0
"""So often at most is the endpoint asked, for an unknown key or after a failure."""
TIMEOUT_SECONDS: Final = 2.0


@dataclass(slots=True)
class KeySet:
    """The RSA keys of a JWKS address by key id. Threads may share it; one of them fetches."""

    url: str
    clock: Callable[[], float] = time.monotonic
    _keys: Mapping[str, Any] = field(default_factory=dict, repr=False)
    _fetched_at: float = field(default=float("-inf"), repr=False)
    _asked_at: float = field(default=float("-inf"), repr=False)
    _is_out: bool = field(default=False, repr=False)
    _fetching: Lock = field(default_factory=Lock, repr=False)

    def get(self, key_id: str) -> Any:
        """The public key of this id.

        Raises:
            NotSignedIn: the issuer has no such key.
            Unavailable: nobody can say, as the endpoint does not answer.
        """
        known = self._keys.get(key_id)
        if known is not None and self.clock() - self._fetched_at < FRESH_SECONDS:
            return known
        # With an old key at hand nobody waits for another thread's fetch.
        if self._fetching.acquire(blocking=known is None):
            try:
                if self.clock() - self._asked_at >= RETRY_SECONDS:
                    self._fetch()
            finally:
                self._fetching.release()
        found = self._keys.get(key_id)
        if found is not None:
            return found
        if self._is_out:
            raise Unavailable(
                "Sign-ins cannot be checked just now. Try again in a moment.",
                retry_after=timedelta(seconds=RETRY_SECONDS),
            )
        raise NotSignedIn("The access token was not signed by our issuer.", code="bad_token")

    def _fetch(self) -> None:
        self._asked_at = self.clock()
        try:
            self._keys = _read(self.url)
        except Exception as error:  # noqa: BLE001 - whatever it is, the keys we have go on counting
            self._is_out = True
            logger.warning("signing keys not fetched", extra={"reason": type(error).__name__})
        else:
            self._is_out = False
            self._fetched_at = self.clock()


def _read(url: str) -> dict[str, Any]:
    from jwt.algorithms import RSAAlgorithm  # noqa: PLC0415 - cryptography, which a worker never needs

    found = {
        str(key["kid"]): RSAAlgorithm.from_jwk(key)
        for key in json.loads(_get(url))["keys"]
        if key.get("kty") == "RSA" and key.get("use", "sig") == "sig" and key.get("alg", "RS256") == "RS256"
    }
    if not found:
        raise ValueError("no RS256 keys")
    return found


def _get(url: str) -> bytes:
    """The body of a 200, asked for without proxies. By the standard library: importing httpx takes 0.1 s."""
    import http.client  # noqa: PLC0415 - a worker never needs it

    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    with closing(kind(parts.hostname or "", parts.port, timeout=TIMEOUT_SECONDS)) as connection:
        connection.request("GET", urlunsplit(("", "", parts.path or "/", parts.query, "")))
        answer = connection.getresponse()
        if answer.status != HTTPStatus.OK:
            raise ValueError(f"the keys' address answered {answer.status}")
        return answer.read()
