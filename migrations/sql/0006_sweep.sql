-- The sweep's visit to one tenant -------------------------------------------------------------------

-- Gives back a run whose worker is silent, or ends it; says whether it ended. The caller holds the tenant's queue and
-- the run.
CREATE FUNCTION take_back(p_run text, p_failures int, p_sinks text[]) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    v_customer text := current_customer();
    v_failures int;
    r agent_runs;
BEGIN
    SELECT * INTO r FROM agent_runs a WHERE a.customer_id = v_customer AND a.id = p_run;
    v_failures := r.failures + CASE WHEN r.progressed THEN 0 ELSE 1 END;
    IF r.cancel_requested_at IS NOT NULL THEN
        PERFORM end_run(r.id, 'cancelled', NULL, NULL, NULL, p_sinks);
        RETURN true;
    ELSIF v_failures >= p_failures THEN
        PERFORM end_run(
            r.id, 'failed', NULL, 'worker_lost',
            'The agent stopped answering ' || v_failures || ' times in a row at the same step. '
            || 'Try it with a smaller batch; if it happens again, tell support this run''s id.', p_sinks
        );
        RETURN true;
    END IF;
    UPDATE agent_runs a SET status = 'pending', lease_token = NULL, lease_expires_at = NULL, failures = v_failures
    WHERE a.customer_id = v_customer AND a.id = r.id;
    UPDATE usage_entries u SET status = 'unknown', settled_at = app_now()
    WHERE u.customer_id = v_customer AND u.run_id = r.id AND u.status = 'reserved';
    RETURN false;
END
$$;

-- A claim that takes nothing: made whether agents are switched on or not, a slot is free or not. Returns expired
-- leases, ends runs that are too old (due or not) and those that wait for an agent that was put away, `p_most` of each,
-- then rings where that does something. A queue or a run that is held is left to whoever holds it: to wait for a run
-- after the month of another one's entries could deadlock with a worker.
-- `told`: events were emitted; `due_retries`: runs among those rung for that come back from a wait.
CREATE FUNCTION sweep_runs(
    p_limit int, p_enabled boolean, p_patience interval, p_failures int, p_oldest interval, p_most int,
    p_sinks text[]
) RETURNS TABLE (rings boolean, told boolean, expired_leases int, over_age int, cancelled int, due_retries int)
LANGUAGE plpgsql AS $$
DECLARE
    v_customer text := current_customer();
    v_now timestamptz := app_clock();
    v_rung timestamptz;
    v_runs text[];
    v_run text;
BEGIN
    rings := false;
    told := false;
    expired_leases := 0;
    over_age := 0;
    cancelled := 0;
    due_retries := 0;
    SELECT q.rung_at INTO v_rung FROM tenant_queues q WHERE q.customer_id = v_customer FOR UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        RETURN NEXT;
        RETURN;
    END IF;

    SELECT coalesce(array_agg(silent.id), '{}') INTO v_runs FROM (
        SELECT a.id FROM agent_runs a
        WHERE a.customer_id = v_customer AND a.status = 'running' AND a.lease_expires_at <= v_now
        ORDER BY a.lease_expires_at LIMIT p_most FOR NO KEY UPDATE SKIP LOCKED
    ) silent;
    FOREACH v_run IN ARRAY v_runs LOOP
        told := take_back(v_run, p_failures, p_sinks) OR told;
    END LOOP;
    expired_leases := cardinality(v_runs);

    SELECT coalesce(array_agg(old.id), '{}') INTO v_runs FROM (
        SELECT a.id FROM agent_runs a
        WHERE a.customer_id = v_customer AND a.status = 'pending' AND a.created_at <= v_now - p_oldest
        ORDER BY a.created_at LIMIT p_most FOR NO KEY UPDATE SKIP LOCKED
    ) old;
    FOREACH v_run IN ARRAY v_runs LOOP
        PERFORM end_run(
            v_run, 'failed', NULL, 'too_old', 'The run waited or worked longer than a run may. Start it again.', p_sinks
        );
    END LOOP;
    over_age := cardinality(v_runs);

    -- What waits for an agent put away longer ago is too old itself, so only those changed lately are looked at.
    SELECT coalesce(array_agg(idle.id), '{}') INTO v_runs FROM (
        SELECT a.id FROM agent_configs g
        JOIN agent_runs a ON a.customer_id = g.customer_id AND a.agent_config_id = g.id AND a.status = 'pending'
        WHERE g.customer_id = v_customer AND (NOT g.enabled OR g.deleted_at IS NOT NULL)
          AND g.updated_at >= v_now - p_oldest - interval '1 hour'
        LIMIT p_most FOR NO KEY UPDATE OF a SKIP LOCKED
    ) idle;
    FOREACH v_run IN ARRAY v_runs LOOP
        PERFORM end_run(v_run, 'cancelled', NULL, NULL, NULL, p_sinks);
    END LOOP;
    cancelled := cardinality(v_runs);

    told := told OR over_age + cancelled > 0;
    IF v_rung IS NULL OR v_rung <= v_now - p_patience THEN
        UPDATE tenant_queues q SET rung_at = NULL WHERE q.customer_id = v_customer AND q.rung_at IS NOT NULL;
        rings := p_enabled AND ring_if_due(p_limit);
    END IF;
    IF rings THEN
        SELECT count(*) INTO due_retries FROM (
            SELECT FROM agent_runs a
            WHERE a.customer_id = v_customer AND a.status = 'pending' AND a.due_at <= v_now AND a.attempt > 0
            LIMIT p_most
        ) again;
    END IF;
    RETURN NEXT;
