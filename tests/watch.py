"""Sees every change of a run's status inside the database, also those that no test could catch in the act."""

from dataclasses import dataclass

from chalicelib.domain.runs import FINAL, NEXT, RunStatus
from local.postgres import Postgres

_WATCH = (
    """
    CREATE TABLE watched (
        nth bigint GENERATED ALWAYS AS IDENTITY, customer_id text, run_id text, was text, now_is text,
        running int, slots int
    )
    """,
    """
    CREATE FUNCTION watch_run() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public AS $$
    BEGIN
        INSERT INTO watched (customer_id, run_id, was, now_is, running, slots)
        SELECT NEW.customer_id, NEW.id, OLD.status, NEW.status,
               (SELECT count(*) FROM agent_runs WHERE customer_id = NEW.customer_id AND status = 'running'),
               (SELECT coalesce(max_concurrent_runs, 5) FROM customers WHERE id = NEW.customer_id);
        RETURN NULL;
    END
    $$
    """,
    """
    CREATE TRIGGER watch AFTER UPDATE ON agent_runs FOR EACH ROW
    WHEN (OLD.status <> NEW.status) EXECUTE FUNCTION watch_run()
    """,
)


@dataclass(frozen=True, slots=True)
class Watch:
    """Over one database, from now on."""

    postgres: Postgres
    database: str

    def begin(self) -> None:
        for statement in _WATCH:
            self.postgres.execute(statement, database=self.database)

    def check(self, customers: set[str]) -> None:
        """Of these: only arrows of NEXT, an end once a run, and no claim beyond the tenant's slots."""
        query = "SELECT customer_id, run_id, was, now_is, running, slots FROM watched ORDER BY nth"
        everything = self.postgres.execute(query, database=self.database)
        changes = [change for customer_id, *change in everything if customer_id in customers]
        for run_id, was, now_is, running, slots in changes:
            assert RunStatus(now_is) in NEXT[RunStatus(was)], f"{run_id}: {was} to {now_is}"
            assert now_is != RunStatus.RUNNING or running <= slots, f"{run_id}: {running} run under {slots}"
        ended = [run_id for run_id, _, now_is, *_ in changes if RunStatus(now_is) in FINAL]
        assert len(ended) == len(set(ended))
