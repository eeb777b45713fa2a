#!/usr/bin/env bash
# Makes a Debian machine ready for `make demo` and `make test`: installs what is missing where it may (root, or
# sudo that asks for no password), else says in one line each what is missing and which command installs it.
#
#   lab/setup.sh           install or complain
#   lab/setup.sh --check   only look, install nothing
#   lab/setup.sh --mutants cargo-mutants too, which only `make mutants` needs
#
# Exit codes: 0 everything needed is there; 2 something needed is missing.
# It never leaves a server running that it installed: the lab starts its own on free ports, in directories of its own.
set -euo pipefail
cd "$(dirname "$0")/.."

check_only=0
with_mutants=0
case "${1:-}" in
  '') ;;
  --check) check_only=1 ;;
  --mutants) with_mutants=1 ;;
  *) echo "usage: lab/setup.sh [--check | --mutants]" >&2; exit 2 ;;
esac

kafka_libs=target/kafka/libs
say() { printf 'setup: %s\n' "$*"; }

# ---- what is there -------------------------------------------------------------------------------------------

has() { command -v "$1" >/dev/null 2>&1; }

# Debian keeps them out of a user's PATH.
has_sbin() { has "$1" || [ -x "/usr/sbin/$1" ]; }

# Debian keeps the server programs of each major version out of PATH.
has_postgres() {
  has postgres && return
  local program
  for program in /usr/lib/postgresql/*/bin/postgres; do
    [ -x "$program" ] && return
  done
  return 1
}

# The stamp is the pom itself: another Kafka version there fetches the jars anew.
has_kafka_jars() { cmp --silent lab/kafka/pom.xml "$kafka_libs/pom.xml"; }

# Looks for what keeps people from using a page. The name holds the version: another one there is fetched anew.
axe_version=4.10.3
has_axe() { [ -s target/browser/axe.min.js ] && [ "$(cat target/browser/version 2>/dev/null)" = "$axe_version" ]; }

has_yaml() { has python3 && python3 -c 'import yaml' 2>/dev/null; }

# The broker of Kafka 4 asks for Java 17.
has_java() {
  has java || return 1
  local version
  version=$(java -version 2>&1 | sed -n 's/.* version "\([0-9]*\).*/\1/p' | head -n 1)
  [ "${version:-0}" -ge 17 ]
}

# Under rustup the first call also fetches the toolchain that rust-toolchain.toml names.
has_toolchain() {
  has cargo || return 1
  local least version
  least=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
  version=$(rustc --version 2>/dev/null | awk '{ print $2 }')
  [ -n "$version" ] && [ "$(printf '%s\n' "$least" "$version" | sort -V | head -n 1)" = "$least" ]
}

# ---- needed, and wanted --------------------------------------------------------------------------------------

needed=() # without these there is no demo and no test
has redis-server || needed+=(redis-server)
has_postgres || needed+=(postgresql)
has cc || needed+=(build-essential)
if ! has_kafka_jars && ! has mvn; then needed+=(maven); fi
has_java || needed+=(default-jre-headless)
has chromium || needed+=(chromium)
has chromedriver || needed+=(chromium-driver)
has node || needed+=(nodejs)
if ! has_axe && ! has npm; then needed+=(npm); fi

wanted=() # tools for looking closer: benchmarks, flame graphs, the compose check
has wrk || wanted+=(wrk)
has kcat || wanted+=(kcat)
has curl || wanted+=(curl)
has_sbin nginx || wanted+=(nginx-light) # end to end: what stands in front of edges
has_sbin haproxy || wanted+=(haproxy)
has openssl || wanted+=(openssl)
has perf || wanted+=(linux-perf)
has valgrind || wanted+=(valgrind) # make guard, part of make test
has nft || wanted+=(nftables) # chaos: packets that vanish
has ip || wanted+=(iproute2)
has_yaml || wanted+=(python3-yaml)
has docker-compose || docker compose version >/dev/null 2>&1 || wanted+=(docker-compose)

# What is only wanted is tried once, so that a package that this machine cannot have costs nothing the next time.
wanted_tried=target/setup-wanted
if [ "${wanted[*]}" = "$(cat "$wanted_tried" 2>/dev/null || true)" ]; then wanted=(); fi

# ---- Debian packages -----------------------------------------------------------------------------------------

as_root=()
may_install() {
  has apt-get || return 1
  [ "$(id -u)" -eq 0 ] && return
  has sudo && sudo -n true 2>/dev/null || return 1
  as_root=(sudo -n)
}

