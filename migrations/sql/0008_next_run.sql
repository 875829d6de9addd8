-- Gives a due run to a worker. The caller holds the tenant's queue and the run.
CREATE FUNCTION begin_run(r agent_runs, p_token text, p_lease interval, p_now timestamptz, p_sinks text[])
RETURNS agent_runs LANGUAGE plpgsql AS $$
DECLARE
    taken agent_runs;
BEGIN
    IF r.started_at IS NULL THEN
        PERFORM emit_events(p_sinks, jsonb_build_array(jsonb_build_object(
            'type', 'agent.run.started', 'aggregateType', 'agent', 'aggregateId', r.id,
            'causation', r.causation,
            'payload', jsonb_strip_nulls(jsonb_build_object(
                'runId', r.id, 'agentType', r.agent_type, 'agentConfigId', r.agent_config_id
            ))
        )));
    END IF;
    UPDATE agent_runs a SET
        status = 'running', lease_token = p_token, lease_expires_at = p_now + p_lease,
        attempt = a.attempt + 1, progressed = false, wait_reason = NULL,
        started_at = coalesce(a.started_at, p_now)
    WHERE a.customer_id = r.customer_id AND a.id = r.id
    RETURNING a.* INTO taken;
    RETURN taken;
END
$$;

-- Takes the tenant's best due run, if a slot is free. Returns one row: `run` is empty where there was none to
-- take, and as it is now where one was taken (a join with the table would show it as it was before this
-- statement waited for the queue). `rings`: the caller has to send a message; `told`: events were emitted.
CREATE OR REPLACE FUNCTION claim_run(
    p_token text, p_lease interval, p_limit int, p_enabled boolean, p_failures int, p_oldest interval,
    p_sinks text[]
) RETURNS TABLE (run agent_runs, rings boolean, told boolean) LANGUAGE plpgsql AS $$
DECLARE
    v_customer text := current_customer();
    v_now timestamptz;
    v_limit int;
    v_enabled boolean;
    v_running int;
    v_silent int;
    v_ended int := 0;
    v_lost text[];
    v_run text;
    r agent_runs;
BEGIN
    rings := false;
    told := false;
    PERFORM FROM tenant_queues q WHERE q.customer_id = v_customer FOR UPDATE;
    IF NOT FOUND THEN
        RETURN NEXT;
        RETURN;
    END IF;
    v_now := app_clock();
    UPDATE tenant_queues q SET rung_at = NULL WHERE q.customer_id = v_customer AND q.rung_at IS NOT NULL;
    SELECT coalesce(c.max_concurrent_runs, p_limit), c.agents_enabled AND p_enabled
    INTO v_limit, v_enabled FROM customers c WHERE c.id = v_customer;

    SELECT count(*), count(*) FILTER (WHERE a.lease_expires_at <= v_now) INTO v_running, v_silent
    FROM agent_runs a WHERE a.customer_id = v_customer AND a.status = 'running';
    IF v_silent > 0 THEN
        -- All runs first, then all their calls in one statement: it takes the months in one order.
        SELECT array_agg(a.id) INTO v_lost FROM (
            SELECT id FROM agent_runs
            WHERE customer_id = v_customer AND status = 'running' AND lease_expires_at <= v_now
            ORDER BY id FOR UPDATE
        ) a;
        UPDATE usage_entries u SET status = 'unknown', settled_at = v_now
        WHERE u.customer_id = v_customer AND u.run_id = ANY (v_lost) AND u.status = 'reserved';
        FOREACH v_run IN ARRAY coalesce(v_lost, '{}') LOOP
            told := take_back(v_run, p_failures, p_sinks) OR told;
            v_running := v_running - 1;
        END LOOP;
    END IF;

    WHILE v_enabled AND v_running < v_limit LOOP
        SELECT * INTO r FROM agent_runs a
        WHERE a.customer_id = v_customer AND a.status = 'pending' AND a.due_at <= v_now
        ORDER BY a.queue_at, a.id LIMIT 1 FOR UPDATE;
        EXIT WHEN NOT FOUND;
        IF r.created_at <= v_now - p_oldest THEN
            PERFORM end_run(
                r.id, 'failed', NULL, 'too_old',
                'The run waited or worked longer than a run may. Start it again.', p_sinks
            );
        ELSIF NOT may_begin(r) THEN
            PERFORM end_run(r.id, 'cancelled', NULL, NULL, NULL, p_sinks);
        ELSE
            told := told OR r.started_at IS NULL;
            run := begin_run(r, p_token, p_lease, v_now, p_sinks);
            v_running := v_running + 1;
            EXIT;
        END IF;
        told := true;
        v_ended := v_ended + 1;
        EXIT WHEN v_ended = 100;  -- the rest is the next visit's: no claim may take longer than a statement may
    END LOOP;
    IF v_enabled AND v_running < v_limit AND (run.id IS NOT NULL OR v_ended = 100) THEN
        rings := ring_if_due(p_limit);
    END IF;
    RETURN NEXT;
