"""Access tokens, verified in process: RS256, our issuer and client, in time, by a key of the issuer's.

What a token says beyond issuer and subject does not count: our own `users` row says tenant and role.
"""

import ipaddress
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from chalicelib.domain.errors import NotSignedIn
from chalicelib.integrations.oidc.keys import KeySet
from chalicelib.settings import MissingSetting, Settings

LEEWAY_SECONDS: Final = 60
LONGEST: Final = 8192  # characters of a token


@dataclass(frozen=True, slots=True)
class Claims:
    """Who, at which issuer."""

    issuer: str
    subject: str


class TokenVerifier:
    """One issuer's access tokens for one client."""

    def __init__(
        self,
        issuer: str,
        jwks_url: str,
        client_id: str,
        *,
        local: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Raises MissingSetting for an issuer on this machine or without TLS, unless `local`.

        The local stand-in's signing key is public: whoever trusts it trusts everybody.
        """
        if not local:
            _refuse_local("OIDC_ISSUER", issuer)
            _refuse_local("OIDC_JWKS_URL", jwks_url)
        self._issuer = issuer
        self._client_id = client_id
        self._keys = KeySet(jwks_url, clock=clock)

    @classmethod
    def of(cls, settings: Settings) -> "TokenVerifier":
        return cls(
            settings.oidc_issuer,
            settings.oidc_jwks_url,
            settings.oidc_client_id,
            local=settings.stage == "local",
        )

    def verify(self, token: str) -> Claims:
        """Who the token speaks for.

        Raises:
            NotSignedIn: it is expired (`token_expired`) or does not count (`bad_token`).
            Unavailable: the issuer's keys are not known and cannot be fetched.
        """
        import jwt  # noqa: PLC0415 - it loads cryptography, which a worker never needs

        if len(token) > LONGEST:
            raise _bad_token()
        try:
            key = self._keys.get(_key_id(jwt.get_unverified_header(token)))
            payload = jwt.decode(
                token,
                key,
                algorithms=["RS256"],
                issuer=self._issuer,
                leeway=LEEWAY_SECONDS,
                options={"require": ["exp", "iss", "sub"], "verify_aud": False},
            )
        except jwt.ExpiredSignatureError:
            raise NotSignedIn("Your sign-in has expired. Sign in again.", code="token_expired") from None
        except (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError):
            raise _bad_token() from None
        return self._claims(payload)

    def _claims(self, payload: Mapping[str, Any]) -> Claims:
        meant_for = payload.get("client_id", payload.get("aud"))
        clients = meant_for if isinstance(meant_for, list) else [meant_for]
        subject = payload["sub"]
        if payload.get("token_use") != "access" or self._client_id not in clients or not subject:
            raise _bad_token()
        return Claims(self._issuer, subject)


def _key_id(header: Mapping[str, Any]) -> str:
    key_id = header.get("kid")
    if header.get("alg") != "RS256" or not isinstance(key_id, str) or "crit" in header:
        raise _bad_token()
    return key_id


def _bad_token() -> NotSignedIn:
    return NotSignedIn("The access token does not count here. Sign in again.", code="bad_token")


def _refuse_local(name: str, url: str) -> None:
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme != "https" or host == "localhost" or host.endswith(".localhost") or _is_loopback(host):
        raise MissingSetting(f"{name} must be an https address off this machine, unless STAGE is local.")


def _is_loopback(host: str) -> bool:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified
