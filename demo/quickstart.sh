#!/usr/bin/env bash
# Train, test and draw a small convolutional pose machine in about five minutes on two cores.
#   bash demo/quickstart.sh               on the embedded data set, which is made on the spot
#   bash demo/quickstart.sh PATH_TO_LSP   on Leeds Sports Pose (the folder with joints.mat)
set -euo pipefail
data=${1:+$(realpath "$1")}
cd "$(dirname "$0")/.."
. demo/environment.sh
environment core
exec "$PYTHON" demo/quickstart.py ${data:+"$data"}
