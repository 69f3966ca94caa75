"""A room includes only rooms above it in proxy/CMakeLists.txt; rooms without I/O include no I/O."""

import re

from source import line_of, main

NO_IO_ROOMS = {"wire", "sql", "coherence"}
IO_HEADERS = re.compile(
    r"<(boost/(asio|beast)[./].*|libpq-fe\.h|hiredis/.*|yaml-cpp/.*|thread|mutex|shared_mutex|"
    r"condition_variable|future|chrono|ctime|time\.h|sys/.*|unistd\.h|fstream|iostream)>"
    r"|\"base/clock\.hpp\"")
ASIO = re.compile(r"<boost/(asio|beast)[./].*>")
ASIO_ROOMS = {"session", "pool", "admin", "cli"}
ASIO_FILES = re.compile(r"proxy/cache/redis_[a-z_]*\.(cpp|hpp)")
INCLUDE = re.compile(r"^[ \t]*#[ \t]*include[ \t]*([<\"][^>\"\n]+[>\"])", re.MULTILINE)


def order_of(text):
    return re.findall(r"^add_subdirectory\((\w+)\)", text, re.MULTILINE)


def faults_of(name, text, order):
    """What is wrong with the includes of the file proxy/ROOM/… ."""
    room = name.split("/")[1]
    for found in INCLUDE.finditer(text):
        header = found[1]
        where = f"{name}:{line_of(text, found.start())}"
        other = header[1:].split("/")[0] if header[0] == '"' else None
        if other in order and order.index(other) > order.index(room):
            yield f"{where}: {room} may not include {header}: {other} stands further down"
        if room in NO_IO_ROOMS and IO_HEADERS.fullmatch(header):
            yield f"{where}: {room} does no I/O and knows no clock, so no {header}"
        if ASIO.fullmatch(header) and room not in ASIO_ROOMS and not ASIO_FILES.fullmatch(name):
            yield f"{where}: Asio appears in {', '.join(sorted(ASIO_ROOMS))} and the Redis store only"


def check(tree):
    order = order_of(tree.text("proxy/CMakeLists.txt"))
    if len(order) < 2:
        yield "proxy/CMakeLists.txt: the order of the rooms could not be read"
    for name in tree.files(".cpp", ".hpp"):
        parts = name.split("/")
        if parts[0] != "proxy" or len(parts) < 3:
            continue
        if parts[1] not in order:
            yield f"{name}: its room is missing in proxy/CMakeLists.txt"
            continue
        yield from faults_of(name, tree.text(name), order)


def self_test():
    order = order_of("add_subdirectory(base)\nadd_subdirectory(wire)\nadd_subdirectory(cache)\n"
                     "add_subdirectory(pool)\n")
    assert order == ["base", "wire", "cache", "pool"]

    def faults(name, text):
        return len(list(faults_of(name, text, order)))

    assert faults("proxy/wire/a.cpp", '#include "base/log.hpp"\n#include <string>\n') == 0
    assert faults("proxy/wire/a.cpp", '#include "cache/entry.hpp"\n') == 1
    assert faults("proxy/wire/a.hpp", '  #  include <mutex>\n') == 1
    assert faults("proxy/wire/a.hpp", '#include "base/clock.hpp"\n') == 1
    assert faults("proxy/wire/a.hpp", "#include <boost/asio/ip/tcp.hpp>\n") == 2
    assert faults("proxy/cache/entry.cpp", "#include <boost/asio.hpp>\n") == 1
    assert faults("proxy/cache/redis_store.cpp", "#include <boost/asio.hpp>\n") == 0
    assert faults("proxy/pool/a.cpp", "#include <boost/asio/ip/tcp.hpp>\n#include <mutex>\n") == 0


if __name__ == "__main__":
    main(check, self_test)
