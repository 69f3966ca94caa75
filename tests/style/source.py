"""What the checks share: the tree's files, C++ without comments and literals, and reporting."""

import pathlib
import re
import subprocess
import sys


class Tree:
    """The files of a working tree by their path relative to its root."""

    def __init__(self, root):
        self.root = pathlib.Path(root)

    def files(self, *suffixes):
        """Tracked and new files, without what .gitignore names."""
        listed = subprocess.run(
            ["git", "-c", f"safe.directory={self.root}", "-C", str(self.root), "ls-files", "-z",
             "--cached", "--others", "--exclude-standard"],
            check=True, capture_output=True, text=True).stdout
        for name in sorted(filter(None, listed.split("\0"))):
            path = self.root / name
            if path.is_file() and (not suffixes or path.suffix in suffixes):
                yield name

    def text(self, name):
        return (self.root / name).read_text(encoding="utf-8", errors="replace")


_TOKENS = re.compile(
    r"""//[^\n]*|/\*.*?\*/|R"(?P<mark>[^()\\\s]{0,16})\(.*?\)(?P=mark)"|"""
    r""""(?:\\.|[^"\\\n])*"|(?<![0-9a-fA-F])'(?:\\.|[^'\\\n])*'""",
    re.DOTALL)


def blanked(text):
    """The text with comments and literals turned to spaces; every line keeps its number."""
    return _TOKENS.sub(lambda found: re.sub(r"[^\n]", " ", found[0]), text)


def line_of(text, offset):
    return text.count("\n", 0, offset) + 1


def main(check, self_test):
    """Runs a check's self-test, then the check itself on the tree given as the first argument."""
    self_test()
    faults = list(check(Tree(sys.argv[1])))
    for fault in faults:
        print(fault)
    sys.exit(f"{len(faults)} faults" if faults else 0)
