"""Accounts at providers: whose key a tenant's calls are made with, and with which options."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from decimal import Decimal
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final

from chalicelib.domain.money import ModelPrice


class Provider(StrEnum):
    OPENAI = "openai"
    APOLLO = "apollo"
    BLAND = "bland"  # reserved: nothing calls yet


CONNECTABLE: Final = (Provider.OPENAI, Provider.APOLLO)
NAMES: Final[Mapping[Provider, str]] = MappingProxyType(
    {Provider.OPENAI: "OpenAI", Provider.APOLLO: "Apollo.io", Provider.BLAND: "Bland.ai"}
)


class CredentialStatus(StrEnum):
    ACTIVE = "active"
    FAILED = "failed"  # the provider refused it; it stays the tenant's key until they mend or remove it


class KeySource(StrEnum):
    """Whose key runs use."""

    TENANT = "tenant"
    PLATFORM = "platform"
    NONE = "none"


class Plan(StrEnum):
    """What a customer has bought. A row may hold another word; such a customer brings keys."""

    STARTER = "starter"
    GROWTH = "growth"


PLATFORM_KEY_PLANS: Final = frozenset({Plan.STARTER})
"""Plans whose tenants use the installation's key while they have none of their own. Others bring one."""


def key_source(*, has_own: bool, plan: str, platform_has: bool) -> KeySource:
    """The tenant's own if there is one, working or not; never the platform's in its stead."""
    if has_own:
        return KeySource.TENANT
    return KeySource.PLATFORM if platform_has and plan in PLATFORM_KEY_PLANS else KeySource.NONE


@dataclass(frozen=True, slots=True)
class Options:
    """What a tenant says about an account besides its key. None: as the installation has it."""

    base_url: str | None = None
    model: str | None = None
    token_parameter: str | None = None
    temperature: float | None = None
    max_tokens: int | None = None
    price: ModelPrice | None = None  # of a model that nobody else prices
    calls_per_minute: int | None = None

    def given(self) -> frozenset[str]:
        """The names of those that are said."""
        return frozenset(known.name for known in fields(self) if getattr(self, known.name) is not None)

    def as_json(self) -> dict[str, Any]:
        """As its row keeps it."""
        kept = {name: getattr(self, name) for name in sorted(self.given() - {"price"})}
        if self.price is not None:
            kept["price"] = {
                name: str(getattr(self.price, name)) for name in ("tokens_in", "tokens_cached", "tokens_out")
            }
        return kept

    @classmethod
    def of_json(cls, kept: Mapping[str, Any]) -> "Options":
        known = {field.name for field in fields(cls)} - {"price"}
        price = kept.get("price")
        return cls(
            **{name: value for name, value in kept.items() if name in known},
            price=None if price is None else ModelPrice(**{k: Decimal(v) for k, v in price.items()}),
        )


ALLOWED: Final[Mapping[Provider, frozenset[str]]] = MappingProxyType(
    {
        Provider.OPENAI: frozenset(field.name for field in fields(Options)),
        Provider.APOLLO: frozenset({"calls_per_minute"}),
        Provider.BLAND: frozenset(),
    }
)
"""Which options a provider has."""


@dataclass(frozen=True, slots=True)
class Held:
    """A tenant's credential as a run came by it; another one when it was changed since."""

    credential_id: str
    version: int
    fingerprint: str  # of the envelope and the options