END
$$;

-- Ends a run with what its worker had still to write and, where `p_next_token` is given, takes the tenant's next one
-- for the same worker: the queue, the fence, the record, the end and the claim, in one statement. Returns what
-- claim_run does. Nobody rang for this claim, so it leaves the bell alone. Silent leases, and runs that are to be
-- ended rather than begun, it leaves to a claim that was rung for: this transaction may hold a month, and to wait for
-- a run after that could deadlock with a worker.
CREATE FUNCTION finish_and_claim(
    p_run text, p_token text, p_lease interval, p_steps jsonb, p_settled jsonb, p_news jsonb, p_total int,
    p_status text, p_output jsonb, p_error_code text, p_error text, p_limit int, p_sinks text[],
    p_next_token text, p_enabled boolean, p_oldest interval
) RETURNS TABLE (run agent_runs, rings boolean, told boolean) LANGUAGE plpgsql AS $$
DECLARE
    v_customer text := current_customer();
    v_now timestamptz;
    v_free int;
    r agent_runs;
BEGIN
    rings := false;
    told := true;
    PERFORM FROM tenant_queues q WHERE q.customer_id = v_customer FOR UPDATE;
    PERFORM checkpoint(p_run, p_token, p_lease, p_steps, p_settled, p_news, '[]', NULL, NULL, p_total);
    PERFORM end_run(p_run, p_status, p_output, p_error_code, p_error, p_sinks);
    SELECT coalesce(c.max_concurrent_runs, p_limit) - (
        SELECT count(*) FROM agent_runs a WHERE a.customer_id = v_customer AND a.status = 'running'
    ) INTO v_free FROM customers c WHERE c.id = v_customer AND c.agents_enabled AND p_enabled;
    v_now := app_clock();
    IF v_free > 0 AND p_next_token IS NOT NULL THEN
        SELECT * INTO r FROM agent_runs a
        WHERE a.customer_id = v_customer AND a.status = 'pending' AND a.due_at <= v_now
        ORDER BY a.queue_at, a.id LIMIT 1 FOR UPDATE;
        IF FOUND AND r.created_at > v_now - p_oldest AND may_begin(r) THEN
            run := begin_run(r, p_next_token, p_lease, v_now, p_sinks);
            v_free := v_free - 1;
        END IF;
    END IF;
    IF v_free > 0 THEN
        rings := ring_if_due(p_limit);
    END IF;
    RETURN NEXT;
END
$$;

-- Whether the agent that a run is of may still be run.
CREATE FUNCTION may_begin(r agent_runs) RETURNS boolean LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN r.agent_config_id IS NULL OR EXISTS (
        SELECT FROM agent_configs g
        WHERE g.customer_id = r.customer_id AND g.id = r.agent_config_id AND g.enabled AND g.deleted_at IS NULL
    );
END
$$;

REVOKE EXECUTE ON FUNCTION
    begin_run(agent_runs, text, interval, timestamptz, text[]), may_begin(agent_runs),
    finish_and_claim(
        text, text, interval, jsonb, jsonb, jsonb, int, text, jsonb, text, text, int, text[], text, boolean, interval
    ) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION
    begin_run(agent_runs, text, interval, timestamptz, text[]), may_begin(agent_runs),
    finish_and_claim(
        text, text, interval, jsonb, jsonb, jsonb, int, text, jsonb, text, text, int, text[], text, boolean, interval
    ) TO bevyly_app, bevyly_system;
