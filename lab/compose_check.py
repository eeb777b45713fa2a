"""Finds in a compose file what its schema cannot know. Prints each fault in one line; exit code 1 if there is one.

Never starts, pulls or builds anything.
"""

import pathlib
import re
import sys

import yaml


def faults(path):
    root = path.parent
    composition = yaml.safe_load(path.read_text())
    services = composition["services"]
    named_volumes = composition.get("volumes") or {}

    for name, service in services.items():
        if ("image" in service) == ("build" in service):
            yield f"{name}: wants exactly one of image and build"
        if "image" in service and not re.search(r":[\w.-]*\d[\w.-]*$", service["image"]):
            yield f"{name}: image {service['image']} names no version"
        if "healthcheck" not in service:
            yield f"{name}: has no health check"
        if "build" in service:
            target = service["build"].get("target")
            dockerfile = root / service["build"].get("dockerfile", "Dockerfile")
            if not dockerfile.is_file():
                yield f"{name}: {dockerfile} is not there"
            elif target and not re.search(rf"(?im)^FROM\s+\S+\s+AS\s+{re.escape(target)}\s*$", dockerfile.read_text()):
                yield f"{name}: {dockerfile} has no stage {target}"
        for other, how in (service.get("depends_on") or {}).items():
            if other not in services:
                yield f"{name}: depends on {other}, which is not a service"
            elif how["condition"] == "service_healthy" and "healthcheck" not in services[other]:
                yield f"{name}: waits for {other}, which has no health check"
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith("."):
                if not (root / source).exists():
                    yield f"{name}: mounts {source}, which is not there"
            elif source not in named_volumes:
                yield f"{name}: volume {source} is not declared"


def main():
    path = pathlib.Path(sys.argv[1]).resolve()
    found = list(faults(path))
    for fault in found:
        print(f"compose-check: {fault}", file=sys.stderr)
    if found:
        return 1
    print(f"compose-check: {path.name}: mounts, stages, volumes and conditions fit together")
    return 0


if __name__ == "__main__":
    sys.exit(main())
