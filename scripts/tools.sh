#!/usr/bin/env bash
# Prints the path of a development tool, having built it first if need be:
#
#   scripts/tools.sh golangci-lint|govulncheck
#
# tools/go.mod pins the versions. The binaries lie in the user's cache, one folder per pin and Go version, so that
# building happens once per machine and never in the tree.
source "$(dirname "$0")/lib.sh"

case ${1:-} in
golangci-lint) package=github.com/golangci/golangci-lint/v2/cmd/golangci-lint ;;
govulncheck) package=golang.org/x/vuln/cmd/govulncheck ;;
*) die "usage: scripts/tools.sh golangci-lint|govulncheck" ;;
esac

pin=$({ go env GOVERSION GOOS GOARCH && cat tools/go.mod tools/go.sum; } | sha256sum | cut -c1-12)
binary=$(cache_dir)/bin/$pin/$1
if [[ ! -x $binary ]]; then
  say "Building $1 (once)…"
  mkdir -p "$(dirname "$binary")"
  # A half-written binary must never be found by another run, so it is built beside its place and renamed.
  (cd tools && go build -o "$binary.$$" "$package" && mv "$binary.$$" "$binary")
fi
printf '%s\n' "$binary"
