"""Whether the documents still name what is there: relative links and their anchors, the files that ARCHITECTURE.md names,
and in CONTRIBUTING.md every test program of the workspace and of the simulation, and no other. Prints what is wrong; exit
code 1 where something is."""

import re
import subprocess
import sys
from pathlib import Path

TRACKED = subprocess.run(
    ["git", "ls-files", "--cached", "--others", "--exclude-standard"], check=True, capture_output=True, text=True
).stdout.split()
PRESENT = [path for path in TRACKED if Path(path).exists()]
faults = []


def anchors(text):
    """The anchors that GitHub makes of a document's headings."""
    found = set()
    for heading in re.findall(r"^#+ (.*)$", text, re.MULTILINE):
        found.add(re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-"))
    return found


def check_links(document):
    text = Path(document).read_text()
    for target, anchor in re.findall(r"\]\(([^)#\s]*)(?:#([^)\s]*))?\)", text):
        if re.match(r"\w+:", target):
            continue
        path = (Path(document).parent / target) if target else Path(document)
        if not path.exists():
            faults.append(f"{document}: {target} is not there")
        elif anchor and path.suffix == ".md" and anchor not in anchors(path.read_text()):
            faults.append(f"{document}: {target}#{anchor} is no heading")


def check_paths(document):
    """Paths with a slash in backticks; those with a star or an ellipsis stand for several."""
    for path in re.findall(r"`([a-z_]+/[\w./-]+)`", Path(document).read_text()):
        if not Path(path).exists() and not any(known.endswith("/" + path) for known in PRESENT):
            faults.append(f"{document}: `{path}` is not there")


def check_tests(document):
    """A test program is named by `--test NAME`, or in backticks beside one, or it is run with its whole package."""
    text = Path(document).read_text()
    asked = set(re.findall(r"--test (\w+)(?![\w/])", text))
    named = asked | set(re.findall(r"`(\w+)`", text))
    whole = set(re.findall(r"`cargo test -p flux-(\w+)`", text))
    there = set()
    for path in PRESENT:
        found = re.fullmatch(r"(.+)/tests/(\w+)(?:\.rs|/main\.rs)", path)
        if not found or not Path(found[1], "Cargo.toml").exists():
            continue
        there.add(found[2])
        if found[2] not in named and Path(found[1]).name not in whole:
            faults.append(f"{document}: {path} is not in the table")
    faults.extend(f"{document}: there is no test program {name}" for name in sorted(asked - there))


for each in (path for path in PRESENT if path.endswith(".md")):
    check_links(each)
check_paths("docs/ARCHITECTURE.md")
check_paths("docs/decisions.md")
check_tests("CONTRIBUTING.md")
for fault in faults:
    print(fault, file=sys.stderr)
sys.exit(1 if faults else 0)
