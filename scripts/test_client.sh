#!/usr/bin/env bash
# Generates a Python client from the OpenAPI document and uses it against the real server: the document
# is all that a program needs. The generator lies in a folder of its own under target/.
set -euo pipefail
cd "$(dirname "$0")/.."
python3 -m pip --version >/dev/null 2>&1 || {
  echo "error: python3 with pip is needed to generate a client; on Debian: apt-get install python3-pip" >&2
  exit 2
}
program=${CLIPSIGHT_BINARY:-target/debug/clipsight}
[ -x "$program" ] || {
  echo "error: $program is not built; build it with: cargo build -p clipsight" >&2
  exit 2
}
generator=$PWD/target/openapi-client
if [ ! -f "$generator/complete" ]; then
  rm -rf "$generator"
  python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore \
    --target "$generator" openapi-python-client==0.29.1
  touch "$generator/complete"
fi
made=$(mktemp -d)
trap 'rm -rf "$made"' EXIT
# The generator calls the formatter that came with it by name.
PATH="$generator/bin:$PATH" PYTHONPATH="$generator" python3 -m openapi_python_client generate \
  --meta none --path server/src/http/openapi.json --output-path "$made/clipsight_client" \
  > "$made/log" 2>&1 || { cat "$made/log" >&2; exit 1; }
# It forgets an import where a request takes JSON or a form.
sed -i 's/^from \.\.\.types import UNSET, Response$/from ...types import UNSET, Response, Unset/' \
  "$made"/clipsight_client/api/default/*.py
PYTHONPATH="$made:$generator" PYTHONWARNINGS=ignore::ResourceWarning \
  python3 server/tests/client.py "$program"
