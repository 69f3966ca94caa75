// Passwords: from the environment, from a file, or as they stand.

#include "cli/configuration_parts.hpp"

#include <fmt/core.h>

#include <array>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <sys/stat.h>

namespace postern::cli {

namespace {

std::optional<std::string> from_environment(section& from, std::string_view key) {
    std::string variable;
    from.text(key, variable);
    if (variable.empty()) return std::nullopt;
    const char* const value = std::getenv(variable.c_str());
    if (value == nullptr || *value == '\0') {
        from.refuse(
            key,
            fmt::format("names the environment variable {}, which is not set", variable));
        return std::nullopt;
    }
    return value;
}

std::optional<std::string> from_file(section& from, std::string_view key) {
    std::string named;
    from.text(key, named);
    if (named.empty()) return std::nullopt;
    const auto path = beside(from.where().file, named);
    struct stat about {};
    std::ifstream stream{path, std::ios::binary};
    if (::stat(path.c_str(), &about) != 0 || !S_ISREG(about.st_mode) || !stream) {
        from.refuse(key, fmt::format("names {}, which can't be read", path));
        return std::nullopt;
    }
    if ((about.st_mode & S_IROTH) != 0) {
        from.found().warnings.push_back(
            fmt::format("{} holds a password and can be read by everyone", path));
    }
    std::string value{std::istreambuf_iterator<char>{stream}, {}};
    if (value.ends_with('\n')) value.pop_back();
    if (value.ends_with('\r')) value.pop_back();
    if (!value.empty()) return value;
    from.refuse(key, fmt::format("names {}, which is empty", path));
    return std::nullopt;
}

}  // namespace

std::optional<std::string> read_secret(section& from, std::string_view name) {
    const auto env_key = fmt::format("{}_env", name);
    const auto file_key = fmt::format("{}_file", name);
    std::optional<std::string> secret;
    std::string plain;
    from.text(name, plain);
    if (!plain.empty()) secret = plain;
    auto environment = from_environment(from, env_key);
    auto file = from_file(from, file_key);

    const std::array<std::string_view, 3> keys{name, env_key, file_key};
    std::string_view first;
    for (const auto key : keys) {
        if (!from.has(key)) continue;
        if (!first.empty()) from.refuse(key, fmt::format("says the same as {}: keep one", first));
        if (first.empty()) first = key;
    }
    if (environment) secret = std::move(environment);
    if (file) secret = std::move(file);
    return secret;
}

}  // namespace postern::cli
