#include "sql/lexer.hpp"

#include <array>
#include <limits>

namespace postern::sql {

namespace {

enum class char_class : std::uint8_t { other, space, letter, digit, op, bad };

constexpr std::array<char_class, 256> make_classes() {
    std::array<char_class, 256> classes{};
    for (std::size_t c = 0; c < 256; ++c) {
        if (c < 0x20 || c == 0x7f) classes.at(c) = char_class::bad;
        if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c >= 0x80) {
            classes.at(c) = char_class::letter;
        }
        if (c >= '0' && c <= '9') classes.at(c) = char_class::digit;
    }
    for (const char c : std::string_view(" \t\n\r\f")) {
        classes.at(static_cast<unsigned char>(c)) = char_class::space;
    }
    for (const char c : std::string_view("~!@#^&|`?+-*/%<>=")) {
        classes.at(static_cast<unsigned char>(c)) = char_class::op;
    }
    return classes;
}

constexpr std::array<char_class, 256> classes = make_classes();

char_class class_of(char c) noexcept {
    return classes[static_cast<unsigned char>(c)];
}
bool is_letter(char c) noexcept {
    return class_of(c) == char_class::letter;
}
bool is_digit(char c) noexcept {
    return class_of(c) == char_class::digit;
}
bool is_word_part(char c) noexcept {
    return is_letter(c) || is_digit(c) || c == '$';
}

/// `/* postern:word word … */`, without its delimiters.
bool says_bypass(std::string_view comment) noexcept {
    static constexpr std::string_view separators = " \t\r\n,;";
    static constexpr std::string_view prefix = "postern:";
    const std::size_t start = comment.find_first_not_of(separators);
    if (start == std::string_view::npos) return false;
    comment.remove_prefix(start);
    if (!comment.starts_with(prefix)) return false;
    comment.remove_prefix(prefix.size());
    while (!comment.empty()) {
        const std::size_t begin = comment.find_first_not_of(separators);
        if (begin == std::string_view::npos) return false;
        comment.remove_prefix(begin);
        const std::size_t end = comment.find_first_of(separators);
        if (comment.substr(0, end) == "bypass") return true;
        if (end == std::string_view::npos) return false;
        comment.remove_prefix(end);
    }
    return false;
}

}  // namespace

/// REQUIRES: at a slash-star. Block comments nest.
bool lexer::skip_block_comment() noexcept {
    const std::size_t begin = place_;
    std::size_t depth = 0;
    while (place_ < text_.size()) {
        if (at(place_) == '/' && at(place_ + 1) == '*') {
            ++depth;
            place_ += 2;
        } else if (at(place_) == '*' && at(place_ + 1) == '/') {
            --depth;
            place_ += 2;
            if (depth > 0) continue;
            if (!seen_token_ && says_bypass(text_.substr(begin + 2, place_ - begin - 4))) {
                hint_bypass_ = true;
            }
            return true;
        } else {
            ++place_;
        }
    }
    return false;
}

bool lexer::skip_space(bool& skipped) noexcept {
    while (place_ < text_.size()) {
        const char c = text_[place_];
        if (class_of(c) == char_class::space) {
            ++place_;
        } else if (c == '-' && at(place_ + 1) == '-') {
            const std::size_t end = text_.find_first_of("\n\r", place_);
            place_ = end == std::string_view::npos ? text_.size() : end;
        } else if (c == '/' && at(place_ + 1) == '*') {
            if (!skip_block_comment()) return false;
        } else {
            return true;
        }
        skipped = true;
    }
    return true;
}

/// REQUIRES: the opening quote stands `prefix` bytes ahead.
token_kind lexer::string(std::size_t prefix, bool has_escapes) noexcept {
    place_ += prefix + 1;
    while (place_ < text_.size()) {
        const char c = text_[place_];
        if (c == '\'') {
            ++place_;
            if (at(place_) != '\'') return token_kind::other_string;
        } else if (c == '\\' && has_escapes) {
            ++place_;
        }
        ++place_;
    }
    place_ = text_.size();
    return token_kind::broken;
}

token_kind lexer::quoted_word() noexcept {
    ++place_;
    while (place_ < text_.size()) {
        if (text_[place_] == '"') {
            ++place_;
            if (at(place_) != '"') return token_kind::quoted_word;
        }
        ++place_;
    }
    place_ = text_.size();
    return token_kind::broken;
}

