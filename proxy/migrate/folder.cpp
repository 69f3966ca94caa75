#include "migrate/folder.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <utility>

namespace postern::migrate {

namespace {

std::string_view without_zeros(std::string_view version) noexcept {
    version.remove_prefix(std::min(version.find_first_not_of('0'), version.size()));
    return version;
}

struct by_version {
    bool operator()(const std::string& a, const std::string& b) const noexcept {
        return version_less(a, b);
    }
};

struct parts {
    std::string version;
    std::string name;
    std::string role;  ///< up, down or verify
};

bool cut_suffix(std::string_view& text, std::string_view suffix) {
    if (!text.ends_with(suffix)) return false;
    text.remove_suffix(suffix.size());
    return true;
}

std::optional<parts> parse_name(std::string_view name) {
    if (!cut_suffix(name, ".sql")) return std::nullopt;
    const auto digits = name.find_first_not_of("0123456789");
    if (digits == 0 || digits == std::string_view::npos || name[digits] != '_') return std::nullopt;
    for (const std::string_view role : {"up", "down", "verify"}) {
        auto rest = name;
        if (!cut_suffix(rest, "." + std::string(role)) || rest.size() <= digits + 1) continue;
        return parts{
            std::string(rest.substr(0, digits)),
            std::string(rest.substr(digits + 1)),
            std::string(role)};
    }
    return std::nullopt;
}

/// What was found of one version, before it is known to be complete.
struct gathered {
    std::string name;
    std::optional<script> up, down, verify;
};

using gathered_versions = std::map<std::string, gathered, by_version>;

answer<void> add_file(const source_file& file, const parts& named, gathered_versions& into) {
    auto read = parse_script(file.path, file.text);
    if (read.has_error()) return read.error();
    auto& one = into[named.version];
    auto& place = named.role == "up" ? one.up : named.role == "down" ? one.down : one.verify;
    if (place) {
        return problem{
            problem_kind::file,
            fmt::format(
                "version {} is also that of {}: number one of them anew",
                named.version,
                place->file),
            file.path};
    }
    if (named.role == "up") one.name = named.name;
    place = std::move(read).value();
    return {};
}

answer<void> check_complete(const std::string& version, const gathered& one) {
    if (one.up) return {};
    const auto& found = one.down ? *one.down : *one.verify;
    return problem{
        problem_kind::file,
        fmt::format("there is no up file for version {} beside it", version),
        found.file};
}

answer<std::vector<migration>> build_versioned(
    const std::vector<source_file>& files,
    std::vector<std::string>& warnings) {
    gathered_versions found;
    for (const auto& file : files) {
        const auto named = parse_name(file.name);
        if (!named) {
            warnings.push_back(fmt::format(
                "{} is passed over: its name is not VERSION_name.up.sql, .down.sql or .verify.sql",
                file.path));
            continue;
        }
        const auto added = add_file(file, *named, found);
        if (added.has_error()) return added.error();
    }
    std::vector<migration> all;
    for (auto& [version, one] : found) {
        const auto complete = check_complete(version, one);
        if (complete.has_error()) return complete.error();
        all.push_back(
            {version, one.name, *std::move(one.up), std::move(one.down), std::move(one.verify)});
    }
    return all;
}

std::optional<problem> find_unsuitable(const repeatable& one) {
    const auto& header = one.body.header;
    if (header.transaction && header.reversible == reversal::yes) return std::nullopt;
    return problem{
        problem_kind::file,
        "a repeatable file runs in one transaction and has no down: transaction, batch and "
        "reversible are not for it",
        one.body.file,
        1};
}

answer<std::vector<repeatable>> build_repeatables(const std::vector<source_file>& files) {
    std::map<std::string, repeatable> found;
    std::map<std::string, script> verifies;
    for (const auto& file : files) {
        std::string_view name = file.name;
        if (!cut_suffix(name, ".sql")) continue;
        auto read = parse_script(file.path, file.text);
        if (read.has_error()) return read.error();
        if (cut_suffix(name, ".verify")) {
            verifies.emplace(name, std::move(read).value());
        } else {
            found.emplace(name, repeatable{std::string(name), std::move(read).value(), {}});
        }
    }
    for (auto& [name, verify] : verifies) {
        const auto owner = found.find(name);
        if (owner == found.end()) {
            return problem{
                problem_kind::file,
                fmt::format("there is no {}.sql beside it", name),
                verify.file};
        }
        owner->second.verify = std::move(verify);
    }
    std::vector<repeatable> all;
    for (auto& [name, one] : found) {
        if (auto unsuitable = find_unsuitable(one)) return *std::move(unsuitable);
        all.push_back(std::move(one));
    }
    return all;
}

}  // namespace

bool version_less(std::string_view a, std::string_view b) noexcept {
    a = without_zeros(a);
    b = without_zeros(b);
    return a.size() != b.size() ? a.size() < b.size() : a < b;
}

bool version_equal(std::string_view a, std::string_view b) noexcept {
    return without_zeros(a) == without_zeros(b);
}

const migration* folder::find(std::string_view version) const noexcept {
    for (const auto& one : versioned)
        if (version_equal(one.version, version)) return &one;
    return nullptr;
}

const repeatable* folder::find_repeatable(std::string_view name) const noexcept {
    for (const auto& one : repeatables)
        if (one.name == name) return &one;
    return nullptr;
}

answer<folder> build_folder(
    const std::vector<source_file>& migrations,
    const std::vector<source_file>& policies) {
    folder built;
    auto versioned = build_versioned(migrations, built.warnings);
    if (versioned.has_error()) return versioned.error();
    auto repeatables = build_repeatables(policies);
    if (repeatables.has_error()) return repeatables.error();
    built.versioned = std::move(versioned).value();
    built.repeatables = std::move(repeatables).value();
    return built;
}

}  // namespace postern::migrate
