#!/usr/bin/env bash
# Proves that the generated code is what its sources give: it generates in a copy of the tree and compares. The tree
# itself is not touched, so uncommitted work is safe and is part of what is checked.
source "$(dirname "$0")/lib.sh"

# The copy always has the same path, because Go's build cache knows packages by their path: a second run compiles
# nothing anew. The lock keeps two runs apart.
copy=$(cache_dir)/generated-fresh/$(pwd | sha256sum | cut -c1-12)
mkdir -p "$(dirname "$copy")"
exec 9>"$copy.lock"
flock 9
trap 'rm -rf "$copy"' EXIT
rm -rf "$copy" && mkdir "$copy"

# What the generators read: Go code of the packages that are bound, the schemas and the templates.
sources go.mod go.sum gqlgen.yml '*.go' '*.graphqls' '*.tmpl' 'ent/**' 'graph/**' scripts/generate.sh scripts/lib.sh |
  tar --null --create --files-from=- | tar --extract --directory="$copy"

"$copy/scripts/generate.sh"

fresh=true
for dir in ent graph; do
  diff -rq "$dir" "$copy/$dir" >&2 || fresh=false
done
if ! $fresh; then die "The generated code is not what its sources give. Run 'make generate' and commit what changes."; fi
