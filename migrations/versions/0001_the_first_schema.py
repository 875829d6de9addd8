"""The first schema."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from migrations.sql import run_file

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_file("0001_functions_before.sql")
    op.create_table(
        "customers",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("plan", sa.String(length=50), server_default="starter", nullable=False),
        sa.Column("agents_enabled", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("max_concurrent_runs", sa.Integer(), nullable=True),
        sa.Column("undo_window_seconds", sa.Integer(), server_default=sa.text("10"), nullable=False),
        sa.Column("time_zone", sa.String(length=50), server_default="UTC", nullable=False),
        sa.Column("version", sa.Integer(), server_default=sa.text("1"), nullable=False),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("app_now()"), nullable=False
        ),
        sa.Column(
            "updated_at", sa.DateTime(timezone=True), server_default=sa.text("app_now()"), nullable=False
        ),
        sa.CheckConstraint(
            "max_concurrent_runs BETWEEN 1 AND 100", name=op.f("customers_max_concurrent_runs_check")
        ),
        sa.CheckConstraint("undo_window_seconds BETWEEN 0 AND 600", name=op.f("customers_undo_window_check")),
        sa.PrimaryKeyConstraint("id", name=op.f("customers_pk")),
    )
    op.create_table(
        "relay_leases",
        sa.Column("sink", sa.String(length=30), nullable=False),
        sa.Column("token", sa.String(length=36), nullable=True),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("sink", name=op.f("relay_leases_pk")),
    )
    op.create_table(
        "sign_in_attempts",
        sa.Column("key_hash", sa.String(length=64), nullable=False),
        sa.Column(
            "window_start", sa.DateTime(timezone=True), server_default=sa.text("app_now()"), nullable=False
        ),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("key_hash", name=op.f("sign_in_attempts_pk")),
    )
    op.create_table(
        "audit_entries",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("customer_id", sa.String(length=36), nullable=False),
        sa.Column("user_id", sa.String(length=36), nullable=True),
        sa.Column("action", sa.String(length=100), nullable=False),
        sa.Column("target_id", sa.String(length=36), nullable=False),
        sa.Column(
            "details", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'"), nullable=False
        ),
        sa.Column("request_id", sa.String(length=100), nullable=True),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("app_now()"), nullable=False
        ),
        sa.ForeignKeyConstraint(["customer_id"], ["customers.id"], name=op.f("audit_entries_customer_id_fk")),
        sa.PrimaryKeyConstraint("id", name=op.f("audit_entries_pk")),
    )
    op.create_index("audit_entries_customer_idx", "audit_entries", ["customer_id", "id"], unique=False)
    op.create_index(
        "audit_entries_target_idx", "audit_entries", ["customer_id", "target_id", "id"], unique=False
    )
    op.create_table(
        "event_sequences",
        sa.Column("customer_id", sa.String(length=36), nullable=False),
        sa.Column("aggregate_type", sa.String(length=50), nullable=False),
        sa.Column("aggregate_id", sa.String(length=36), nullable=False),
        sa.Column("last", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["customer_id"], ["customers.id"], name=op.f("event_sequences_customer_id_fk")
        ),
        sa.PrimaryKeyConstraint(
            "customer_id", "aggregate_type", "aggregate_id", name=op.f("event_sequences_pk")
        ),
    )
    op.create_table(
        "idempotency_keys",
        sa.Column("customer_id", sa.String(length=36), nullable=False),
        sa.Column("user_id", sa.String(length=36), nullable=False),
        sa.Column("route", sa.String(length=200), nullable=False),
        sa.Column("key", sa.String(length=200), nullable=False),
        sa.Column("body_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("status", sa.Integer(), nullable=False),
        sa.Column("answer", sa.Text(), nullable=False),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("app_now()"), nullable=False
        ),
        sa.ForeignKeyConstraint(
            ["customer_id"], ["customers.id"], name=op.f("idempotency_keys_customer_id_fk")
        ),
        sa.PrimaryKeyConstraint("customer_id", "user_id", "route", "key", name=op.f("idempotency_keys_pk")),
    )
    op.create_index(
        "idempotency_keys_created_at_idx", "idempotency_keys", ["customer_id", "created_at"], unique=False
    )
    op.create_table(
        "integration_credentials",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("customer_id", sa.String(length=36), nullable=False),
        sa.Column("provider", sa.String(length=50), nullable=False),
        sa.Column("credentials", sa.Text(), nullable=False),
        sa.Column("status", sa.String(length=20), server_default="active", nullable=False),
        sa.Column("last_verified_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_four", sa.String(length=4), nullable=True),
        sa.Column("failure_reason", sa.Text(), nullable=True),
        sa.Column(
            "options", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'"), nullable=False
        ),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("app_now()"), nullable=False
        ),
        sa.Column(
            "updated_at", sa.DateTime(timezone=True), server_default=sa.text("app_now()"), nullable=False
        ),
        sa.ForeignKeyConstraint(
            ["customer_id"], ["customers.id"], name=op.f("integration_credentials_customer_id_fk")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("integration_credentials_pk")),
    )
    op.create_index(
        "integration_creds_customer_provider_idx",
        "integration_credentials",
        ["customer_id", "provider"],
        unique=True,
    )
    op.create_table(
        "outbox_events",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("position", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("customer_id", sa.String(length=36), nullable=False),
        sa.Column("event_type", sa.String(length=50), nullable=False),
        sa.Column("aggregate_type", sa.String(length=50), nullable=False),
        sa.Column("aggregate_id", sa.String(length=36), nullable=False),
        sa.Column("sequence", sa.Integer(), nullable=False),
        sa.Column("payload", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column(
            "causation",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default=sa.text("'{}'"),
            nullable=False,
        ),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("app_now()"), nullable=False
        ),
        sa.ForeignKeyConstraint(["customer_id"], ["customers.id"], name=op.f("outbox_events_customer_id_fk")),
        sa.PrimaryKeyConstraint("id", name=op.f("outbox_events_pk")),
        sa.UniqueConstraint(
            "customer_id", "aggregate_type", "aggregate_id", "sequence", name="outbox_events_sequence_key"
        ),
        sa.UniqueConstraint("customer_id", "id", name=op.f("outbox_events_customer_id_id_key")),
    )
    op.create_index("outbox_events_customer_idx", "outbox_events", ["customer_id", "position"], unique=False)
    op.create_table(
        "tenant_queues",
        sa.Column("customer_id", sa.String(length=36), nullable=False),
        sa.Column("rung_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["customer_id"], ["customers.id"], name=op.f("tenant_queues_customer_id_fk")),
        sa.PrimaryKeyConstraint("customer_id", name=op.f("tenant_queues_pk")),
    )
    op.create_table(
        "users",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("customer_id", sa.String(length=36), nullable=False),
        sa.Column("issuer", sa.String(length=255), nullable=True),
        sa.Column("subject", sa.String(length=255), nullable=True),
        sa.Column("email", sa.String(length=254), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("role", sa.String(length=20), nullable=False),
        sa.Column("status", sa.String(length=20), server_default="invited", nullable=False),
        sa.Column("version", sa.Integer(), server_default=sa.text("1"), nullable=False),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("app_now()"), nullable=False
        ),
        sa.Column(
            "updated_at", sa.DateTime(timezone=True), server_default=sa.text("app_now()"), nullable=False
        ),
        sa.CheckConstraint(
            "role IN ('ADMIN', 'MANAGER', 'SALES_REP', 'VIEWER')", name=op.f("users_role_check")
        ),
        sa.CheckConstraint("status IN ('invited', 'active', 'disabled')", name=op.f("users_status_check")),
        sa.ForeignKeyConstraint(["customer_id"], ["customers.id"], name=op.f("users_customer_id_fk")),
        sa.PrimaryKeyConstraint("id", name=op.f("users_pk")),
        sa.UniqueConstraint("customer_id", "id", name=op.f("users_customer_id_id_key")),
        sa.UniqueConstraint("issuer", "subject", name=op.f("users_issuer_subject_key")),
    )
    op.create_index(
        "users_email_idx", "users", ["customer_id", sa.literal_column("lower(email)")], unique=True
    )
    op.create_table(
        "agent_configs",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("customer_id", sa.String(length=36), nullable=False),
        sa.Column("agent_type", sa.String(length=50), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("enabled", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("config", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("schedule", sa.String(length=100), nullable=True),
        sa.Column("time_zone", sa.String(length=50), server_default="UTC", nullable=False),
        sa.Column("next_due_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "event_types",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default=sa.text("'[]'"),
            nullable=False,
        ),
        sa.Column("limits", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("approval_required", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("approval_expiry_hours", sa.Integer(), nullable=True),
        sa.Column("owner_id", sa.String(length=36), nullable=True),
        sa.Column("created_by", sa.String(length=36), nullable=True),
        sa.Column("version", sa.Integer(), server_default=sa.text("1"), nullable=False),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("app_now()"), nullable=False
        ),
        sa.Column(
            "updated_at", sa.DateTime(timezone=True), server_default=sa.text("app_now()"), nullable=False
        ),
        sa.ForeignKeyConstraint(
            ["customer_id", "created_by"],
            ["users.customer_id", "users.id"],
            name=op.f("agent_configs_customer_id_created_by_fk"),
        ),
        sa.ForeignKeyConstraint(
            ["customer_id", "owner_id"],
            ["users.customer_id", "users.id"],
            name=op.f("agent_configs_customer_id_owner_id_fk"),
        ),
        sa.ForeignKeyConstraint(["customer_id"], ["customers.id"], name=op.f("agent_configs_customer_id_fk")),
        sa.PrimaryKeyConstraint("id", name=op.f("agent_configs_pk")),
        sa.UniqueConstraint("customer_id", "id", name=op.f("agent_configs_customer_id_id_key")),
    )
    op.create_index("agent_configs_customer_idx", "agent_configs", ["customer_id", "id"], unique=False)
    op.create_index("agent_configs_type_idx", "agent_configs", ["customer_id", "agent_type"], unique=False)
    op.create_table(
        "event_deliveries",
        sa.Column("customer_id", sa.String(length=36), nullable=False),
        sa.Column("event_id", sa.String(length=36), nullable=False),
        sa.Column("sink", sa.String(length=30), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("aggregate_id", sa.String(length=36), nullable=False),
        sa.Column("status", sa.String(length=20), server_default="pending", nullable=False),
        sa.Column("attempts", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column(
            "next_attempt_at", sa.DateTime(timezone=True), server_default=sa.text("app_now()"), nullable=False
        ),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("delivered_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "status IN ('pending', 'delivered', 'parked')", name=op.f("event_deliveries_status_check")
        ),
        sa.ForeignKeyConstraint(
            ["customer_id", "event_id"],
            ["outbox_events.customer_id", "outbox_events.id"],
            name=op.f("event_deliveries_customer_id_event_id_fk"),
        ),
        sa.PrimaryKeyConstraint("customer_id", "event_id", "sink", name=op.f("event_deliveries_pk")),
    )
    op.create_index(
        "event_deliveries_aggregate_idx",
        "event_deliveries",
        ["customer_id", "aggregate_id", "sink", "position"],
        unique=False,
        postgresql_where=sa.text("status = 'pending'"),
    )
    op.create_index(
        "event_deliveries_due_idx",
        "event_deliveries",
        ["sink", "position"],
        unique=False,
        postgresql_where=sa.text("status = 'pending'"),
    )
    op.create_index(
        "event_deliveries_parked_idx",
        "event_deliveries",
        ["customer_id", "position"],
        unique=False,
        postgresql_where=sa.text("status = 'parked'"),
    )
    op.create_table(
        "agent_runs",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("customer_id", sa.String(length=36), nullable=False),
        sa.Column("agent_config_id", sa.String(length=36), nullable=True),
        sa.Column("agent_type", sa.String(length=50), nullable=False),
        sa.Column("status", sa.String(length=20), server_default="pending", nullable=False),
        sa.Column("trigger", sa.String(length=50), nullable=False),
        sa.Column("input", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("output", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("error_code", sa.String(length=50), nullable=True),
        sa.Column("items_processed", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("items_succeeded", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("items_failed", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("items_total", sa.Integer(), nullable=True),
        sa.Column("current_step", sa.String(length=300), nullable=True),
        sa.Column("config", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("config_version", sa.Integer(), nullable=True),
        sa.Column("agent_version", sa.String(length=50), nullable=False),
        sa.Column("approval_required", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("approval_expiry_hours", sa.Integer(), nullable=False),
        sa.Column("owner_id", sa.String(length=36), nullable=True),
        sa.Column("requested_by", sa.String(length=36), nullable=True),
        sa.Column(
            "causation",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default=sa.text("'{}'"),
            nullable=False,
        ),
        sa.Column(
            "queue_at", sa.DateTime(timezone=True), server_default=sa.text("app_now()"), nullable=False
        ),
        sa.Column("due_at", sa.DateTime(timezone=True), server_default=sa.text("app_now()"), nullable=False),
        sa.Column("wait_reason", sa.String(length=200), nullable=True),
        sa.Column("attempt", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("failures", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("progressed", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("lease_token", sa.String(length=36), nullable=True),
        sa.Column("lease_expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("cancel_requested_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("cancel_requested_by", sa.String(length=36), nullable=True),
        sa.Column("slot_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("slots_covered", sa.Integer(), nullable=True),
        sa.Column("replay_of", sa.String(length=36), nullable=True),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("completed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("app_now()"), nullable=False
        ),
        sa.CheckConstraint(
            "(status = 'running') = (lease_token IS NOT NULL)", name=op.f("agent_runs_lease_check")
        ),
        sa.CheckConstraint(
            "status IN ('pending', 'running', 'completed', 'failed', 'cancelled')",
            name=op.f("agent_runs_status_check"),
        ),
        sa.CheckConstraint(
            "trigger IN ('manual', 'scheduled', 'event', 'api')", name=op.f("agent_runs_trigger_check")
        ),
        sa.ForeignKeyConstraint(
            ["customer_id", "agent_config_id"],
            ["agent_configs.customer_id", "agent_configs.id"],
            name=op.f("agent_runs_customer_id_agent_config_id_fk"),
        ),
        sa.ForeignKeyConstraint(
            ["customer_id", "owner_id"],
            ["users.customer_id", "users.id"],
            name=op.f("agent_runs_customer_id_owner_id_fk"),
        ),
        sa.ForeignKeyConstraint(
            ["customer_id", "replay_of"],
            ["agent_runs.customer_id", "agent_runs.id"],
            name=op.f("agent_runs_customer_id_replay_of_fk"),
        ),
        sa.ForeignKeyConstraint(
            ["customer_id", "requested_by"],
            ["users.customer_id", "users.id"],
            name=op.f("agent_runs_customer_id_requested_by_fk"),
        ),
        sa.ForeignKeyConstraint(["customer_id"], ["customers.id"], name=op.f("agent_runs_customer_id_fk")),
        sa.PrimaryKeyConstraint("id", name=op.f("agent_runs_pk")),
        sa.UniqueConstraint("customer_id", "id", name=op.f("agent_runs_customer_id_id_key")),
    )
    op.create_index(
        "agent_runs_config_idx", "agent_runs", ["customer_id", "agent_config_id", "id"], unique=False
    )
    op.create_index("agent_runs_created_at_idx", "agent_runs", ["customer_id", "created_at"], unique=False)
    op.create_index("agent_runs_customer_idx", "agent_runs", ["customer_id", "id"], unique=False)
    op.create_index(
        "agent_runs_queue_idx",
        "agent_runs",
        ["customer_id", "queue_at", "id"],
        unique=False,
        postgresql_where=sa.text("status = 'pending'"),
    )
    op.create_index(
        "agent_runs_running_idx",
        "agent_runs",
        ["customer_id", "lease_expires_at"],
        unique=False,
        postgresql_where=sa.text("status = 'running'"),
    )
    op.create_index("agent_runs_status_idx", "agent_runs", ["customer_id", "status", "id"], unique=False)
    op.create_index("agent_runs_type_idx", "agent_runs", ["customer_id", "agent_type", "id"], unique=False)
    op.create_table(
        "accounts",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("customer_id", sa.String(length=36), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("domain", sa.String(length=255), nullable=False),
        sa.Column("industry", sa.String(length=100), nullable=True),
        sa.Column("employee_count", sa.Integer(), nullable=True),
        sa.Column("annual_revenue", sa.Numeric(precision=18, scale=2), nullable=True),
        sa.Column("city", sa.String(length=100), nullable=True),
        sa.Column("country", sa.String(length=100), nullable=True),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column(
            "technologies",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default=sa.text("'[]'"),
            nullable=False,
        ),
        sa.Column("linkedin_url", sa.String(length=500), nullable=True),
        sa.Column("source", sa.String(length=50), nullable=True),
        sa.Column("source_ref", sa.String(length=255), nullable=True),
        sa.Column("source_run_id", sa.String(length=36), nullable=True),
        sa.Column("source_item_id", sa.String(length=36), nullable=True),
        sa.Column("owner_id", sa.String(length=36), nullable=True),
        sa.Column("score", sa.Integer(), nullable=True),
        sa.Column("version", sa.Integer(), server_default=sa.text("1"), nullable=False),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("app_now()"), nullable=False
        ),
        sa.Column(
            "updated_at", sa.DateTime(timezone=True), server_default=sa.text("app_now()"), nullable=False
        ),
        sa.ForeignKeyConstraint(
            ["customer_id", "owner_id"],
            ["users.customer_id", "users.id"],
            name=op.f("accounts_customer_id_owner_id_fk"),
        ),
        sa.ForeignKeyConstraint(
            ["customer_id", "source_run_id"],
            ["agent_runs.customer_id", "agent_runs.id"],
            name=op.f("accounts_customer_id_source_run_id_fk"),
        ),
        sa.ForeignKeyConstraint(["customer_id"], ["customers.id"], name=op.f("accounts_customer_id_fk")),
        sa.PrimaryKeyConstraint("id", name=op.f("accounts_pk")),
        sa.UniqueConstraint("customer_id", "domain", name=op.f("accounts_customer_id_domain_key")),
        sa.UniqueConstraint("customer_id", "id", name=op.f("accounts_customer_id_id_key")),
    )
    op.create_table(
        "agent_run_steps",
        sa.Column("customer_id", sa.String(length=36), nullable=False),
        sa.Column("run_id", sa.String(length=36), nullable=False),
        sa.Column("key", sa.String(length=300), nullable=False),
        sa.Column("status", sa.String(length=20), nullable=False),
        sa.Column("input_hash", sa.String(length=64), nullable=False),
        sa.Column("output", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("error_code", sa.String(length=50), nullable=True),
        sa.Column("item", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("proposal", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("duration_ms", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column(
            "recorded_at", sa.DateTime(timezone=True), server_default=sa.text("app_now()"), nullable=False
        ),
        sa.CheckConstraint("status IN ('succeeded', 'failed')", name=op.f("agent_run_steps_status_check")),
        sa.ForeignKeyConstraint(
            ["customer_id", "run_id"],
            ["agent_runs.customer_id", "agent_runs.id"],
            name=op.f("agent_run_steps_customer_id_run_id_fk"),
        ),
        sa.PrimaryKeyConstraint("customer_id", "run_id", "key", name=op.f("agent_run_steps_pk")),
    )
    op.create_table(
        "usage_entries",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("customer_id", sa.String(length=36), nullable=False),
        sa.Column("agent_config_id", sa.String(length=36), nullable=True),
        sa.Column("run_id", sa.String(length=36), nullable=False),
        sa.Column("step_key", sa.String(length=300), nullable=False),
        sa.Column("lease_token", sa.String(length=36), nullable=False),
        sa.Column("provider", sa.String(length=50), nullable=False),
        sa.Column("operation", sa.String(length=50), nullable=False),
        sa.Column("model", sa.String(length=100), nullable=True),
        sa.Column("status", sa.String(length=20), server_default="reserved", nullable=False),
        sa.Column("credits", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("tokens_in", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("tokens_cached", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("tokens_out", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("tokens_reasoning", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("provider_request_id", sa.String(length=200), nullable=True),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("app_now()"), nullable=False
        ),
        sa.Column("settled_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "status IN ('reserved', 'settled', 'released', 'unknown')",
            name=op.f("usage_entries_status_check"),
        ),
        sa.ForeignKeyConstraint(
            ["customer_id", "run_id"],
            ["agent_runs.customer_id", "agent_runs.id"],
            name=op.f("usage_entries_customer_id_run_id_fk"),
        ),
        sa.ForeignKeyConstraint(["customer_id"], ["customers.id"], name=op.f("usage_entries_customer_id_fk")),
        sa.PrimaryKeyConstraint("id", name=op.f("usage_entries_pk")),
    )
    op.create_index("usage_entries_run_idx", "usage_entries", ["customer_id", "run_id"], unique=False)
    op.create_table(
        "contacts",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("customer_id", sa.String(length=36), nullable=False),
        sa.Column("account_id", sa.String(length=36), nullable=False),
        sa.Column("first_name", sa.String(length=100), nullable=False),
        sa.Column("last_name", sa.String(length=100), nullable=False),
        sa.Column("title", sa.String(length=200), nullable=True),
        sa.Column("seniority", sa.String(length=50), nullable=True),
        sa.Column("department", sa.String(length=100), nullable=True),
        sa.Column("email", sa.String(length=254), nullable=True),
        sa.Column("email_status", sa.String(length=50), nullable=True),
        sa.Column("linkedin_url", sa.String(length=500), nullable=True),
        sa.Column("source", sa.String(length=50), nullable=True),
        sa.Column("source_ref", sa.String(length=255), nullable=True),
        sa.Column("version", sa.Integer(), server_default=sa.text("1"), nullable=False),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("app_now()"), nullable=False
        ),
        sa.Column(
            "updated_at", sa.DateTime(timezone=True), server_default=sa.text("app_now()"), nullable=False
        ),
        sa.ForeignKeyConstraint(
            ["customer_id", "account_id"],
            ["accounts.customer_id", "accounts.id"],
            name=op.f("contacts_customer_id_account_id_fk"),
        ),
        sa.ForeignKeyConstraint(["customer_id"], ["customers.id"], name=op.f("contacts_customer_id_fk")),
        sa.PrimaryKeyConstraint("id", name=op.f("contacts_pk")),
        sa.UniqueConstraint("customer_id", "id", name=op.f("contacts_customer_id_id_key")),
    )
    op.create_index("contacts_account_idx", "contacts", ["customer_id", "account_id"], unique=False)
    op.create_index(
        "contacts_email_key", "contacts", ["customer_id", sa.literal_column("lower(email)")], unique=True
    )
    op.create_table(
        "intent_signals",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("customer_id", sa.String(length=36), nullable=False),
        sa.Column("account_id", sa.String(length=36), nullable=False),
        sa.Column("kind", sa.String(length=50), nullable=False),
        sa.Column("title", sa.String(length=255), nullable=False),
        sa.Column("source", sa.String(length=50), nullable=False),
        sa.Column(
            "observed_at", sa.DateTime(timezone=True), server_default=sa.text("app_now()"), nullable=False
        ),
        sa.ForeignKeyConstraint(
            ["customer_id", "account_id"],
            ["accounts.customer_id", "accounts.id"],
            name=op.f("intent_signals_customer_id_account_id_fk"),
        ),
        sa.ForeignKeyConstraint(
            ["customer_id"], ["customers.id"], name=op.f("intent_signals_customer_id_fk")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("intent_signals_pk")),
    )
    op.create_index(
        "intent_signals_account_idx",
        "intent_signals",
        ["customer_id", "account_id", "observed_at"],
        unique=False,
    )
    op.create_table(
        "approval_items",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("customer_id", sa.String(length=36), nullable=False),
        sa.Column("agent_run_id", sa.String(length=36), nullable=True),
        sa.Column("agent_config_id", sa.String(length=36), nullable=True),
        sa.Column("agent_type", sa.String(length=50), nullable=False),
        sa.Column("item_type", sa.String(length=50), nullable=False),
        sa.Column("priority", sa.String(length=20), server_default="normal", nullable=False),
        sa.Column(
            "priority_rank",
            sa.SmallInteger(),
            sa.Computed(
                "CASE priority WHEN 'urgent' THEN 3 WHEN 'high' THEN 2 WHEN 'normal' THEN 1 ELSE 0 END",
                persisted=True,
            ),
            nullable=False,
        ),
        sa.Column("title", sa.String(length=255), nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("content", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("context", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column(
            "flags", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'[]'"), nullable=False
        ),
        sa.Column("account_id", sa.String(length=36), nullable=True),
        sa.Column("contact_id", sa.String(length=36), nullable=True),
        sa.Column("owner_id", sa.String(length=36), nullable=True),
        sa.Column("dedupe_key", sa.String(length=300), nullable=False),
        sa.Column("content_hash", sa.String(length=64), nullable=False),
        sa.Column("approved_hash", sa.String(length=64), nullable=True),
        sa.Column("status_reason", sa.Text(), nullable=True),
        sa.Column("status", sa.String(length=20), server_default="pending", nullable=False),
        sa.Column("version", sa.Integer(), server_default=sa.text("1"), nullable=False),
        sa.Column("reviewed_by", sa.String(length=36), nullable=True),
        sa.Column("reviewed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("decided_by_rule", sa.String(length=36), nullable=True),
        sa.Column("edited_content", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("rejection_reason", sa.Text(), nullable=True),
        sa.Column("reason_code", sa.String(length=50), nullable=True),
        sa.Column("claimed_by", sa.String(length=36), nullable=True),
        sa.Column("claimed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("effective_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("applied_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("apply_error", sa.Text(), nullable=True),
        sa.Column("apply_failures", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column(
            "causation",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default=sa.text("'{}'"),
            nullable=False,
        ),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("app_now()"), nullable=False
        ),
        sa.CheckConstraint(
            "(status = 'edited') <= (edited_content IS NOT NULL)", name=op.f("approval_items_edited_check")
        ),
        sa.CheckConstraint(
            "item_type IN ('email_draft', 'lead_import', 'enrichment', 'contact_import', 'score_update', 'reply_triage')",
            name=op.f("approval_items_item_type_check"),
        ),
        sa.CheckConstraint(
            "priority IN ('low', 'normal', 'high', 'urgent')", name=op.f("approval_items_priority_check")
        ),
        sa.CheckConstraint(
            "status IN ('pending', 'approved', 'edited', 'rejected', 'expired', 'superseded')",
            name=op.f("approval_items_status_check"),
        ),
        sa.CheckConstraint(
            "status NOT IN ('approved', 'edited', 'rejected') OR ((reviewed_by IS NULL) <> (decided_by_rule IS NULL) AND reviewed_at IS NOT NULL AND effective_at IS NOT NULL)",
            name=op.f("approval_items_decided_check"),
        ),
        sa.ForeignKeyConstraint(
            ["customer_id", "account_id"],
            ["accounts.customer_id", "accounts.id"],
            name=op.f("approval_items_customer_id_account_id_fk"),
        ),
        sa.ForeignKeyConstraint(
            ["customer_id", "agent_config_id"],
            ["agent_configs.customer_id", "agent_configs.id"],
            name=op.f("approval_items_customer_id_agent_config_id_fk"),
        ),
        sa.ForeignKeyConstraint(
            ["customer_id", "agent_run_id"],
            ["agent_runs.customer_id", "agent_runs.id"],
            name=op.f("approval_items_customer_id_agent_run_id_fk"),
        ),
        sa.ForeignKeyConstraint(
            ["customer_id", "claimed_by"],
            ["users.customer_id", "users.id"],
            name=op.f("approval_items_customer_id_claimed_by_fk"),
        ),
        sa.ForeignKeyConstraint(
            ["customer_id", "contact_id"],
            ["contacts.customer_id", "contacts.id"],
            name=op.f("approval_items_customer_id_contact_id_fk"),
        ),
        sa.ForeignKeyConstraint(
            ["customer_id", "owner_id"],
            ["users.customer_id", "users.id"],
            name=op.f("approval_items_customer_id_owner_id_fk"),
        ),
        sa.ForeignKeyConstraint(
            ["customer_id", "reviewed_by"],
            ["users.customer_id", "users.id"],
            name=op.f("approval_items_customer_id_reviewed_by_fk"),
        ),
        sa.ForeignKeyConstraint(
            ["customer_id"], ["customers.id"], name=op.f("approval_items_customer_id_fk")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("approval_items_pk")),
        sa.UniqueConstraint("customer_id", "id", name=op.f("approval_items_customer_id_id_key")),
    )
    op.create_index(
        "approval_items_created_at_idx", "approval_items", ["customer_id", "created_at", "id"], unique=False
    )
    op.create_index("approval_items_customer_idx", "approval_items", ["customer_id", "id"], unique=False)
    op.create_index(
        "approval_items_dedupe_idx", "approval_items", ["customer_id", "dedupe_key"], unique=False
    )
    op.create_index(
        "approval_items_due_idx",
        "approval_items",
        ["customer_id", "effective_at"],
        unique=False,
        postgresql_where=sa.text("status IN ('approved', 'edited', 'rejected') AND applied_at IS NULL"),
    )
    op.create_index(
        "approval_items_expiry_idx",
        "approval_items",
        ["customer_id", "expires_at"],
        unique=False,
        postgresql_where=sa.text("status = 'pending'"),
    )
    op.create_index(
        "approval_items_open_key",
        "approval_items",
        ["customer_id", "dedupe_key"],
        unique=True,
        postgresql_where=sa.text(
            "status = 'pending' OR (status IN ('approved', 'edited', 'rejected') AND applied_at IS NULL)"
        ),
    )
    op.create_index(
        "approval_items_priority_idx",
        "approval_items",
        ["customer_id", "status", sa.literal_column("priority_rank DESC"), "created_at", "id"],
        unique=False,
    )
    op.create_index(
        "approval_items_reviewed_idx",
        "approval_items",
        ["customer_id", "reviewed_at"],
        unique=False,
        postgresql_where=sa.text("status IN ('approved', 'edited')"),
    )
    op.create_index("approval_items_run_idx", "approval_items", ["customer_id", "agent_run_id"], unique=False)
    op.create_index(
        "approval_items_status_idx", "approval_items", ["customer_id", "status", "agent_type"], unique=False
    )
    op.create_table(
        "outreach_emails",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("customer_id", sa.String(length=36), nullable=False),
        sa.Column("account_id", sa.String(length=36), nullable=False),
        sa.Column("contact_id", sa.String(length=36), nullable=False),
        sa.Column("approval_item_id", sa.String(length=36), nullable=False),
        sa.Column("to_address", sa.String(length=254), nullable=False),
        sa.Column("subject", sa.String(length=255), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("status", sa.String(length=20), server_default="ready", nullable=False),
        sa.Column("content_hash", sa.String(length=64), nullable=False),
        sa.Column("approved_by", sa.String(length=36), nullable=True),
        sa.Column("approved_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("app_now()"), nullable=False
        ),
        sa.ForeignKeyConstraint(
            ["customer_id", "account_id"],
            ["accounts.customer_id", "accounts.id"],
            name=op.f("outreach_emails_customer_id_account_id_fk"),
        ),
        sa.ForeignKeyConstraint(
            ["customer_id", "approval_item_id"],
            ["approval_items.customer_id", "approval_items.id"],
            name=op.f("outreach_emails_customer_id_approval_item_id_fk"),
        ),
        sa.ForeignKeyConstraint(
            ["customer_id", "contact_id"],
            ["contacts.customer_id", "contacts.id"],
            name=op.f("outreach_emails_customer_id_contact_id_fk"),
        ),
        sa.ForeignKeyConstraint(
            ["customer_id"], ["customers.id"], name=op.f("outreach_emails_customer_id_fk")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("outreach_emails_pk")),
        sa.UniqueConstraint(
            "customer_id", "approval_item_id", name=op.f("outreach_emails_customer_id_approval_item_id_key")
        ),
        sa.UniqueConstraint("customer_id", "id", name=op.f("outreach_emails_customer_id_id_key")),
    )
    op.create_foreign_key(
        "accounts_customer_id_source_item_id_fk",
        "accounts",
        "approval_items",
        ["customer_id", "source_item_id"],
        ["customer_id", "id"],
    )
    run_file("0001_functions_after.sql")
    run_file("0001_access.sql")


def downgrade() -> None:
    raise NotImplementedError("There is nothing before the first schema: drop the database instead.")
