#include "pool/server.hpp"

#include "base/assert.hpp"

#include <algorithm>
#include <array>

namespace postern::pool {

void report(reported_parameters& into, std::string_view name, std::string_view value) {
    for (auto& [known, current] : into) {
        if (known == name) {
            current = value;
            return;
        }
    }
    into.emplace_back(name, value);
}

namespace {

/// As PostgreSQL compares encodings' names: letters and digits alone count.
std::string plain_name(std::string_view encoding) {
    std::string out;
    for (char c : encoding) {
        if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
        if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9')) out += c;
    }
    return out;
}

}  // namespace

bool needs_no_conversion(std::string_view client_encoding) {
    const auto name = plain_name(client_encoding);
    return name == "utf8" || name == "unicode" || name == "sqlascii";
}

bool is_superset_of_ascii(std::string_view client_encoding) {
    static constexpr std::array<std::string_view, 17> others{
        "big5",
        "win950",
        "windows950",
        "gb18030",
        "gbk",
        "win936",
        "windows936",
        "johab",
        "sjis",
        "shiftjis",
        "shiftjis2004",
        "mskanji",
        "win932",
        "windows932",
        "uhc",
        "win949",
        "windows949"};
    return std::ranges::find(others, plain_name(client_encoding)) == others.end();
}

void server::note(std::string_view name, std::string_view value) {
    report(parameters, name, value);
    if (name == "standard_conforming_strings") strings_conform = value == "on";
    if (name != "client_encoding") return;
    encoding_is_utf8 = needs_no_conversion(value);
    encoding_is_superset = is_superset_of_ascii(value);
}

std::string_view prepared_lru::find(const statement_key& what) {
    const auto found = index_.find(what.hash);
    if (found == index_.end() || found->second->what != what) return {};
    order_.splice(order_.begin(), order_, found->second);
    return found->second->name;
}

void prepared_lru::evict(std::list<one>::iterator gone, std::vector<std::string>& evicted) {
    evicted.push_back(std::move(gone->name));
    index_.erase(gone->what.hash);
    order_.erase(gone);
}

std::string_view prepared_lru::add(const statement_key& what, std::vector<std::string>& evicted) {
    // One hash, one statement: another with the same makes room.
    if (const auto other = index_.find(what.hash); other != index_.end()) {
        POSTERN_ASSERT(other->second->what != what);
        evict(other->second, evicted);
    }
    while (order_.size() >= capacity_)
        evict(std::prev(order_.end()), evicted);
    order_.push_front({what, std::string{prefix} + std::to_string(next_++)});
    index_.emplace(what.hash, order_.begin());
    return order_.front().name;
}

void prepared_lru::remove(const statement_key& what) {
    const auto found = index_.find(what.hash);
    if (found == index_.end() || found->second->what != what) return;
    order_.erase(found->second);
    index_.erase(found);
}

void prepared_lru::clear() {
    order_.clear();
    index_.clear();
}

}  // namespace postern::pool
