#!/usr/bin/env bash
# Shows dualrec at work on this machine: the demo program records calls through the compiled server and leaves what
# came out in ./demo. Arguments go to the program: scripts/demo.sh -h lists them.
source "$(dirname "$0")/lib.sh"

scripts/setup.sh demo
echo "compiling (the first time takes a minute or two)…" >&2
go build -o bin/dualrec .
exec go run ./integration/demo -bin bin/dualrec -out demo "$@"
