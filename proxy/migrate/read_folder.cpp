#include "migrate/read_folder.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <system_error>

namespace postern::migrate {

namespace {

namespace fs = std::filesystem;

constexpr std::uintmax_t file_size_max = 64U << 20U;  // bytes; a script, not a dump

std::optional<std::string> read_text(const fs::path& path) {
    std::ifstream file(path, std::ios::binary);
    if (!file) return std::nullopt;
    return std::string(std::istreambuf_iterator<char>(file), {});
}

answer<std::vector<source_file>> read_files(const std::string& name) {
    std::vector<source_file> files;
    std::error_code error;
    for (const auto& entry : fs::directory_iterator(name, error)) {
        const auto& path = entry.path();
        if (path.extension() != ".sql" || !entry.is_regular_file()) continue;
        if (entry.file_size() > file_size_max) {
            return problem{problem_kind::file, "larger than 64 MiB", path.string()};
        }
        auto text = read_text(path);
        if (!text) return problem{problem_kind::file, "can't be read", path.string()};
        files.push_back({path.string(), path.filename().string(), *std::move(text)});
    }
    if (error) {
        return problem{
            problem_kind::file,
            fmt::format("the folder can't be read: {}", error.message()),
            name};
    }
    std::sort(files.begin(), files.end(), [](const auto& a, const auto& b) {
        return a.name < b.name;
    });
    return files;
}

std::string first_line(const fs::path& path) {
    const auto text = read_text(path).value_or("");
    return text.substr(0, text.find('\n'));
}

std::string packed_ref(const fs::path& git, const std::string& name) {
    std::ifstream file(git / "packed-refs");
    for (std::string line; std::getline(file, line);)
        if (line.size() > 41 && line.substr(41) == name) return line.substr(0, 40);
    return {};
}

std::string commit_of(const fs::path& git) {
    const auto head = first_line(git / "HEAD");
    if (!head.starts_with("ref: ")) return head;
    const auto name = head.substr(5);
    const auto loose = first_line(git / name);
    return loose.empty() ? packed_ref(git, name) : loose;
}

}  // namespace

answer<folder> read_folder(const std::string& migrations, const std::string& policies) {
    auto versioned = read_files(migrations);
    if (versioned.has_error()) return versioned.error();
    std::vector<source_file> repeatables;
    if (fs::exists(policies)) {
        auto found = read_files(policies);
        if (found.has_error()) return found.error();
        repeatables = std::move(found).value();
    }
    return build_folder(versioned.value(), repeatables);
}

std::string git_commit_around(const std::string& path) {
    std::error_code error;
    for (auto at = fs::absolute(path, error); !error; at = at.parent_path()) {
        if (fs::is_directory(at / ".git", error)) {
            const auto found = commit_of(at / ".git");
            return found.size() == 40 ? found : std::string();
        }
        if (at == at.root_path()) break;
    }
    return {};
}

}  // namespace postern::migrate
