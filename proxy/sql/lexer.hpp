// PostgreSQL's lexical rules (scan.l of PostgreSQL 15, standard_conforming_strings on), as far as
// it takes to lift plain constants out of a text, and to bound how deeply a text can nest. Inside
// this room.
//
// A lift must never be wrong, a missed one only costs a parse: whatever is unusual stays in the key
// as it is, and where a constant could decide about facts the text gets no shape at all.

#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace postern::sql {

enum class token_kind : std::uint8_t {
    end,
    word,           ///< unquoted identifier or keyword
    quoted_word,    ///< "…"
    plain_string,   ///< '…'
    other_string,   ///< E'…', B'…', X'…', N'…', $tag$…$tag$
    unicode_quote,  ///< U&'…' and U&"…", which a later UESCAPE can change
    integer,        ///< a whole number that fits an int, not glued to anything
    decimal,        ///< any other number, not glued to anything
    glued_number,   ///< a number that touches a letter or a dot
    parameter,      ///< $1
    operators,      ///< a run of operator characters
    punctuation,    ///< one other character
    broken          ///< an unterminated quote or comment, a byte that has no place in SQL
};

struct token {
    token_kind kind = token_kind::end;
    bool space_before = false;  ///< white space or a comment stands before it
    std::string_view text;      ///< into the scanned text
};

/// Cuts a text into tokens.
class lexer {
public:
    /// `text` must outlive the lexer and its tokens.
    explicit lexer(std::string_view text) noexcept
        : text_(text) {}

    token next() noexcept;

    /// What a comment `/* postern:… */` before the first token said.
    bool hint_bypass() const noexcept { return hint_bypass_; }

private:
    bool skip_space(bool& skipped) noexcept;
    bool skip_block_comment() noexcept;
    token_kind string(std::size_t prefix, bool has_escapes) noexcept;
    token_kind quoted_word() noexcept;
    token_kind dollar() noexcept;
    token_kind number() noexcept;
    token_kind word() noexcept;
    token_kind operators() noexcept;
    char at(std::size_t index) const noexcept { return index < text_.size() ? text_[index] : '\0'; }

    std::string_view text_;
    std::size_t place_ = 0;
    bool seen_token_ = false;
    bool hint_bypass_ = false;
};

struct text_scan {
    bool hint_bypass = false;
    /// The text may share the facts of another text with the same key.
    bool has_shape = false;
    /// One of the constants that were lifted out depends on the time.
    bool lifted_time_constant = false;
};

/// Scans `text` and leaves its shape's key in `key`, which is meaningful only where has_shape is
/// set.
text_scan scan_text(std::string_view text, std::string& key);

/// Texts that nest more deeply are not parsed: libpg_query and protobuf-c recurse without a check,
/// and some 3 000 levels take the 8 MiB of a usual stack.
inline constexpr std::size_t nesting_max = 400;

/// An upper bound of how deeply the operators, brackets, joins and set operations of `text` nest;
/// more than nesting_max for a text that can't be cut into tokens.
std::size_t nesting_bound(std::string_view text);

}  // namespace postern::sql
