-- As before, but the oldest due run is found by its index, whatever the planner thinks of the tenant: it took EXISTS for
-- easy where another tenant has most of the pending runs, and read all of those for one that has none.
CREATE OR REPLACE FUNCTION ring_if_due(p_limit int) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    v_customer text := current_customer();
BEGIN
    IF (SELECT count(*) FROM agent_runs WHERE customer_id = v_customer AND status = 'running')
            < (SELECT coalesce(max_concurrent_runs, p_limit) FROM customers WHERE id = v_customer AND agents_enabled)
       AND (
            SELECT due_at FROM agent_runs
            WHERE customer_id = v_customer AND status = 'pending' ORDER BY due_at LIMIT 1
       ) <= app_clock() THEN
        RETURN ring();
    END IF;
    RETURN false;
END
$$;
