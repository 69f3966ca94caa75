"""What lies where: the top level, a README a folder, and words that do not belong in the tree."""

import re

from source import main

TOP_LEVEL = {
    "CMakeLists.txt", "CMakePresets.json", "proxy", "policies", "config", "migrations", "bench",
    "tests", "deploy", "README.md", "LICENSE",
}
# Written in pieces, so that this file is not its own finding.
WORDS = re.compile(r"\b(TO" r"DO|FIX" r"ME|X" r"XX)\b")
MACHINE_PATHS = re.compile(r"(?<![\w.$}])/(work|root|home|Users)/[\w.]")
TEXT = {".cpp", ".hpp", ".h", ".py", ".md", ".sql", ".yaml", ".yml", ".json", ".txt", ".cmake",
        ".js", ".java", ".sh", ".html", ".css", ""}


def top_level_faults(names):
    folders = {name.split("/")[0] for name in names if "/" in name}
    for top in sorted({name.split("/")[0] for name in names}):
        if top not in TOP_LEVEL and not top.startswith("."):
            yield f"{top}: does not belong at the top level"
    for folder in sorted(folders):
        if not folder.startswith(".") and f"{folder}/README.md" not in names:
            yield f"{folder}: has no README.md"


def word_faults(name, text):
    for number, line in enumerate(text.split("\n"), 1):
        if WORDS.search(line):
            yield f"{name}:{number}: unfinished work belongs elsewhere: {line.strip()[:60]}"
        if MACHINE_PATHS.search(line):
            yield f"{name}:{number}: a path of one machine: {line.strip()[:60]}"


def check(tree):
    names = set(tree.files())
    yield from top_level_faults(names)
    for name in tree.files(*TEXT):
        if "/corpus/" not in name and "/findings/" not in name:
            yield from word_faults(name, tree.text(name))


def self_test():
    good = {"README.md", ".gitignore", "proxy/README.md", "proxy/a.cpp", ".ci/run"}
    assert not list(top_level_faults(good))
    assert len(list(top_level_faults(good | {"notes.txt"}))) == 1
    assert len(list(top_level_faults(good | {"bench/run"}))) == 1
    assert len(list(top_level_faults(good | {"docs/README.md"}))) == 1
    assert not list(word_faults("a.cpp", "// the todo list of a client, $HOME/x, /usr/bin\n"))
    assert len(list(word_faults("a.cpp", "int a;  // TO" "DO later\n"))) == 1
    assert len(list(word_faults("a.sh", "cd /ho" "me/someone/x\n"))) == 1


if __name__ == "__main__":
    main(check, self_test)
