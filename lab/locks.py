"""The simulation and the fuzz targets are workspaces of their own and have lock files of their own: this holds them to the versions
of the programs that ship. What was simulated or fuzzed with another version of a library says nothing of them.

Prints a line for each library whose versions differ. Exit code 1 where there is one.
"""

import sys
import tomllib
from collections import defaultdict

SHIPPED, OTHERS = "Cargo.lock", ["lab/simulation/Cargo.lock", "lab/fuzz/Cargo.lock"]


def versions(path):
    """The versions of each package that a lock file names."""
    found = defaultdict(set)
    with open(path, "rb") as file:
        for package in tomllib.load(file)["package"]:
            found[package["name"]].add(package["version"])
    return found


shipped = versions(SHIPPED)
is_faulty = False
for path in OTHERS:
    its = versions(path)
    differing = [name for name in its if name in shipped and not its[name] <= shipped[name]]
    for name in differing:
        print(f"{path}: {name} {', '.join(sorted(its[name]))}, but {SHIPPED} has {', '.join(sorted(shipped[name]))}")
    if differing:
        print(f"{path}: begin with a copy of {SHIPPED} and let cargo take out what is not needed")
        is_faulty = True
sys.exit(1 if is_faulty else 0)
