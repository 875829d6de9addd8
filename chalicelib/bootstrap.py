"""Puts the parts together, each when it is first asked for: a function that answers GETs builds no engine."""

from dataclasses import dataclass
from functools import cache, cached_property
from typing import TYPE_CHECKING

from chalicelib.db.driver import create
from chalicelib.db.work import Database
from chalicelib.domain.ids import CustomerId
from chalicelib.domain.ports import EventSink, Issuer, Signals
from chalicelib.observability import set_up_logging
from chalicelib.settings import Settings, settings

if TYPE_CHECKING:
    from chalicelib.integrations.oidc.verifier import TokenVerifier
    from chalicelib.integrations.vault.envelope import Envelopes
    from chalicelib.services.integrations import Integrations
    from chalicelib.services.keys import Keys
    from chalicelib.services.newcomers import Newcomers
    from chalicelib.services.outbox import Relay
    from chalicelib.services.rotation import Rotation
    from chalicelib.services.runs.context import Providers
    from chalicelib.services.runs.execute import Engine
    from chalicelib.services.schedules import Scheduler
    from chalicelib.services.sweep import Sweep


@dataclass(frozen=True)
class Context:
    """Everything a handler may need."""

    settings: Settings

    @cached_property
    def database(self) -> Database:
        pool_size, ca_file = self.settings.database_pool_size, self.settings.database_ca_file
        app, across = (create(url, ca_file=ca_file, pool_size=pool_size) for url in self._database_urls)
        return Database(app, across, self.settings, self.signals)

    @property
    def _database_urls(self) -> tuple[str, str]:
        return self.settings.database_url, self.settings.database_system_url

    @cached_property
    def signals(self) -> Signals:
        from chalicelib.integrations.aws.signals import SqsSignals

        return SqsSignals(self.settings)

    @cached_property
    def verifier(self) -> "TokenVerifier":
        from chalicelib.integrations.oidc.verifier import TokenVerifier

        return TokenVerifier.of(self.settings)

    @cached_property
    def issuer(self) -> Issuer:
        from chalicelib.integrations.aws.cognito import CognitoIssuer

        return CognitoIssuer(self.settings)

    @cached_property
    def engine(self) -> "Engine":
        from chalicelib.services.runs.execute import Engine

        return Engine(self.database, self.providers)

    @cached_property
    def relay(self) -> "Relay":
        from chalicelib.services.outbox import Relay

        return Relay(self.database, self.sinks)

    @cached_property
    def sweep(self) -> "Sweep":
        from chalicelib.services.sweep import Sweep

        return Sweep(self.database, self.relay)

    @cached_property
    def scheduler(self) -> "Scheduler":
        from chalicelib.services.schedules import Scheduler

        return Scheduler(self.database)

    @cached_property
    def sinks(self) -> list[EventSink]:
        from chalicelib.integrations.aws.eventbridge import EventBridgeSink

        return [EventBridgeSink(self.settings)] if "eventbridge" in self.settings.event_sinks else []

    @cached_property
    def vault(self) -> "Envelopes":
        from chalicelib.integrations.vault import vault_of

        return vault_of(self.settings)

    @cached_property
    def integrations(self) -> "Integrations":
        from chalicelib.integrations.accounts import Accounts
        from chalicelib.services.integrations import Integrations

        return Integrations(self.database, self.vault, Accounts(self.settings))

    @cached_property
    def keys(self) -> "Keys":
        from chalicelib.integrations.accounts import Accounts
        from chalicelib.services.keys import Keys

        return Keys(self.database, self.vault, Accounts(self.settings))

    @cached_property
    def rotation(self) -> "Rotation":
        from chalicelib.services.rotation import Rotation

        return Rotation(self.database, self.vault)

    @cached_property
    def newcomers(self) -> "Newcomers":
        from chalicelib.services.newcomers import Newcomers

        return Newcomers(self.database)

    def providers(self, customer_id: CustomerId) -> "Providers":
        """This tenant's way to the outside."""
        return self.keys.providers(customer_id)


@cache
def context() -> Context:
    """This process's parts."""
    set_up_logging()
    return Context(settings())
