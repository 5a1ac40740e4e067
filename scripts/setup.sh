#!/usr/bin/env bash
# Checks that this machine has what a profile needs and installs what is missing:
#
#   scripts/setup.sh [--check] demo|build|test
#
#   build  Go
#   demo   Go, FFmpeg
#   test   Go, FFmpeg, Chromium, PostgreSQL server binaries, Node.js
#
# It may be run as often as you like and does nothing when nothing is missing. Missing Debian or Ubuntu packages
# are installed with apt-get when this is root or sudo asks no password; otherwise, and always with --check, the one
# line to run is printed and the script ends with 1. What is there already is never upgraded.
source "$(dirname "$0")/lib.sh"

readonly PG_MIN=15 NODE_MIN=18 FFMPEG_MIN=5.1

missing=() # what is missing, in words
packages=() # Debian packages that bring it
check_only=false

lack() { # lack WORDS PACKAGE…
  missing+=("$1")
  shift
  packages+=("$@")
}

# older A B: version A is before version B.
older() { [[ $1 != "$2" && $(printf '%s\n%s\n' "$1" "$2" | sort -V | head -n1) == "$1" ]]; }

check_go() {
  local need have
  need=$(awk '$1 == "go" { print $2; exit }' go.mod)
  if ! command -v go >/dev/null; then
    die "Go is missing: install Go $need or newer from https://go.dev/dl/ (distribution packages are too old)."
  fi
  have=$(cd / && go env GOVERSION)
  have=${have#go}
  if older "${have%% *}" "$need"; then
    die "Go $have is too old: go.mod asks for $need or newer; see https://go.dev/dl/."
  fi
}

check_ffmpeg() {
  local what have
  if ! command -v ffmpeg >/dev/null || ! command -v ffprobe >/dev/null; then
    lack "FFmpeg" ffmpeg
    return
  fi
  have=$(ffmpeg -hide_banner -version | sed -nE '1s/^ffmpeg version n?([0-9]+\.[0-9]+).*/\1/p')
  if [[ -n $have ]] && older "$have" "$FFMPEG_MIN"; then # builds from git have no number and are taken as new
    die "FFmpeg $have is too old: dualrec needs $FFMPEG_MIN or newer (Debian 12, Ubuntu 24.04)."
  fi
  for what in libx264 aac; do
    if ! ffmpeg -hide_banner -encoders 2>/dev/null | grep -E "^ [A-Z.]{6} $what " >/dev/null; then
      die "This FFmpeg ($(command -v ffmpeg)) has no encoder $what: install the distribution's package ffmpeg and put it first in PATH."
    fi
  done
}

# A browser counts only if it starts: on Ubuntu /usr/bin/chromium-browser is a script that asks for the snap.
browser() {
  local name
  for name in chromium chromium-browser google-chrome google-chrome-stable; do
    if command -v "$name" >/dev/null && "$name" --version >/dev/null 2>&1; then
      command -v "$name"
      return 0
    fi
  done
  return 1
}

check_browser() {
  if browser >/dev/null; then return; fi
  if [[ $(os_id) == ubuntu ]]; then
    die "No browser that starts: looked for chromium, chromium-browser and google-chrome. Ubuntu's chromium package only fetches a snap;
run 'sudo snap install chromium', or install https://dl.google.com/linux/direct/google-chrome-stable_current_amd64.deb with 'sudo apt-get install ./…deb'."
  fi
  lack "Chromium" chromium
}

os_id() {
  if [[ -r /etc/os-release ]]; then sed -nE 's/^ID="?([^"]*)"?$/\1/p' /etc/os-release; fi
}

postgres() {
  local dir version
  for dir in /usr/lib/postgresql/*/bin; do
    version=${dir#/usr/lib/postgresql/}
    version=${version%/bin}
    if [[ -x $dir/initdb && -x $dir/postgres && $version =~ ^[0-9]+$ ]] && ((version >= PG_MIN)); then return 0; fi
  done
  return 1
}

check_postgres() {
  if [[ -n ${DUALREC_TEST_POSTGRES_URL:-} ]] || postgres; then return; fi
  lack "PostgreSQL $PG_MIN or newer (server binaries; no cluster is made)" postgresql
}

check_node() {
  local have
  if ! command -v node >/dev/null; then
    lack "Node.js $NODE_MIN or newer with npm" nodejs npm
    return
  fi
  have=$(node --version)
  have=${have#v}
  if ((${have%%.*} < NODE_MIN)); then
    die "Node.js $have is too old: the browser tests need $NODE_MIN or newer; see https://nodejs.org."
  fi
  if ! command -v npm >/dev/null; then lack "npm" npm; fi
}

check() {
  missing=() packages=()
  check_go
  if [[ $1 == demo || $1 == test ]]; then check_ffmpeg; fi
  if [[ $1 == test ]]; then
    check_browser
    check_postgres
    check_node
  fi
}

# as_root prints the prefix that makes a command run as root, or fails.
as_root() {
  if ((EUID == 0)); then return 0; fi
  if command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
    printf 'sudo -n '
    return 0
  fi
  return 1
}

apt_line() { printf 'apt-get install -y --no-install-recommends --no-upgrade %s' "$*"; }

by_hand() {
  say "Missing: $(join_words "${missing[@]}"). Run this, then try again:"
  if command -v apt-get >/dev/null; then
    say "  sudo apt-get update && sudo $(apt_line "${packages[@]}")"
  else
    say "  (this is no Debian or Ubuntu) install with your package manager what Debian calls: ${packages[*]}"
  fi
  exit 1
}

join_words() {
  local out=$1 word
  shift
  for word in "$@"; do out+=", $word"; done
  printf '%s' "$out"
}

# Packaged PostgreSQL makes and starts a cluster by default; a machine that only runs our tests should have none.
# Where postgresql-common was there before, its setting is the owner's and stays.
forbid_cluster() {
  local prefix=$1 conf=/etc/postgresql-common/createcluster.conf
  if dpkg -s postgresql-common >/dev/null 2>&1; then return; fi
  run_apt "$prefix" postgresql-common
  # shellcheck disable=SC2086 # the prefix is two words or none
  ${prefix}sed -ri 's/^#?\s*create_main_cluster\s*=.*/create_main_cluster = false/' "$conf"
}

run_apt() {
  local prefix=$1
  shift
  # shellcheck disable=SC2086 # the prefix is two words or none
  ${prefix}env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends --no-upgrade \
    -o Acquire::Retries=3 -o DPkg::Lock::Timeout=120 "$@" >&2
}

install_missing() {
  local prefix
  if $check_only || ! command -v apt-get >/dev/null || ! prefix=$(as_root); then by_hand; fi
  say "Installing: ${packages[*]}"
  # shellcheck disable=SC2086 # the prefix is two words or none
  ${prefix}apt-get update -o Acquire::Retries=3 -o DPkg::Lock::Timeout=120 >&2
  if [[ " ${packages[*]} " == *" postgresql "* ]]; then forbid_cluster "$prefix"; fi
  run_apt "$prefix" "${packages[@]}"
}

main() {
  if [[ ${1:-} == --check ]]; then
    check_only=true
    shift
  fi
  case ${1:-} in
  build | demo | test) ;;
  *) die "usage: scripts/setup.sh [--check] build|demo|test" ;;
  esac
  check "$1"
  if ((${#missing[@]} == 0)); then return; fi
  install_missing
  check "$1"
  if ((${#missing[@]} > 0)); then
    die "Still missing after installing: $(join_words "${missing[@]}"). This distribution's packages may be too old."
  fi
}

main "$@"
