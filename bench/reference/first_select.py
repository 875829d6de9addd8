"""A bare Chalice app: the usual libraries imported, one route, one SELECT through stock SQLAlchemy and pg8000."""

import os

import boto3
import pg8000
import pydantic
from chalice.app import Chalice
from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session

__all__ = ["app", "boto3", "pg8000", "pydantic"]

app = Chalice(app_name="reference")
engine = create_engine(
    os.environ["DATABASE_URL"],  # noqa: TID251 - a child whose only setting it is
    connect_args={"ssl_context": False},  # as ours on loopback
)
RUNS = text("SELECT id, agent_type, status FROM agent_runs ORDER BY id DESC LIMIT 20")


@app.route("/v1/runs")
def list_runs() -> dict[str, list[dict[str, str]]]:
    with Session(engine) as session:
        rows = session.execute(RUNS).all()
    return {"data": [{"id": row.id, "agentType": row.agent_type, "status": row.status} for row in rows]}
