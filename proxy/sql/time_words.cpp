#include "sql/analyzer.hpp"

#include <array>

namespace postern::sql {

namespace {

constexpr char folded(char c) noexcept {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

constexpr bool is_letter(char c) noexcept {
    const char lower_case = folded(c);
    return lower_case >= 'a' && lower_case <= 'z';
}

bool starts_with_word(std::string_view text, std::string_view word) noexcept {
    if (text.size() < word.size()) return false;
    for (std::size_t i = 0; i < word.size(); ++i) {
        if (folded(text[i]) != word[i]) return false;
    }
    return text.size() == word.size() || !is_letter(text[word.size()]);
}

}  // namespace

// No bound on the length: PostgreSQL's ParseDateTime skips any amount of white space and
// punctuation, and an array, a range or a row of dates is a constant as well.
bool depends_on_time(std::string_view value) noexcept {
    static constexpr std::array<std::string_view, 4> words{"now", "today", "tomorrow", "yesterday"};
    bool after_letter = false;
    for (std::size_t i = 0; i < value.size(); ++i) {
        const char c = folded(value[i]);
        if (!after_letter && (c == 'n' || c == 't' || c == 'y')) {
            for (const std::string_view word : words) {
                if (starts_with_word(value.substr(i), word)) return true;
            }
        }
        after_letter = c >= 'a' && c <= 'z';
    }
    return false;
}

}  // namespace postern::sql
