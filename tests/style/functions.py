"""No function is longer than 70 lines, unless the line before it says `// long: reason`."""

import re

from source import blanked, line_of, main

LINES_MAX = 70
# What may stand in front of a brace that opens no function body.
SCOPE = re.compile(r"\b(namespace|class|struct|union|enum)\b[^;{}()]*$|\bextern\s*$")
TEST_SUITE = re.compile(r"\b(TEST_SUITE|TEST_SUITE_BEGIN)\s*\([^{}]*\)\s*$")


def bodies(code):
    """(start of the head, opening brace, closing brace) of every outermost function body."""
    head = 0          # where the current declaration began
    at = 0
    while at < len(code):
        one = code[at]
        if one == "#" and not code[code.rfind("\n", 0, at) + 1 : at].strip():
            while True:  # a preprocessor line, with its continuations
                end = code.find("\n", at)
                end = len(code) if end < 0 else end
                continued = code[at:end].rstrip().endswith("\\")
                at = end + 1
                if not continued:
                    break
            head = at
            continue
        if one in ";}":
            head = at + 1
        elif one == "{":
            before = code[head:at]
            if SCOPE.search(without_brackets(before)) or TEST_SUITE.search(before):
                head = at + 1
            else:
                end = matching(code, at)
                if opens_function(before):
                    yield head, at, end
                at = end
                # `int a{1}, b{2};` and initialiser lists go on with the same declaration.
                following = code[end + 1 : end + 200].lstrip()[:1]
                if following not in tuple(",{") and not is_initialiser(before, following):
                    head = end + 1
        at += 1


def opens_function(before):
    """Whether the brace after this text opens a function: its parameters, or a lambda's, are closed
    and it is not the value of something."""
    return ("(" in before and before.count("(") == before.count(")")
            and not before.rstrip().endswith("="))


def without_brackets(text):
    """Without template arguments and attributes, whose words open no scope."""
    text = re.sub(r"\[\[.*?\]\]", " ", text, flags=re.DOTALL)
    return re.sub(r"\b(template|alignas|requires)\s*(<[^{}]*>|\([^()]*\))", " ", text)


def is_initialiser(before, following):
    """A member initialiser's braces: `: a_{x} , b_{y} {`."""
    return following == ":" or (re.search(r"\)\s*(noexcept\s*)?:", before) and following == ",")


def matching(code, at):
    depth = 0
    for place in range(at, len(code)):
        depth += {"{": 1, "}": -1}.get(code[place], 0)
        if depth == 0:
            return place
    return len(code) - 1


def faults_of(name, text):
    code = blanked(text)
    lines = text.split("\n")
    for head, _, end in bodies(code):
        first = head + len(code[head:]) - len(code[head:].lstrip())
        start, stop = line_of(code, first), line_of(code, end)
        if stop - start + 1 <= LINES_MAX:
            continue
        before = lines[start - 2].strip() if start >= 2 else ""
        if re.match(r"// long: \S", before):
            continue
        yield f"{name}:{start}: a function of {stop - start + 1} lines; {LINES_MAX} is the limit"


def check(tree):
    for name in tree.files(".cpp", ".hpp"):
        yield from faults_of(name, tree.text(name))


def self_test():
    def function(lines):
        return "int f(int a) {\n" + "    a += 1;  // }\n" * (lines - 2) + "}\n"

    def faults(text):
        return len(list(faults_of("sample.cpp", text)))

    assert faults(function(70)) == 0
    assert faults(function(71)) == 1
    assert faults("// long: one table\n" + function(71)) == 0
    assert faults("// long:\n" + function(71)) == 1
    assert faults("namespace a {\nstruct b {\n" + function(71) + "};\n}\n") == 1
    assert faults("namespace a {\n" + function(40) + function(40) + "}\n") == 0
    assert faults("#define X { \\\n  {\n" + function(71)) == 1
    assert faults("const char* s = R\"({{{)\";\n" + function(71)) == 1
    assert faults("c::c(int x)\n    : a_{x}\n    , b_{x} {\n" + "    x++;\n" * 80 + "}\n") == 1
    assert faults("class c : public d<int> {\n" + "    int a;\n" * 80 + "};\n") == 0
    assert faults('TEST_SUITE("s") {\n' + 'TEST_CASE("t") {\n    a();\n}\n' * 40 + "}\n") == 0
    assert faults('TEST_CASE("t") {\n' + "    CHECK(a);\n" * 80 + "}\n") == 1
    assert faults("auto f = [](int a) {\n" + "    a++;\n" * 80 + "};\n") == 1
    assert faults("constexpr auto t = to_array({\n" + "    1,\n" * 80 + "});\n") == 0
    assert faults("int t[f(2)] = {\n" + "    1,\n" * 80 + "};\n") == 0
    assert faults("enum class e : int {\n" + "    a,\n" * 80 + "};\n") == 0


if __name__ == "__main__":
    main(check, self_test)