is_installed() { [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }

has_systemd() { [ -d /run/systemd/system ]; }

postgres_clusters() { if has pg_lsclusters; then pg_lsclusters --no-header | awk '{ print $1, $2 }' | sort; fi; }

# Debian starts a service as it installs it. Only those that this run brought are stopped again.
stop_service() {
  say "the $1 service that the installation brought is stopped and disabled"
  if has_systemd; then
    "${as_root[@]}" systemctl disable --now --quiet "$1" || true
  else
    "${as_root[@]}" service "$1" stop >/dev/null 2>&1 || true
  fi
}

stop_new_postgres_clusters() {
  local version name
  while read -r version name; do
    say "the PostgreSQL cluster $version/$name that the installation made is stopped and set to manual start"
    "${as_root[@]}" pg_ctlcluster "$version" "$name" stop -m fast >/dev/null 2>&1 || true
    printf 'manual\n' | "${as_root[@]}" tee "/etc/postgresql/$version/$name/start.conf" >/dev/null
  done < <(comm -13 <(printf '%s\n' "$clusters_before") <(postgres_clusters))
}

apt_install() {
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y -qq --no-install-recommends -o DPkg::Lock::Timeout=120 "$@"
}

install_packages() {
  say "installing from Debian: ${needed[*]} ${wanted[*]}"
  local clusters_before log service new_services=()
  # Each with the package that brings it.
  for service in redis-server:redis-server nginx:nginx-light haproxy:haproxy; do
    is_installed "${service#*:}" || new_services+=("$service")
  done
  clusters_before=$(postgres_clusters)
  log=$(mktemp)

  "${as_root[@]}" apt-get update -qq -o DPkg::Lock::Timeout=120 >"$log" 2>&1 || say "apt-get update failed, going on with the lists there are"
  if [ ${#needed[@]} -gt 0 ] && ! apt_install "${needed[@]}" >>"$log" 2>&1; then
    tail -n 20 "$log" >&2
  fi
  local package
  for package in "${wanted[@]}"; do
    apt_install "$package" >>"$log" 2>&1 || say "$package could not be installed (not needed for demo and tests)"
  done
  rm -f "$log"
  mkdir -p target
  printf '%s' "${wanted[*]}" >"$wanted_tried"

  for service in "${new_services[@]}"; do
    if is_installed "${service#*:}"; then stop_service "${service%:*}"; fi
  done
  stop_new_postgres_clusters
}

if [ $((${#needed[@]} + ${#wanted[@]})) -gt 0 ] && [ "$check_only" -eq 0 ] && may_install; then
  install_packages
fi

# ---- Kafka's jars --------------------------------------------------------------------------------------------

fetch_kafka_jars() {
  say "fetching Apache Kafka 4.1 into $kafka_libs"
  local fresh=target/kafka/fetching log
  rm -rf "$fresh"
  mkdir -p "$fresh"
  log=$(mktemp)
  if mvn --quiet --batch-mode --file lab/kafka/pom.xml \
    dependency:copy-dependencies "-DoutputDirectory=$PWD/$fresh" >"$log" 2>&1; then
    cp lab/kafka/pom.xml "$fresh/pom.xml"
    rm -rf "$kafka_libs"
    mv "$fresh" "$kafka_libs"
  else
    tail -n 20 "$log" >&2
  fi
  rm -f "$log"
}

if ! has_kafka_jars && [ "$check_only" -eq 0 ] && has mvn; then
  fetch_kafka_jars
fi

# ---- axe-core ------------------------------------------------------------------------------------------------

fetch_axe() {
  say "fetching axe-core $axe_version into target/browser"
  local fresh=target/browser/fetching
  rm -rf "$fresh"
  mkdir -p "$fresh"
  # npm checks what it fetches against the registry's digest.
  if npm pack --silent --pack-destination "$fresh" "axe-core@$axe_version" >/dev/null &&
    tar -xzf "$fresh/axe-core-$axe_version.tgz" -C "$fresh" package/axe.min.js; then
    mv "$fresh/package/axe.min.js" target/browser/axe.min.js
    printf '%s' "$axe_version" >target/browser/version
  fi
  rm -rf "$fresh"
}

if ! has_axe && [ "$check_only" -eq 0 ] && has npm; then
  fetch_axe
fi

# ---- cargo-mutants -------------------------------------------------------------------------------------------

# Only its list of what could be changed is used, and drawn from, so the version is part of the sample; not optimised, since it
# takes a second all the same.
mutants_version=27.1.0
has_mutants() { has cargo-mutants && [ "$(cargo mutants --version 2>/dev/null)" = "cargo-mutants $mutants_version" ]; }

if [ "$with_mutants" -eq 1 ] && ! has_mutants; then
  say "building cargo-mutants $mutants_version"
  cargo install --quiet --locked --debug --version "$mutants_version" cargo-mutants
fi

# ---- the answer ----------------------------------------------------------------------------------------------

missing=0
lack() { # what it is, the command that brings it
  printf 'setup: missing: %-22s install it with: %s\n' "$1" "$2" >&2
  missing=1
}

apt_command() { printf 'sudo apt-get install %s' "$1"; }

has redis-server || lack 'Redis' "$(apt_command redis-server)"
has_postgres || lack 'PostgreSQL' "$(apt_command postgresql)"
has_java || lack 'Java 17 or later' "$(apt_command default-jre-headless)"
has cc || lack 'a C compiler' "$(apt_command build-essential)"
has chromium || lack 'Chromium' "$(apt_command chromium)"
has chromedriver || lack "Chromium's driver" "$(apt_command chromium-driver)"
has node || lack 'Node' "$(apt_command nodejs)"
if ! has_axe; then
  has npm || lack 'npm' "$(apt_command npm)"
  lack 'axe-core in target/browser' 'lab/setup.sh (once npm and the network are there)'
fi
if ! has_kafka_jars; then
  has mvn || lack 'Maven' "$(apt_command maven)"
  lack "Kafka in $kafka_libs" 'lab/setup.sh (once Maven and the network are there)'
fi
has_toolchain || lack 'Rust (rust-toolchain.toml)' 'curl https://sh.rustup.rs -sSf | sh -s -- -y --default-toolchain none'

hint() { has "$1" || say "not there, and not needed for demo and tests: $1 ($(apt_command "$2"))"; }
hint wrk wrk
hint kcat kcat
hint perf linux-perf
has valgrind || say "not there, and needed by make guard, part of make test: valgrind ($(apt_command valgrind))"

if [ "$missing" -ne 0 ]; then exit 2; fi
say "everything needed is there"
