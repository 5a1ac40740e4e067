#!/usr/bin/env bash
# Writes the generated code anew. Ent goes first, because gqlgen binds GraphQL types to what ent wrote.
source "$(dirname "$0")/lib.sh"

go generate ./ent
go generate ./graph
