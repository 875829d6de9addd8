-- An event in one statement: each run has at least three. The sequence's row lock is taken before the position, so
-- positions order an aggregate's events whoever emits them: the event's row, and with it the position, is made from the
-- sequence's.
CREATE OR REPLACE FUNCTION emit_events(p_sinks text[], p_events jsonb) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    v_customer text := current_customer();
    v_id text;
    e record;
BEGIN
    FOR e IN
        SELECT value->>'type' AS type, value->>'aggregateType' AS aggregate_type,
               value->>'aggregateId' AS aggregate_id, value->'payload' AS payload,
               coalesce(value->'causation', '{}') AS causation
        FROM jsonb_array_elements(p_events) WITH ORDINALITY AS given(value, nth)
        ORDER BY value->>'aggregateType', value->>'aggregateId', nth
    LOOP
        v_id := new_id('evt');
        WITH taken AS (
            INSERT INTO event_sequences AS s (customer_id, aggregate_type, aggregate_id, last)
            VALUES (v_customer, e.aggregate_type, e.aggregate_id, 1)
            ON CONFLICT (customer_id, aggregate_type, aggregate_id) DO UPDATE SET last = s.last + 1
            RETURNING s.last
        ), born AS (
            INSERT INTO outbox_events
                (id, customer_id, event_type, aggregate_type, aggregate_id, sequence, payload, causation)
            SELECT v_id, v_customer, e.type, e.aggregate_type, e.aggregate_id, taken.last, e.payload, e.causation
            FROM taken RETURNING position
        )
        INSERT INTO event_deliveries (customer_id, event_id, sink, position, aggregate_id)
        SELECT v_customer, v_id, sink, born.position, e.aggregate_id FROM born, unnest(p_sinks) AS sink;
    END LOOP;
END
$$;

-- A bell that rang a minute ago and was not answered is rung again: its message may be lost, and a tenant without due
-- work is not looked at by the sweep. Otherwise as before: it locks the tenant's queue also where the bell has rung.
CREATE OR REPLACE FUNCTION ring() RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    v_rung timestamptz;
BEGIN
    SELECT rung_at INTO v_rung FROM tenant_queues WHERE customer_id = current_customer() FOR UPDATE;
    IF v_rung > app_now() - interval '60 seconds' THEN
        RETURN false;
    END IF;
    UPDATE tenant_queues SET rung_at = app_now() WHERE customer_id = current_customer();
    RETURN true;
END
$$;
