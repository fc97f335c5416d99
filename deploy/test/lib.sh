# What the scripts beside this have in common. They run it as root, on Debian.
# shellcheck shell=bash
set -euo pipefail
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/vbaws_exporter-deploy
mkdir -p "$cache"

step() { printf "\n== %s\n" "$*"; }
die() { printf '%s: %s\n' "$0" "$*" >&2; exit 1; }

((EUID == 0)) || die "must be run as root: it makes containers and installs packages"

# need COMMAND=PACKAGE...: installs the packages whose commands are missing.
need() {
  local missing=() pair
  for pair; do
    command -v "${pair%%=*}" >/dev/null || missing+=("${pair#*=}")
  done
  ((${#missing[@]})) || return 0
  step "install ${missing[*]}"
  apt-get update -q >/dev/null
  DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends "${missing[@]}" >/dev/null
}

# await WHAT COMMAND...: until it succeeds, at most five minutes.
await() {
  local what=$1 i
  shift
  for ((i = 0; i < 1500; i++)); do
    ! "$@" >/dev/null 2>&1 || return 0
    sleep 0.2
  done
  die "$what doesn't come"
}

# setting KEY FILE: its value in the configuration that the demo printed into the file.
setting() { sed -n "s/^  $1: //p" "$2"; }

# build_release FOLDER: builds all files of a release from HEAD, in a clone of its own.
build_release() {
  git clone -q "$top" "$1"
  (cd "$1" && make --no-print-directory package >"$1.log" 2>&1) || { cat "$1.log"; die "the release can't be built"; }
}

# release: sets $dist to the folder of a release of HEAD, and builds it unless deploy/test/release has.
release() {
  local source
  source=$cache/release-$(git -C "$top" rev-parse HEAD)
  dist=$source/dist
  [[ ! -e $dist/sha256sums.txt ]] || return 0
  step "build a release of what is committed"
  rm -rf "$cache"/release-*
  build_release "$source"
}

# debian: makes the archive of a small Debian with systemd, unless it is there.
debian() {
  [[ ! -e $cache/debian-make.tar ]] || return 0
  need mmdebstrap=mmdebstrap
  step "make a small Debian"
  mmdebstrap --quiet --variant=minbase --include=systemd,systemd-sysv,dbus,ca-certificates,make bookworm "$cache/debian.new.tar"
  mv "$cache/debian.new.tar" "$cache/debian-make.tar"
}
