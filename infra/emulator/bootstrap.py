"""What Lambda's own bootstrap does: set the search path, hand the process to the runtime client.

A program by itself, run by the bare interpreter: it finds the package, then a site of the runtime's own, then the
runtime client, and nothing that happens to be installed on this machine.
"""

import os
import sys


def main() -> None:
    task_root = os.environ["LAMBDA_TASK_ROOT"]  # noqa: TID251 - the runtime's, not ours
    site, runtime = os.environ["EMULATOR_SITE"], os.environ["LAMBDA_RUNTIME_DIR"]  # noqa: TID251 - as above
    sys.path[:0] = [folder for folder in (task_root, site, runtime) if folder]
    del os.environ["EMULATOR_SITE"]  # noqa: TID251 - as above
    from awslambdaric.__main__ import main as run  # noqa: PLC0415 - not to be found before

    run(["bootstrap", os.environ["_HANDLER"]])  # noqa: TID251 - as above


main()
