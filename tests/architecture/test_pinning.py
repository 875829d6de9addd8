"""No statement of ours makes RDS Proxy keep a connection for one client ("pinning"); a few such use up all there are.

The proxy reads statements, not what is inside the functions they call. There is none here to ask, so this looks for the
words that AWS names in the documentation of pinning. Seen red with `set_config` in the statement that enters a tenant.
"""

import re
from typing import Final

from tests.architecture import ROOT

PINS: Final = re.compile(
    r"\bset_config\b|\bpg_(try_)?advisory\w*|\b(nextval|setval|currval|lastval)\s*\("
    r"|\b(CREATE\s+(TEMP|TEMPORARY)|LISTEN|DISCARD|DEALLOCATE|PREPARE|DECLARE|RESET)\s+\w"
    r"|[\"'(]\s*SET\s+(LOCAL\s+|SESSION\s+)?\w+(\s*=|\s+TO\b)"
)


def test_no_statement_sets_what_a_session_would_keep() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in sorted((ROOT / "chalicelib").rglob("*.py"))
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if PINS.search(line)
    ]
    assert found == []


def test_the_words_are_found_where_they_are() -> None:
    for statement in (
        "SELECT enter_tenant(:c), set_config('app.event_sinks', :s, true)",
        'text("SET LOCAL lock_timeout = 1")',
        "SELECT pg_advisory_xact_lock(1)",
        "SELECT nextval('positions')",
        "CREATE TEMP TABLE t (id int)",
    ):
        assert PINS.search(statement)
    assert not PINS.search("UPDATE customers SET name = 'x'")
