#!/usr/bin/env bash
# The checks beside the tests: vet, linters, generated code, known vulnerabilities, a short run of every fuzz target.
source "$(dirname "$0")/lib.sh"

lint() {
  local linter
  linter=$(scripts/tools.sh golangci-lint)
  "$linter" run ./...
}

# govulncheck ends with 3 when it found something. Its database is on the network; where that cannot be reached
# nothing was checked, which is said aloud and is no failure of this tree.
vulnerabilities() {
  local checker out rc=0
  checker=$(scripts/tools.sh govulncheck)
  out=$("$checker" ${GOVULNDB:+-db "$GOVULNDB"} ./... 2>&1) || rc=$?
  if ((rc != 0 && rc != 3)) && grep -qE 'fetching vulnerabilities|vuln\.go\.dev' <<<"$out"; then
    say "govulncheck: not checked (no database); set GOVULNDB to a copy: GOVULNDB=file:///path"
    return 0
  fi
  say "$out"
  return "$rc"
}

scripts/setup.sh build
stage "go vet" go vet ./...
stage "golangci-lint" lint
stage "shell scripts" scripts/shell-check.sh
stage "generated code" scripts/generated-fresh.sh
stage "govulncheck" vulnerabilities
stage "fuzz" scripts/fuzz.sh "${FUZZTIME:-3s}"
