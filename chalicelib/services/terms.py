"""Whose key a tenant's calls are made with, on what terms: its runs and an estimate of them have to agree on it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from chalicelib.db.queries import integrations as queries
from chalicelib.db.work import Work
from chalicelib.domain.integrations import CONNECTABLE, KeySource, Options, Provider, key_source
from chalicelib.domain.money import Terms
from chalicelib.integrations.accounts import Accounts
from chalicelib.services.integrations import platform_key
from chalicelib.settings import Settings

STANDARD: Final = Options()


@dataclass(frozen=True, slots=True)
class Way:
    """A tenant's way to one provider."""

    row: Any | None  # the tenant's own credential
    source: KeySource
    options: Options
    terms: Terms


def ways_of(settings: Settings, rows: Sequence[Any]) -> Mapping[Provider, Way]:
    """By `queries.for_runs` or `queries.of_a_tenant`: the tenant's plan and credentials."""
    plan = rows[0].plan if rows else ""
    own = {row.provider: row for row in rows if row.id is not None}
    accounts = Accounts(settings)
    ways = {}
    for provider in CONNECTABLE:
        row = own.get(provider)
        source = key_source(
            has_own=row is not None, plan=plan, platform_has=platform_key(settings, provider) is not None
        )
        options = STANDARD if row is None else Options.of_json(row.options)
        terms = accounts.terms(provider, options, row and row.id, configured=source is not KeySource.NONE)
        ways[provider] = Way(row, source, options, terms)
    return ways


def terms_of(work: Work) -> Mapping[str, Terms]:
    """The tenant's, by provider."""
    rows = queries.of_a_tenant(work.session, work.actor.scope)
    return {provider: way.terms for provider, way in ways_of(work.settings, rows).items()}


def platform_terms(settings: Settings) -> Mapping[str, Terms]:
    """With the installation's own keys, whoever may use them."""
    accounts = Accounts(settings)
    return {
        provider: accounts.terms(
            provider, STANDARD, None, configured=platform_key(settings, provider) is not None
        )
        for provider in CONNECTABLE
    }
