#!/usr/bin/env bash
# Says whether docker-compose.yml is valid; needs no Docker engine. Two looks: Compose's own schema check where Compose is
# installed, and ours at what the schema cannot know (files that are mounted, conditions that need a health check).
# Exit codes: 0 valid; 1 not; 2 nothing here can check it.
set -euo pipefail
cd "$(dirname "$0")/.."

# The file refuses to be used without a token; any will do for the check.
export FLUX_ADMIN_TOKEN=${FLUX_ADMIN_TOKEN:-check}
looks=0

if docker compose version >/dev/null 2>&1; then
  docker compose config --quiet
  looks=1
  echo "compose-check: docker compose finds no fault"
elif command -v docker-compose >/dev/null 2>&1; then
  docker-compose config --quiet
  looks=1
  echo "compose-check: docker-compose finds no fault"
fi

if python3 -c 'import yaml' 2>/dev/null; then
  python3 lab/compose_check.py docker-compose.yml
  looks=1
fi

if [ "$looks" -eq 0 ]; then
  echo "compose-check: neither docker-compose nor Python's yaml is here: sudo apt-get install docker-compose python3-yaml" >&2
  exit 2
fi