END
$$;

-- Calls that were booked and that no worker can be making any more: nobody knows what they cost. Their amounts
-- stay; a settlement that comes late still counts. Runs that somebody holds are left for the next minute. Lock order:
-- run, then entries.
CREATE FUNCTION forget_reservations(p_age interval, p_most int) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
    v_customer text := current_customer();
    v_now timestamptz := app_clock();
    v_runs text[];
    v_count int;
BEGIN
    SELECT coalesce(array_agg(held.id), '{}') INTO v_runs FROM (
        SELECT r.id FROM agent_runs r
        WHERE r.customer_id = v_customer AND r.id IN (
            SELECT booked.run_id FROM (
                SELECT u.run_id FROM usage_entries u JOIN agent_runs o ON o.customer_id = u.customer_id AND o.id = u.run_id
                WHERE u.customer_id = v_customer AND u.status = 'reserved' AND u.created_at <= v_now - p_age
                  AND NOT (o.status = 'running' AND o.lease_token = u.lease_token AND o.lease_expires_at > v_now)
                ORDER BY u.created_at LIMIT p_most
            ) booked
        )
        ORDER BY r.id FOR NO KEY UPDATE SKIP LOCKED
    ) held;
    WITH stale AS (
        SELECT u.id FROM usage_entries u JOIN agent_runs r ON r.customer_id = u.customer_id AND r.id = u.run_id
        WHERE u.customer_id = v_customer AND u.status = 'reserved' AND u.created_at <= v_now - p_age
          AND u.run_id = ANY (v_runs)
          AND NOT (r.status = 'running' AND r.lease_token = u.lease_token AND r.lease_expires_at > v_now)
        ORDER BY u.id LIMIT p_most FOR NO KEY UPDATE OF u SKIP LOCKED
    )
    UPDATE usage_entries u SET status = 'unknown', settled_at = v_now FROM stale
    WHERE u.customer_id = v_customer AND u.id = stale.id;
    GET DIAGNOSTICS v_count = ROW_COUNT;
    RETURN v_count;
END
$$;

GRANT EXECUTE ON FUNCTION take_back(text, int, text[]),
    sweep_runs(int, boolean, interval, int, interval, int, text[]), forget_reservations(interval, int)
    TO bevyly_app;

-- Whom to visit: bevyly_system sees ids, states and times, nothing else.
CREATE POLICY system_finds_put_away ON agent_configs FOR SELECT TO bevyly_system
    USING (NOT enabled OR deleted_at IS NOT NULL);
GRANT SELECT (updated_at) ON agent_configs TO bevyly_system;
GRANT SELECT (agent_config_id, completed_at) ON agent_runs TO bevyly_system;
CREATE POLICY system_finds ON usage_entries FOR SELECT TO bevyly_system USING (status = 'reserved');
GRANT SELECT (customer_id, status, created_at) ON usage_entries TO bevyly_system;
