# shellcheck shell=bash
# install_wheels FOLDER NAME==VERSION…: unpacks exactly these wheels there, once; a second call with
# the same names does nothing, an interrupted one leaves nothing behind.
install_wheels() {
  local folder=$1 stamp
  shift
  stamp="$folder/.installed"
  if [ "$(cat "$stamp" 2>/dev/null)" = "$*" ]; then return 0; fi
  if ! python3 -m pip --version >/dev/null 2>&1; then
    echo "error: pip is missing; install it with: apt-get install python3-pip" >&2
    return 2
  fi
  local dependencies=(--no-deps)
  if [ -n "${with_dependencies:-}" ]; then dependencies=(); fi
  echo "fetching $* into $folder" >&2
  rm -rf "$folder.partial"
  python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore \
    --no-compile --target "$folder.partial" "${dependencies[@]}" "$@" >&2
  echo "$*" >"$folder.partial/.installed"
  rm -rf "$folder"
  mv "$folder.partial" "$folder"
}
