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

-- What a transaction gathered, in one statement at its end: audit entries, events, and the ring, which comes last, as it
-- locks the tenant's queue. Says whether the caller has to send a message.
CREATE FUNCTION flush_work(
    p_customer text, p_request text, p_entries jsonb, p_sinks text[], p_events jsonb, p_rings boolean
) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    IF jsonb_array_length(p_entries) > 0 THEN
        INSERT INTO audit_entries (id, customer_id, user_id, action, target_id, details, request_id)
        SELECT e.id, p_customer, e.user_id, e.action, e.target_id, e.details, p_request
        FROM jsonb_to_recordset(p_entries)
            AS e(id text, user_id text, action text, target_id text, details jsonb);
    END IF;
    IF jsonb_array_length(p_events) > 0 THEN
        PERFORM emit_events(p_sinks, p_events);
    END IF;
    IF p_rings THEN
        RETURN ring();
    END IF;
    RETURN false;
END
$$;

-- Ends a run with what its worker had still to write: the queue, the fence, the record, the end and the ring, in one
-- statement. Says whether the caller has to send a message.
CREATE FUNCTION finish_run(
    p_run text, p_token text, p_lease interval, p_steps jsonb, p_settled jsonb, p_news jsonb, p_total int,
    p_status text, p_output jsonb, p_error_code text, p_error text, p_limit int, p_sinks text[]
) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM tenant_queues q WHERE q.customer_id = current_customer() FOR UPDATE;
    PERFORM checkpoint(p_run, p_token, p_lease, p_steps, p_settled, p_news, '[]', NULL, NULL, p_total);
    PERFORM end_run(p_run, p_status, p_output, p_error_code, p_error, p_sinks);
    RETURN ring_if_due(p_limit);
END
$$;
GRANT EXECUTE ON FUNCTION
    flush_work(text, text, jsonb, text[], jsonb, boolean),
    finish_run(text, text, interval, jsonb, jsonb, jsonb, int, text, jsonb, text, text, int, text[])
    TO bevyly_app, bevyly_system;
