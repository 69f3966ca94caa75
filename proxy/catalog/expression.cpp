#include "catalog/expression.hpp"

#include "sql/analyzer.hpp"

#include <fmt/format.h>

#include <utility>

namespace postern::catalog {
namespace {

bool is_word(char c) noexcept {
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '$' || static_cast<unsigned char>(c) >= 0x80;
}

// PostgreSQL deparses these in capitals; an identifier of that spelling is quoted.
bool is_current_user(std::string_view word) noexcept {
    return word == "CURRENT_USER" || word == "CURRENT_ROLE" || word == "USER";
}

// Length of the quoted stretch that `text` starts with; a doubled quote just starts another one.
// Backslashes count as escapes after E only, and then PostgreSQL has doubled them.
std::size_t quoted_size(std::string_view text, bool escapes) noexcept {
    std::size_t at = 1;
    while (at < text.size() && text[at] != text[0]) {
        at += escapes && text[at] == '\\' ? std::size_t{2} : std::size_t{1};
    }
    return at < text.size() ? at + 1 : text.size();
}

expression judge(const sql::text_facts& parsed) {
    expression result;
    if (!parsed.understood || parsed.statements.size() != 1) {
        result.why = "not understood";
        result.facts.writes_everything = true;
        result.facts.pin = sql::pin_cause::unknown_effect;
        return result;
    }
    result.facts = parsed.statements.front();
    const auto& facts = result.facts;
    result.understood = facts.kind == sql::statement_kind::select && facts.why_not == reason::none;
    if (!result.understood) {
        result.why = fmt::format("{} {}", code(facts.why_not), facts.why_not_detail);
    }
    return result;
}

}  // namespace

std::string without_current_user(std::string_view query) {
    std::string replaced;
    std::size_t at = 0;
    while (at < query.size()) {
        std::size_t size = 1;
        if (query[at] == '\'' || query[at] == '"') {
            const bool escapes = query[at] == '\'' && at > 0 && query[at - 1] == 'E';
            size = quoted_size(query.substr(at), escapes);
        } else if (is_word(query[at])) {
            while (at + size < query.size() && is_word(query[at + size]))
                ++size;
        }
        const auto token = query.substr(at, size);
        replaced += is_current_user(token) ? std::string_view{"('x'::name)"} : token;
        at += size;
    }
    return replaced;
}

expression understand(std::string_view query) {
    auto first = judge(sql::parse_facts(query));
    if (first.understood || first.facts.why_not != reason::session_dependent) return first;
    // Only when nothing but the current user was in the way is the second reading a clean one.
    auto second = judge(sql::parse_facts(without_current_user(query)));
    return second.understood ? std::move(second) : std::move(first);
}

}  // namespace postern::catalog
