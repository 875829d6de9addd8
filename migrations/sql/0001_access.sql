-- Row-level security, enabled and forced, on every table that has a tenant; then who may touch what.

DO $$
DECLARE
    t text;
BEGIN
    FOREACH t IN ARRAY ARRAY[
        'users', 'agent_configs', 'agent_runs', 'agent_run_steps', 'tenant_queues', 'usage_entries',
        'approval_items', 'accounts', 'contacts', 'intent_signals', 'outreach_emails', 'outbox_events',
        'event_sequences', 'event_deliveries', 'idempotency_keys', 'audit_entries', 'integration_credentials'
    ] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', t);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', t);
        EXECUTE format(
            'CREATE POLICY tenant ON %I TO bevyly_app USING (customer_id = current_customer())'
            ' WITH CHECK (customer_id = current_customer())', t
        );
    END LOOP;
END
$$;

ALTER TABLE customers ENABLE ROW LEVEL SECURITY;
ALTER TABLE customers FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON customers TO bevyly_app USING (id = current_customer()) WITH CHECK (id = current_customer());

-- bevyly_app: what a signed-in person's request or an agent's run may do inside its tenant.
GRANT USAGE ON SCHEMA public TO bevyly_app, bevyly_system;
GRANT SELECT ON alembic_version TO bevyly_app, bevyly_system;
GRANT SELECT ON customers, users TO bevyly_app;
GRANT UPDATE (name, agents_enabled, max_concurrent_runs, undo_window_seconds, time_zone, version, updated_at)
    ON customers TO bevyly_app;
GRANT INSERT ON users TO bevyly_app;
GRANT UPDATE (name, role, status, version, updated_at) ON users TO bevyly_app;
GRANT SELECT, INSERT, UPDATE ON
    agent_configs, agent_runs, agent_run_steps, usage_entries, approval_items, accounts, contacts,
    intent_signals, outreach_emails, event_sequences TO bevyly_app;
GRANT SELECT, UPDATE ON tenant_queues TO bevyly_app;
GRANT SELECT, INSERT ON outbox_events, audit_entries TO bevyly_app;
GRANT SELECT, INSERT, UPDATE ON event_deliveries TO bevyly_app;
GRANT SELECT, INSERT, DELETE ON idempotency_keys TO bevyly_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON integration_credentials TO bevyly_app;

-- bevyly_system: finds work across tenants and moves the outbox; it reads no content of an item.
CREATE POLICY system_finds ON customers TO bevyly_system USING (true) WITH CHECK (true);
GRANT SELECT, INSERT ON customers TO bevyly_system;
CREATE POLICY system_finds ON users TO bevyly_system USING (true) WITH CHECK (true);
GRANT SELECT, INSERT ON users TO bevyly_system;
GRANT UPDATE (issuer, subject, status) ON users TO bevyly_system;
CREATE POLICY system_rings ON tenant_queues TO bevyly_system USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE ON tenant_queues TO bevyly_system;
CREATE POLICY system_finds ON agent_runs FOR SELECT TO bevyly_system USING (status IN ('pending', 'running'));
GRANT SELECT (id, customer_id, status, due_at, queue_at, lease_expires_at, created_at) ON agent_runs TO bevyly_system;
CREATE POLICY system_finds ON approval_items FOR SELECT TO bevyly_system
    USING (status IN ('pending', 'approved', 'edited', 'rejected'));
GRANT SELECT (id, customer_id, status, effective_at, applied_at, expires_at) ON approval_items TO bevyly_system;
CREATE POLICY system_relays ON outbox_events FOR SELECT TO bevyly_system USING (true);
GRANT SELECT ON outbox_events TO bevyly_system;
CREATE POLICY system_relays ON event_deliveries TO bevyly_system USING (true) WITH CHECK (true);
GRANT SELECT ON event_deliveries TO bevyly_system;
GRANT UPDATE (status, attempts, next_attempt_at, error, delivered_at) ON event_deliveries TO bevyly_system;
GRANT SELECT, INSERT, UPDATE ON relay_leases TO bevyly_system;
GRANT SELECT, INSERT, UPDATE, DELETE ON sign_in_attempts TO bevyly_system;

-- A customer has a queue from the first moment, whoever creates it.
CREATE FUNCTION give_a_queue() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO tenant_queues (customer_id) VALUES (NEW.id) ON CONFLICT DO NOTHING;
    RETURN NULL;
END
$$;
CREATE TRIGGER give_a_queue AFTER INSERT ON customers FOR EACH ROW EXECUTE FUNCTION give_a_queue();

-- The functions that see across tenants belong to bevyly_system and are called by bevyly_app.
GRANT CREATE ON SCHEMA public TO bevyly_system;
ALTER FUNCTION enter(text, text, text) OWNER TO bevyly_system;
ALTER FUNCTION allow_sign_in(text[], int, interval, text) OWNER TO bevyly_system;
ALTER FUNCTION forget_sign_in(text[]) OWNER TO bevyly_system;
REVOKE CREATE ON SCHEMA public FROM bevyly_system;
REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA public FROM PUBLIC;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA public TO bevyly_app, bevyly_system;
ALTER DEFAULT PRIVILEGES IN SCHEMA public REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;
