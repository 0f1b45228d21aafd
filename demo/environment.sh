# Sourced by the scripts that need an environment. `environment core` or `environment test` makes .venv in the
# repository when there is none, installs the versions of constraints.txt, and does nothing when that was done before.
# An environment that is already active is left alone only if POSEPLUG_PYTHON names its interpreter.

environment() {
  local kind=$1 stamp want
  if [ -n "${POSEPLUG_PYTHON:-}" ]; then
    PYTHON=$POSEPLUG_PYTHON
    return
  fi
  PYTHON=$PWD/.venv/bin/python
  stamp=.venv/.poseplug-$kind
  want=$(cat constraints.txt setup.py demo/environment.sh | cksum)
  [ -x "$PYTHON" ] || make_environment
  [ "$(cat "$stamp" 2>/dev/null)" != "$want" ] || { echo "environment: .venv is ready ($kind)"; return; }
  echo "environment: installing pinned versions into .venv ($kind); the first time takes a minute or two"
  install_packages "$kind"
  echo "$want" >"$stamp"
}

make_environment() {
  local python
  for python in python3.11 python3.12 python3.13 python3; do
    if "$python" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      echo "environment: making .venv with $("$python" --version)"
      "$python" -m venv .venv
      return
    fi
  done
  echo 'environment: no Python 3.11 or newer with the venv module was found; install one (Debian: python3-venv)' >&2
  exit 1
}

install_packages() {
  local pip=("$PYTHON" -m pip install --quiet --disable-pip-version-check --constraint constraints.txt)
  # torch first and by its exact version: later packages then find it, and none brings another build.
  "${pip[@]}" torch==2.13.0
  "${pip[@]}" setuptools wheel
  if [ "$1" = test ]; then
    "${pip[@]}" --no-build-isolation --editable '.[test]'
    # The published wheel of xtcocotools was built for NumPy 1; from source it works.
    "${pip[@]}" cython
    "${pip[@]}" --no-build-isolation --no-binary xtcocotools --no-deps xtcocotools
  else
    "${pip[@]}" --no-build-isolation --editable .
  fi
}
