#!/usr/bin/env bash
# Reads every shell script of the tree: bash -n always, shellcheck where it is installed.
source "$(dirname "$0")/lib.sh"

mapfile -d '' -t files < <(sources '*.sh' .ci/run)
for file in "${files[@]}"; do bash -n "$file"; done
if command -v shellcheck >/dev/null; then
  shellcheck --external-sources --source-path=SCRIPTDIR "${files[@]}"
else
  say "shellcheck: not checked (not installed)"
fi
