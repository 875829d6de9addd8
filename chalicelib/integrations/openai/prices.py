"""What models cost, as far as we know. A model that is not known costs nobody knows what, never nothing.

A price belongs to an address: a model of the same name on somebody else's server has another one.
"""

from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from types import MappingProxyType
from typing import Final
from urllib.parse import urlsplit

from chalicelib.domain.money import ModelPrice, PriceList

AS_OF: Final = date(2026, 11, 1)
PRICES: Final[Mapping[str, ModelPrice]] = MappingProxyType(
    {
        "gpt-6-luna": ModelPrice(
            tokens_in=Decimal("0.10"), tokens_cached=Decimal("0.10"), tokens_out=Decimal("0.50")
        )
    }
)
"""OpenAI's, in US dollars a million tokens. Cached ones are booked at the full price where no other is known."""


def price_of(
    model: str, base_url: str, *, declared: ModelPrice | None = None, listed: PriceList | None = None
) -> ModelPrice | None:
    """What a model costs at an address, or None: nobody knows.

    `declared` is what the model's owner says of it, and goes first. Then the installation's list, for the address
    that it is of; then OpenAI's own prices, for OpenAI alone.
    """
    if declared is not None:
        return declared
    if listed is not None and model in listed.prices and _same_server(base_url, listed.base_url):
        return listed.prices[model]
    return PRICES.get(model) if is_openais(base_url) else None


def is_openais(base_url: str) -> bool:
    """Whether it is OpenAI itself, in any of its regions."""
    host = _host(base_url)
    return host == "api.openai.com" or host.endswith(".api.openai.com")


def _same_server(one: str, other: str) -> bool:
    return _address(one) == _address(other) or (is_openais(one) and is_openais(other))


def _address(base_url: str) -> tuple[str, str, str]:
    try:
        parts = urlsplit(base_url)
        where = f"{parts.hostname or ''}:{parts.port or _PORTS.get(parts.scheme, '')}"
    except ValueError:
        return ("", base_url, "")
    return (parts.scheme, where, parts.path.rstrip("/"))


_PORTS: Final[Mapping[str, int]] = MappingProxyType({"http": 80, "https": 443})


def _host(base_url: str) -> str:
    try:
        return urlsplit(base_url).hostname or ""
    except ValueError:
        return ""
