"""`python -m local.rotate_keys`: a new wrapping key in the running stack's key file, and every saved key under it.

Killed half-way it loses nothing: the older keys stay in the file. With --finish it makes no new key and goes on.
"""

import argparse
import json
import sys
from pathlib import Path

from chalicelib.db.driver import create
from chalicelib.db.work import Database
from chalicelib.domain.errors import Unavailable
from chalicelib.integrations.vault.envelope import Envelopes
from chalicelib.integrations.vault.keyfile import KeyFile
from chalicelib.services.rotation import Rotation
from chalicelib.settings import Settings
from local.processes import ROOT
from local.runner import read_info
from local.settings import KEY_FILE


class NoSignals:
    """Nothing waits for a re-wrapped key."""

    def ring(self, *_: object, **__: object) -> None: ...
    def nudge_relay(self) -> None: ...
    def nudge_effects(self, *_: object, **__: object) -> None: ...


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m local.rotate_keys", description=__doc__)
    parser.add_argument("--directory", type=Path, default=ROOT / ".local", help="the stack's; default .local")
    parser.add_argument("--finish", action="store_true", help="no new key: go on with an earlier rotation")
    given = parser.parse_args()
    info = read_info(given.directory)
    if info is None:
        print("The stack does not run. Start it with `make run`, then try again.")
        return 1
    keys = KeyFile((given.directory / KEY_FILE).absolute())
    settings = Settings.from_environ(
        {
            "DATABASE_URL": info["database_url"],
            "DATABASE_SYSTEM_URL": info["database_system_url"],
            "OIDC_ISSUER": "none",
            "OIDC_JWKS_URL": "none",
            "OIDC_CLIENT_ID": "none",
        }
    )
    ca_file = info["database_ca_file"]
    app, across = (
        create(url, ca_file=ca_file) for url in (settings.database_url, settings.database_system_url)
    )
    try:
        key_id = keys.current() if given.finish else keys.add_key()
        told = Rotation(Database(app, across, settings, NoSignals()), Envelopes(keys)).rotate()
    except Unavailable as error:
        print(error.message)
        return 1
    finally:
        app.dispose()
        across.dispose()
    print(json.dumps({"key": key_id, **told}))
    return 1 if told["failed"] or told["stopped"] else 0


if __name__ == "__main__":
    sys.exit(main())
