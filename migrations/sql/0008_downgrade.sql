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
    v_failures int;
    v_ended int := 0;
    v_lost text[];
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

    -- All runs first, then all their calls in one statement: it takes the months in one order.
    SELECT array_agg(a.id) INTO v_lost FROM (
        SELECT id FROM agent_runs
        WHERE customer_id = v_customer AND status = 'running' AND lease_expires_at <= v_now
        ORDER BY id FOR UPDATE
    ) a;
    IF cardinality(v_lost) > 0 THEN
        UPDATE usage_entries u SET status = 'unknown', settled_at = v_now
        WHERE u.customer_id = v_customer AND u.run_id = ANY (v_lost) AND u.status = 'reserved';
    END IF;
    FOR r IN SELECT * FROM agent_runs a WHERE a.customer_id = v_customer AND a.id = ANY (v_lost) ORDER BY a.id
    LOOP
        v_failures := r.failures + CASE WHEN r.progressed THEN 0 ELSE 1 END;
        IF r.cancel_requested_at IS NOT NULL THEN
            PERFORM end_run(r.id, 'cancelled', NULL, NULL, NULL, p_sinks);
            told := true;
        ELSIF v_failures >= p_failures THEN
            PERFORM end_run(
                r.id, 'failed', NULL, 'worker_lost',
                'The agent stopped answering ' || v_failures || ' times in a row at the same step. '
                || 'Try it with a smaller batch; if it happens again, tell support this run''s id.', p_sinks
            );
            told := true;
        ELSE
            UPDATE agent_runs a SET
                status = 'pending', lease_token = NULL, lease_expires_at = NULL, failures = v_failures
            WHERE a.customer_id = v_customer AND a.id = r.id;
        END IF;
    END LOOP;

    SELECT count(*) INTO v_running FROM agent_runs a WHERE a.customer_id = v_customer AND a.status = 'running';
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
        ELSIF r.agent_config_id IS NOT NULL AND NOT EXISTS (
                SELECT FROM agent_configs g
                WHERE g.customer_id = v_customer AND g.id = r.agent_config_id AND g.enabled AND g.deleted_at IS NULL
           ) THEN
            PERFORM end_run(r.id, 'cancelled', NULL, NULL, NULL, p_sinks);
        ELSE
            told := told OR r.started_at IS NULL;
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
                status = 'running', lease_token = p_token, lease_expires_at = v_now + p_lease,
                attempt = a.attempt + 1, progressed = false, wait_reason = NULL,
                started_at = coalesce(a.started_at, v_now)
            WHERE a.customer_id = v_customer AND a.id = r.id
            RETURNING a.* INTO run;
            rings := ring_if_due(p_limit);
            EXIT;
        END IF;
        told := true;
        v_ended := v_ended + 1;
        IF v_ended = 100 THEN  -- the rest is the next visit's: no claim may take longer than a statement may
            rings := ring_if_due(p_limit);
            EXIT;
        END IF;
    END LOOP;
    RETURN NEXT;
END
$$;
DROP FUNCTION finish_and_claim(
    text, text, interval, jsonb, jsonb, jsonb, int, text, jsonb, text, text, int, text[], text, boolean, interval
);
DROP FUNCTION begin_run(agent_runs, text, interval, timestamptz, text[]);
DROP FUNCTION may_begin(agent_runs);
