-- Entering ---------------------------------------------------------------------------------------

-- Who is this, in which tenant, and the transaction's tenant set, in one round trip. An unknown or
-- disabled person gets no row, and the transaction no tenant.
CREATE FUNCTION enter(p_issuer text, p_subject text, p_fake_now text DEFAULT '')
RETURNS TABLE (
    user_id text, customer_id text, role text, name text, email text, moment timestamptz
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM set_config('app.fake_now', p_fake_now, true),
            set_config('app.customer_id', '', true),
            set_config('statement_timeout', '20s', true),
            set_config('lock_timeout', '5s', true),
            set_config('idle_in_transaction_session_timeout', '30s', true);
    RETURN QUERY
        SELECT u.id::text, u.customer_id::text, u.role::text, u.name::text, u.email::text, app_now()
        FROM users u
        WHERE u.issuer = p_issuer AND u.subject = p_subject AND u.status = 'active'
          AND set_config('app.customer_id', u.customer_id, true) = u.customer_id;
END
$$;

-- The engine's way in: the message said which tenant.
CREATE FUNCTION enter_tenant(p_customer text, p_fake_now text DEFAULT '') RETURNS timestamptz
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('app.fake_now', p_fake_now, true),
            set_config('app.customer_id', p_customer, true),
            set_config('statement_timeout', '20s', true),
            set_config('lock_timeout', '10s', true),
            set_config('idle_in_transaction_session_timeout', '30s', true);
    RETURN app_now();
END
$$;

-- Sweeps, the relay, the tick: no tenant, and only what the policies for bevyly_system show.
CREATE FUNCTION enter_system(p_fake_now text DEFAULT '') RETURNS timestamptz LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('app.fake_now', p_fake_now, true),
            set_config('app.customer_id', '', true),
            set_config('statement_timeout', '20s', true),
            set_config('lock_timeout', '10s', true);
    RETURN app_now();
END
$$;

-- Counts one try for each key within the window and says whether all are still within the limit.
CREATE FUNCTION allow_sign_in(p_keys text[], p_most int, p_window interval, p_fake_now text DEFAULT '')
RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    v_worst int;
BEGIN
    PERFORM set_config('app.fake_now', p_fake_now, true);
    WITH counted AS (
        INSERT INTO sign_in_attempts AS a (key_hash, window_start, attempts)
        SELECT k, app_now(), 1 FROM (SELECT DISTINCT unnest(p_keys) AS k ORDER BY 1) keys
        ON CONFLICT (key_hash) DO UPDATE SET
            attempts = CASE WHEN a.window_start <= app_now() - p_window THEN 1 ELSE a.attempts + 1 END,
            window_start = CASE WHEN a.window_start <= app_now() - p_window THEN app_now() ELSE a.window_start END
        RETURNING a.attempts
    )
    SELECT max(attempts) INTO v_worst FROM counted;
    RETURN v_worst <= p_most;
END
$$;

-- A sign-in that succeeded forgets the tries.
CREATE FUNCTION forget_sign_in(p_keys text[]) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
    DELETE FROM sign_in_attempts WHERE key_hash = ANY (p_keys)
$$;

-- Events -----------------------------------------------------------------------------------------

-- Puts events into the outbox, each with the next sequence of its aggregate. The sequence's row lock is
-- taken before the position, so positions order an aggregate's events whoever emits them.
CREATE FUNCTION emit_events(p_sinks text[], p_events jsonb) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    v_customer text := current_customer();
    v_sequence int;
    v_position bigint;
    v_id text;
    e record;
BEGIN
    FOR e IN
        SELECT value->>'type' AS type, value->>'aggregateType' AS aggregate_type,
               value->>'aggregateId' AS aggregate_id, value->'payload' AS payload,
               coalesce(value->'causation', '{}') AS causation
        FROM jsonb_array_elements(p_events) WITH ORDINALITY AS given(value, nth)
        ORDER BY value->>'aggregateType', value->>'aggregateId', nth
    LOOP
        INSERT INTO event_sequences AS s (customer_id, aggregate_type, aggregate_id, last)
        VALUES (v_customer, e.aggregate_type, e.aggregate_id, 1)
        ON CONFLICT (customer_id, aggregate_type, aggregate_id) DO UPDATE SET last = s.last + 1
        RETURNING s.last INTO v_sequence;
        v_id := new_id('evt');
        INSERT INTO outbox_events
            (id, customer_id, event_type, aggregate_type, aggregate_id, sequence, payload, causation)
        VALUES (v_id, v_customer, e.type, e.aggregate_type, e.aggregate_id, v_sequence, e.payload, e.causation)
        RETURNING position INTO v_position;
        INSERT INTO event_deliveries (customer_id, event_id, sink, position, aggregate_id)
        SELECT v_customer, v_id, sink, v_position, e.aggregate_id FROM unnest(p_sinks) AS sink;
    END LOOP;
END
$$;

-- The queue --------------------------------------------------------------------------------------

-- Locks the tenant's queue and says whether the caller is the one to send a message. It locks even where
-- the bell has rung: otherwise a claim could clear it without seeing what this transaction commits.
CREATE FUNCTION ring() RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    v_rung timestamptz;
BEGIN
    SELECT rung_at INTO v_rung FROM tenant_queues WHERE customer_id = current_customer() FOR UPDATE;
    IF v_rung IS NOT NULL THEN
        RETURN false;
    END IF;
    UPDATE tenant_queues SET rung_at = app_now() WHERE customer_id = current_customer();
    RETURN true;
END
$$;

-- Rings where a due run waits, a slot is free and agents are switched on. The queue's row must be locked already.
CREATE FUNCTION ring_if_due(p_limit int) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    v_customer text := current_customer();
BEGIN
    IF (SELECT count(*) FROM agent_runs WHERE customer_id = v_customer AND status = 'running')
            < (SELECT coalesce(max_concurrent_runs, p_limit) FROM customers WHERE id = v_customer AND agents_enabled)
       AND EXISTS (
            SELECT FROM agent_runs
            WHERE customer_id = v_customer AND status = 'pending' AND due_at <= app_clock()
       ) THEN
        RETURN ring();
    END IF;
    RETURN false;
END
$$;

-- The sweep's ring: where work is due and nobody has rung for a while, or the message was lost. A queue that
-- somebody holds is left to them, who ring themselves: one busy tenant does not keep the sweep.
CREATE FUNCTION ring_again(p_limit int, p_patience interval) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    v_customer text := current_customer();
    v_rung timestamptz;
BEGIN
    SELECT rung_at INTO v_rung FROM tenant_queues WHERE customer_id = v_customer FOR UPDATE SKIP LOCKED;
    IF NOT FOUND OR v_rung > app_now() - p_patience THEN
        RETURN false;
    END IF;
    IF EXISTS (
            SELECT FROM agent_runs
            WHERE customer_id = v_customer AND status = 'running' AND lease_expires_at <= app_now()
       ) THEN
        UPDATE tenant_queues SET rung_at = app_now() WHERE customer_id = v_customer;
        RETURN true;
    END IF;
    UPDATE tenant_queues SET rung_at = NULL WHERE customer_id = v_customer;
    RETURN ring_if_due(p_limit);
END
$$;

-- Ends a run for good, tells the world, and lets go of what it had reserved. The caller holds the row.
CREATE FUNCTION end_run(
    p_run text, p_status text, p_output jsonb, p_error_code text, p_error text, p_sinks text[]
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    r agent_runs;
BEGIN
    UPDATE agent_runs SET
        status = p_status, output = p_output, error_code = p_error_code, error = p_error,
        lease_token = NULL, lease_expires_at = NULL, wait_reason = NULL, current_step = NULL,
        completed_at = app_now()
    WHERE customer_id = current_customer() AND id = p_run AND status IN ('pending', 'running')
    RETURNING * INTO r;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'the run is over' USING ERRCODE = 'BV001';
    END IF;
    UPDATE usage_entries SET status = 'unknown', settled_at = app_now()
    WHERE customer_id = current_customer() AND run_id = p_run AND status = 'reserved';
    PERFORM emit_events(p_sinks, jsonb_build_array(jsonb_build_object(
        'type', 'agent.run.' || p_status,
        'aggregateType', 'agent',
        'aggregateId', p_run,
        'causation', r.causation,
        'payload', jsonb_strip_nulls(jsonb_build_object(
            'runId', r.id, 'agentType', r.agent_type, 'agentConfigId', r.agent_config_id,
            'itemsProcessed', r.items_processed, 'itemsSucceeded', r.items_succeeded,
            'itemsFailed', r.items_failed, 'error', p_error, 'errorCode', p_error_code
        ))
    )));
END
$$;

-- The fence: the first thing a worker's transaction does. Holding the run's row until commit, and having
-- renewed the lease, it proves that nobody else took the run. `p_queue` locks the tenant's queue first, for
-- transactions that free a slot (lock order everywhere: queue, then run).
CREATE FUNCTION fence(p_run text, p_token text, p_lease interval, p_queue boolean DEFAULT false)
RETURNS TABLE (cancel_requested boolean, agents_enabled boolean) LANGUAGE plpgsql AS $$
DECLARE
    v_customer text := current_customer();
BEGIN
    IF p_queue THEN
        PERFORM FROM tenant_queues q WHERE q.customer_id = v_customer FOR UPDATE;
    END IF;
    RETURN QUERY
        UPDATE agent_runs r SET lease_expires_at = app_now() + p_lease
        FROM customers c
        WHERE r.customer_id = v_customer AND r.id = p_run AND r.lease_token = p_token AND r.status = 'running'
          AND c.id = v_customer
        RETURNING r.cancel_requested_at IS NOT NULL, c.agents_enabled;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'another worker holds the run' USING ERRCODE = 'BV001';
    END IF;
END
$$;

-- Takes the tenant's best due run, if a slot is free. Returns one row: `run` is empty where there was none to
-- take, and as it is now where one was taken (a join with the table would show it as it was before this
-- statement waited for the queue). `rings`: the caller has to send a message; `told`: events were emitted.
CREATE FUNCTION claim_run(
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

    FOR r IN
        SELECT * FROM agent_runs a
        WHERE a.customer_id = v_customer AND a.status = 'running' AND a.lease_expires_at <= v_now
        ORDER BY a.id FOR UPDATE
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
            UPDATE usage_entries u SET status = 'unknown', settled_at = v_now
            WHERE u.customer_id = v_customer AND u.run_id = r.id AND u.status = 'reserved';
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

-- Records a group of results: the fence, steps, counters, settled and reserved calls, in one statement.
-- p_steps: [{key, status, inputHash, output, error, errorCode, item, durationMs, proposal}]
-- p_settled: [{id, status, model, credits, tokensIn, tokensCached, tokensOut, tokensReasoning, requestId}]
-- p_reserved: [{id, stepKey, provider, operation, model, credits}]
CREATE FUNCTION checkpoint(
    p_run text, p_token text, p_lease interval, p_steps jsonb, p_settled jsonb, p_reserved jsonb,
    p_current_step text, p_total int
) RETURNS TABLE (cancel_requested boolean, agents_enabled boolean) LANGUAGE plpgsql AS $$
DECLARE
    v_customer text := current_customer();
    v_processed int;
    v_failed int;
BEGIN
    RETURN QUERY SELECT * FROM fence(p_run, p_token, p_lease);
    INSERT INTO agent_run_steps
        (customer_id, run_id, key, status, input_hash, output, error, error_code, item, duration_ms, proposal)
    SELECT v_customer, p_run, s.key, s.status, s."inputHash", s.output, s.error, s."errorCode", s.item,
           s."durationMs", s.proposal
    FROM jsonb_to_recordset(p_steps) AS s(
        key text, status text, "inputHash" text, output jsonb, error text, "errorCode" text,
        item boolean, "durationMs" int, proposal jsonb
    );
    SELECT count(*) FILTER (WHERE s.item), count(*) FILTER (WHERE s.item AND s.status = 'failed')
    INTO v_processed, v_failed
    FROM jsonb_to_recordset(p_steps) AS s(status text, item boolean);
    UPDATE agent_runs r SET
        items_processed = r.items_processed + v_processed,
        items_succeeded = r.items_succeeded + v_processed - v_failed,
        items_failed = r.items_failed + v_failed,
        items_total = coalesce(p_total, r.items_total),
        current_step = coalesce(p_current_step, r.current_step),
        progressed = r.progressed OR jsonb_array_length(p_steps) > 0,
        failures = CASE WHEN jsonb_array_length(p_steps) > 0 THEN 0 ELSE r.failures END
    WHERE r.customer_id = v_customer AND r.id = p_run;
    UPDATE usage_entries u SET
        status = s.status, model = coalesce(s.model, u.model), credits = s.credits,
        tokens_in = s."tokensIn", tokens_cached = s."tokensCached", tokens_out = s."tokensOut",
        tokens_reasoning = s."tokensReasoning", provider_request_id = s."requestId", settled_at = app_now()
    FROM jsonb_to_recordset(p_settled) AS s(
        id text, status text, model text, credits int, "tokensIn" int, "tokensCached" int,
        "tokensOut" int, "tokensReasoning" int, "requestId" text
    )
    WHERE u.customer_id = v_customer AND u.id = s.id AND u.status IN ('reserved', 'unknown');
    INSERT INTO usage_entries
        (id, customer_id, agent_config_id, run_id, step_key, lease_token, provider, operation, model, credits)
    SELECT n.id, v_customer, r.agent_config_id, p_run, n."stepKey", p_token, n.provider, n.operation, n.model, n.credits
    FROM jsonb_to_recordset(p_reserved) AS n(
        id text, "stepKey" text, provider text, operation text, model text, credits int
    ) JOIN agent_runs r ON r.customer_id = v_customer AND r.id = p_run;
END
$$;

-- Gives a run back to the queue: it yields, waits, or retries. One that was asked to stop meanwhile ends instead.
-- `rings`: the caller has to send a message; `ended`: there is nothing to come back to.
CREATE FUNCTION yield_run(
    p_run text, p_token text, p_lease interval, p_due interval, p_wait_reason text, p_failures int, p_limit int,
    p_sinks text[]
) RETURNS TABLE (rings boolean, ended boolean) LANGUAGE plpgsql AS $$
BEGIN
    SELECT f.cancel_requested INTO ended FROM fence(p_run, p_token, p_lease, true) f;
    IF ended THEN
        PERFORM end_run(p_run, 'cancelled', NULL, NULL, NULL, p_sinks);
    ELSE
        UPDATE agent_runs SET
            status = 'pending', lease_token = NULL, lease_expires_at = NULL,
            due_at = app_now() + p_due, wait_reason = p_wait_reason, failures = p_failures
        WHERE customer_id = current_customer() AND id = p_run;
        UPDATE usage_entries SET status = 'unknown', settled_at = app_now()
        WHERE customer_id = current_customer() AND run_id = p_run AND status = 'reserved';
    END IF;
    rings := ring_if_due(p_limit);
    RETURN NEXT;
END
$$;

-- Asks a run to stop: at once where it is pending, before its next paid call where it is running.
-- Returns its status now, or nothing where there is no such run; `rings` as above.
CREATE FUNCTION cancel_run(p_run text, p_user text, p_limit int, p_sinks text[])
RETURNS TABLE (was text, now_is text, rings boolean) LANGUAGE plpgsql AS $$
DECLARE
    v_customer text := current_customer();
    r agent_runs;
BEGIN
    PERFORM FROM tenant_queues q WHERE q.customer_id = v_customer FOR UPDATE;
    SELECT * INTO r FROM agent_runs a WHERE a.customer_id = v_customer AND a.id = p_run FOR UPDATE;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    was := r.status;
    now_is := r.status;
    rings := false;
    IF r.status IN ('pending', 'running') THEN
        UPDATE agent_runs a SET
            cancel_requested_at = coalesce(a.cancel_requested_at, app_now()),
            cancel_requested_by = coalesce(a.cancel_requested_by, p_user)
        WHERE a.customer_id = v_customer AND a.id = p_run;
    END IF;
    IF r.status = 'pending' THEN
        PERFORM end_run(p_run, 'cancelled', NULL, NULL, NULL, p_sinks);
        now_is := 'cancelled';
    END IF;
    RETURN NEXT;
END
$$;

-- Ends what waits for an agent that was disabled or put away, `p_most` runs at most; claims end the others.
-- Returns how many runs that were.
CREATE FUNCTION cancel_pending_of(p_config text, p_user text, p_most int, p_sinks text[]) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
    v_customer text := current_customer();
    v_count int := 0;
    v_run text;
BEGIN
    PERFORM FROM tenant_queues q WHERE q.customer_id = v_customer FOR UPDATE;
    FOR v_run IN
        SELECT a.id FROM agent_runs a
        WHERE a.customer_id = v_customer AND a.agent_config_id = p_config AND a.status = 'pending'
        ORDER BY a.id LIMIT p_most FOR UPDATE
    LOOP
        UPDATE agent_runs a SET cancel_requested_at = app_now(), cancel_requested_by = p_user
        WHERE a.customer_id = v_customer AND a.id = v_run;
        PERFORM end_run(v_run, 'cancelled', NULL, NULL, NULL, p_sinks);
        v_count := v_count + 1;
    END LOOP;
    RETURN v_count;
END
$$;

-- Repeated writes ----------------------------------------------------------------------------------

-- What to do with an Idempotency-Key: 'new' (do the work, then store), 'replay' (the answer is given),
-- 'mismatch' (the same key with another body), 'busy' (the first is still at work).
CREATE FUNCTION begin_idempotent(p_user text, p_route text, p_key text, p_body bytea)
RETURNS TABLE (verdict text, status int, answer text) LANGUAGE plpgsql AS $$
DECLARE
    v_customer text := current_customer();
    k idempotency_keys;
BEGIN
    IF NOT pg_try_advisory_xact_lock(
        hashtextextended(concat_ws(chr(31), v_customer, p_user, p_route, p_key), 0)
    ) THEN
        RETURN QUERY SELECT 'busy', NULL::int, NULL::text;
        RETURN;
    END IF;
    DELETE FROM idempotency_keys i
    WHERE i.customer_id = v_customer AND i.user_id = p_user AND i.route = p_route AND i.key = p_key
      AND i.created_at <= app_now() - interval '24 hours';
    SELECT * INTO k FROM idempotency_keys i
    WHERE i.customer_id = v_customer AND i.user_id = p_user AND i.route = p_route AND i.key = p_key;
    IF NOT FOUND THEN
        RETURN QUERY SELECT 'new', NULL::int, NULL::text;
    ELSIF k.body_sha256 <> p_body THEN
        RETURN QUERY SELECT 'mismatch', NULL::int, NULL::text;
    ELSE
        RETURN QUERY SELECT 'replay', k.status, k.answer;
    END IF;
END
$$;
