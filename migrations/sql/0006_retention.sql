-- What is kept for a time only. bevyly_system clears it across tenants, and its policies show it nothing else: whatever a
-- statement or a setting says, nothing younger than a day goes, nothing undelivered, nothing parked, no event that a run
-- has still to take. It reads ids and times. Where it may delete it may also lock (SKIP LOCKED needs UPDATE of some
-- column), and WITH CHECK (false) says that it may write nothing.

CREATE POLICY system_finds_ended ON agent_runs FOR SELECT TO bevyly_system USING (completed_at IS NOT NULL);

-- A step's output goes; the step stays. The only change it may make to one is this.
CREATE POLICY system_finds ON agent_run_steps FOR SELECT TO bevyly_system
    USING (recorded_at <= app_now() - interval '1 day');
CREATE POLICY system_clears ON agent_run_steps FOR UPDATE TO bevyly_system
    USING (output_removed_at IS NULL) WITH CHECK (output IS NULL AND output_removed_at IS NOT NULL);
GRANT SELECT (customer_id, run_id, key, recorded_at, output_removed_at), UPDATE (output, output_removed_at)
    ON agent_run_steps TO bevyly_system;

CREATE POLICY system_locks ON outbox_events FOR UPDATE TO bevyly_system
    USING (created_at <= app_now() - interval '1 day') WITH CHECK (false);
CREATE POLICY system_clears ON outbox_events FOR DELETE TO bevyly_system USING (
    created_at <= app_now() - interval '1 day'
    AND NOT EXISTS (
        SELECT FROM event_deliveries d
        WHERE d.customer_id = outbox_events.customer_id AND d.event_id = outbox_events.id AND d.status <> 'delivered'
    )
);
GRANT UPDATE (created_at), DELETE ON outbox_events TO bevyly_system;
CREATE POLICY system_clears ON event_deliveries AS RESTRICTIVE FOR DELETE TO bevyly_system
    USING (status = 'delivered' AND delivered_at <= app_now() - interval '1 day');
GRANT DELETE ON event_deliveries TO bevyly_system;

CREATE POLICY system_clears ON idempotency_keys TO bevyly_system
    USING (created_at <= app_now() - interval '24 hours') WITH CHECK (false);
GRANT SELECT (customer_id, user_id, route, key, created_at), UPDATE (created_at), DELETE
    ON idempotency_keys TO bevyly_system;

CREATE POLICY system_finds ON run_trigger_events FOR SELECT TO bevyly_system USING (true);
CREATE POLICY system_locks ON run_trigger_events FOR UPDATE TO bevyly_system
    USING (created_at <= app_now() - interval '1 day') WITH CHECK (false);
CREATE POLICY system_clears ON run_trigger_events FOR DELETE TO bevyly_system
    USING (
        created_at <= app_now() - interval '1 day'
        AND (
            run_id IS NOT NULL
            OR EXISTS (
                SELECT FROM agent_configs g
                WHERE g.customer_id = run_trigger_events.customer_id AND g.id = run_trigger_events.agent_config_id
                  AND g.deleted_at IS NOT NULL
            )
        )
    );
GRANT SELECT, UPDATE (created_at), DELETE ON run_trigger_events TO bevyly_system;

CREATE POLICY system_clears ON schedule_fires TO bevyly_system
    USING (created_at <= app_now() - interval '1 day') WITH CHECK (false);
GRANT SELECT (customer_id, agent_config_id, slot_at, created_at), UPDATE (created_at), DELETE
    ON schedule_fires TO bevyly_system;
