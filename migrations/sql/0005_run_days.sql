-- What ended on which day, so that nobody counts runs. No path leads around the trigger: a run that is final, whoever
-- made it so, is counted in that transaction. Whoever ends a run holds the tenant's queue, then the run; this row comes
-- third and is never waited for.

ALTER TABLE run_days ENABLE ROW LEVEL SECURITY;
ALTER TABLE run_days FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON run_days TO bevyly_app
    USING (customer_id = current_customer()) WITH CHECK (customer_id = current_customer());
GRANT SELECT, INSERT, UPDATE ON run_days TO bevyly_app;

CREATE FUNCTION count_ended_run() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO run_days AS d (
        customer_id, day, agent_config_id, agent_type, completed, failed, cancelled,
        items_processed, items_succeeded, items_failed
    )
    VALUES (
        NEW.customer_id, (coalesce(NEW.completed_at, app_now()) AT TIME ZONE 'UTC')::date,
        coalesce(NEW.agent_config_id, ''), NEW.agent_type,
        (NEW.status = 'completed')::int, (NEW.status = 'failed')::int, (NEW.status = 'cancelled')::int,
        NEW.items_processed, NEW.items_succeeded, NEW.items_failed
    )
    ON CONFLICT (customer_id, day, agent_config_id, agent_type) DO UPDATE SET
        completed = d.completed + EXCLUDED.completed,
        failed = d.failed + EXCLUDED.failed,
        cancelled = d.cancelled + EXCLUDED.cancelled,
        items_processed = d.items_processed + EXCLUDED.items_processed,
        items_succeeded = d.items_succeeded + EXCLUDED.items_succeeded,
        items_failed = d.items_failed + EXCLUDED.items_failed;
    RETURN NULL;
END
$$;

CREATE TRIGGER count_ended_run AFTER UPDATE OF status ON agent_runs FOR EACH ROW
    WHEN (OLD.status IN ('pending', 'running') AND NEW.status IN ('completed', 'failed', 'cancelled'))
    EXECUTE FUNCTION count_ended_run();
CREATE TRIGGER count_run_born_ended AFTER INSERT ON agent_runs FOR EACH ROW
    WHEN (NEW.status IN ('completed', 'failed', 'cancelled'))
    EXECUTE FUNCTION count_ended_run();

-- What ended before. The owner sees no tenant's rows while row-level security is forced on it; nobody else reads the
-- table meanwhile.
ALTER TABLE agent_runs NO FORCE ROW LEVEL SECURITY;
ALTER TABLE run_days NO FORCE ROW LEVEL SECURITY;
INSERT INTO run_days (
    customer_id, day, agent_config_id, agent_type, completed, failed, cancelled,
    items_processed, items_succeeded, items_failed
)
SELECT customer_id, (coalesce(completed_at, created_at) AT TIME ZONE 'UTC')::date, coalesce(agent_config_id, ''),
       agent_type,
       count(*) FILTER (WHERE status = 'completed'), count(*) FILTER (WHERE status = 'failed'),
       count(*) FILTER (WHERE status = 'cancelled'),
       sum(items_processed), sum(items_succeeded), sum(items_failed)
FROM agent_runs
WHERE status IN ('completed', 'failed', 'cancelled')
GROUP BY 1, 2, 3, 4;
ALTER TABLE agent_runs FORCE ROW LEVEL SECURITY;
ALTER TABLE run_days FORCE ROW LEVEL SECURITY;
