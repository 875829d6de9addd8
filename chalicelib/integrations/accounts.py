"""A tenant's or the platform's account at a provider: the client that calls, and the terms on which."""

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

from chalicelib.domain.integrations import Options, Provider
from chalicelib.domain.money import Meter, Payer, Terms
from chalicelib.domain.providers import Caller
from chalicelib.domain.quotas import AccountAtProvider
from chalicelib.domain.secrets import Secret
from chalicelib.integrations.addresses import Allowed
from chalicelib.integrations.apollo.client import ApolloClient
from chalicelib.integrations.openai.client import REASONING_HEADROOM, OpenAIModel
from chalicelib.integrations.openai.prices import price_of
from chalicelib.settings import Settings

Client = ApolloClient | OpenAIModel

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

    def apollo(self, key: Secret) -> ApolloClient:
        return ApolloClient(key.reveal(), self.settings.apollo_base_url)

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
        caller = Caller(Meter(), LONGEST_CHECK, call_id="")
        if provider is Provider.APOLLO:
            self.apollo(key).check(caller)  # its connections are every tenant's
            return
        model = self.openai(key, options)
        try:
            model.check(caller)
        finally:
            model.close()

    def standing(self, key: Secret) -> AccountAtProvider:
        """What an account at Apollo.io may still do. Raises ProviderFailed and its kinds."""
        client, caller = self.apollo(key), Caller(Meter(), LONGEST_CHECK, call_id="")
        return AccountAtProvider(client.credits(caller), client.usage(caller))

    def terms(
        self, provider: Provider, options: Options, credential_id: str | None, *, configured: bool = True
    ) -> Terms:
        """With whose key, how fast, at what price. `credential_id` None: the platform's."""
        terms = Terms(
            payer=Payer.PLATFORM if credential_id is None else Payer.TENANT,
            credential=credential_id or "platform",
            calls_per_minute=options.calls_per_minute,
            configured=configured,
        )
        given = self.settings
        if provider is Provider.APOLLO:
            rate = terms.calls_per_minute or given.apollo_rate_limit_per_minute
            return replace(terms, calls_per_minute=rate)
        model = options.model or given.openai_default_model
        base_url = options.base_url or given.openai_base_url
        return replace(
            terms,
            model=model,
            price=price_of(model, base_url, declared=options.price, listed=given.openai_prices),
            most_tokens_out=self._max_tokens(options) + REASONING_HEADROOM,
        )

    def _max_tokens(self, options: Options) -> int:
        return options.max_tokens or self.settings.openai_max_tokens

    @property
    def _allowed(self) -> Allowed:
        return Allowed.of(self.settings.provider_private_hosts)
