#!/bin/sh
# check.sh ORRERY: runs check.py with the first interpreter there is
python=${ORRERY_PEERS_PYTHON:-python3}
command -v "$python" > /dev/null || { echo "skipped: no $python"; exit 77; }
PYTHONDONTWRITEBYTECODE=1 exec "$python" "$(dirname "$0")/check.py" "$1"
