-- What was spent before the sums were kept. The owner, too, is held back by forced row-level security.
ALTER TABLE usage_entries NO FORCE ROW LEVEL SECURITY;
ALTER TABLE agent_runs NO FORCE ROW LEVEL SECURITY;
UPDATE usage_entries u SET agent_type = r.agent_type, dollars = CASE u.provider WHEN 'openai' THEN NULL ELSE 0 END
FROM agent_runs r WHERE r.customer_id = u.customer_id AND r.id = u.run_id;
INSERT INTO usage_months (customer_id, month, credits_reserved, credits_spent, platform_credits)
SELECT customer_id, date_trunc('month', created_at AT TIME ZONE 'UTC')::date,
       coalesce(sum(credits) FILTER (WHERE status = 'reserved'), 0),
       coalesce(sum(credits) FILTER (WHERE status IN ('settled', 'unknown')), 0), sum(credits)
FROM usage_entries WHERE status <> 'released' GROUP BY 1, 2;
INSERT INTO usage_days (
    customer_id, day, agent_config_id, agent_type, provider, model, calls, unpriced_calls, credits,
    tokens_in, tokens_cached, tokens_out, tokens_reasoning
)
SELECT customer_id, (created_at AT TIME ZONE 'UTC')::date, coalesce(agent_config_id, ''), agent_type, provider,
       coalesce(model, ''), count(*), count(*) FILTER (WHERE dollars IS NULL), sum(credits),
       sum(tokens_in), sum(tokens_cached), sum(tokens_out), sum(tokens_reasoning)
FROM usage_entries WHERE status IN ('settled', 'unknown') GROUP BY 1, 2, 3, 4, 5, 6;
ALTER TABLE agent_runs FORCE ROW LEVEL SECURITY;
ALTER TABLE usage_entries FORCE ROW LEVEL SECURITY;
