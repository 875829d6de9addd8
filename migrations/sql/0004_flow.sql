-- Sums of the ledger -------------------------------------------------------------------------------
-- `usage_months` and `usage_days` are the sums of the entries, whoever writes these. The month's row is locked first,
-- also where its sums stay the same: it stands for its days' rows.

-- Entries are born reserved, so that only the month knows of them.
CREATE FUNCTION sum_new_usage() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO usage_months AS m
        (customer_id, month, credits_reserved, dollars_reserved, platform_credits, platform_dollars)
    SELECT customer_id, date_trunc('month', created_at AT TIME ZONE 'UTC')::date,
           sum(credits), coalesce(sum(dollars), 0),
           coalesce(sum(credits) FILTER (WHERE payer = 'platform'), 0),
           coalesce(sum(dollars) FILTER (WHERE payer = 'platform'), 0)
    FROM born
    WHERE credits <> 0 OR dollars <> 0
    GROUP BY 1, 2 ORDER BY 1, 2
    ON CONFLICT (customer_id, month) DO UPDATE SET
        credits_reserved = m.credits_reserved + excluded.credits_reserved,
        dollars_reserved = m.dollars_reserved + excluded.dollars_reserved,
        platform_credits = m.platform_credits + excluded.platform_credits,
        platform_dollars = m.platform_dollars + excluded.platform_dollars;
    RETURN NULL;
END
$$;
CREATE TRIGGER sum_new_usage AFTER INSERT ON usage_entries
    REFERENCING NEW TABLE AS born FOR EACH STATEMENT EXECUTE FUNCTION sum_new_usage();

CREATE FUNCTION sum_changed_usage() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO usage_months AS m (
        customer_id, month, credits_reserved, credits_spent, dollars_reserved, dollars_spent,
        platform_credits, platform_dollars
    )
    SELECT customer_id, date_trunc('month', created_at AT TIME ZONE 'UTC')::date,
           coalesce(sum(sign * credits) FILTER (WHERE status = 'reserved'), 0),
           coalesce(sum(sign * credits) FILTER (WHERE status IN ('settled', 'unknown')), 0),
           coalesce(sum(sign * dollars) FILTER (WHERE status = 'reserved'), 0),
           coalesce(sum(sign * dollars) FILTER (WHERE status IN ('settled', 'unknown')), 0),
           coalesce(sum(sign * credits) FILTER (WHERE status <> 'released' AND payer = 'platform'), 0),
           coalesce(sum(sign * dollars) FILTER (WHERE status <> 'released' AND payer = 'platform'), 0)
    FROM (SELECT *, 1 AS sign FROM after UNION ALL SELECT *, -1 FROM before) changes
    GROUP BY 1, 2 ORDER BY 1, 2
    ON CONFLICT (customer_id, month) DO UPDATE SET
        credits_reserved = m.credits_reserved + excluded.credits_reserved,
        credits_spent = m.credits_spent + excluded.credits_spent,
        dollars_reserved = m.dollars_reserved + excluded.dollars_reserved,
        dollars_spent = m.dollars_spent + excluded.dollars_spent,
        platform_credits = m.platform_credits + excluded.platform_credits,
        platform_dollars = m.platform_dollars + excluded.platform_dollars;
    INSERT INTO usage_days AS d (
        customer_id, day, agent_config_id, agent_type, provider, model, calls, unpriced_calls, credits, dollars,
        tokens_in, tokens_cached, tokens_out, tokens_reasoning
    )
    SELECT customer_id, (created_at AT TIME ZONE 'UTC')::date, coalesce(agent_config_id, ''), agent_type, provider,
           coalesce(model, ''), sum(sign), coalesce(sum(sign) FILTER (WHERE dollars IS NULL), 0),
           sum(sign * credits), coalesce(sum(sign * dollars), 0), sum(sign * tokens_in),
           sum(sign * tokens_cached), sum(sign * tokens_out), sum(sign * tokens_reasoning)
    FROM (SELECT *, 1 AS sign FROM after UNION ALL SELECT *, -1 FROM before) changes
    WHERE status IN ('settled', 'unknown')
    GROUP BY 1, 2, 3, 4, 5, 6 ORDER BY 1, 2, 3, 4, 5, 6
    ON CONFLICT (customer_id, day, agent_config_id, agent_type, provider, model) DO UPDATE SET
        calls = d.calls + excluded.calls, unpriced_calls = d.unpriced_calls + excluded.unpriced_calls,
        credits = d.credits + excluded.credits, dollars = d.dollars + excluded.dollars,
        tokens_in = d.tokens_in + excluded.tokens_in, tokens_cached = d.tokens_cached + excluded.tokens_cached,
        tokens_out = d.tokens_out + excluded.tokens_out,
        tokens_reasoning = d.tokens_reasoning + excluded.tokens_reasoning;
    RETURN NULL;
