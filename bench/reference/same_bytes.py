"""A bare Chalice app that says what a file holds: the same answer as ours, without the work."""

import os
from pathlib import Path

from chalice.app import Chalice, Response

app = Chalice(app_name="reference")
BODY = Path(os.environ["BODY_FILE"]).read_text()  # noqa: TID251 - a child whose only setting it is


@app.route("/v1/runs")
def list_runs() -> Response:
    return Response(body=BODY, headers={"Content-Type": "application/json"})
