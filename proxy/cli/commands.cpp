#include "cli/commands.hpp"

#include "base/log.hpp"

#include <fmt/core.h>

#include <cstdio>

namespace postern::cli {

int serve_file(const std::string& path, bool takeover) {
    const auto loaded = load_configuration(path);
    if (loaded.has_error()) {
        fmt::print(stderr, "{}\n", loaded.error().message);
        return 1;
    }
    log::configure(loaded.value().log_level, loaded.value().log_json);
    return serve(loaded.value(), takeover);
}

int version() {
    fmt::print("postern {}\n", version_number());
    return 0;
}

const char* version_number() noexcept {
    return POSTERN_VERSION;
}

}  // namespace postern::cli
