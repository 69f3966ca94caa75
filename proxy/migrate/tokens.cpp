#include "migrate/tokens.hpp"

#include <algorithm>
#include <cctype>

namespace postern::migrate {

namespace {

bool is_word_start(char c) noexcept {
    const auto byte = static_cast<unsigned char>(c);
    return std::isalpha(byte) != 0 || c == '_' || byte >= 0x80;
}

bool is_word_part(char c) noexcept {
    return is_word_start(c) || std::isdigit(static_cast<unsigned char>(c)) != 0 || c == '$';
}

bool is_space(char c) noexcept {
    return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f' || c == '\v';
}

}  // namespace

void token_reader::skip_space() noexcept {
    while (at_ < text_.size()) {
        if (is_space(text_[at_])) {
            ++at_;
        } else if (text_[at_] == '-' && at(at_ + 1) == '-') {
            at_ = std::min(text_.find_first_of("\r\n", at_), text_.size());
        } else if (text_[at_] == '/' && at(at_ + 1) == '*') {
            skip_block_comment();
        } else {
            return;
        }
    }
}

void token_reader::skip_block_comment() noexcept {
    std::size_t depth = 0;
    while (at_ < text_.size()) {
        if (text_[at_] == '/' && at(at_ + 1) == '*') {
            ++depth;
            at_ += 2;
        } else if (text_[at_] == '*' && at(at_ + 1) == '/') {
            at_ += 2;
            if (--depth == 0) return;
        } else {
            ++at_;
        }
    }
}

void token_reader::skip_quoted(char quote, bool escapes) noexcept {
    ++at_;
    while (at_ < text_.size()) {
        if (escapes && text_[at_] == '\\') {
            at_ += 2;
        } else if (text_[at_] != quote) {
            ++at_;
        } else if (at(at_ + 1) == quote) {
            at_ += 2;
        } else {
            ++at_;
            return;
        }
    }
    at_ = text_.size();
}

// False for a parameter ($1) or a lone dollar: nothing is skipped then.
bool token_reader::skip_dollar_quoted() noexcept {
    auto end = at_ + 1;
    if (is_word_start(at(end))) {
        while (is_word_part(at(end)) && at(end) != '$')
            ++end;
    }
    if (at(end) != '$') return false;
    const auto tag = text_.substr(at_, end + 1 - at_);
    const auto close = text_.find(tag, end + 1);
    at_ = close == std::string_view::npos ? text_.size() : close + tag.size();
    return true;
}

token token_reader::next() noexcept {
    skip_space();
    const auto start = at_;
    if (start >= text_.size()) return {text_.substr(text_.size()), text_.size(), false};
    const char c = text_[start];
    bool word = false;
    if (c == '\'' || c == '"') {
        skip_quoted(c, false);
    } else if ((c == 'e' || c == 'E') && at(start + 1) == '\'') {
        ++at_;
        skip_quoted('\'', true);
    } else if (c == '$' && skip_dollar_quoted()) {
        // skipped
    } else if (is_word_start(c)) {
        word = true;
        while (is_word_part(at(at_)))
            ++at_;
    } else {
        ++at_;
    }
    at_ = std::min(at_, text_.size());
    return {text_.substr(start, at_ - start), start, word};
}

std::vector<std::string> first_tokens(std::string_view text, std::size_t count) {
    std::vector<std::string> found;
    token_reader reader(text);
    for (auto one = reader.next(); !one.text.empty() && found.size() < count; one = reader.next()) {
        std::string token_text(one.text);
        if (one.word) {
            for (char& c : token_text)
                c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
        }
        found.push_back(std::move(token_text));
    }
    return found;
}

unsigned line_at(std::string_view text, std::size_t offset) noexcept {
    const auto before = text.substr(0, offset);
    return static_cast<unsigned>(std::count(before.begin(), before.end(), '\n')) + 1;
}

std::size_t offset_of_character(std::string_view text, unsigned number) noexcept {
    unsigned seen = 0;
    for (std::size_t at = 0; at < text.size(); ++at) {
        if ((static_cast<unsigned char>(text[at]) & 0xC0U) == 0x80U) continue;
        if (++seen == number) return at;
    }
    return text.size();
}

std::string quote_literal(std::string_view text) {
    std::string quoted;
    bool escapes = false;
    for (const char c : text) {
        if (c == '\'' || c == '\\') quoted += c;
        escapes = escapes || c == '\\';
        quoted += c;
    }
    return (escapes ? " E'" : "'") + quoted + "'";
}

}  // namespace postern::migrate
