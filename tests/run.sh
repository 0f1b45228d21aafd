#!/usr/bin/env bash
# Format, lint, types and tests, in the repository's own environment. Further arguments go to pytest.
set -euo pipefail
cd "$(dirname "$0")/.."
. demo/environment.sh
environment test
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-2}
echo '== ruff format' && "$PYTHON" -m ruff format --check --quiet .
echo '== ruff check' && "$PYTHON" -m ruff check --quiet .
echo '== mypy' && "$PYTHON" -m mypy
echo '== pytest' && "$PYTHON" -m pytest "$@"
