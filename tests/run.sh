#!/usr/bin/env bash
# Format, lint, types, layers and tests, in the repository's own environment. Further arguments go to pytest.
# The tests run in as many processes as there are cores, at most 4, with one thread of torch each.
set -euo pipefail
cd "$(dirname "$0")/.."
. demo/environment.sh
environment test
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
echo '== ruff format' && "$PYTHON" -m ruff format --check --quiet .
echo '== ruff check' && "$PYTHON" -m ruff check --quiet .
echo '== mypy' && "$PYTHON" -m mypy
echo '== import-linter' && "$PYTHON" -c 'from importlinter.cli import lint_imports_command as run; run()' --no-cache
echo '== pytest' && "$PYTHON" -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile "$@"
