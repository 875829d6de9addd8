-- A day's sums by whose key paid, too. Otherwise as before.
CREATE OR REPLACE FUNCTION sum_changed_usage() RETURNS trigger LANGUAGE plpgsql AS $$
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
        customer_id, day, agent_config_id, agent_type, provider, model, payer, calls, unpriced_calls, credits,
        dollars, tokens_in, tokens_cached, tokens_out, tokens_reasoning
    )
    SELECT customer_id, (created_at AT TIME ZONE 'UTC')::date, coalesce(agent_config_id, ''), agent_type, provider,
           coalesce(model, ''), payer, sum(sign), coalesce(sum(sign) FILTER (WHERE dollars IS NULL), 0),
           sum(sign * credits), coalesce(sum(sign * dollars), 0), sum(sign * tokens_in),
           sum(sign * tokens_cached), sum(sign * tokens_out), sum(sign * tokens_reasoning)
    FROM (SELECT *, 1 AS sign FROM after UNION ALL SELECT *, -1 FROM before) changes
    WHERE status IN ('settled', 'unknown')
    GROUP BY 1, 2, 3, 4, 5, 6, 7 ORDER BY 1, 2, 3, 4, 5, 6, 7
    ON CONFLICT (customer_id, day, agent_config_id, agent_type, provider, model, payer) DO UPDATE SET
        calls = d.calls + excluded.calls, unpriced_calls = d.unpriced_calls + excluded.unpriced_calls,
        credits = d.credits + excluded.credits, dollars = d.dollars + excluded.dollars,
        tokens_in = d.tokens_in + excluded.tokens_in, tokens_cached = d.tokens_cached + excluded.tokens_cached,
        tokens_out = d.tokens_out + excluded.tokens_out,
        tokens_reasoning = d.tokens_reasoning + excluded.tokens_reasoning;
    RETURN NULL;
END
$$;

-- The days anew, of every tenant: what a day spent is the sum of its entries. The owner sees no tenant's rows while
-- row-level security is forced on it.
ALTER TABLE usage_entries NO FORCE ROW LEVEL SECURITY;
ALTER TABLE usage_days NO FORCE ROW LEVEL SECURITY;
DELETE FROM usage_days;
INSERT INTO usage_days (
    customer_id, day, agent_config_id, agent_type, provider, model, payer, calls, unpriced_calls, credits, dollars,
    tokens_in, tokens_cached, tokens_out, tokens_reasoning
)
SELECT customer_id, (created_at AT TIME ZONE 'UTC')::date, coalesce(agent_config_id, ''), agent_type, provider,
       coalesce(model, ''), payer, count(*), count(*) FILTER (WHERE dollars IS NULL), sum(credits),
       coalesce(sum(dollars), 0), sum(tokens_in), sum(tokens_cached), sum(tokens_out), sum(tokens_reasoning)
FROM usage_entries WHERE status IN ('settled', 'unknown') GROUP BY 1, 2, 3, 4, 5, 6, 7;
ALTER TABLE usage_days FORCE ROW LEVEL SECURITY;
ALTER TABLE usage_entries FORCE ROW LEVEL SECURITY;

-- Thresholds of a budget ------------------------------------------------------------------------------

ALTER TABLE budget_alerts ENABLE ROW LEVEL SECURITY;
ALTER TABLE budget_alerts FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON budget_alerts TO bevyly_app
    USING (customer_id = current_customer()) WITH CHECK (customer_id = current_customer());
GRANT SELECT, INSERT ON budget_alerts TO bevyly_app;

