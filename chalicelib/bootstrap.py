"""Puts the parts together, each when it is first asked for: a function that answers GETs builds no engine."""

import ssl
from dataclasses import dataclass
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any

from chalicelib.db.driver import create
from chalicelib.db.work import Database
from chalicelib.domain.ids import CustomerId
from chalicelib.domain.ports import EventSink, Issuer, Signals
from chalicelib.observability import set_up_logging
from chalicelib.settings import Settings, settings

if TYPE_CHECKING:
    from chalicelib.integrations.oidc.verifier import TokenVerifier
    from chalicelib.services.outbox import Relay
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
        ca_file = self.settings.database_ca_file
        options: dict[str, Any] = {"pool_size": self.settings.database_pool_size}
        if ca_file is not None:
            options["ssl_context"] = ssl.create_default_context(cafile=ca_file)
        app, across = (create(url, **options) for url in self._database_urls)
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

    def providers(self, _customer_id: CustomerId) -> "Providers":
        """This tenant's way to the outside: the installation's own keys."""
        return self._platform

    @cached_property
    def _platform(self) -> "Providers":
        from chalicelib.integrations.apollo.client import ApolloClient
        from chalicelib.integrations.not_configured import NotConfigured
        from chalicelib.integrations.openai.client import OpenAIModel
        from chalicelib.services.runs.context import Providers
        from chalicelib.services.terms import platform_terms

        given = self.settings
        apollo = (
            ApolloClient(given.apollo_api_key, given.apollo_base_url)
            if given.apollo_api_key
            else NotConfigured("Apollo.io")
        )
        return Providers(
            companies=apollo,
            people=apollo,
            model=OpenAIModel(
                given.openai_api_key,
                given.openai_base_url,
                model=given.openai_default_model,
                max_tokens=given.openai_max_tokens,
                temperature=given.openai_temperature,
                token_parameter=given.openai_token_parameter,
            )
            if given.openai_api_key
            else NotConfigured("OpenAI"),
            terms=platform_terms(given),
        )


@cache
def context() -> Context:
    """This process's parts."""
    set_up_logging()
    return Context(settings())
