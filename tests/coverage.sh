#!/usr/bin/env bash
# Lines and branches of the package that the tests run: bash tests/coverage.sh [FURTHER ARGUMENTS OF PYTEST]
set -euo pipefail
cd "$(dirname "$0")/.."
. demo/environment.sh
environment test
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-2}
mkdir -p work_dirs/coverage
"$PYTHON" -m coverage erase
"$PYTHON" -m coverage run -m pytest "$@" || status=$?
"$PYTHON" -m coverage combine --quiet
"$PYTHON" -m coverage json --quiet
"$PYTHON" -m tests.covered
exit "${status:-0}"