END
$$;
CREATE TRIGGER sum_changed_usage AFTER UPDATE ON usage_entries
    REFERENCING OLD TABLE AS before NEW TABLE AS after FOR EACH STATEMENT EXECUTE FUNCTION sum_changed_usage();

-- Gates --------------------------------------------------------------------------------------------

-- The last gate, and what providers say of it. Locks every bucket it touches in one order, takes in the news, then
-- takes `p_calls` from one bucket, or nothing. A key's calls in one minute are counted from the first of them.
-- `most` is empty where the provider closed the bucket.
-- p_news: [{credential, endpointGroup, perMinute, left, blockedForSeconds}]
CREATE FUNCTION use_buckets(p_news jsonb, p_credential text, p_group text, p_calls int, p_per_minute int)
RETURNS TABLE (most int, fits int, retry_in interval)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    v_now timestamptz;
    w record;
    b rate_buckets;
BEGIN
    FOR w IN
        SELECT n.credential, n."endpointGroup" AS endpoint_group, true AS stays
        FROM jsonb_to_recordset(p_news) AS n(credential text, "endpointGroup" text)
        UNION
        SELECT p_credential, p_group, p_per_minute IS NOT NULL WHERE p_calls > 0
        ORDER BY 1, 2, 3
    LOOP
        IF w.stays THEN
            INSERT INTO rate_buckets (credential, endpoint_group) VALUES (w.credential, w.endpoint_group)
            ON CONFLICT DO NOTHING;
        END IF;
        PERFORM FROM rate_buckets r
        WHERE r.credential = w.credential AND r.endpoint_group = w.endpoint_group FOR UPDATE;
    END LOOP;
    v_now := app_clock();

    UPDATE rate_buckets r SET
        per_minute = coalesce(n.per_minute, r.per_minute),
        window_at = CASE WHEN r.window_at > v_now - interval '1 minute' THEN r.window_at ELSE v_now END,
        used = greatest(
            CASE WHEN r.window_at > v_now - interval '1 minute' THEN r.used ELSE 0 END, n.per_minute - n.left_over
        ),
        blocked_until = greatest(r.blocked_until, v_now + n.blocked_for)
    FROM (
        SELECT credential, "endpointGroup" AS endpoint_group, max("perMinute") AS per_minute, min("left") AS left_over,
               max("blockedForSeconds") * interval '1 second' AS blocked_for
        FROM jsonb_to_recordset(p_news) AS n(
            credential text, "endpointGroup" text, "perMinute" int, "left" int, "blockedForSeconds" float8
        ) GROUP BY 1, 2
    ) n
    WHERE r.credential = n.credential AND r.endpoint_group = n.endpoint_group;

    fits := p_calls;
    IF p_calls > 0 THEN
        SELECT * INTO b FROM rate_buckets r WHERE r.credential = p_credential AND r.endpoint_group = p_group;
        IF FOUND THEN
            IF b.window_at <= v_now - interval '1 minute' THEN
                b.window_at := v_now;
                b.used := 0;
            END IF;
            most := coalesce(b.per_minute, p_per_minute);
            IF b.used + p_calls > most THEN
                fits := greatest(most - b.used, 0);
                retry_in := b.window_at + interval '1 minute' - v_now;
            END IF;
            IF b.blocked_until > v_now THEN
                retry_in := greatest(CASE fits WHEN 0 THEN retry_in END, b.blocked_until - v_now);
                most := NULL;
                fits := 0;
            END IF;
            IF retry_in IS NULL THEN
                UPDATE rate_buckets r SET window_at = b.window_at, used = b.used + p_calls
                WHERE r.credential = p_credential AND r.endpoint_group = p_group;
            END IF;
        END IF;
    END IF;
    RETURN NEXT;
