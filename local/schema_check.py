"""`python -m local.schema_check`: the migrations make exactly what the models say, and have one head."""

import sys

from alembic.script import ScriptDirectory
from alembic.util import CommandError

from local.postgres import OWNER, PostgresError, throwaway
from migrations import runner


def main() -> int:
    with throwaway() as server:
        server.create_database("schema_check")
        url = server.url(OWNER, "schema_check")
        heads = ScriptDirectory.from_config(runner.config(url)).get_heads()
        if len(heads) != 1:
            print(f"There must be one head, not {len(heads)}: {', '.join(heads)}. Rebase one onto the other.")
            return 1
        runner.upgrade(url)
        runner.check(url)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (CommandError, PostgresError) as error:
        sys.exit(f"{error}")
