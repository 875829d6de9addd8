"""The environment that the app gets on this machine. Names are chalicelib/settings.py's."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from local.aws import CREDENTIALS, Cloud
from local.databases import Addresses

BUS = "bevyly"
APOLLO_KEY = "sandbox-apollo-key"
OPENAI_KEY = "sandbox-openai-key"
SANDBOX_PRICES = "gpt-6-luna=0.10/0.50"
"""As if it were OpenAI: a cap in dollars refuses a model whose price nobody said."""
KEY_FILE = "vault.key"  # in the stack's directory, beside its database

_FOREIGN = (
    "AWS_PROFILE",
    "AWS_DEFAULT_PROFILE",
    "AWS_SESSION_TOKEN",
    "AWS_SECURITY_TOKEN",
    "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS",
    "COGNITO_CLIENT_SECRET",
    "EDGE_ONLY",
    "EDGE_SECRET",
)
"""What a shell that also deploys may hold, and would lead the app somewhere else."""


@dataclass(frozen=True, slots=True)
class RealProviders:
    """Which providers the developer has given a real key for."""

    openai: bool
    apollo: bool

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> "RealProviders":
        return cls(
            openai=bool(environ.get("OPENAI_API_KEY", "").strip()),
            apollo=bool(environ.get("APOLLO_API_KEY", "").strip()),
        )

    @property
    def all(self) -> bool:
        return self.openai and self.apollo


def clean(environ: Mapping[str, str]) -> dict[str, str]:
    """The developer's environment without what would lead the app elsewhere."""
    kept = {
        name: value
        for name, value in environ.items()
        if name not in _FOREIGN and not name.startswith("AWS_ENDPOINT_URL")
    }
    for name in ("NO_PROXY", "no_proxy"):
        kept[name] = ",".join(filter(None, [kept.get(name), "127.0.0.1,localhost"]))
    return {**kept, **CREDENTIALS}


def for_the_app(
    environ: Mapping[str, str],
    *,
    origin: str,
    database: Addresses,
    cloud: Cloud,
    sandbox: str | None,
    directory: Path,
) -> dict[str, str]:
    """All that the app reads. Real provider keys in `environ` win over the sandbox's."""
    real = RealProviders.of(environ)
    providers = dict[str, str]()
    if sandbox is not None and not real.openai:
        providers |= {
            "OPENAI_API_KEY": OPENAI_KEY,
            "OPENAI_BASE_URL": f"{sandbox}/v1",
            "OPENAI_PRICES": environ.get("OPENAI_PRICES", "").strip() or SANDBOX_PRICES,
            "OPENAI_PRICES_AS_OF": environ.get("OPENAI_PRICES_AS_OF", "").strip() or "2026-11-01",
        }
    if sandbox is not None and not real.apollo:
        providers |= {"APOLLO_API_KEY": APOLLO_KEY, "APOLLO_BASE_URL": f"{sandbox}/api/v1"}
    return {
        **clean(environ),
        **providers,
        "STAGE": "local",
        "DATABASE_URL": database.app,
        "DATABASE_SYSTEM_URL": database.system,
        "DATABASE_CA_FILE": database.ca_file or "",
        "DATABASE_POOL_SIZE": "12",
        "AWS_ENDPOINT_URL": cloud.endpoint,
        "EVENT_BUS": BUS,
        "OIDC_ISSUER": cloud.issuer,
        "OIDC_JWKS_URL": cloud.jwks_url,
        "OIDC_CLIENT_ID": cloud.client_id,
        "PUBLIC_ORIGIN": origin,
        "API_PREFIX": "/api",
        "TRACE_SAMPLE_PERCENT": environ.get("TRACE_SAMPLE_PERCENT") or "100",
        "REFRESH_COOKIE_SECURE": "false",
        "VAULT": "keyfile",
        "VAULT_KEY_FILE": str(directory / KEY_FILE),
        # Whoever runs it is its operator, and a model of their own is on this machine.
        "PROVIDER_PRIVATE_HOSTS": environ.get("PROVIDER_PRIVATE_HOSTS") or "localhost,127.0.0.0/8,::1",
    }
