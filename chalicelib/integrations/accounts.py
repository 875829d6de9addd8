"""A tenant's or the platform's account at a provider: the client that calls, and the terms on which."""

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

from chalicelib.domain.integrations import Options, Provider
from chalicelib.domain.money import Meter, Payer, Terms
from chalicelib.domain.ports import Caller
from chalicelib.domain.secrets import Secret
from chalicelib.integrations.addresses import Allowed
from chalicelib.integrations.apollo.client import ApolloCompanies
from chalicelib.integrations.openai.client import REASONING_HEADROOM, OpenAIModel, is_openais
from chalicelib.integrations.openai.prices import PRICES
from chalicelib.settings import Settings

Client = ApolloCompanies | OpenAIModel

LONGEST_CHECK: Final = timedelta(seconds=10)


@dataclass(frozen=True, slots=True)
class Accounts:
    """Makes them, from what the installation says and what a tenant says instead."""

    settings: Settings

    def checked(self, options: Options) -> Options:
        """The options as they are kept. Looks the base URL's host up, which may take a while.

        Raises Invalid for a base URL that no tenant may give.
        """
        if options.base_url is None:
            return options
        return replace(
            options, base_url=self._allowed.check_url(options.base_url, pointer="/options/baseUrl")
        )

    def apollo(self, key: Secret) -> ApolloCompanies:
        return ApolloCompanies(key.reveal(), self.settings.apollo_base_url)

    def openai(self, key: Secret, options: Options) -> OpenAIModel:
        given = self.settings
        return OpenAIModel(
            key.reveal(),
            options.base_url or given.openai_base_url,
            model=options.model or given.openai_default_model,
            max_tokens=self._max_tokens(options),
            temperature=given.openai_temperature if options.temperature is None else options.temperature,
            token_parameter=options.token_parameter or given.openai_token_parameter,
            allowed=None if options.base_url is None else self._allowed,
        )

    def check(self, provider: Provider, key: Secret, options: Options) -> None:
        """Ask the provider whether the key counts; free of charge. Raises ProviderFailed and its kinds."""
        client: Client = self.openai(key, options) if provider is Provider.OPENAI else self.apollo(key)
        try:
            client.check(Caller(Meter(), LONGEST_CHECK, call_id=""))
        finally:
            client.close()

    def terms(self, provider: Provider, options: Options, credential_id: str | None) -> Terms:
        """With whose key, how fast, at what price. `credential_id` None: the platform's."""
        payer = Payer.PLATFORM if credential_id is None else Payer.TENANT
        credential = credential_id or "platform"
        if provider is Provider.APOLLO:
            rate = options.calls_per_minute or self.settings.apollo_rate_limit_per_minute
            return Terms(payer, credential, calls_per_minute=rate)
        model = options.model or self.settings.openai_default_model
        known = PRICES.get(model) if options.base_url is None or is_openais(options.base_url) else None
        return Terms(
            payer,
            credential,
            calls_per_minute=options.calls_per_minute,
            price=options.price or known,
            most_tokens_out=self._max_tokens(options) + REASONING_HEADROOM,
        )

    def _max_tokens(self, options: Options) -> int:
        return options.max_tokens or self.settings.openai_max_tokens

    @property
    def _allowed(self) -> Allowed:
        return Allowed.of(self.settings.provider_private_hosts)
