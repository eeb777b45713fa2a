"""The simulation is a workspace of its own and has a lock file of its own: this holds it to the versions of the programs that
ship. What was simulated with another version of a library says nothing of them.

Prints a line for each library whose versions differ. Exit code 1 where there is one.
"""

import sys
import tomllib
from collections import defaultdict

SHIPPED, SIMULATED = "Cargo.lock", "lab/simulation/Cargo.lock"


def versions(path):
    """The versions of each package that a lock file names."""
    found = defaultdict(set)
    with open(path, "rb") as file:
        for package in tomllib.load(file)["package"]:
            found[package["name"]].add(package["version"])
    return found


shipped, simulated = versions(SHIPPED), versions(SIMULATED)
others = [name for name in simulated if name in shipped and not simulated[name] <= shipped[name]]
for name in others:
    print(f"{SIMULATED}: {name} {', '.join(sorted(simulated[name]))}, but {SHIPPED} has {', '.join(sorted(shipped[name]))}")
if others:
    print(f"{SIMULATED}: begin with a copy of {SHIPPED} and let cargo take out what is not needed")
sys.exit(1 if others else 0)
