"""A request as the providers see it, and the answer they give; no sockets here."""

import hashlib
import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final, Literal, TypeAlias
from urllib.parse import parse_qsl

JSON: Final = "application/json; charset=utf-8"
PLAIN_TEXT: Final = "text/plain; charset=utf-8"
HTML: Final = "text/html; charset=utf-8"

# `half` breaks the connection inside the body, `closed` before the first byte; `never` stays silent.
Delivery: TypeAlias = Literal["whole", "half", "closed", "never"]


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    query: str
    headers: Mapping[str, str]  # names in lower case
    body: bytes

    @cached_property
    def json(self) -> Any:
        """The body's JSON, or None when there is none or it cannot be read."""
        try:
            return json.loads(self.body) if self.body else None
        except ValueError:
            return None

    @cached_property
    def parameters(self) -> dict[str, Any]:
        """The query's `key[]=` lists, `key[min]=` ranges and plain values, and over them the JSON body's."""
        found = dict[str, Any]()
        for name, value in parse_qsl(self.query, keep_blank_values=True):
            if name.endswith("[]"):
                _nested(found, name[:-2], list).append(value)
            elif name.endswith("]") and "[" in name:
                outer, _, inner = name[:-1].partition("[")
                _nested(found, outer, dict)[inner] = value
            else:
                found[name] = value
        return found | self.json if isinstance(self.json, dict) else found

    @property
    def model(self) -> str:
        """The model that the body names, or nothing."""
        named = self.json.get("model") if isinstance(self.json, dict) else None
        return named if isinstance(named, str) else ""

    def key_for(self, provider: str) -> str:
        """The caller's key, from the one header that the provider reads."""
        if provider == "apollo":
            return self.headers.get("x-api-key", "")
        scheme, _, token = self.headers.get("authorization", "").partition(" ")
        return token.strip() if scheme.lower() == "bearer" else ""

    @cached_property
    def digest(self) -> str:
        """The same for a repeat of the same call: method, path, query and body."""
        whole = b"\n".join((self.method.encode(), self.path.encode(), self.query.encode(), self.body))
        return hashlib.sha256(whole).hexdigest()[:16]


def _nested(found: dict[str, Any], name: str, kind: type[list[Any] | dict[str, Any]]) -> Any:
    if not isinstance(found.get(name), kind):
        found[name] = kind()
    return found[name]


@dataclass(frozen=True, slots=True)
class Response:
    status: int
    body: bytes
    content_type: str = JSON
    headers: Mapping[str, str] = field(default_factory=dict)
    delivery: Delivery = "whole"
    released: threading.Event | None = None  # ends the silence of a delivery that is `never`


@dataclass(frozen=True, slots=True)
class Answer:
    """A provider's response and what the ledger writes about the call."""

    response: Response
    subject: str = ""  # what the call was about: a domain, an id, a page
    credits: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    stored: bool = False


def json_response(status: int, content: object, headers: Mapping[str, str] | None = None) -> Response:
    body = json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()
    return Response(status, body, JSON, headers or {})


def text_response(status: int, text: str, content_type: str = PLAIN_TEXT) -> Response:
    return Response(status, text.encode(), content_type)
