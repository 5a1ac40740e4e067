#!/usr/bin/env bash
# Measures: Go benchmarks of the hot paths as one table, then the end-to-end bench of the compiled server. Arguments
# go to the bench program (scripts/bench.sh -long: also a call of ten minutes).
#
#   BENCH      which Go benchmarks, as go test -bench has it; default: $CURATED. BENCH=. runs all, BENCH=none none
#   BENCHTIME  how long each; default 200ms, which keeps both parts together at about ten minutes on two cores
source "$(dirname "$0")/lib.sh"

# Spool beside plain AES-GCM, envelope, ranged decrypt; playback; ingest, depacketizing, planning, rendering; catalog, bus, retention.
readonly CURATED='^Benchmark(Append|Sync|Next|Encrypt|RangedDecrypt|Serve|Handler|Verify|Track|Socket|Frames|Plan|Catalog|FanOut|Decide|Video)$'

go_benchmarks() {
  local dirs
  mapfile -t dirs < <(sources '*_test.go' | xargs -0 -r grep -lE '^func Benchmark' | xargs -r -n1 dirname | sort -u)
  # One package at a time (-p=1): two that measure at once measure each other.
  go test -p=1 -run='^$' -bench="${BENCH:-$CURATED}" -benchtime="${BENCHTIME:-200ms}" -benchmem -timeout=10m "${dirs[@]/#/./}" |
    awk '
      BEGIN { printf "%-26s %-52s %14s  %s\n", "package", "benchmark", "ns/op", "more" }
      /^pkg: / { pkg = $2; sub(/^github.com\/dualrec\/dualrec\/?/, "", pkg); if (pkg == "") pkg = "." }
      /^Benchmark/ {
        name = $1; sub(/^Benchmark/, "", name); sub(/-[0-9]+$/, "", name); more = ""
        for (i = 5; i < NF; i += 2) more = more (more == "" ? "" : ", ") $i " " $(i + 1)
        printf "%-26s %-52s %14s  %s\n", pkg, name, $3, more
      }
      /^(FAIL|panic:|---)/ || / FAIL/ { print > "/dev/stderr" }'
}

end_to_end() {
  go build -o bin/dualrec .
  go run ./integration/bench -bin bin/dualrec "$@"
}

scripts/setup.sh demo
if [[ ${BENCH:-} != none ]]; then stage "Go benchmarks" go_benchmarks; fi
stage "end to end" end_to_end "$@"
