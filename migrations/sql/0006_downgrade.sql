DROP FUNCTION sweep_runs(int, boolean, interval, int, interval, int, text[]);
DROP FUNCTION take_back(text, int, text[]);
DROP FUNCTION forget_reservations(interval, int);
DROP POLICY system_finds_put_away ON agent_configs;
REVOKE SELECT (updated_at) ON agent_configs FROM bevyly_system;
DROP POLICY system_finds_ended ON agent_runs;
REVOKE SELECT (agent_config_id, completed_at) ON agent_runs FROM bevyly_system;
DROP POLICY system_finds ON usage_entries;
REVOKE SELECT (customer_id, status, created_at) ON usage_entries FROM bevyly_system;
DROP POLICY system_finds ON agent_run_steps;
DROP POLICY system_clears ON agent_run_steps;
REVOKE SELECT (customer_id, run_id, key, recorded_at, output_removed_at), UPDATE (output, output_removed_at)
    ON agent_run_steps FROM bevyly_system;
DROP POLICY system_locks ON outbox_events;
DROP POLICY system_clears ON outbox_events;
REVOKE UPDATE (created_at), DELETE ON outbox_events FROM bevyly_system;
DROP POLICY system_clears ON event_deliveries;
REVOKE DELETE ON event_deliveries FROM bevyly_system;
DROP POLICY system_clears ON idempotency_keys;
REVOKE SELECT (customer_id, user_id, route, key, created_at), UPDATE (created_at), DELETE
    ON idempotency_keys FROM bevyly_system;
DROP POLICY system_finds ON run_trigger_events;
DROP POLICY system_locks ON run_trigger_events;
DROP POLICY system_clears ON run_trigger_events;
REVOKE SELECT, UPDATE (created_at), DELETE ON run_trigger_events FROM bevyly_system;
DROP POLICY system_clears ON schedule_fires;
REVOKE SELECT (customer_id, agent_config_id, slot_at, created_at), UPDATE (created_at), DELETE
    ON schedule_fires FROM bevyly_system;
