DROP FUNCTION tell_that_a_cap_ended_a_run() CASCADE;
DROP FUNCTION tell_what_a_cap_reached() CASCADE;
DROP FUNCTION tell_what_spending_reached() CASCADE;
DROP FUNCTION tell_thresholds(date, text);

-- Whose key paid is no longer told apart.
ALTER TABLE usage_days NO FORCE ROW LEVEL SECURITY;
WITH apart AS (DELETE FROM usage_days RETURNING *)
INSERT INTO usage_days (
    customer_id, day, agent_config_id, agent_type, provider, model, calls, unpriced_calls, credits, dollars,
    tokens_in, tokens_cached, tokens_out, tokens_reasoning
)
SELECT customer_id, day, agent_config_id, agent_type, provider, model, sum(calls), sum(unpriced_calls), sum(credits),
       sum(dollars), sum(tokens_in), sum(tokens_cached), sum(tokens_out), sum(tokens_reasoning)
FROM apart GROUP BY 1, 2, 3, 4, 5, 6;
ALTER TABLE usage_days FORCE ROW LEVEL SECURITY;

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
