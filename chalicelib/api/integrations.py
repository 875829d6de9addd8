"""A tenant's own accounts at providers. A key comes in and never goes out."""

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import Field, SecretStr

from chalicelib.api.http import Context, Out, Request, route
from chalicelib.api.parsing import In, Line
from chalicelib.db.work import Work
from chalicelib.domain.access import Actor, Permission
from chalicelib.domain.errors import Conflict, Invalid, NotFound, ProviderBusy, ProviderFailed
from chalicelib.domain.integrations import NAMES, Options, Provider
from chalicelib.domain.money import ModelPrice
from chalicelib.domain.quotas import AccountAtProvider, CallQuotas, Quota
from chalicelib.domain.secrets import Secret
from chalicelib.services import integrations
from chalicelib.services.integrations import Integration

Dollars = Annotated[float, Field(ge=0, le=100_000, allow_inf_nan=False)]
SeenVersion = Annotated[int, Field(ge=0, le=2_000_000_000)]

LONGEST_KEY = 1000


class PriceIn(In):
    """US dollars a million tokens."""

    tokens_in: Dollars
    tokens_cached: Dollars
    tokens_out: Dollars

    def price(self) -> ModelPrice:
        return ModelPrice(**{name: Decimal(str(said)) for name, said in self.model_dump().items()})


class OptionsIn(In):
    """The account's options as they shall be, all of them; what is left out is as the installation has it."""

    base_url: Annotated[str, Field(min_length=1, max_length=500)] | None = Field(
        default=None, description="OpenAI: of a server that speaks OpenAI's chat completions."
    )
    model: Annotated[Line, Field(min_length=1, max_length=100)] | None = None
    token_parameter: Literal["max_completion_tokens", "max_tokens"] | None = Field(
        default=None, description="OpenAI: what the server calls the token limit; Ollama's is max_tokens."
    )
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    max_tokens: Annotated[int, Field(ge=1, le=100_000)] | None = Field(
        default=None, description="OpenAI: room for an answer."
    )
    price: PriceIn | None = Field(
        default=None, description="OpenAI: of the model, for one whose price nobody else knows."
    )
    calls_per_minute: Annotated[int, Field(ge=1, le=100_000)] | None = Field(
        default=None, description="Of each kind of call, until the provider says otherwise."
    )

    def options(self) -> Options:
        said = self.model_dump(exclude={"price"})
        return Options(**said, price=None if self.price is None else self.price.price())


class SaveIntegration(In):
    """The version that was seen (0: not connected), and what changes. What is left out stays as it is."""

    version: SeenVersion
    api_key: Annotated[SecretStr, Field(min_length=1, max_length=LONGEST_KEY)] | None = Field(
        default=None, description="Never shown again. Needed the first time, and with another base URL."
    )
    options: OptionsIn | None = None


class SeenIntegration(In):
    version: SeenVersion


class PriceOut(Out):
    tokens_in: float
    tokens_cached: float
    tokens_out: float

    @classmethod
    def of(cls, price: ModelPrice) -> "PriceOut":
        return cls(
            tokens_in=float(price.tokens_in),
            tokens_cached=float(price.tokens_cached),
            tokens_out=float(price.tokens_out),
        )


class OptionsOut(Out):
    base_url: str | None
    model: str | None
    token_parameter: str | None
    temperature: float | None
    max_tokens: int | None
    price: PriceOut | None
    calls_per_minute: int | None

    @classmethod
    def of(cls, options: Options) -> "OptionsOut":
        return cls(
            base_url=options.base_url,
            model=options.model,
            token_parameter=options.token_parameter,
            temperature=options.temperature,
            max_tokens=options.max_tokens,
            price=None if options.price is None else PriceOut.of(options.price),
            calls_per_minute=options.calls_per_minute,
        )


class IntegrationOut(Out):
    provider: str
    name: str
    connected: bool = Field(description="Whether a key of yours is saved, working or not.")
    used_key: str = Field(description="Whose key runs use: tenant, platform, or none.")
    last_four: str | None
    status: str | None = Field(description="active, or failed with a reason; null when not connected.")
    last_verified_at: datetime | None
    failure_reason: str | None
    options: OptionsOut
    version: int = Field(description="0 when not connected.")
    updated_at: datetime | None

    @classmethod
    def of(cls, found: Integration) -> "IntegrationOut":
        saved = found.credential
        return cls(
            provider=found.provider.value,
            name=NAMES[found.provider],
            connected=saved is not None,
            used_key=found.source.value,
            last_four=saved.last_four if saved else None,
            status=saved.status if saved else None,
            last_verified_at=saved.last_verified_at if saved else None,
            failure_reason=saved.failure_reason if saved else None,
            options=OptionsOut.of(found.options),
            version=saved.version if saved else 0,
            updated_at=saved.updated_at if saved else None,
        )