token_kind lexer::dollar() noexcept {
    const std::size_t begin = place_;
    ++place_;
    if (is_digit(at(place_))) {
        while (is_digit(at(place_)))
            ++place_;
        return token_kind::parameter;
    }
    if (is_letter(at(place_))) {
        while (is_letter(at(place_)) || is_digit(at(place_)))
            ++place_;
    }
    if (at(place_) != '$') {
        place_ = begin + 1;
        return token_kind::punctuation;
    }
    ++place_;
    const std::string_view tag = text_.substr(begin, place_ - begin);
    const std::size_t end = text_.find(tag, place_);
    if (end == std::string_view::npos) {
        place_ = text_.size();
        return token_kind::broken;
    }
    place_ = end + tag.size();
    return token_kind::other_string;
}

token_kind lexer::number() noexcept {
    const bool after_dot = place_ > 0 && text_[place_ - 1] == '.';
    const std::size_t begin = place_;
    constexpr auto integer_max = std::uint64_t{std::numeric_limits<std::int32_t>::max()};
    std::uint64_t value = 0;
    for (; is_digit(at(place_)); ++place_) {
        if (value <= integer_max) value = value * 10 + static_cast<std::uint64_t>(at(place_) - '0');
    }
    bool is_integer = value <= integer_max;
    if (at(place_) == '.' && is_digit(at(place_ + 1))) {
        is_integer = false;
        ++place_;
        while (is_digit(at(place_)))
            ++place_;
    }
    if (at(place_) == 'e' || at(place_) == 'E') {
        const char sign = at(place_ + 1);
        const std::size_t digits = place_ + (sign == '+' || sign == '-' ? 2 : 1);
        if (is_digit(at(digits))) {
            is_integer = false;
            place_ = digits;
            while (is_digit(at(place_)))
                ++place_;
        }
    }
    // "Glued" also looks at what stands before: .5, 1..2 and a parameter's own digits.
    const char after = at(place_);
    const bool before = begin > 0 && is_word_part(text_[begin - 1]);
    if (after_dot || before || after == '.' || is_word_part(after)) return token_kind::glued_number;
    return is_integer ? token_kind::integer : token_kind::decimal;
}

token_kind lexer::word() noexcept {
    const char first = text_[place_];
    if (at(place_ + 1) == '\'') {
        switch (first) {
        case 'e':
        case 'E': return string(1, true);
        case 'b':
        case 'B':
        case 'x':
        case 'X':
        case 'n':
        case 'N': return string(1, false);
        default: break;
        }
    }
    if ((first == 'u' || first == 'U') && at(place_ + 1) == '&') {
        if (at(place_ + 2) == '\'') {
            return string(2, false) == token_kind::broken ? token_kind::broken
                                                          : token_kind::unicode_quote;
        }
        if (at(place_ + 2) == '"') {
            place_ += 2;
            return quoted_word() == token_kind::broken ? token_kind::broken
                                                       : token_kind::unicode_quote;
        }
    }
    while (is_word_part(at(place_)))
        ++place_;
    return token_kind::word;
}

/// A run of operator characters ends where a comment begins.
token_kind lexer::operators() noexcept {
    while (class_of(at(place_)) == char_class::op) {
        const char c = at(place_);
        const char after = at(place_ + 1);
        if ((c == '-' && after == '-') || (c == '/' && after == '*')) break;
        ++place_;
    }
    return token_kind::operators;
}

token lexer::next() noexcept {
    token result;
    if (!skip_space(result.space_before)) {
        result.kind = token_kind::broken;
        return result;
    }
    seen_token_ = true;
    if (place_ >= text_.size()) return result;
    const std::size_t begin = place_;
    switch (class_of(text_[place_])) {
    case char_class::letter: result.kind = word(); break;
    case char_class::digit: result.kind = number(); break;
    case char_class::op: result.kind = operators(); break;
    case char_class::bad:
        result.kind = token_kind::broken;
        ++place_;
        break;
    default:
        if (text_[place_] == '\'') {
            result.kind = string(0, false);
            if (result.kind == token_kind::other_string) {
                result.kind = token_kind::plain_string;
            }
        } else if (text_[place_] == '"') {
            result.kind = quoted_word();
        } else if (text_[place_] == '$') {
            result.kind = dollar();
        } else {
            result.kind = token_kind::punctuation;
            ++place_;
        }
    }
    result.text = text_.substr(begin, place_ - begin);
    return result;
}

}  // namespace postern::sql
