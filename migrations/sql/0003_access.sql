ALTER TABLE run_trigger_events ENABLE ROW LEVEL SECURITY;
ALTER TABLE run_trigger_events FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON run_trigger_events TO bevyly_app
    USING (customer_id = current_customer()) WITH CHECK (customer_id = current_customer());
GRANT SELECT, INSERT, UPDATE ON run_trigger_events TO bevyly_app;
