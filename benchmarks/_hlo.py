"""What a compiler's output says of a program: its loops, their kernels, a TPU's cycles."""

import re
from typing import NamedTuple

# Instructions that start no kernel.
NO_KERNEL = {
    "parameter", "constant", "tuple", "get-tuple-element", "bitcast", "while", "conditional", "call",
    "after-all", "partition-id", "replica-id", "copy-done", "slice-done", "async-start", "async-done",
}  # fmt: skip
HEAD = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\) -> .* \{\s*$")
INSTRUCTION = re.compile(r"^(?:ROOT )?%?[\w.\-]+ = (?:\(.*?\)|\S+) ([\w\-]+)\(")


class Loop(NamedTuple):
    """A computation: how often it runs, its kernels and cycles a run, and what is inside it.

    `trips` is None where the compiler does not know them.
    """

    trips: int | None
    kernels: int
    cycles: int
    inside: list["Loop"]

    def launches(self, unknown: int = 1) -> int:
        """Kernels in all, a loop of unknown length taken so many times."""
        times = unknown if self.trips is None else self.trips
        return times * (self.kernels + sum(loop.launches(unknown) for loop in self.inside))

    def all_cycles(self, unknown: int = 1) -> int:
        times = unknown if self.trips is None else self.trips
        return times * (self.cycles + sum(loop.all_cycles(unknown) for loop in self.inside))

    def loops(self) -> list["Loop"]:
        """Itself and all inside."""
        return [self, *(each for loop in self.inside for each in loop.loops())]


def read(text: str) -> Loop:
    """The program's entry. Of a condition's branches, the one of the fewest launches."""
    bodies: dict[str, list[str]] = {}
    entry = current = None
    for line in text.splitlines():
        if found := HEAD.match(line):
            current = found.group(2)
            bodies[current] = []
            entry = current if found.group(1) else entry
        elif line.startswith("}"):
            current = None
        elif current and " = " in line:
            bodies[current].append(line.strip())
    assert entry is not None
    return _loop(bodies, entry, 1, {})


def _loop(bodies, name: str, trips: int | None, bounds: dict) -> Loop:
    kernels = cycles = 0
    inside: list[Loop] = []
    for line in bodies[name]:
        found = INSTRUCTION.match(line)
        kind = found.group(1) if found else None
        if kind is None:
            continue
        if kind not in NO_KERNEL:
            kernels += 1
        cycles += sum(map(int, re.findall(r'estimated_cycles":"(\d+)', line)))
        go = lambda name, times=1: _loop(bodies, name, times, bounds)
        if kind == "while":
            known = re.search(r"known_trip_count[^\d]*(\d+)", line)
            times = int(known.group(1)) if known else _bound(bodies, line)
            inside.append(go(_named("body", line)[0], times))
        elif kind == "conditional":
            names = _named("branch_computations", line) or [
                *_named("true_computation", line), *_named("false_computation", line)
            ]  # fmt: skip
            inside.append(min(map(go, names), key=Loop.launches))
        elif kind in ("call", "async-start"):
            inside += [go(name) for name in _named("to_apply|calls", line) if name in bodies]
    return Loop(trips, kernels, cycles, inside)


def _bound(bodies, line: str) -> int | None:
    """The one integer that a loop's condition compares its counter to, if there is but one."""
    text = " ".join(bodies[_named("condition", line)[0]])
    found = set(re.findall(r"s32\[\][^ ]* constant\((\d+)\)", text))
    return int(found.pop()) if len(found) == 1 else None


def _named(field: str, line: str) -> list[str]:
    found = re.search(rf"(?:{field})=(\{{[^}}]*\}}|%?[\w.\-]+)", line)
    return re.findall(r"[\w.\-]+", found.group(1)) if found else []
