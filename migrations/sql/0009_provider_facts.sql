-- Facts are written once, read, and deleted whole; their keys go with them, as the owner's foreign key has it.
DO $$
DECLARE
    t text;
BEGIN
    FOREACH t IN ARRAY ARRAY['provider_facts', 'provider_fact_keys'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', t);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', t);
        EXECUTE format(
            'CREATE POLICY tenant ON %I TO bevyly_app USING (customer_id = current_customer())'
            ' WITH CHECK (customer_id = current_customer())', t
        );
    END LOOP;
END
$$;
GRANT SELECT, INSERT, DELETE ON provider_facts TO bevyly_app;
GRANT SELECT, INSERT ON provider_fact_keys TO bevyly_app;

-- As 0006_retention.sql has it: nothing that is younger than a day, no content, and no write.
CREATE POLICY system_clears ON provider_facts TO bevyly_system
    USING (fetched_at <= app_now() - interval '1 day') WITH CHECK (false);
GRANT SELECT (customer_id, id, fetched_at), UPDATE (fetched_at), DELETE ON provider_facts TO bevyly_system;
