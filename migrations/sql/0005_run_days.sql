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

-- What a run cost is what its entries say when it ends: nobody settles one of a run that is over. What is reserved then
-- stays booked as it was estimated.
CREATE FUNCTION sum_cost_of_run() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    SELECT coalesce(sum(u.credits), 0), CASE WHEN count(*) = count(u.dollars) THEN coalesce(sum(u.dollars), 0) END
    INTO NEW.credits, NEW.dollars
    FROM usage_entries u
    WHERE u.customer_id = NEW.customer_id AND u.run_id = NEW.id AND u.status <> 'released';
    RETURN NEW;
END
$$;

CREATE TRIGGER sum_cost_of_run BEFORE UPDATE OF status ON agent_runs FOR EACH ROW
    WHEN (OLD.status IN ('pending', 'running') AND NEW.status IN ('completed', 'failed', 'cancelled'))
    EXECUTE FUNCTION sum_cost_of_run();

REVOKE EXECUTE ON FUNCTION count_ended_run(), sum_cost_of_run() FROM PUBLIC;

-- What ended before. The owner sees no tenant's rows while row-level security is forced on it.
ALTER TABLE agent_runs NO FORCE ROW LEVEL SECURITY;
ALTER TABLE usage_entries NO FORCE ROW LEVEL SECURITY;
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
UPDATE agent_runs r SET credits = coalesce(spent.credits, 0), dollars = spent.dollars
FROM (
    SELECT a.customer_id, a.id, sum(u.credits) AS credits,
           CASE WHEN count(u.id) = count(u.dollars) THEN coalesce(sum(u.dollars), 0) END AS dollars
    FROM agent_runs a LEFT JOIN usage_entries u
        ON u.customer_id = a.customer_id AND u.run_id = a.id AND u.status <> 'released'
    WHERE a.status IN ('completed', 'failed', 'cancelled')
    GROUP BY a.customer_id, a.id
) spent
WHERE r.customer_id = spent.customer_id AND r.id = spent.id;
ALTER TABLE usage_entries FORCE ROW LEVEL SECURITY;
ALTER TABLE agent_runs FORCE ROW LEVEL SECURITY;
ALTER TABLE run_days FORCE ROW LEVEL SECURITY;
