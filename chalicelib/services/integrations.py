"""What administrators do with a tenant's keys: save, verify, remove.

The provider and the vault are asked between two short transactions, never inside one; the second one writes only if
nobody else did meanwhile. A key that the provider refuses is not saved, and what was there stays.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy.exc import IntegrityError

from chalicelib.db.models.edge import IntegrationCredential
from chalicelib.db.queries import integrations as queries
from chalicelib.db.work import Database, Work
from chalicelib.domain.access import Actor
from chalicelib.domain.errors import Conflict, Invalid, NotFound, ProviderBusy, ProviderFailed
from chalicelib.domain.events import Event, EventType
from chalicelib.domain.ids import CredentialId, new_credential_id
from chalicelib.domain.integrations import (
    ALLOWED,
    CONNECTABLE,
    NAMES,
    CredentialStatus,
    KeySource,
    Options,
    Provider,
    key_source,
)
from chalicelib.domain.quotas import AccountAtProvider
from chalicelib.domain.secrets import Place, SealBroken, Secret, Vault
from chalicelib.settings import Settings

if TYPE_CHECKING:
    from chalicelib.integrations.accounts import (
        Accounts,
    )  # the providers' clients: only who calls pays for them

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Integration:
    """One provider, as a tenant has it."""

    provider: Provider
    credential: IntegrationCredential | None
    source: KeySource

    @property
    def options(self) -> Options:
        return Options() if self.credential is None else Options.of_json(self.credential.options)


def list_all(work: Work) -> Sequence[Integration]:
    """Every provider that can be connected, connected or not."""
    found = queries.of_tenant(work.session, work.actor.scope)
    plan = queries.plan_of(work.session, work.actor.scope)
    return [_shown(work, provider, found.get(provider), plan) for provider in CONNECTABLE]


def remove(work: Work, provider: Provider, *, version: int) -> None:
    """Forget the tenant's key. Runs then use the platform's, if the plan allows, or say that there is none.

    Raises NotFound where there is none, Conflict when it was changed since `version`.
    """
    _check_connectable(provider)
    removed = queries.remove(work.session, work.actor.scope, provider, version=version)
    if removed is None:
        saved = queries.get(work.session, work.actor.scope, provider)
        raise _not_connected(provider) if saved is None else _changed(saved.version)
    work.audit("integration.deleted", removed, provider=provider.value)
    work.emit(_event(EventType.CREDENTIAL_DELETED, removed, provider, None))


@dataclass(frozen=True, slots=True)
class Integrations:
    """Saving and verifying, which open transactions of their own."""

    database: Database
    vault: Vault
    accounts: "Accounts"

    def save(
        self,
        actor: Actor,
        provider: Provider,
        *,
        version: int,
        key: Secret | None,
        options: Options | None,
        request_id: str | None = None,
    ) -> Integration:
        """Verify, then replace. Options that are not given stay as they are, and so does the key.

        `version` is 0 where nothing is connected yet.

        Raises:
            Invalid: the options do not fit, or the provider refuses the key; nothing is changed.
            Conflict: somebody else saved since `version`.
            ProviderBusy, Unavailable: the provider or the vault cannot be asked just now; nothing is changed.
        """
        _check_connectable(provider)
        _check_fits(provider, options)
        with self.database.enter(actor) as work:
            saved = queries.get(work.session, actor.scope, provider)
        seen = 0 if saved is None else saved.version
        if seen != version:
            raise _changed(seen)
        before = Options() if saved is None else Options.of_json(saved.options)
        wanted = self.accounts.checked(before if options is None else options)
        if key is None and (saved is None or wanted.base_url != before.base_url):
            raise Invalid(
                "Give the API key."
                if saved is None
                else "Give the API key again: a saved key is not sent to another base URL.",
                pointer="/apiKey",
                code="key_needed",
            )
        credential_id = new_credential_id() if saved is None else CredentialId(saved.id)
        place = Place(actor.customer_id, provider.value, credential_id)
        values: dict[str, Any] = {"options": wanted.as_json()}
        if key is not None:
            self._check_now(provider, key, wanted)
            values |= {"credentials": self.vault.seal(key, place), "last_four": key.last_four}
        else:
            assert saved is not None
            self._check_now(provider, self._opened(saved.credentials, place, provider), wanted)
        changed = sorted({*before.given() ^ wanted.given()} | _differing(before, wanted))
        with self.database.enter(actor, request_id=request_id) as work:
            values |= {
                "status": CredentialStatus.ACTIVE,
                "failure_reason": None,
                "last_verified_at": work.now,
            }
            row = self._write(work, provider, credential_id, version=version, values=values)
            fields = [*(["api_key"] if key is not None else []), *changed]
            work.audit("integration.saved", credential_id, provider=provider.value, fields=fields)
            work.emit(_event(EventType.CREDENTIAL_SAVED, credential_id, provider, row.status))
            return _shown(work, provider, row, queries.plan_of(work.session, actor.scope))

    def verify(self, actor: Actor, provider: Provider, *, request_id: str | None = None) -> Integration:
        """Ask the provider about the saved key, and note what it says.

        Raises NotFound where none is saved; ProviderBusy, Unavailable when nobody can be asked just now.
        """
        _check_connectable(provider)
        with self.database.enter(actor) as work:
            saved = queries.get(work.session, actor.scope, provider)
        if saved is None:
            raise _not_connected(provider)
        reason = self._verdict(saved, actor, provider)
        status = CredentialStatus.ACTIVE if reason is None else CredentialStatus.FAILED
        with self.database.enter(actor, request_id=request_id) as work:
            row = queries.judge(
                work.session,
                actor.scope,
                CredentialId(saved.id),
                version=saved.version,
                status=status,
                reason=reason,
            )
            if row is None:
                raise Conflict("The key was changed while it was verified. Try again.", code="stale_version")
            kind = EventType.CREDENTIAL_VERIFIED if reason is None else EventType.CREDENTIAL_FAILED
            work.audit("integration.verified", row.id, provider=provider.value, status=status.value)
            work.emit(_event(kind, row.id, provider, status))
            return _shown(work, provider, row, queries.plan_of(work.session, actor.scope))

    def account(self, actor: Actor, provider: Provider) -> AccountAtProvider:
        """What the tenant's own account there may still do. Asks the provider, free of charge.

        Raises NotFound where none is connected, Invalid for a provider that does not tell, ProviderFailed and its
        kinds where it refuses to (Apollo.io tells a master key only).
        """
        _check_connectable(provider)
        if provider is not Provider.APOLLO:
            raise Invalid(
                f"{NAMES[provider]} does not tell what an account may still do. Look it up there.",
                pointer="provider",
                code="not_told",
            )
        with self.database.enter(actor) as work:
            saved = queries.get(work.session, actor.scope, provider)
        if saved is None:
            raise _not_connected(provider)
        key = self._opened(saved.credentials, Place(actor.customer_id, provider.value, saved.id), provider)
        return self.accounts.standing(key)

    def _verdict(self, saved: IntegrationCredential, actor: Actor, provider: Provider) -> str | None:
        """Why the saved key is of no use; None for a good one."""
        options = Options.of_json(saved.options)
        try:
            key = self._opened(
                saved.credentials, Place(actor.customer_id, provider.value, saved.id), provider
            )
            self.accounts.check(provider, key, options)
        except ProviderBusy:
            raise
        except (Invalid, ProviderFailed) as refused:
            return refused.message
        return None

    def _opened(self, sealed: str, place: Place, provider: Provider) -> Secret:
        try:
            return self.vault.open(sealed, place)
        except SealBroken:
            logger.error("a saved key does not open", extra={"credential_id": place.credential_id})  # noqa: TRY400
        raise Invalid(unreadable(provider), pointer="/apiKey", code="key_unreadable")

    def _check_now(self, provider: Provider, key: Secret, options: Options) -> None:
        """Raise Invalid where the provider refuses."""
        refused: Invalid
        try:
            self.accounts.check(provider, key, options)
        except ProviderBusy:
            raise
        except ProviderFailed as failure:
            pointer = _AT_FAULT.get(failure.code, "/apiKey")
            refused = Invalid(failure.message, pointer=pointer, code=failure.code)
        else:
            return
        raise refused

    @staticmethod
    def _write(
        work: Work, provider: Provider, credential_id: CredentialId, *, version: int, values: dict[str, Any]
    ) -> IntegrationCredential:
        if version == 0:
            try:
                return queries.add(
                    work.session,
                    work.actor.scope,
                    {"id": credential_id, "provider": provider.value, **values},
                )
            except IntegrityError:
                raise _changed(None) from None
        row = queries.change(work.session, work.actor.scope, credential_id, version=version, values=values)
        if row is None:
            raise _changed(None)
        return row


_AT_FAULT: Final = {
    "model_not_found": "/options/model",
    "bad_address": "/options/baseUrl",
    "private_address": "/options/baseUrl",
    "unexpected_answer": "/options/baseUrl",
    "unexpected_status": "/options/baseUrl",
}
"""Where an error of the check has its cause, if not in the key."""


def platform_key(settings: Settings, provider: Provider) -> Secret | None:
    """The installation's own key."""
    key = {Provider.OPENAI: settings.openai_api_key, Provider.APOLLO: settings.apollo_api_key}.get(provider)
    return None if key is None else Secret(key)


