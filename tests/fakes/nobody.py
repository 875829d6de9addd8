"""A context for routes that ask for nothing."""

from chalicelib.settings import Settings


class Nobody:
    """A context of which nothing may be asked but its settings."""

    def __init__(self, **more: str) -> None:
        needed = {
            "DATABASE_URL": "-",
            "DATABASE_SYSTEM_URL": "-",
            "OIDC_ISSUER": "-",
            "OIDC_JWKS_URL": "-",
            "OIDC_CLIENT_ID": "-",
        }
        self.settings = Settings.from_environ({**needed, **more})
