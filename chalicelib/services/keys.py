"""Whose key a run's calls are made with: the tenant's if there is one, working or not; else the platform's, if the
plan allows; else nobody's, and every call says so.

The rows are read once a visit. What they hold is opened once a process, as long as they are the same.
"""

import hashlib
import json
import logging
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from threading import Lock
from typing import Any, Final, NoReturn

from chalicelib.db.queries import integrations as queries
from chalicelib.db.work import Database
from chalicelib.domain.access import engine_for
from chalicelib.domain.errors import CredentialRejected, ProviderBusy, ProviderFailed, Unavailable
from chalicelib.domain.ids import CustomerId
from chalicelib.domain.integrations import NAMES, Held, KeySource, Options, Provider
from chalicelib.domain.secrets import Place, SealBroken, Secret, Vault
from chalicelib.integrations.accounts import Accounts, Client
from chalicelib.integrations.not_configured import NotConfigured
from chalicelib.services.integrations import failed_event, platform_key, unreadable
from chalicelib.services.runs.context import Providers
from chalicelib.services.terms import ways_of

logger = logging.getLogger(__name__)

MOST_WARM: Final = 64
"""Clients of tenants that a process keeps, each with its connections."""

VAULT_OUT: Final = timedelta(seconds=30)
"""The wait of a run whose key cannot be opened just now."""


@dataclass(frozen=True, slots=True)
class Refusing:
    """Stands where a provider's client would; every call, whatever its name, says why there is none."""

    why: Callable[[], ProviderFailed]

    def __getattr__(self, name: str) -> Callable[..., NoReturn]:
        if name.startswith("_"):
            raise AttributeError(name)
        return self._refuse

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        raise self.why()


@dataclass(slots=True)
class Keys:
    """One of a process, so that what is warm stays warm. Safe on any thread."""

    database: Database
    vault: Vault
    accounts: Accounts
    _warm: "OrderedDict[str, tuple[Held, Client]]" = field(
        default_factory=OrderedDict, init=False, repr=False
    )
    _platform: dict[Provider, Client] = field(default_factory=dict, init=False, repr=False)
    _lock: Lock = field(default_factory=Lock, init=False, repr=False)

    def providers(self, customer_id: CustomerId) -> Providers:
        """The tenant's way to the outside, as its rows are now. One flight; the vault is asked for what is new.

        Never raises for a key: a client that cannot be made says why when it is called.
        """
        actor = engine_for(customer_id)
        with self.database.enter(actor) as work:
            rows = queries.for_runs(work.session, actor.scope)
        held, clients = dict[str, Held](), dict[Provider, Any]()
        ways = ways_of(self.database.settings, rows)
        for provider, way in ways.items():
            if way.row is not None:
                held[provider] = _held(way.row)
                clients[provider] = self._own(customer_id, provider, way.row, way.options)
            elif way.source is KeySource.PLATFORM:
                clients[provider] = self._platforms(provider)
            else:
                clients[provider] = NotConfigured(NAMES[provider])
        return Providers(
            companies=clients[Provider.APOLLO],
            people=clients[Provider.APOLLO],
            model=clients[Provider.OPENAI],
            terms={provider: way.terms for provider, way in ways.items()},
            held=held,
            renew=partial(self._renew, customer_id, held),
        )

    def _renew(
        self, customer_id: CustomerId, seen: dict[str, Held], refused: CredentialRejected
    ) -> Providers | None:
        """After a refusal: others if the tenant's rows have changed since, else None; then the row says so."""
        fresh = self.providers(customer_id)
        if fresh.held != seen:
            return fresh
        provider = refused.details.get("provider")
        if provider in seen:
            self._note_refusal(customer_id, Provider(provider), seen[provider], refused.message)
        return None

    def _note_refusal(self, customer_id: CustomerId, provider: Provider, held: Held, reason: str) -> None:
        actor = engine_for(customer_id)
        with self.database.enter(actor) as work:
            if queries.fail(
                work.session, actor.scope, held.credential_id, version=held.version, reason=reason
            ):
                work.audit("integration.failed", held.credential_id, provider=provider.value)
                work.emit(failed_event(held.credential_id, provider))

    def _own(self, customer_id: CustomerId, provider: Provider, row: Any, options: Options) -> Any:
        held = _held(row)
        with self._lock:
            known = self._warm.get(row.id)
            if known is not None and known[0] == held:
                self._warm.move_to_end(row.id)
                return known[1]
        try:
            key = self.vault.open(row.credentials, Place(customer_id, provider.value, row.id))
        except SealBroken:
            logger.error("a saved key does not open", extra={"credential_id": row.id})  # noqa: TRY400 - no frames
            return Refusing(
                lambda: CredentialRejected(
                    unreadable(provider), code="key_unreadable", details={"provider": provider.value}
                )
            )
        except Unavailable as out:
            logger.warning("the vault is out", extra={"credential_id": row.id, "code": out.code})
            return Refusing(lambda: _vault_out(provider))
        client = self._client(provider, key, options)
        with self._lock:
            self._warm[row.id] = (held, client)
            self._warm.move_to_end(row.id)
            while len(self._warm) > MOST_WARM:
                self._warm.popitem(last=False)  # its connections close with the last call that uses them
        return client

    def _platforms(self, provider: Provider) -> Client:
        with self._lock:
            if provider not in self._platform:
                key = platform_key(self.database.settings, provider)
                assert key is not None
                self._platform[provider] = self._client(provider, key, Options())
            return self._platform[provider]

    def _client(self, provider: Provider, key: Secret, options: Options) -> Client:
        if provider is Provider.OPENAI:
            return self.accounts.openai(key, options)
        return self.accounts.apollo(key)


def _held(row: Any) -> Held:
    told = json.dumps([row.credentials, row.options], sort_keys=True)
    return Held(row.id, row.version, hashlib.sha256(told.encode()).hexdigest())


def _vault_out(provider: Provider) -> ProviderBusy:
    return ProviderBusy(
        f"The API key of {NAMES[provider]} cannot be opened just now. The run goes on when it can.",
        code="vault_unavailable",
        details={"provider": provider.value},
        retry_after=VAULT_OUT,
    )
