ALTER TABLE schedule_fires ENABLE ROW LEVEL SECURITY;
ALTER TABLE schedule_fires FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON schedule_fires TO bevyly_app
    USING (customer_id = current_customer()) WITH CHECK (customer_id = current_customer());
GRANT SELECT, INSERT ON schedule_fires TO bevyly_app;

-- The tick finds what is due; the rest it does inside the tenant.
CREATE POLICY system_finds ON agent_configs FOR SELECT TO bevyly_system
    USING (next_due_at IS NOT NULL AND enabled AND deleted_at IS NULL);
GRANT SELECT (id, customer_id, next_due_at, enabled, deleted_at) ON agent_configs TO bevyly_system;
