#include "catalog/search_path.hpp"

#include <algorithm>
#include <optional>

namespace postern::catalog {
namespace {

bool is_space(char c) noexcept {
    return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f' || c == '\v';
}

char lower(char c) noexcept {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

// Reads identifiers separated by commas, as SplitIdentifierString does.
class identifier_reader {
public:
    explicit identifier_reader(std::string_view text)
        : rest_(text) {}

    std::optional<std::vector<std::string>> all() {
        std::vector<std::string> names;
        skip_spaces();
        if (rest_.empty()) return names;
        for (;;) {
            auto name = one();
            if (!name) return std::nullopt;
            names.push_back(std::move(*name));
            skip_spaces();
            if (rest_.empty()) return names;
            if (rest_.front() != ',') return std::nullopt;
            rest_.remove_prefix(1);
            skip_spaces();
        }
    }

private:
    void skip_spaces() {
        while (!rest_.empty() && is_space(rest_.front()))
            rest_.remove_prefix(1);
    }

    std::optional<std::string> one() {
        if (!rest_.empty() && rest_.front() == '"') return quoted();
        std::string name;
        while (!rest_.empty() && rest_.front() != ',' && !is_space(rest_.front())) {
            name.push_back(lower(rest_.front()));
            rest_.remove_prefix(1);
        }
        if (name.empty()) return std::nullopt;
        return name;
    }

    std::optional<std::string> quoted() {
        std::string name;
        for (;;) {
            rest_.remove_prefix(1);
            const auto quote = rest_.find('"');
            if (quote == std::string_view::npos) return std::nullopt;
            name.append(rest_.substr(0, quote));
            rest_.remove_prefix(quote + 1);
            if (rest_.empty() || rest_.front() != '"') return name;
            name.push_back('"');
        }
    }

    std::string_view rest_;
};

}  // namespace

bool search_path::shows(std::string_view schema) const noexcept {
    return std::find(schemas.begin(), schemas.end(), schema) != schemas.end();
}

search_path parse_search_path(std::string_view text, std::string_view role) {
    auto names = identifier_reader(text).all();
    if (!names) return catalog_only();
    search_path path;
    for (auto& name : *names) {
        if (name == "$user") name = role;
        if (name.empty() || name == "pg_temp" || path.shows(name)) continue;
        path.schemas.push_back(std::move(name));
    }
    if (!path.shows("pg_catalog")) path.schemas.insert(path.schemas.begin(), "pg_catalog");
    path.catalog_first = path.schemas.front() == "pg_catalog";
    return path;
}

search_path catalog_only() {
    return {{"pg_catalog"}, true};
}

}  // namespace postern::catalog
