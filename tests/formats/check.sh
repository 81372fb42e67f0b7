#!/bin/sh
# check.sh SCRIPT ARGUMENTS: runs a script of this folder with the first interpreter there is
python=${ORRERY_PEERS_PYTHON:-python3}
command -v "$python" > /dev/null || { echo "skipped: no $python"; exit 77; }
script=$(dirname "$0")/$1
shift
PYTHONDONTWRITEBYTECODE=1 exec "$python" "$script" "$@"
