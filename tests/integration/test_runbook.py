"""What docs/runbook.md has an operator type at three in the morning works, for the role that it names.

Seen red with a column misspelt, with a block for `bevyly_system` that reads a failed run's code from `agent_runs`, and with
an alarm's place taken out of the runbook.
"""

import json
import re
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from botocore import xform_name
from chalice.app import CloudWatchEvent
from sqlalchemy import text

from chalicelib.db.driver import create
from infra.rendering import STACKS, template
from local.postgres import APP, SYSTEM, Postgres
from tests.builders import a_run, an_item, rows
from tests.conftest import World

ROOT = Path(__file__).parents[2]
RUNBOOK = (ROOT / "docs" / "runbook.md").read_text()
TABLE = ROOT / "infra" / "README.md"
BLOCK = re.compile(
    r"^```sql\n-- (?P<role>\w+)(?P<scope>, one customer)?\n(?P<sql>.*?)^```$", re.MULTILINE | re.DOTALL
)
BLOCKS = [(match["role"], bool(match["scope"]), match["sql"]) for match in BLOCK.finditer(RUNBOOK)]


def under(place: str) -> str:
    """The text below a heading."""
    (section,) = re.findall(rf"^#+ {re.escape(place)}\n(.*?)(?=^##)", RUNBOOK, re.MULTILINE | re.DOTALL)
    return str(section)


def sql_under(place: str, nth: int = 0) -> str:
    return [match["sql"] for match in BLOCK.finditer(under(place))][nth]


@contextmanager
def psql(postgres: Postgres, database: str, role: str) -> Iterator[Any]:
    """Statements one by one, as psql sends them, `:'customer'` filled in. Returns each one's rows."""
    url = (
        postgres.url(role, database)
        if role in {APP, SYSTEM}
        else postgres.url(postgres.superuser, database)  # RDS's master sees what every role does
    )
    engine = create(url)

    def run(sql: str, customer: str = "") -> list[list[Any]]:
        found = []
        with engine.connect() as connection:
            for statement in filter(None, (part.strip() for part in sql.split(";"))):
                if statement == "BEGIN READ ONLY":
                    connection.execute(text("SET TRANSACTION READ ONLY"))
                elif statement not in {"BEGIN", "COMMIT"}:
                    result = connection.execute(
                        text(statement.replace(":'customer'", ":customer")), {"customer": customer}
                    )
                    found.append(list(result.all()) if result.returns_rows else [])
            connection.commit()
        return found

    yield run
    engine.dispose()


def test_every_block_of_sql_says_for_whom_it_is() -> None:
    assert len(BLOCKS) == RUNBOOK.count("```sql") > 10
    assert {role for role, *_ in BLOCKS} == {SYSTEM, APP, "bevyly_master"}
    for role, scoped, sql in BLOCKS:
        assert scoped == (role == APP) == ("enter_tenant(:'customer')" in sql)


@pytest.mark.parametrize("block", BLOCKS, ids=[f"{n}-{block[0]}" for n, block in enumerate(BLOCKS)])
def test_every_block_of_sql_runs_as_the_role_that_it_names(
    world: World, postgres: Postgres, database_name: str, block: tuple[str, bool, str]
) -> None:
    role, scoped, sql = block
    an_item(world.database, world.ours.manager)
    with psql(postgres, database_name, role) as run:
        assert run(sql, world.ours.customer_id if scoped else "")


def test_who_waits_is_found(world: World, postgres: Postgres, database_name: str) -> None:
    a_run(world.database, world.theirs.manager)
    rows(
        world.database,
        world.theirs.manager,
        "UPDATE agent_runs SET due_at = app_now() - interval '20 min' RETURNING 1",
    )
    with psql(postgres, database_name, SYSTEM) as run:
        (found,) = run(sql_under("runs-wait"))
    assert [(row.customer_id, row.due, row.running) for row in found] == [(world.theirs.customer_id, 1, 0)]
    assert found[0].waits.total_seconds() > 1100