def unreadable(provider: Provider) -> str:
    """That an envelope did not open, and what to do."""
    return f"The saved API key of {NAMES[provider]} cannot be opened any more. Save the key again."


def _check_connectable(provider: Provider) -> None:
    if provider not in CONNECTABLE:
        raise Invalid(
            f"{NAMES[provider]} cannot be connected yet: the name is reserved for calls by phone.",
            pointer="provider",
            code="reserved",
        )


def _check_fits(provider: Provider, options: Options | None) -> None:
    foreign = sorted(set() if options is None else options.given() - ALLOWED[provider])
    if foreign:
        first, *rest = foreign[0].split("_")
        name = first + "".join(word.title() for word in rest)
        raise Invalid(f"{NAMES[provider]} has no such option.", pointer=f"/options/{name}")


def _differing(one: Options, other: Options) -> set[str]:
    return {name for name in one.given() & other.given() if getattr(one, name) != getattr(other, name)}


def _shown(
    work: Work, provider: Provider, credential: IntegrationCredential | None, plan: str
) -> Integration:
    platform_has = platform_key(work.settings, provider) is not None
    source = key_source(has_own=credential is not None, plan=plan, platform_has=platform_has)
    return Integration(provider, credential, source)


def _changed(version: int | None) -> Conflict:
    return Conflict(
        "The integration was changed since you saw it. Load it again and repeat your change.",
        code="stale_version",
        details=None if version is None else {"version": version},
    )


def _not_connected(provider: Provider) -> NotFound:
    return NotFound(f"{NAMES[provider]} is not connected: there is no API key of yours.")


def _event(kind: EventType, credential_id: str, provider: Provider, status: str | None) -> Event:
    payload = {"credentialId": credential_id, "provider": provider.value}
    if status is not None:
        payload["status"] = str(status)
    return Event(kind, "integration", credential_id, payload)


def failed_event(credential_id: str, provider: Provider) -> Event:
    """That a run met a refusal."""
    return _event(EventType.CREDENTIAL_FAILED, credential_id, provider, CredentialStatus.FAILED)
