"""A child: `python -m bench.first_answer MODULE` imports `MODULE.app` and answers the event on its input.

It prints `answered` and a JSON object on one line. Whatever else it prints is the app's own log.
"""

import json
import sys
from importlib import import_module

ANSWERED = "answered "


def main() -> None:
    event = json.loads(sys.stdin.readline())
    said = import_module(sys.argv[1]).app(event, None)
    print(
        ANSWERED + json.dumps({"status": said["statusCode"], "rows": len(json.loads(said["body"])["data"])})
    )
    print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})), flush=True)


if __name__ == "__main__":
    main()