class QuotaOut(Out):
    """So many of something; null where the provider does not say."""

    limit: int | None
    used: int | None
    left: int | None

    @classmethod
    def of(cls, quota: Quota) -> "QuotaOut":
        return cls(limit=quota.limit, used=quota.used, left=quota.left)

    @classmethod
    def told(cls, quota: Quota | None) -> "QuotaOut | None":
        return None if quota is None else cls.of(quota)


class CallsOut(Out):
    operation: str
    minute: QuotaOut | None
    hour: QuotaOut | None
    day: QuotaOut | None

    @classmethod
    def of(cls, operation: str, quotas: CallQuotas) -> "CallsOut":
        return cls(
            operation=operation,
            minute=QuotaOut.told(quotas.minute),
            hour=QuotaOut.told(quotas.hour),
            day=QuotaOut.told(quotas.day),
        )


class AccountOut(Out):
    """What your account at a provider may still do, by its own word just now."""

    provider: str
    credits: QuotaOut
    credits_by_kind: dict[str, QuotaOut] = Field(description="By the provider's names.")
    cycle_ends_at: str | None = Field(description="A date.")
    calls: list[CallsOut]

    @classmethod
    def of(cls, provider: Provider, account: AccountAtProvider) -> "AccountOut":
        given = account.credits
        return cls(
            provider=provider.value,
            credits=QuotaOut.of(given.balance),
            credits_by_kind={kind: QuotaOut.of(quota) for kind, quota in given.by_kind.items()},
            cycle_ends_at=given.cycle_ends_at,
            calls=[CallsOut.of(operation, quotas) for operation, quotas in account.calls.items()],
        )


@route(
    "GET",
    "/v1/integrations",
    needs=Permission.INTEGRATIONS_READ,
    summary="Every provider, connected or not, and whose key runs use.",
)
def list_integrations(work: Work) -> list[IntegrationOut]:
    return [IntegrationOut.of(found) for found in integrations.list_all(work)]


@route(
    "PUT",
    "/v1/integrations/{provider}",
    needs=Permission.INTEGRATIONS_WRITE,
    summary="Save a key, its options, or both. The provider is asked first; what it refuses is not saved.",
    raises=(Conflict, ProviderBusy),
)
def save_integration(
    actor: Actor, provider: Provider, body: SaveIntegration, request: Request, context: Context
) -> IntegrationOut:
    saved = context.integrations.save(
        actor,
        provider,
        version=body.version,
        key=_key(body.api_key),
        options=None if body.options is None else body.options.options(),
        request_id=request.request_id,
    )
    return IntegrationOut.of(saved)


@route(
    "DELETE",
    "/v1/integrations/{provider}",
    needs=Permission.INTEGRATIONS_WRITE,
    summary="Forget a key. Runs use the platform's, if the plan allows, or none.",
    status=204,
    raises=(Conflict, NotFound),
)
def delete_integration(work: Work, provider: Provider, body: SeenIntegration) -> None:
    integrations.remove(work, provider, version=body.version)


@route(
    "POST",
    "/v1/integrations/{provider}/verify",
    needs=Permission.INTEGRATIONS_WRITE,
    summary="Ask the provider about the saved key; the answer is its status.",
    raises=(Conflict, NotFound, ProviderBusy),
)
def verify_integration(
    actor: Actor, provider: Provider, request: Request, context: Context
) -> IntegrationOut:
    return IntegrationOut.of(context.integrations.verify(actor, provider, request_id=request.request_id))


@route(
    "GET",
    "/v1/integrations/{provider}/account",
    needs=Permission.INTEGRATIONS_READ,
    summary="Credits and calls that your account at the provider has left. Asks it; Apollo.io answers master keys.",
    raises=(NotFound, Invalid, ProviderFailed, ProviderBusy),
)
def account_at_provider(actor: Actor, provider: Provider, context: Context) -> AccountOut:
    return AccountOut.of(provider, context.integrations.account(actor, provider))


def _key(given: SecretStr | None) -> Secret | None:
    """As it was copied, without the white space around it."""
    if given is None:
        return None
    key = Secret(given.get_secret_value().strip())
    if not key.is_sendable:
        raise Invalid("An API key is one word of printable ASCII characters.", pointer="/apiKey")
    return key
