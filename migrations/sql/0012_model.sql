-- As before (0004_flow.sql says what is what), and a call's entry names the model from its booking on: what nobody
-- heard of again is told by model, too. p_quote: also `model`, the one that is asked.
CREATE OR REPLACE FUNCTION checkpoint(
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
            id, customer_id, agent_config_id, agent_type, run_id, step_key, lease_token, provider, operation, model,
            payer, credits, dollars, created_at
        )
        SELECT c.id, v_customer, r.agent_config_id, r.agent_type, p_run, c."stepKey", p_token, p_quote->>'provider',
               p_quote->>'operation', p_quote->>'model', p_quote->>'payer', v_credits, v_dollars, v_now
        FROM jsonb_to_recordset(p_calls) AS c(id text, "stepKey" text);
    END IF;
    RETURN NEXT;
END
$$;
