"""Every setting, read once from the environment. Units are in the names; `.env.example` lists them all."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal, InvalidOperation
from functools import cache
from types import MappingProxyType
from typing import Any, Final

from chalicelib.domain.money import ModelPrice, PriceList

EVERYTHING: Final = 100  # percent
LAST_PORT: Final = 65535


@dataclass(frozen=True, slots=True)
class Queues:
    """Names of SQS queues. Known without any other setting, since app.py names them when it is imported."""

    runs: str  # the doorbell: {"customerId"}
    runs_dead: str  # messages nobody could read
    relay: str  # there are events to publish
    effects: str  # decisions become due: {"customerId"}
    events: str  # what the bus brings us

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> "Queues":
        read = _Reader(environ)
        return cls(
            runs=read.text("RUNS_QUEUE", "bevyly-runs"),
            runs_dead=read.text("RUNS_DEAD_QUEUE", "bevyly-runs-dead"),
            relay=read.text("RELAY_QUEUE", "bevyly-relay"),
            effects=read.text("EFFECTS_QUEUE", "bevyly-effects"),
            events=read.text("EVENTS_QUEUE", "bevyly-events"),
        )


@dataclass(frozen=True, slots=True)
class Settings:
    """What differs between two installations. Secrets never show in a repr."""

    stage: str  # "local", "dev", "staging", "prod"
    database_url: str = field(repr=False)
    database_system_url: str = field(repr=False)
    database_ca_file: str | None
    database_pool_size: int  # connections of one process; a function needs one
    aws_region: str
    aws_endpoint_url: str | None
    queues: "Queues"
    event_bus: str
    event_source: str
    event_sinks: tuple[str, ...]
    oidc_issuer: str
    oidc_jwks_url: str
    oidc_client_id: str
    cognito_client_secret: str | None = field(repr=False)
    public_origin: str  # e.g. https://agents.example.com, the only Origin that may refresh
    api_prefix: str  # what stands before /v1 in the public address
    refresh_cookie_secure: bool
    edge_secrets: tuple[str, ...] = field(repr=False)  # any of them in a header proves CloudFront
    edge_only: bool  # whoever comes past CloudFront is refused
    openai_api_key: str | None = field(repr=False)
    openai_base_url: str
    openai_default_model: str
    openai_max_tokens: int
    openai_temperature: float | None
    openai_token_parameter: str
    openai_prices: PriceList | None  # at `openai_base_url`, beside or instead of those that are known
    apollo_api_key: str | None = field(repr=False)
    apollo_base_url: str
    apollo_rate_limit_per_minute: int
    vault: str  # who keeps the keys that wrap tenants' keys: "kms", or "keyfile" on one machine
    vault_kms_key_id: str
    vault_key_file: str | None
    provider_private_hosts: tuple[str, ...]  # where tenants' base URLs may lead besides the internet
    platform_credits_per_month: int | None  # of one customer, with the installation's keys; None: no cap
    platform_dollars_per_month: int | None
    agents_enabled: bool
    agents_max_concurrent_runs: int
    agents_default_approval_expiry_hours: int
    agents_scheduler_enabled: bool
    agents_minimum_schedule_minutes: int
    run_slice_seconds: int
    provider_facts_fresh_days: int  # what providers said of a company or a person; 0: asked each time
    provider_searches_fresh_days: int  # the pages of a search; 0: asked each time
    sign_in_attempts_per_15_minutes: int
    retention_step_output_days: int  # after the run ended
    retention_outbox_days: int  # after delivery at every sink
    retention_trigger_days: int  # events that runs have taken, and what became of schedules' slots
    log_level: str
    xray_daemon: str | None  # host:port, where traces go; Lambda sets it where tracing is on
    trace_sample_percent: int  # of the traces that begin here; a request's is decided by who sends it

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> "Settings":
        """Parse; a missing or malformed setting names itself and what it should be."""
        read = _Reader(environ)
        stage = read.text("STAGE", "local")
        return cls(
            stage=stage,
            database_url=read.text("DATABASE_URL"),
            database_system_url=read.text("DATABASE_SYSTEM_URL"),
            database_ca_file=read.optional("DATABASE_CA_FILE"),
            database_pool_size=read.number("DATABASE_POOL_SIZE", 1),
            aws_region=read.text("AWS_REGION", "eu-central-1"),
            aws_endpoint_url=read.optional("AWS_ENDPOINT_URL"),
            queues=Queues.from_environ(environ),
            event_bus=read.text("EVENT_BUS", "bevyly"),
            event_source=read.text("EVENT_SOURCE", "bevyly.agents"),
            event_sinks=tuple(read.words("EVENT_SINKS", "eventbridge", known=("eventbridge",))),
            oidc_issuer=read.text("OIDC_ISSUER"),
            oidc_jwks_url=read.text("OIDC_JWKS_URL"),
            oidc_client_id=read.text("OIDC_CLIENT_ID"),
            cognito_client_secret=read.optional("COGNITO_CLIENT_SECRET"),
            public_origin=read.text("PUBLIC_ORIGIN", "http://127.0.0.1:8000"),
            api_prefix=read.text("API_PREFIX", "/api"),
            refresh_cookie_secure=read.flag("REFRESH_COOKIE_SECURE", default=True),
            **read.edge(),
            openai_api_key=read.optional("OPENAI_API_KEY"),
            openai_base_url=read.text("OPENAI_BASE_URL", OPENAI_URL),
            openai_default_model=read.text("OPENAI_DEFAULT_MODEL", "gpt-6-luna"),
            openai_max_tokens=read.number("OPENAI_MAX_TOKENS", 1000),
            openai_temperature=read.fraction("OPENAI_TEMPERATURE"),
            openai_token_parameter=read.text("OPENAI_TOKEN_PARAMETER", "max_completion_tokens"),
            openai_prices=read.prices("OPENAI_PRICES", of="OPENAI_BASE_URL"),
            apollo_api_key=read.optional("APOLLO_API_KEY"),
            apollo_base_url=read.text("APOLLO_BASE_URL", "https://api.apollo.io/api/v1"),
            apollo_rate_limit_per_minute=read.number("APOLLO_RATE_LIMIT_PER_MINUTE", 100, least=1),
            **read.vault(stage),
            provider_private_hosts=tuple(read.listed("PROVIDER_PRIVATE_HOSTS")),
            platform_credits_per_month=read.cap("PLATFORM_CREDITS_PER_MONTH", 1000),
            platform_dollars_per_month=read.cap("PLATFORM_DOLLARS_PER_MONTH", 20),
            agents_enabled=read.flag("AGENTS_ENABLED", default=True),
            agents_max_concurrent_runs=read.number("AGENTS_MAX_CONCURRENT_RUNS", 5),
            agents_default_approval_expiry_hours=read.number("AGENTS_DEFAULT_APPROVAL_EXPIRY_HOURS", 72),
            agents_scheduler_enabled=read.flag("AGENTS_SCHEDULER_ENABLED", default=True),
            agents_minimum_schedule_minutes=read.number("AGENTS_MINIMUM_SCHEDULE_MINUTES", 5),
            run_slice_seconds=read.number("RUN_SLICE_SECONDS", 120),
            provider_facts_fresh_days=read.number("PROVIDER_FACTS_FRESH_DAYS", 30),
            provider_searches_fresh_days=read.number("PROVIDER_SEARCHES_FRESH_DAYS", 30),
            sign_in_attempts_per_15_minutes=read.number("SIGN_IN_ATTEMPTS_PER_15_MINUTES", 10),
            retention_step_output_days=read.number("RETENTION_STEP_OUTPUT_DAYS", 30, least=1),
            retention_outbox_days=read.number("RETENTION_OUTBOX_DAYS", 30, least=1),
            retention_trigger_days=read.number("RETENTION_TRIGGER_DAYS", 90, least=1),
            log_level=read.text("LOG_LEVEL", "INFO"),
            xray_daemon=read.address("AWS_XRAY_DAEMON_ADDRESS"),
            trace_sample_percent=read.percent("TRACE_SAMPLE_PERCENT", 5),
        )


OPENAI_URL: Final = "https://api.openai.com/v1"
DEAREST: Final = Decimal(100_000)
"""Dollars a million tokens; more is taken for a slip."""


class MissingSetting(RuntimeError):
    """A setting is absent or malformed."""


@dataclass(frozen=True, slots=True)
class _Reader:
    environ: Mapping[str, str]

    def optional(self, name: str) -> str | None:
        return self.environ.get(name, "").strip() or None

    def text(self, name: str, default: str | None = None) -> str:
        value = self.optional(name) or default
        if value is None:
            raise MissingSetting(f"{name} is not set. .env.example says what it is.")
        return value

    def words(self, name: str, default: str, *, known: tuple[str, ...]) -> list[str]:
        words = [word.strip() for word in self.text(name, default).split(",") if word.strip()]
        if words == ["none"]:
            return []
        if unknown := set(words) - set(known):
            raise MissingSetting(f"{name} knows {', '.join(known)}; not {', '.join(sorted(unknown))}.")
        return words

    def listed(self, name: str) -> list[str]:
        return [word.strip() for word in (self.optional(name) or "").split(",") if word.strip()]

    def vault(self, stage: str) -> dict[str, Any]:
        """Who keeps the wrapping keys. A file is no place for them off this machine."""
        kind = self.text("VAULT", "kms")
        if kind not in {"kms", "keyfile"}:
            raise MissingSetting(f"VAULT knows kms, keyfile; not {kind}.")
        key_file = self.optional("VAULT_KEY_FILE")
        if kind == "keyfile" and stage != "local":
            raise MissingSetting(f"VAULT=keyfile is for the stage local only, not {stage}. Use kms.")
        if kind == "keyfile" and key_file is None:
            raise MissingSetting("VAULT_KEY_FILE is not set. .env.example says what it is.")
        return {
            "vault": kind,
            "vault_kms_key_id": self.text("VAULT_KMS_KEY_ID", "alias/bevyly"),
            "vault_key_file": key_file,
        }

    def edge(self) -> dict[str, Any]:
        """How CloudFront proves itself: by a word, or by either of two while it is changed for another."""
        words, only = tuple(self.listed("EDGE_SECRET")), self.flag("EDGE_ONLY", default=False)
        if only and not words:
            raise MissingSetting(
                "EDGE_ONLY=true needs EDGE_SECRET: without it nobody could prove to come by the edge."
            )
        return {"edge_secrets": words, "edge_only": only}

    def number(self, name: str, default: int, *, least: int = 0) -> int:
        value = self.optional(name)
        if value is None:
            return default
        if not value.isascii() or not value.isdigit():
            raise MissingSetting(f"{name} must be a whole number, not {value!r}.")
        if int(value) < least:
            raise MissingSetting(f"{name} must be {least} or more, not {value}.")
        return int(value)

    def percent(self, name: str, default: int) -> int:
        value = self.number(name, default)
        if value > EVERYTHING:
            raise MissingSetting(f"{name} must be {EVERYTHING} or less, not {value}.")
        return value

    def cap(self, name: str, default: int) -> int | None:
        """A number, or None for `none`."""
        return None if self.optional(name) == "none" else self.number(name, default)

    def address(self, name: str) -> str | None:
        """A host and a port, with a colon between."""
        value = self.optional(name)
        if value is None:
            return None
        host, _, port = value.rpartition(":")
        if not host or not port.isascii() or not port.isdigit() or int(port) > LAST_PORT:
            raise MissingSetting(f"{name} must be host:port, not {value!r}.")
        return value

    def fraction(self, name: str) -> float | None:
        value = self.optional(name)
        if value is None:
            return None
        try:
            return float(value)
        except ValueError:
            raise MissingSetting(f"{name} must be a number, not {value!r}.") from None

    def prices(self, name: str, *, of: str) -> PriceList | None:
        """Models' prices at an address: `model=in/out` or `model=in/cached/out`, with commas between; and their day."""
        said, day = self.optional(name), self.optional(f"{name}_AS_OF")
        if said is None:
            return None
        if day is None:
            raise MissingSetting(f"{name}_AS_OF is not set. It says of which day the prices in {name} are.")
        try:
            as_of = date.fromisoformat(day)
        except ValueError:
            raise MissingSetting(f"{name}_AS_OF must be a date such as 2026-11-01, not {day!r}.") from None
        try:
            prices = dict(_priced(said))
        except (ValueError, InvalidOperation):
            raise MissingSetting(
                f"{name} must be model=in/out or model=in/cached/out, in US dollars a million tokens, with commas"
                f" between models; not {said!r}."
            ) from None
        return PriceList(self.text(of, OPENAI_URL), as_of, MappingProxyType(prices))

    def flag(self, name: str, *, default: bool) -> bool:
        value = (self.optional(name) or str(default)).lower()
        if value not in {"true", "false", "1", "0"}:
            raise MissingSetting(f"{name} must be true or false, not {value!r}.")
        return value in {"true", "1"}


