"""Envelopes for secrets, and who keeps the keys that wrap their data keys."""

from chalicelib.domain.secrets import KeyWrapper
from chalicelib.integrations.vault.envelope import Envelopes
from chalicelib.settings import Settings


def vault_of(settings: Settings) -> Envelopes:
    """The vault that the settings name."""
    keys: KeyWrapper
    if settings.vault == "keyfile":
        from pathlib import Path  # noqa: PLC0415 - with the module that needs it

        from chalicelib.integrations.vault.keyfile import KeyFile  # noqa: PLC0415 - one of two is needed

        keys = KeyFile(Path(settings.vault_key_file or ""))
    else:
        from chalicelib.integrations.vault.kms import KmsKeys  # noqa: PLC0415 - one of two is needed

        keys = KmsKeys(settings)
    return Envelopes(keys)
