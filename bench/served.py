"""A child: `python -m bench.served MODULE` serves `MODULE.app` by Chalice's local server, on a free port.

It prints the port as a JSON object. Connections are kept alive, Nagle's algorithm is off.
"""

import json
import sys
from importlib import import_module

from chalice.config import Config
from chalice.local import ChaliceRequestHandler, create_local_server


def main() -> None:
    app = import_module(sys.argv[1]).app
    ChaliceRequestHandler.disable_nagle_algorithm = True
    config = Config.create(chalice_stage="local", lambda_timeout=29, lambda_memory_size=1024, chalice_app=app)
    server = create_local_server(app, config, "127.0.0.1", 0).server
    print(json.dumps({"port": server.server_address[1]}), flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
