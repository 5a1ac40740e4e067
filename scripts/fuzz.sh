#!/usr/bin/env bash
# Runs every fuzz target for a short time, one after the other:
#
#   scripts/fuzz.sh [TIME [FOLDER…]]     scripts/fuzz.sh 30s recorder/spool
#
# An input that fails is kept by Go under testdata/fuzz of its package: commit it with the cure.
source "$(dirname "$0")/lib.sh"

time=${1:-3s}
shift || true

# Shortening an input that is only interesting is bounded: by default the engine may spend a minute on it, and a short run
# would try nothing else.
#
# A run that ends while the engine still minimizes an input fails with nothing but its own deadline (golang.org/issue/48591):
# that says nothing about the target, and it is tried once more.
fuzz() {
  local dir=$1 target=$2 try
  for try in 1 2; do
    if out=$(go test -run='^$' -fuzz="^$target\$" -fuzztime="$time" -fuzzminimizetime=50x "./$dir" 2>&1); then return 0; fi
    if [[ $out != *"context deadline exceeded"* || $out == *"Failing input written"* ]]; then return 1; fi
  done
  return 1
}

found=0
while IFS=: read -r file target; do
  dir=$(dirname "$file")
  found=$((found + 1))
  say "    $dir $target"
  if ! fuzz "$dir" "$target"; then
    say "$out"
    die "Fuzzing found an input that fails $target in $dir (above). It is kept in $dir/testdata/fuzz/$target."
  fi
done < <(sources "${@:-.}" | grep -z '_test\.go$' | xargs -0 -r grep -oE '^func Fuzz[A-Za-z0-9_]*' /dev/null |
  sed 's/:func /:/' | sort)

if ((found == 0)); then die "No fuzz target found under ${*:-.}: a parser of outside bytes must have one."; fi
say "    $found targets, $time each"
