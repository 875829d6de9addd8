-- What the tables' defaults and policies call.

-- The database's clock; a test may set another for its transaction. CASE, not COALESCE: beside a policy the planner
-- takes COALESCE for leaky, and would use no index on a time.
CREATE FUNCTION app_now() RETURNS timestamptz LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN current_setting('app.fake_now', true) <> ''
        THEN current_setting('app.fake_now', true)::timestamptz ELSE now() END
$$;

-- The same while a statement goes on: what committed while this transaction waited for a lock is not after it.
CREATE FUNCTION app_clock() RETURNS timestamptz LANGUAGE sql VOLATILE AS $$
    SELECT CASE WHEN current_setting('app.fake_now', true) <> ''
        THEN current_setting('app.fake_now', true)::timestamptz ELSE clock_timestamp() END
$$;

-- The tenant this transaction entered; NULL outside one, so that no policy holds.
CREATE FUNCTION current_customer() RETURNS text LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT nullif(current_setting('app.customer_id', true), '')
$$;

-- The same shape as chalicelib/domain/ids.py makes: prefix, '_', 26 characters of Crockford base32 over a UUIDv7.
CREATE FUNCTION new_id(p_prefix text) RETURNS text LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    v_bytes bytea := overlay(
        uuid_send(gen_random_uuid())
        PLACING substring(int8send(floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint) FROM 3) FROM 1 FOR 6
    );
    v_bits bit(130);
    v_text text := '';
BEGIN
    v_bytes := set_byte(v_bytes, 6, (get_byte(v_bytes, 6) & 15) | 112);
    v_bits := B'00' || ('x' || encode(v_bytes, 'hex'))::bit(128);
    FOR i IN 0..25 LOOP
        v_text := v_text || substr(
            '0123456789abcdefghjkmnpqrstvwxyz', substring(v_bits FROM i * 5 + 1 FOR 5)::int + 1, 1
        );
    END LOOP;
    RETURN p_prefix || '_' || v_text;
END
$$;