def _priced(said: str) -> Iterator[tuple[str, ModelPrice]]:
    """Each model and its price. Raises ValueError or InvalidOperation."""
    for entry in filter(None, (entry.strip() for entry in said.split(","))):
        model, _, figures = entry.partition("=")
        dollars = [Decimal(figure.strip()) for figure in figures.split("/")]
        if not model.strip() or not all(amount.is_finite() and 0 <= amount <= DEAREST for amount in dollars):
            raise ValueError(entry)
        tokens_in, *cached, tokens_out = dollars  # one figure is too few
        tokens_cached = cached.pop() if cached else tokens_in
        if cached:
            raise ValueError(entry)
        yield model.strip(), ModelPrice(tokens_in, tokens_cached, tokens_out)


def lambda_trace_header() -> str | None:
    """The trace of the invocation under way; the runtime sets it anew for each. None anywhere else."""
    return os.environ.get("_X_AMZN_TRACE_ID") or None  # noqa: TID251 - no setting: it differs by invocation


@cache
def xray_daemon() -> str | None:
    """Where traces go. Known without any other setting, since nobody may fail because of a trace."""
    return _Reader(os.environ).address("AWS_XRAY_DAEMON_ADDRESS")  # noqa: TID251 - the one place that reads it


@cache
def trace_sample_percent() -> int:
    """How many traces of our own are sent. Known without any other setting, as above."""
    return _Reader(os.environ).percent("TRACE_SAMPLE_PERCENT", 5)  # noqa: TID251 - the one place that reads it


@cache
def queues() -> Queues:
    """The queues' names, which the entry points need at import."""
    return Queues.from_environ(os.environ)  # noqa: TID251 - the one place that reads it


@cache
def settings() -> Settings:
    """This process's settings."""
    return Settings.from_environ(os.environ)  # noqa: TID251 - the one place that reads it
