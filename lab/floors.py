"""Whether the crates stand on floors: no circle of files and none of folders, by what their `use` lines and paths name; in the
edge's core no part of `state/` that knows `Core`, and no circle of calls between more than two files of `impl Core`. Tests
are left out: they look at everything. Prints what is wrong; exit code 1 where something is."""

import re
import sys
from pathlib import Path

CRATES = ["edge", "worker", "protocol", "net"]
CALL_FILES_MAX = 2
faults = []


def code_of(path):
    """The file without comments, strings and the module of its tests."""
    text = path.read_text()
    text = re.sub(r'//[^\n]*|b?r(#*)".*?"\1|b?"(?:\\.|[^"\\])*"', lambda m: "" if m[0].startswith("//") else '""', text, flags=re.S)
    text = re.sub(r"'(?:\\.|[^'\\])'", "''", text)
    return re.split(r"#\[cfg\(test\)\]\s*(?:#\[[^\]]*\]\s*)*mod \w+ \{", text)[0]


def is_test(path, root):
    parts = path.relative_to(root).with_suffix("").parts
    return any(part == "tests" or part.endswith("_tests") for part in parts)


def module_of(path, root):
    parts = path.relative_to(root).with_suffix("").parts
    return parts[:-1] if parts[-1] in ("mod", "lib", "main") else parts


def leaves(path):
    """The paths that a `use` with braces names."""
    if "{" not in path:
        return [path.split(" as ")[0].strip()]
    head, body = path.split("{", 1)
    found, depth, item = [], 0, ""
    for letter in body[: body.rindex("}")] + ",":
        depth += {"{": 1, "}": -1}.get(letter, 0)
        if letter == "," and depth == 0:
            if item.strip():
                found += leaves(head + item.strip())
            item = ""
        else:
            item += letter
    return found


def imports(code, module):
    """The paths of this crate that the code names, whole."""
    for path in re.findall(r"\buse\s+((?:crate|super|self)::[^;]+);", code):
        yield from leaves(re.sub(r"\s+", " ", path))
    rest = re.sub(r"\buse\s+[^;]+;", "", code)
    yield from re.findall(r"\b(?:crate|super|self)(?:::\w+)+", rest)


def resolve(path, module, files):
    """The file that a path leads into: the deepest module of its beginning."""
    parts = [part for part in path.split("::") if part]
    at = list(module)
    if parts[0] == "crate":
        at, parts = [], parts[1:]
    elif parts[0] == "self":
        parts = parts[1:]
    while parts and parts[0] == "super":
        at, parts = at[:-1], parts[1:]
    at = tuple(at) + tuple(parts)
    while at and at not in files:
        at = at[:-1]
    return files.get(at)


def circles(graph):
    """The strongly connected parts of a graph that have more than one node (Tarjan 1972)."""
    order, low, stack, on_stack, found = {}, {}, [], set(), []

    def visit(node):
        order[node] = low[node] = len(order)
        stack.append(node)
        on_stack.add(node)
        for next_node in sorted(graph.get(node, ())):
            if next_node not in order:
                visit(next_node)
                low[node] = min(low[node], low[next_node])
            elif next_node in on_stack:
                low[node] = min(low[node], order[next_node])
        if low[node] == order[node]:
            part = set()
            while node not in part:
                part.add(stack.pop())
            on_stack.difference_update(part)
            if len(part) > 1:
                found.append(part)

    for node in sorted(graph):
        if node not in order:
            visit(node)
    return found


def within(graph, part):
    return ", ".join(f"{a} -> {b}" for a in sorted(part) for b in sorted(graph[a] & part))


def folder_of(path, root):
    """A file beside a folder of its name is that folder's root; one that stands in no folder is a floor of its own."""
    if path.with_suffix("").is_dir():
        return str(path.with_suffix(""))
    return str(path if path.parent == root else path.parent)


def check_imports(crate):
    root = Path(crate, "src")
    paths = [path for path in sorted(root.rglob("*.rs")) if not is_test(path, root)]
    files = {module_of(path, root): path for path in paths if path.name != "main.rs"}
    by_file, by_folder = {}, {}
    for module, path in files.items():
        if path.name == "lib.rs":
            continue
        name = str(path)
        folder = folder_of(path, root)
        by_file.setdefault(name, set())
        by_folder.setdefault(folder, set())
        for used in imports(code_of(path), module):
            target = resolve(used, module, files)
            if target is None or target == path or target.name == "lib.rs":
                continue
            by_file[name].add(str(target))
            there = folder_of(target, root)
            if there != folder:
                by_folder[folder].add(there)
    for kind, graph in (("files", by_file), ("folders", by_folder)):
        for part in circles(graph):
            faults.append(f"{crate}: a circle of {kind}: {within(graph, part)}")


def blocks_of(code, head):
    """The bodies that follow a head."""
    for match in re.finditer(head, code):
        depth, at = 1, match.end()
        while depth:
            depth += {"{": 1, "}": -1}.get(code[at], 0)
            at += 1
        yield code[match.end() : at]


def check_core():
    root = Path("edge/src")
    core = root / "core"
    bodies = {}
    for path in sorted(core.rglob("*.rs")):
        if is_test(path, root):
            continue
        if path.is_relative_to(core / "state") and re.search(r"\bCore\b", path.read_text()):
            faults.append(f"{path}: no part of what a core remembers names Core")
        body = "".join(blocks_of(code_of(path), r"impl (?:\w+ for )?Core \{"))
        if body:
            bodies[str(path)] = body
    home = {}
    for name, body in bodies.items():
        for method in re.findall(r"\bfn (\w+)", body):
            if method in home:
                faults.append(f"{name}: {method} is also a method of Core in {home[method]}")
            home[method] = name
    graph = {}
    for name, body in bodies.items():
        called = re.findall(r"\b(?:self\s*\.|Core::|Self::)\s*(\w+)\s*(?:::<[^>]*>)?\(", body)
        graph[name] = {home[method] for method in called if method in home} - {name}
    for part in circles(graph):
        if len(part) > CALL_FILES_MAX:
            faults.append(f"edge: a circle of calls between files of impl Core: {within(graph, part)}")
    if not bodies or not any(graph.values()):
        faults.append(f"{core}: no impl Core was found: this check looks at nothing")


sys.setrecursionlimit(10_000)
for each in CRATES:
    check_imports(each)
check_core()
for fault in faults:
    print(fault, file=sys.stderr)
sys.exit(1 if faults else 0)