END
$$;

-- Records a group of results and books the calls to come: the fence, steps, counters, settled calls, then the gates
-- of the new ones, all in one statement. The first update holds the run until commit and so is the fence.
-- Locks, in this order: run, the agent's limit, the ledger and its month, the buckets.
-- p_steps: [{key, status, inputHash, output, error, errorCode, item, durationMs, proposal}]
-- p_settled: [{id, status, model, credits, dollars, tokensIn, tokensCached, tokensOut, tokensReasoning, requestId,
--   errorCode}]
-- p_news: see use_buckets
-- p_calls: [{id, stepKey}], all at p_quote: {provider, operation, credits, dollars (null: no known price), payer,
--   credential, perMinute, countsItems, platformCredits, platformDollars (the plan's caps; null: none)}
-- Books all of p_calls or none; then `gate` says which refused, `most` its limit, `fits` how many of the first calls
-- would pass it, and `retry_in` when it is worth asking again.
CREATE FUNCTION checkpoint(
    p_run text, p_token text, p_lease interval, p_steps jsonb, p_settled jsonb, p_news jsonb, p_calls jsonb,
    p_quote jsonb, p_current_step text, p_total int
) RETURNS TABLE (
    cancel_requested boolean, agents_enabled boolean, gate text, most numeric, fits int, retry_in interval
) LANGUAGE plpgsql AS $$
DECLARE
    v_customer text := current_customer();
    v_wanted int := jsonb_array_length(p_calls);
    v_steps int := jsonb_array_length(p_steps);
    v_new_items int := 0;
    v_credits int := (p_quote->>'credits')::int;
    v_dollars numeric := (p_quote->>'dollars')::numeric;
    v_now timestamptz;
    v_limits jsonb;
    v_zone text;
    r agent_runs;
    l limit_counters;
    m usage_months;
    b budgets;
    k record;
BEGIN
    UPDATE agent_runs a SET
        lease_expires_at = app_now() + p_lease,
        items_processed = a.items_processed + done.items,
        items_succeeded = a.items_succeeded + done.items - done.failed,
        items_failed = a.items_failed + done.failed,
        items_total = coalesce(p_total, a.items_total),
        current_step = coalesce(p_current_step, a.current_step),
        progressed = a.progressed OR v_steps > 0,
        failures = CASE WHEN v_steps > 0 THEN 0 ELSE a.failures END
    FROM (
        SELECT count(*) FILTER (WHERE s.item) AS items,
               count(*) FILTER (WHERE s.item AND s.status = 'failed') AS failed
        FROM jsonb_to_recordset(p_steps) AS s(status text, item boolean)
    ) done
    WHERE a.customer_id = v_customer AND a.id = p_run AND a.lease_token = p_token AND a.status = 'running'
    RETURNING a.* INTO r;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'another worker holds the run' USING ERRCODE = 'BV001';
    END IF;
    cancel_requested := r.cancel_requested_at IS NOT NULL;
    SELECT c.agents_enabled INTO agents_enabled FROM customers c WHERE c.id = v_customer;
    IF cancel_requested OR NOT agents_enabled THEN
        v_wanted := 0;
    END IF;

    IF v_steps > 0 THEN
        INSERT INTO agent_run_steps
            (customer_id, run_id, key, status, input_hash, output, error, error_code, item, duration_ms, proposal)
        SELECT v_customer, p_run, s.key, s.status, s."inputHash", s.output, s.error, s."errorCode", s.item,
               s."durationMs", s.proposal
        FROM jsonb_to_recordset(p_steps) AS s(
            key text, status text, "inputHash" text, output jsonb, error text, "errorCode" text,
            item boolean, "durationMs" int, proposal jsonb
        );
    END IF;

    -- The limit's row is locked before the month's, which settling locks.
    IF v_wanted > 0 AND (p_quote->>'countsItems')::boolean AND r.agent_config_id IS NOT NULL THEN
        SELECT c.limits, c.time_zone INTO v_limits, v_zone
        FROM agent_configs c WHERE c.customer_id = v_customer AND c.id = r.agent_config_id;
        IF v_limits->>'hourly' IS NOT NULL OR v_limits->>'daily' IS NOT NULL THEN
            INSERT INTO limit_counters (customer_id, agent_config_id) VALUES (v_customer, r.agent_config_id)
            ON CONFLICT DO NOTHING;
            SELECT * INTO l FROM limit_counters c
            WHERE c.customer_id = v_customer AND c.agent_config_id = r.agent_config_id FOR UPDATE;
            SELECT c.limits, c.time_zone INTO v_limits, v_zone  -- as they are once it is our turn
            FROM agent_configs c WHERE c.customer_id = v_customer AND c.id = r.agent_config_id;
        END IF;
    END IF;

    IF jsonb_array_length(p_settled) > 0 THEN
        UPDATE usage_entries u SET
            status = s.status, model = coalesce(s.model, u.model), error_code = s."errorCode",
            credits = CASE s.status WHEN 'unknown' THEN u.credits ELSE s.credits END,
            dollars = CASE s.status WHEN 'unknown' THEN u.dollars ELSE s.dollars END,
            tokens_in = s."tokensIn", tokens_cached = s."tokensCached", tokens_out = s."tokensOut",
            tokens_reasoning = s."tokensReasoning", provider_request_id = s."requestId", settled_at = app_now()
        FROM jsonb_to_recordset(p_settled) AS s(
            id text, status text, model text, credits int, dollars numeric, "tokensIn" int, "tokensCached" int,
            "tokensOut" int, "tokensReasoning" int, "requestId" text, "errorCode" text
        )
        WHERE u.customer_id = v_customer AND u.id = s.id AND u.status IN ('reserved', 'unknown');
    END IF;

    v_now := app_clock();
    fits := v_wanted;
    IF l.agent_config_id IS NOT NULL THEN
        IF l.hour_items = 0 OR l.hour_at < date_trunc('hour', v_now, v_zone) THEN
            l.hour_at := date_trunc('hour', v_now, v_zone);
            l.hour_items := 0;
        END IF;
        IF l.day_items = 0 OR l.day_at < date_trunc('day', v_now, v_zone) THEN
            l.day_at := date_trunc('day', v_now, v_zone);
            l.day_items := 0;
        END IF;
        FOR k IN
            SELECT c.nth, sum((NOT EXISTS (
                       SELECT FROM usage_entries u
                       WHERE u.customer_id = v_customer AND u.run_id = p_run AND u.step_key = c.call->>'stepKey'
                   ))::int) OVER (ORDER BY c.nth) AS items
            FROM jsonb_array_elements(p_calls) WITH ORDINALITY AS c(call, nth) ORDER BY c.nth
        LOOP
            IF l.hour_items + k.items > (v_limits->>'hourly')::int THEN
                gate := 'hourly';
                most := (v_limits->>'hourly')::int;
                retry_in := date_trunc('hour', v_now, v_zone) + interval '1 hour' - v_now;
            END IF;
            IF l.day_items + k.items > (v_limits->>'daily')::int THEN
                gate := 'daily';
                most := (v_limits->>'daily')::int;
                retry_in := NULL;
            END IF;
            IF gate IS NOT NULL THEN
                fits := k.nth - 1;
                EXIT;
            END IF;
            v_new_items := k.items;
        END LOOP;
    END IF;

    IF v_wanted > 0 AND (v_credits > 0 OR v_dollars IS DISTINCT FROM 0) THEN
        INSERT INTO usage_months (customer_id, month)
        VALUES (v_customer, date_trunc('month', v_now AT TIME ZONE 'UTC')::date) ON CONFLICT DO NOTHING;
        SELECT * INTO m FROM usage_months u
        WHERE u.customer_id = v_customer AND u.month = date_trunc('month', v_now AT TIME ZONE 'UTC')::date FOR UPDATE;
        SELECT * INTO b FROM budgets u WHERE u.customer_id = v_customer;
        FOR k IN
            SELECT * FROM (VALUES
                ('credits', b.monthly_credits::numeric, m.credits_spent + m.credits_reserved::numeric, v_credits::numeric),
                ('dollars', b.monthly_dollars, m.dollars_spent + m.dollars_reserved, v_dollars),
                ('platform_credits', (p_quote->>'platformCredits')::numeric, m.platform_credits::numeric, v_credits),
                ('platform_dollars', (p_quote->>'platformDollars')::numeric, m.platform_dollars, v_dollars)
            ) AS caps(name, cap, booked, price)
            WHERE cap IS NOT NULL AND price IS DISTINCT FROM 0
              AND (name NOT LIKE 'platform%' OR p_quote->>'payer' = 'platform')
        LOOP
            IF k.price IS NULL THEN
                gate := 'unpriced';
                most := NULL;
                fits := 0;
                retry_in := NULL;
            ELSIF k.booked + fits * k.price > k.cap THEN
                gate := k.name;
                most := k.cap;
                fits := greatest(floor((k.cap - k.booked) / k.price), 0);
                retry_in := NULL;
            END IF;
        END LOOP;
    END IF;

    IF v_wanted > 0 OR jsonb_array_length(p_news) > 0 THEN
        SELECT * INTO k FROM use_buckets(
            p_news, p_quote->>'credential', concat(p_quote->>'provider', ':', p_quote->>'operation'),
            CASE WHEN gate IS NULL THEN v_wanted ELSE 0 END, (p_quote->>'perMinute')::int
        );
        IF gate IS NULL AND k.fits < v_wanted THEN
            gate := 'rate';
            most := k.most;
            fits := k.fits;
            retry_in := k.retry_in;
        END IF;
    END IF;

    IF v_wanted > 0 AND gate IS NULL THEN
        IF v_new_items > 0 THEN
            UPDATE limit_counters c SET
                hour_at = l.hour_at, hour_items = l.hour_items + v_new_items,
                day_at = l.day_at, day_items = l.day_items + v_new_items
            WHERE c.customer_id = v_customer AND c.agent_config_id = l.agent_config_id;
        END IF;
        INSERT INTO usage_entries (
            id, customer_id, agent_config_id, agent_type, run_id, step_key, lease_token, provider, operation, payer,
            credits, dollars, created_at
        )
        SELECT c.id, v_customer, r.agent_config_id, r.agent_type, p_run, c."stepKey", p_token, p_quote->>'provider',
               p_quote->>'operation', p_quote->>'payer', v_credits, v_dollars, v_now
        FROM jsonb_to_recordset(p_calls) AS c(id text, "stepKey" text);
    END IF;
    RETURN NEXT;
END
$$;

-- The queue ----------------------------------------------------------------------------------------

-- Ends a run for good, tells the world, and lets go of what it had reserved. The caller holds the row. An output is
-- given the ids of the run's approval items.
CREATE OR REPLACE FUNCTION end_run(
    p_run text, p_status text, p_output jsonb, p_error_code text, p_error text, p_sinks text[]
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    r agent_runs;
BEGIN
    UPDATE agent_runs SET
        status = p_status,
        output = p_output || jsonb_build_object('approvalItemIds', coalesce((
            SELECT jsonb_agg(items.id ORDER BY items.id) FROM (
                SELECT i.id FROM approval_items i
                WHERE i.customer_id = current_customer() AND i.agent_run_id = p_run ORDER BY i.id LIMIT 1000
            ) items
        ), '[]')),
        error_code = p_error_code, error = p_error,
        lease_token = NULL, lease_expires_at = NULL, wait_reason = NULL, current_step = NULL,
        completed_at = app_now()
    WHERE customer_id = current_customer() AND id = p_run AND status IN ('pending', 'running')
    RETURNING * INTO r;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'the run is over' USING ERRCODE = 'BV001';
    END IF;
    IF EXISTS (
            SELECT FROM usage_entries u
            WHERE u.customer_id = current_customer() AND u.run_id = p_run AND u.status = 'reserved'
       ) THEN
        UPDATE usage_entries SET status = 'unknown', settled_at = app_now()
        WHERE customer_id = current_customer() AND run_id = p_run AND status = 'reserved';
    END IF;
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

-- After a change of an agent's limits: has its runs that wait look again, and lets none of its items be booked until
-- the commit. Returns how many runs it woke; the caller has to ring for them.
CREATE FUNCTION limits_changed(p_config text) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
    v_customer text := current_customer();
    v_woken int;
BEGIN
    PERFORM FROM tenant_queues q WHERE q.customer_id = v_customer FOR UPDATE;
    UPDATE agent_runs a SET due_at = app_now()
    WHERE a.customer_id = v_customer AND a.status = 'pending' AND a.wait_reason IS NOT NULL
      AND a.due_at > app_now() AND a.agent_config_id = p_config;
    GET DIAGNOSTICS v_woken = ROW_COUNT;
    INSERT INTO limit_counters (customer_id, agent_config_id) VALUES (v_customer, p_config) ON CONFLICT DO NOTHING;
    PERFORM FROM limit_counters c WHERE c.customer_id = v_customer AND c.agent_config_id = p_config FOR UPDATE;
    RETURN v_woken;
END
$$;

-- Access -------------------------------------------------------------------------------------------

DO $$
DECLARE
    t text;
BEGIN
    FOREACH t IN ARRAY ARRAY['usage_months', 'usage_days', 'budgets', 'limit_counters'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', t);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', t);
        EXECUTE format(
            'CREATE POLICY tenant ON %I TO bevyly_app USING (customer_id = current_customer())'
            ' WITH CHECK (customer_id = current_customer())', t
        );
    END LOOP;
END
$$;
GRANT SELECT, INSERT, UPDATE ON usage_months, usage_days, budgets, limit_counters TO bevyly_app;

GRANT SELECT, INSERT, UPDATE ON rate_buckets TO bevyly_system;
GRANT CREATE ON SCHEMA public TO bevyly_system;
ALTER FUNCTION use_buckets(jsonb, text, text, int, int) OWNER TO bevyly_system;
REVOKE CREATE ON SCHEMA public FROM bevyly_system;
REVOKE EXECUTE ON FUNCTION
    use_buckets(jsonb, text, text, int, int), limits_changed(text), sum_new_usage(), sum_changed_usage(),
    checkpoint(text, text, interval, jsonb, jsonb, jsonb, jsonb, jsonb, text, int) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION
    use_buckets(jsonb, text, text, int, int), limits_changed(text), sum_new_usage(), sum_changed_usage(),
    checkpoint(text, text, interval, jsonb, jsonb, jsonb, jsonb, jsonb, text, int) TO bevyly_app, bevyly_system;