-- Tells of each threshold of the month's caps that has been reached and was not told before. The row in budget_alerts
-- and the event are of the transaction that reached it, and the row's key lets one tell. What is spent counts, not what
-- is reserved: a call that is never made shall not cry wolf. `p_ended`: the unit whose cap has just ended a run. A cap
-- refuses what might exceed it, so that spending may stop a little below; then its whole is reached, too.
-- The caller holds the month's row, whose lock stands for its events' sequence. A transaction that does not say which
-- sinks there are tells nothing; the next one that does makes up for it.
CREATE FUNCTION tell_thresholds(p_month date, p_ended text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    v_customer text := current_customer();
    v_sinks text[] := string_to_array(nullif(current_setting('app.event_sinks', true), ''), ',');
    k record;
BEGIN
    IF v_sinks IS NULL THEN
        RETURN;
    END IF;
    FOR k IN
        SELECT c.unit, c.cap, c.spent, t.threshold,
               CASE WHEN c.spent > 0 AND c.spent >= c.cap * t.threshold / 100 THEN 'spent' ELSE 'run_ended' END AS reason
        FROM budgets b JOIN usage_months m ON m.customer_id = b.customer_id AND m.month = p_month
        CROSS JOIN LATERAL (VALUES
            ('credits', b.monthly_credits::numeric, m.credits_spent::numeric),
            ('dollars', b.monthly_dollars, m.dollars_spent)
        ) AS c(unit, cap, spent)
        CROSS JOIN (VALUES (80), (100)) AS t(threshold)
        WHERE b.customer_id = v_customer AND c.cap IS NOT NULL
          AND (c.spent > 0 AND c.spent >= c.cap * t.threshold / 100 OR t.threshold = 100 AND c.unit = p_ended)
        ORDER BY c.unit, t.threshold
    LOOP
        INSERT INTO budget_alerts (customer_id, month, unit, threshold, cap, spent, reason)
        VALUES (v_customer, p_month, k.unit, k.threshold, k.cap, k.spent, k.reason)
        ON CONFLICT DO NOTHING;
        IF FOUND THEN
            PERFORM emit_events(v_sinks, jsonb_build_array(jsonb_build_object(
                'type', 'budget.threshold.reached',
                'aggregateType', 'budget',
                'aggregateId', to_char(p_month, 'YYYY-MM'),
                'payload', jsonb_build_object(
                    'month', to_char(p_month, 'YYYY-MM'), 'unit', k.unit, 'threshold', k.threshold,
                    'cap', trim_scale(k.cap), 'spent', trim_scale(k.spent), 'reason', k.reason
                )
            )));
        END IF;
    END LOOP;
END
$$;

-- Whatever settles a call changes its month's row, and holds it.
CREATE FUNCTION tell_what_spending_reached() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM tell_thresholds(NEW.month, NULL);
    RETURN NULL;
END
$$;
CREATE TRIGGER tell_what_spending_reached AFTER UPDATE ON usage_months FOR EACH ROW
    WHEN (NEW.credits_spent > OLD.credits_spent OR NEW.dollars_spent > OLD.dollars_spent)
    EXECUTE FUNCTION tell_what_spending_reached();
CREATE TRIGGER tell_what_first_spending_reached AFTER INSERT ON usage_months FOR EACH ROW
    WHEN (NEW.credits_spent > 0 OR NEW.dollars_spent > 0)
    EXECUTE FUNCTION tell_what_spending_reached();

-- A cap that is lowered below what is spent. Who changes a budget holds the month's row.
CREATE FUNCTION tell_what_a_cap_reached() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM tell_thresholds(date_trunc('month', app_now() AT TIME ZONE 'UTC')::date, NULL);
    RETURN NULL;
END
$$;
CREATE TRIGGER tell_what_a_cap_reached AFTER INSERT OR UPDATE ON budgets FOR EACH ROW
    EXECUTE FUNCTION tell_what_a_cap_reached();

-- A run that a cap has ended.
CREATE FUNCTION tell_that_a_cap_ended_a_run() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    v_month date := date_trunc('month', app_now() AT TIME ZONE 'UTC')::date;
BEGIN
    PERFORM FROM usage_months u WHERE u.customer_id = NEW.customer_id AND u.month = v_month FOR UPDATE;
    PERFORM tell_thresholds(v_month, replace(NEW.error_code, 'budget_', ''));
    RETURN NULL;
END
$$;
CREATE TRIGGER tell_that_a_cap_ended_a_run AFTER UPDATE OF status ON agent_runs FOR EACH ROW
    WHEN (NEW.status = 'failed' AND NEW.error_code IN ('budget_credits', 'budget_dollars'))
    EXECUTE FUNCTION tell_that_a_cap_ended_a_run();

REVOKE EXECUTE ON FUNCTION tell_thresholds(date, text), tell_what_spending_reached(), tell_what_a_cap_reached(),
    tell_that_a_cap_ended_a_run() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tell_thresholds(date, text) TO bevyly_app;