def test_parked_events_of_one_customer_go_back_in_line(
    world: World, postgres: Postgres, database_name: str
) -> None:
    for tenant in (world.ours, world.theirs):
        an_item(world.database, tenant.manager)
        rows(
            world.database,
            tenant.manager,
            "UPDATE event_deliveries SET status = 'parked', attempts = 8 RETURNING 1",
        )
    with psql(postgres, database_name, SYSTEM) as look, psql(postgres, database_name, APP) as act:
        before = look(sql_under("events-parked"))[0]
        act(sql_under("events-parked", 1), world.ours.customer_id)
        after = look(sql_under("events-parked"))[0]
    assert {row.customer_id for row in before} == {world.ours.customer_id, world.theirs.customer_id}
    assert {row.customer_id for row in after} == {world.theirs.customer_id}


def test_a_customer_who_is_switched_off_is_left_alone_and_nobody_else(
    world: World, postgres: Postgres, database_name: str
) -> None:
    ours, theirs = (a_run(world.database, tenant.manager) for tenant in (world.ours, world.theirs))
    with psql(postgres, database_name, APP) as run:
        run(sql_under("Switches"), world.ours.customer_id)
    assert world.visit() is None
    assert world.visit(tenant=world.theirs) == theirs
    with psql(postgres, database_name, APP) as run:
        run(sql_under("Switches").replace("= false", "= true"), world.ours.customer_id)
    assert world.visit() == ours


def test_a_customer_who_floods_is_slowed_down(world: World, postgres: Postgres, database_name: str) -> None:
    for _ in range(3):
        a_run(world.database, world.ours.manager)
    flood = "A customer who floods"
    with psql(postgres, database_name, SYSTEM) as look, psql(postgres, database_name, APP) as act:
        (worst,) = look(sql_under(flood))
        act(sql_under(flood, 1), world.ours.customer_id)
    assert (worst[0].customer_id, worst[0].waiting) == (world.ours.customer_id, 3)
    rows(
        world.database,
        world.ours.manager,
        "UPDATE agent_runs SET status = 'running', lease_token = 'somebody', lease_expires_at = app_now() + interval '1 min'"
        " WHERE id = (SELECT min(id) FROM agent_runs) RETURNING 1",
    )
    assert world.visit() is None


def test_numbers_after_a_restore_leave_a_gap(world: World, postgres: Postgres, database_name: str) -> None:
    an_item(world.database, world.ours.manager)
    last = "SELECT max(last) FROM event_sequences"
    (before,) = rows(world.database, world.ours.manager, last)
    with psql(postgres, database_name, APP) as run:
        run(sql_under("Restoring the database"), world.ours.customer_id)
    assert rows(world.database, world.ours.manager, last) == [(before[0] + 1000,)]


def test_links_inside_and_to_other_pages_lead_somewhere() -> None:
    def anchors(page: str) -> set[str]:
        headings = re.findall(r"^#+ (.*)$", page, re.MULTILINE)
        return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}

    for page in ("runbook.md", "cost.md"):
        said = (ROOT / "docs" / page).read_text()
        for target in re.findall(r"\]\(([^)]+)\)", said):
            file, _, anchor = target.partition("#")
            place = ROOT / "docs" / (file or page)
            assert place.exists(), target
            assert not anchor or anchor in anchors(place.read_text()), target


def test_what_it_has_an_operator_look_for_in_the_log_and_the_metrics_is_said_there() -> None:
    code = "".join(path.read_text() for path in sorted((ROOT / "chalicelib").rglob("*.py")))
    for words in (
        "a run met a bug",
        "a saved key does not open",
        "a sink is out",
        "database out",
        "request answered",
        "request failed",
        "swept",
        "the sweep is out of time",
        "OldestDueRunSeconds",
        "OutboxLagSeconds",
        "EventsParked",
    ):
        assert words in RUNBOOK
        assert f'"{words}' in code, words


def commands() -> list[list[str]]:
    """Every call of AWS's command line, in words; what the shell fills in is one word."""
    texts, found = [re.sub(r"\\\n\s*", " ", RUNBOOK)], []
    while inner := re.search(r"\$\(([^()]*)\)", texts[0]):
        texts.append(inner[1])
        texts[0] = texts[0].replace(inner[0], "X")
    for said in texts:
        for match in re.finditer(r"(?<![\w-])aws ((?:[^`\n|;)'\"]|'[^']*'|\"[^\"]*\")+)", said):
            words = shlex.split(match[1], comments=True)
            if words[0] != "configure":
                found.append(words)
    return found


