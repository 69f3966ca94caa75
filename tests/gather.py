"""Writes one CTestTestfile.cmake that runs chosen tests of several build folders.

usage: gather.py OUTPUT PRESET:LABELS…

Each test keeps its command and properties and is named PRESET/NAME, so that a single ctest run, and
its single summary, covers every preset.
"""

import json
import pathlib
import re
import subprocess
import sys


def quoted(text):
    """A bracket argument that no text can end early."""
    marks = "="
    while "]" + marks + "]" in text:
        marks += "="
    return "[" + marks + "[" + text + "]" + marks + "]"


def value_of(value):
    """How ctest writes a property back: lists with semicolons, truth as 1 or 0."""
    if isinstance(value, list):
        return ";".join(str(one) for one in value)
    if isinstance(value, bool):
        return "1" if value else "0"
    return str(value)


def tests_of(build, labels):
    """The tests of one build folder that wear a label matching `labels`."""
    shown = subprocess.run(
        ["ctest", "--test-dir", str(build), "--show-only=json-v1"],
        check=True,
        capture_output=True,
        text=True,
    )
    for test in json.loads(shown.stdout)["tests"]:
        properties = {one["name"]: one["value"] for one in test.get("properties", [])}
        if any(re.fullmatch(labels, label) for label in properties.get("LABELS", [])):
            if not test.get("command"):
                sys.exit(f"gather.py: {test['name']} of {build.name} has not been built")
            yield test["name"], test.get("command", []), properties


def main():
    output = pathlib.Path(sys.argv[1])
    lines = []
    for selection in sys.argv[2:]:
        preset, _, labels = selection.partition(":")
        found = list(tests_of(output.parent / preset, labels))
        if not found:
            sys.exit(f"gather.py: no test of {preset} is labelled {labels}")
        for name, command, properties in found:
            full = quoted(f"{preset}/{name}")
            lines.append(f"add_test({full} {' '.join(quoted(part) for part in command)})")
            settings = " ".join(
                f"{key} {quoted(value_of(value))}" for key, value in properties.items()
            )
            lines.append(f"set_tests_properties({full} PROPERTIES {settings})")
    output.mkdir(parents=True, exist_ok=True)
    (output / "CTestTestfile.cmake").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
