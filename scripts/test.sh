#!/usr/bin/env bash
# The tests, in three sizes:
#
#   scripts/test.sh fast   the cores, no race detector, no child processes that take long: under a minute
#   scripts/test.sh full   everything that must hold before a change goes in
#   scripts/test.sh long   full, then the long runs (tests read DUALREC_LONG=1)
source "$(dirname "$0")/lib.sh"

# Packages that compile and run in seconds: the domain cores and the formats. First in every size, because most
# mistakes are found here.
readonly CORES=(./kms ./recorder ./playback ./retention ./audit ./auth ./events ./recorder/spool ./recorder/depacketize)

fast() {
  local dir present=()
  for dir in "${CORES[@]}"; do
    if compgen -G "$dir/*.go" >/dev/null; then present+=("$dir"); fi
  done
  go test -short -shuffle=on -timeout=2m ./house "${present[@]}"
}

# -p bounds how many packages are tested at once: several encode video, and on two cores a third would only make the
# others slow enough to meet their time limits.
race() {
  local cores
  cores=$(getconf _NPROCESSORS_ONLN)
  go test -race -shuffle=on -timeout="$1" -p="$((cores < 4 ? 2 : cores / 2))" "${@:2}"
}

browser_packages() {
  if [[ -f integration/browser/package.json ]]; then npm_ci integration/browser; fi
}

sdk_tests() {
  npm_ci sdk/mediasoup
  (cd sdk/mediasoup && npm test --silent)
}

full() {
  stage "setup" scripts/setup.sh test
  stage "generated code" scripts/generated-fresh.sh
  stage "go vet" go vet ./...
  stage "fast tests" fast
  stage "browser packages" browser_packages
  stage "fuzz" scripts/fuzz.sh "${FUZZTIME:-2s}"
  stage "SDK for mediasoup" sdk_tests
  stage "all tests" race 40m ./...
}

case ${1:-} in
fast) stage "fast tests" fast ;;
full) full ;;
long)
  full
  stage "long tests" env DUALREC_LONG=1 go test -count=1 -timeout=6h -p=1 ./...
  ;;
*) die "usage: scripts/test.sh fast|full|long" ;;
esac
