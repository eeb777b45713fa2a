#!/usr/bin/env bash
# Checks the files that the Rust compiler does not read: shell, Python, JSON, YAML, JavaScript, pages, and what documents name.
# What a missing tool would have checked is named, not silently left out.
set -euo pipefail
cd "$(dirname "$0")/.."

faulty=0
fault() { printf 'lint: %s\n' "$*" >&2; faulty=1; }
unchecked() { printf 'lint: %s is not here, so %s went unchecked\n' "$1" "$2"; }
has() { command -v "$1" >/dev/null 2>&1; }

# Tracked files and new ones that are not ignored.
files() { git ls-files --cached --others --exclude-standard -- "$@"; }

mapfile -t shell < <(files '*.sh' .ci/run)
for file in "${shell[@]}"; do
  bash -n "$file" || fault "$file: not valid shell"
  [ -x "$file" ] || fault "$file: not executable"
done
if has shellcheck; then shellcheck "${shell[@]}" || fault "shellcheck"; fi

if has python3; then
  while read -r file; do
    python3 -c 'import ast, sys; ast.parse(open(sys.argv[1]).read())' "$file" || fault "$file: not valid Python"
  done < <(files '*.py')
  python3 lab/floors.py || fault 'circles: see above'
  python3 lab/docs_check.py || fault "documents: see above"
  python3 lab/locks.py || fault 'lock files: see above'
  while read -r file; do
    python3 -c 'import json, sys; json.load(open(sys.argv[1]))' "$file" || fault "$file: not valid JSON"
  done < <(files '*.json')
else
  unchecked python3 'Python, JSON and what documents name'
fi

if python3 -c 'import yaml' 2>/dev/null; then
  while read -r file; do
    python3 -c 'import sys, yaml; yaml.safe_load(open(sys.argv[1]))' "$file" || fault "$file: not valid YAML"
  done < <(files '*.yml')
else
  unchecked "Python's yaml" 'YAML'
fi

if has node; then
  while read -r file; do
    node --input-type=module --check <"$file" || fault "$file: not valid JavaScript"
  done < <(files '*.js')
else
  unchecked node 'JavaScript'
fi

# The pages run under a content security policy without inline script or style.
while read -r file; do
  if grep -nE '<style|style=|<script>|javascript:| on[a-z]+=' "$file"; then fault "$file: inline script or style"; fi
done < <(files 'edge/static/*.html' 'edge/dashboard/*.html')

exit "$faulty"
