// PostgreSQL's lexical rules, as far as it takes to find where a statement begins, which words it
// begins with, and where it ends: comments nest, and quotes of every kind hide what is in them.

#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace postern::migrate {

struct token {
    std::string_view text;   ///< into the scanned text
    std::size_t offset = 0;  ///< of its first byte in the scanned text
    bool word = false;       ///< an unquoted identifier or keyword
};

/// Cuts a text into tokens; white space and comments are none. A quote or comment that does not
/// end goes to the end of the text: it is for PostgreSQL to complain about.
class token_reader {
public:
    /// `text` must outlive the reader and its tokens.
    explicit token_reader(std::string_view text) noexcept
        : text_(text) {}

    /// An empty text at the end.
    token next() noexcept;

private:
    void skip_space() noexcept;
    void skip_block_comment() noexcept;
    void skip_quoted(char quote, bool escapes) noexcept;
    bool skip_dollar_quoted() noexcept;
    char at(std::size_t index) const noexcept { return index < text_.size() ? text_[index] : '\0'; }

    std::string_view text_;
    std::size_t at_ = 0;
};

/// Up to `count` first tokens, unquoted words in upper case, everything else as it stands.
std::vector<std::string> first_tokens(std::string_view text, std::size_t count);

/// Of the line on which the byte at `offset` stands, counted from 1.
unsigned line_at(std::string_view text, std::size_t offset) noexcept;

/// Where the character with this number (from 1) begins in UTF-8 text.
std::size_t offset_of_character(std::string_view text, unsigned number) noexcept;

/// `text` as a string constant of SQL, whatever standard_conforming_strings says.
std::string quote_literal(std::string_view text);

}  // namespace postern::migrate
