#!/usr/bin/env bash
# Runs nginx with constant answers, called like the other peers. The process is nginx's master; its workers do the work,
# so what it costs is what its children cost.
set -euo pipefail

fail() { printf 'peer-nginx: %s\n' "$*" >&2; exit 2; }

listen=127.0.0.1:3000
threads=2
mode=constant
while [ $# -gt 0 ]; do
  [ $# -ge 2 ] || fail "$1 needs a value"
  case $1 in
    --listen) listen=$2 ;;
    --threads) threads=$2 ;;
    --mode) mode=$2 ;;
    --redis | --kafka | --topic) ;; # taken, so that all peers are called alike
    *) fail "unknown flag $1" ;;
  esac
  shift 2
done
[ "$mode" = constant ] || fail "--mode is constant: nginx takes no orders"
[[ $listen =~ ^[0-9A-Fa-f.:]+$|^\[[0-9A-Fa-f:]+\]:[0-9]+$ ]] || fail "--listen is address:port"
[[ $threads =~ ^[1-9][0-9]*$ ]] || fail "--threads is a number of at least 1"

# Debian keeps it out of a user's PATH.
program=$(PATH=$PATH:/usr/sbin type -P nginx) || fail "nginx is missing, install it with: sudo apt-get install nginx-light"
template=$(dirname "$(readlink -f "$0")")/nginx.conf.in
directory=${TMPDIR:-/tmp}/peer-nginx-${listen//[^0-9A-Fa-f]/-}
mkdir -p "$directory"
sed -e "s/@LISTEN@/$listen/" -e "s/@THREADS@/$threads/" "$template" >"$directory/nginx.conf"
exec "$program" -p "$directory" -c "$directory/nginx.conf" -e stderr
