-- What a transaction sets for itself, inside functions. RDS Proxy reads the text of statements: where it sees set_config or a
-- lock of the session's kind, it gives the connection to that client for good. Into a function it does not look.

CREATE FUNCTION note_sinks(p_sinks text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('app.event_sinks', p_sinks, true);
END
$$;

CREATE FUNCTION hurry(p_lock text, p_statement text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('lock_timeout', p_lock, true), set_config('statement_timeout', p_statement, true);
END
$$;

-- Who proposes takes the tenant's turn, until the transaction ends.
CREATE FUNCTION await_turn_to_propose() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('propose:' || current_customer(), 0));
END
$$;

GRANT EXECUTE ON FUNCTION note_sinks(text), hurry(text, text), await_turn_to_propose() TO bevyly_app, bevyly_system;
