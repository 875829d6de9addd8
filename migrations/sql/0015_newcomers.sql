-- An operator lets people in as bevyly_system, and leaves an entry of it in the same transaction: on nobody's behalf, of
-- these two acts alone.
CREATE POLICY system_lets_in ON audit_entries FOR INSERT TO bevyly_system
    WITH CHECK (user_id IS NULL AND action IN ('customer.created', 'user.created'));
GRANT INSERT (id, customer_id, action, target_id, details) ON audit_entries TO bevyly_system;
