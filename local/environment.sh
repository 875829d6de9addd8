#!/bin/sh
# Makes .venv and installs requirements-dev.txt into it, only when the lock files or the interpreter changed
# since the last time or .venv does not work. PYTHON names an interpreter; else the newest fitting one is taken.
set -eu

VENV=.venv
STAMP=$VENV/.installed

locks() { cat requirements.txt requirements-dev.txt | cksum; }

describe() { "$1" -c 'import sys; print("%d.%d.%d" % sys.version_info[:3], sys.base_prefix)' 2>/dev/null; }

# An interpreter counts when it runs (a pyenv shim may exist and fail), is 3.11 to 3.13, and can make a venv.
works() {
    "$1" -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null
}

pick() {
    if [ -n "${PYTHON:-}" ]; then
        works "$PYTHON" && { echo "$PYTHON"; return; }
        echo "PYTHON=$PYTHON does not run, is not Python 3.11 to 3.13, or lacks venv and ensurepip." >&2
        return 1
    fi
    for version in 3.13 3.12 3.11; do
        for candidate in "python$version" "${PYENV_ROOT:-$HOME/.pyenv}/versions/$version".*/bin/python python3; do
            command -v "$candidate" >/dev/null 2>&1 || continue
            works "$candidate" || continue
            case $(describe "$candidate") in "$version".*) echo "$candidate"; return ;; esac
        done
    done
    echo "No Python 3.11, 3.12 or 3.13 with venv and ensurepip found. Install one" >&2
    echo "(Debian, Ubuntu: apt install python3.11-venv), or say PYTHON=/path/to/python." >&2
    return 1
}

now=$(describe "$VENV/bin/python" || echo broken)
if [ -z "${PYTHON:-}" ] || [ "$(describe "$PYTHON" || true)" = "$now" ]; then
    if [ "$(cat "$STAMP" 2>/dev/null || true)" = "$(locks) $now" ]; then
        exit 0
    fi
else
    now=another
fi

case $now in
3.1[123].*) ;;
*)
    python=$(pick)
    echo "Making $VENV with $python (Python $(describe "$python" | cut -d' ' -f1))"
    "$python" -m venv --clear "$VENV"
    now=$(describe "$VENV/bin/python")
    ;;
esac
rm -f "$STAMP"
if ! "$VENV/bin/python" -m pip --version >/dev/null 2>&1; then
    "$VENV/bin/python" -m ensurepip --upgrade >/dev/null
fi
echo "Installing requirements-dev.txt for Python ${now%% *} (a minute or two the first time)"
"$VENV/bin/python" -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
echo "$(locks) $now" >"$STAMP"
