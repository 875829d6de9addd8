"""A transaction's session, which is made for who asks for it."""

from sqlalchemy import select

from chalicelib.db.models.agent import AgentConfig
from tests.builders import a_config, rows
from tests.conftest import World


def test_a_change_that_nobody_flushed_is_written_with_the_commit(world: World) -> None:
    """Seen red without `flush_session`."""
    config = a_config(world.database, world.ours.manager)
    with world.database.enter(world.ours.manager) as work:
        work.session.scalars(select(AgentConfig).where(AgentConfig.id == config)).one().name = "Renamed"
    (row,) = rows(
        world.database, world.ours.manager, "SELECT name FROM agent_configs WHERE id = :id", id=config
    )
    assert row.name == "Renamed"


def test_what_the_session_read_stays_readable_and_is_let_go_of(world: World) -> None:
    """Seen red without `close_session`: it stayed in a session whose connection is somebody else's by then."""
    config = a_config(world.database, world.ours.manager)
    with world.database.enter(world.ours.manager) as work:
        found = work.session.scalars(select(AgentConfig).where(AgentConfig.id == config)).one()
        session = work.session
    assert found.id == config
    assert found not in session


def test_who_asks_for_no_session_gets_none(world: World) -> None:
    """Seen red with the session made at the start: it costs a worker half of a short transaction."""
    with world.database.enter(world.ours.manager) as work:
        assert work.now is not None
    assert work._session is None
