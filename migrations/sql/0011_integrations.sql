-- Rotation finds whose keys there are, and nothing about them; it re-wraps inside each tenant, as bevyly_app.
CREATE POLICY system_finds ON integration_credentials FOR SELECT TO bevyly_system USING (true);
GRANT SELECT (id, customer_id) ON integration_credentials TO bevyly_system;
