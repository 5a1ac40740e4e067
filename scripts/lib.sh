# Shared by the scripts beside it; sourced, never run. It changes into the root of the tree.
# shellcheck shell=bash
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

say() { printf '%s\n' "$*" >&2; }

# die MESSAGE: says what is wrong and what to do, and stops.
die() {
  say "$*"
  exit 1
}

# stage NAME COMMAND…: runs one stage and prints how long it took. The first failing stage ends the script by
# set -e, which is why the command stands alone here: behind || or in an if, bash would switch set -e off inside it.
STAGE='' STAGE_BEGAN=0
stage() {
  STAGE=$1 STAGE_BEGAN=$SECONDS
  shift
  say "==> $STAGE"
  "$@"
  say "==> $STAGE: ok, $((SECONDS - STAGE_BEGAN)) s"
  STAGE=''
}
stage_failed() {
  local rc=$?
  if [[ -n $STAGE ]]; then
    say "==> $STAGE: FAILED after $((SECONDS - STAGE_BEGAN)) s"
  fi
  return "$rc"
}
trap stage_failed EXIT

# cache_dir prints the folder for what is built once and kept outside the tree.
cache_dir() { printf '%s\n' "${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/dualrec"; }

# sources [PATH…] lists the files of the tree that are there and not ignored, committed or not, separated by NUL.
sources() {
  local file
  git ls-files -z --cached --others --exclude-standard -- "$@" | while IFS= read -r -d '' file; do
    if [[ -e $file ]]; then printf '%s\0' "$file"; fi
  done
}

# npm_ci FOLDER installs the locked packages of FOLDER unless they are there already.
npm_ci() {
  local dir=$1
  if [[ ! -f $dir/package-lock.json ]]; then
    die "$dir/package.json has no package-lock.json beside it: run 'npm install' in $dir and commit the lock file."
  fi
  if [[ $dir/node_modules/.package-lock.json -nt $dir/package-lock.json ]]; then
    return 0
  fi
  (cd "$dir" && npm ci --no-audit --no-fund --loglevel=error && touch node_modules/.package-lock.json)
}
