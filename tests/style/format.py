"""Every C++ file is as clang-format 14 and .clang-format have it."""

import shutil
import subprocess
import sys

from source import main

PROGRAM = shutil.which("clang-format-14") or "clang-format-14"


def faults_of(names, root):
    done = subprocess.run(
        [PROGRAM, "--dry-run", "--Werror", "--style=file", *names], cwd=root, capture_output=True,
        text=True, check=False)
    for line in done.stderr.splitlines():
        if "error:" in line:
            yield line
    if done.returncode != 0 and "error:" not in done.stderr:
        yield f"{PROGRAM} failed: {done.stderr}"


def check(tree):
    names = list(tree.files(".cpp", ".hpp"))
    for at in range(0, len(names), 100):
        yield from faults_of(names[at : at + 100], tree.root)


def formatted(text, root):
    """Whether a text is what clang-format makes of it."""
    done = subprocess.run(
        [PROGRAM, "--style=file", "--assume-filename=sample.cpp"], cwd=root, input=text, text=True,
        capture_output=True, check=True)
    return done.stdout == text


def self_test():
    assert formatted("int a = 1;\n", sys.argv[1])
    assert not formatted("int  f( ){return 1 ;}\n", sys.argv[1])


if __name__ == "__main__":
    main(check, self_test)
