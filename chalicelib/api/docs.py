"""The API's description for programs, and as a page to read and to try it from."""

import base64
import hashlib
import json
import re
from functools import cache
from pathlib import Path
from typing import Final

from chalicelib.api import routes
from chalicelib.api.http import PUBLIC, Raw, route
from chalicelib.api.openapi import document

_PAGE: Final = Path(__file__).with_name("docs.html")
_FOR_A_MINUTE: Final = {"Cache-Control": "public, max-age=60"}


@route(
    "GET",
    "/v1/openapi.json",
    needs=PUBLIC("the description holds nothing but what the API is"),
    summary="This description",
)
def openapi() -> Raw:
    """OpenAPI 3.1, as it stands, without the envelope."""
    return Raw(_document(), "application/json", _FOR_A_MINUTE)


@route(
    "GET",
    "/v1/docs",
    needs=PUBLIC("the description holds nothing but what the API is"),
    summary="This description, to read and to try",
    produces="text/html",
)
def docs() -> Raw:
    page, policy = _page()
    return Raw(page, "text/html; charset=utf-8", {**_FOR_A_MINUTE, "Content-Security-Policy": policy})


@cache
def _document() -> str:
    return json.dumps(document(routes.declared()), separators=(",", ":"), ensure_ascii=False)


@cache
def _page() -> tuple[str, str]:
    """The page, and a policy that lets run what is in it and nothing else."""
    page = _PAGE.read_text(encoding="utf-8")
    policy = [
        "default-src 'none'",
        f"script-src {_hashes('script', page)}",
        f"style-src {_hashes('style', page)}",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    ]
    return page, "; ".join(policy)


def _hashes(element: str, page: str) -> str:
    inside = re.findall(rf"<{element}>(.*?)</{element}>", page, re.DOTALL)
    digests = (base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in inside)
    return " ".join(f"'sha256-{digest}'" for digest in digests)
