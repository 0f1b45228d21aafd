#!/usr/bin/env bash
# Measures every goal of docs/lab/reliability.md: one table, exit code 1 if one is missed. Arguments: see table.py.
set -euo pipefail
cd "$(dirname "$0")/../.."
. demo/environment.sh
environment test
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
exec "$PYTHON" tests/reliability/table.py "$@"