COMMANDS = commands()
OF_THE_COMMAND_LINE = {"query", "output", "cli-binary-format", "cli-read-timeout"}


@pytest.mark.parametrize("words", COMMANDS, ids=[" ".join(words[:2]) for words in COMMANDS])
def test_every_command_of_aws_exists_and_has_what_it_must_be_given(words: list[str]) -> None:
    """By the models of boto3, which AWS's command line takes its own from. Seen red with one option misspelt."""
    service, command, *rest = words
    session = botocore.session.get_session()
    model = session.get_service_model(service)
    if command == "wait":
        waiters = session.get_waiter_model(service)
        (waiter,) = [name for name in waiters.waiter_names if xform_name(name, "-") == rest[0]]
        command = xform_name(waiters.get_waiter(waiter).operation, "-")
    (operation,) = [name for name in model.operation_names if xform_name(name, "-") == command]
    shape = model.operation_model(operation).input_shape
    assert shape is not None
    known = {xform_name(name, "-"): member.type_name for name, member in shape.members.items()}
    given = {word[2:] for word in rest if word.startswith("--")} - OF_THE_COMMAND_LINE
    given = {
        option.removeprefix("no-") if known.get(option.removeprefix("no-")) == "boolean" else option
        for option in given
    }
    assert given <= known.keys()
    assert {xform_name(name, "-") for name in shape.required_members} <= given


def test_a_restored_cluster_gets_all_that_the_template_gives_it() -> None:
    """By name: what the restore, or the change after it, has to say. Seen red without the parameter group."""
    restored = [words for words in COMMANDS if words[1].startswith("restore-db-cluster")]
    (after,) = [words for words in COMMANDS if "--manage-master-user-password" in words]
    said_otherwise = {
        "DBClusterIdentifier", "Engine", "EngineVersion", "DatabaseName", "MasterUsername", "StorageEncrypted",
        "MasterUserSecret",  # its key: --master-user-secret-kms-key-id
    }  # fmt: skip
    wanted = template("data")["Resources"]["Cluster"]["Properties"].keys() - said_otherwise
    assert len(restored) == 2
    for words in restored:
        given = {word[2:] for word in (*words, *after) if word.startswith("--")}
        assert {xform_name(name, "-") for name in wanted} <= given
    assert "--master-user-secret-kms-key-id" in after


def test_the_restore_takes_the_names_of_what_the_stack_has() -> None:
    """They are what CloudFormation knows a cluster and an instance by. Seen red with another name of the proxy's."""
    resources = template("data")["Resources"]
    assert set(re.findall(r"\$\(part (\w+)\)", RUNBOOK)) == {
        "SubnetGroup",
        "ClusterParameters",
        "Writer",
        "Standby",
    }
    assert set(re.findall(r"\$\(part (\w+)\)", RUNBOOK)) <= resources.keys()
    assert resources["Cluster"]["Properties"]["DBClusterIdentifier"] == {"Fn::Sub": "bevyly-${Stage}"}
    named = {words[words.index("--db-proxy-name") + 1] for words in COMMANDS if "--db-proxy-name" in words}
    (proxy,) = [
        resource["Properties"]["DBProxyName"]["Fn::Sub"]
        for stack in STACKS
        for resource in template(stack)["Resources"].values()
        if resource["Type"] == "AWS::RDS::DBProxy"
    ]
    assert named == {proxy.replace("${Stage}", "$S")}


def test_the_minutes_functions_can_be_called_by_hand() -> None:
    """Chalice reads every field of a schedule's event. Seen red with `{}`."""
    (said,) = re.findall(r"^MINUTE='(.*)'$", RUNBOOK, re.MULTILINE)
    assert CloudWatchEvent(json.loads(said), None).event_id == "by-hand"


def test_every_alarm_has_its_place() -> None:
    places = set(re.findall(r"^\| `#([a-z0-9-]+)` \|", TABLE.read_text(), re.MULTILINE))
    assert len(places) > 10
    missing = {place for place in places if f"\n### {place}\n" not in RUNBOOK}
    assert missing == set()
