// A text's shape: its tokens with plain constants lifted out, and how deeply it can nest.

#include "sql/analyzer.hpp"
#include "sql/lexer.hpp"

#include <algorithm>
#include <array>
#include <vector>

namespace postern::sql {

namespace {

// Stand for a lifted constant in a key. Texts that hold these bytes themselves get no shape. Whole
// and other numbers are told apart because PostgreSQL's grammar does; strings because `- 'a'` is an
// operator's call and `- 5` is a constant.
constexpr char lifted_integer = '\x01';
constexpr char lifted_decimal = '\x02';
constexpr char lifted_string = '\x03';

/// Whether `word` is `lower_case` in any case.
bool is_word(std::string_view word, std::string_view lower_case) noexcept {
    return word.size() == lower_case.size() &&
           std::equal(word.begin(), word.end(), lower_case.begin(), [](char a, char b) {
               return (a >= 'A' && a <= 'Z' ? static_cast<char>(a - 'A' + 'a') : a) == b;
           });
}

template <std::size_t n>
bool is_any(std::string_view word, const std::array<std::string_view, n>& names) noexcept {
    return std::any_of(names.begin(), names.end(), [word](std::string_view name) {
        return is_word(word, name);
    });
}

/// Statements whose facts depend on no constant, once set_config() and current_setting() are out.
bool starts_shape(const token& first) noexcept {
    static constexpr std::array<std::string_view, 6>
        verbs{"select", "insert", "update", "delete", "values", "with"};
    return first.kind == token_kind::word && is_any(first.text, verbs);
}

/// Functions whose arguments are facts.
bool reads_constants(std::string_view name) noexcept {
    return is_word(name, "set_config") || is_word(name, "current_setting");
}

/// Words whose number in brackets PostgreSQL 15's grammar looks at itself: float(24) and float(25)
/// are two types, and the precision of CURRENT_TIME(n) is no constant of the tree.
bool keeps_number(std::string_view name) noexcept {
    static constexpr std::array<std::string_view, 5> words{
        "float",
        "current_time",
        "current_timestamp",
        "localtime",
        "localtimestamp"};
    return is_any(name, words);
}

bool has_lift_byte(std::string_view text) noexcept {
    return std::any_of(text.begin(), text.end(), [](char c) { return c > '\0' && c <= '\x03'; });
}

/// Builds the key token by token and says no as soon as a text can't share its facts.
class shape_builder {
public:
    explicit shape_builder(std::string& key)
        : key_(key) {}

    bool add(const token& part) {
        if (ended_ && part.text != ";") return false;  // a second statement
        const bool is_quote = part.kind == token_kind::plain_string ||
                              part.kind == token_kind::other_string;
        // 'a' <newline> 'b' is one constant, and E'a' <newline> '\'' keeps its escapes.
        if (is_quote && after_quote_) return false;
        after_quote_ = is_quote;
        if (part.space_before && !key_.empty()) key_ += ' ';
        if (!append(part)) return false;
        ended_ = ended_ || part.text == ";";
        after_numbered_paren_ = after_numbered_ && part.text == "(";
        after_numbered_ = part.kind == token_kind::word && keeps_number(part.text);
        return true;
    }

    bool lifted_time_constant() const noexcept { return lifted_time_constant_; }

private:
    bool append(const token& part) {
        switch (part.kind) {
        case token_kind::broken:
        case token_kind::unicode_quote: return false;
        case token_kind::integer:
        case token_kind::decimal:
            if (after_numbered_paren_) {
                key_ += part.text;
            } else {
                key_ += part.kind == token_kind::integer ? lifted_integer : lifted_decimal;
            }
            return true;
        case token_kind::plain_string:
            key_ += lifted_string;
            lifted_time_constant_ = lifted_time_constant_ || depends_on_time(part.text);
            return true;
        case token_kind::word:
            if (reads_constants(part.text)) return false;
            break;
        case token_kind::quoted_word:
            if (reads_constants(part.text.substr(1, part.text.size() - 2))) return false;
            [[fallthrough]];
        case token_kind::other_string:
            if (has_lift_byte(part.text)) return false;
            break;
        default: break;
        }
        key_ += part.text;
        return true;
    }

    std::string& key_;
    bool ended_ = false;
    bool after_quote_ = false;
    bool after_numbered_ = false;
    bool after_numbered_paren_ = false;
    bool lifted_time_constant_ = false;
};

/// Adds up how deeply a text's tokens can nest. Each open bracket or CASE is a level; the operators
/// between two separators of a level may all nest in each other.
class nesting_counter {
public:
    nesting_counter()
        : levels_(1) {}

    void add(const token& part) {
        switch (part.kind) {
        case token_kind::operators: levels_.back().operators += operator_count(part.text); break;
        case token_kind::word: word(part.text); break;
        case token_kind::punctuation: punctuation(part.text.front()); break;
        default: break;
        }
    }

    std::size_t result() {
        while (levels_.size() > 1)
            close();
        separate();
        return std::max(result_, levels_.front().deepest + levels_.front().joins);
    }

private:
    struct level {
        bool is_case = false;
        std::size_t operators = 0;  ///< since the last separator
        std::size_t inside = 0;     ///< the deepest bracket since the last separator
        std::size_t deepest = 0;    ///< of the parts between separators
        std::size_t joins = 0;      ///< joins and set operations nest across separators
    };

    /// PostgreSQL cuts trailing signs off an operator, so that each may be one of its own.
    static std::size_t operator_count(std::string_view run) noexcept {
        return run.back() == '+' || run.back() == '-' ? run.size() : 1;
    }

    void open(bool is_case) {
        levels_.emplace_back();
        levels_.back().is_case = is_case;
    }

    void close() {
        separate();
        const std::size_t depth = levels_.back().deepest + levels_.back().joins + 1;
        levels_.pop_back();
        levels_.back().inside = std::max(levels_.back().inside, depth);
    }

    void separate() {
        level& here = levels_.back();
        here.deepest = std::max(here.deepest, here.operators + here.inside);
        here.operators = 0;
        here.inside = 0;
    }

    void punctuation(char c) {
        switch (c) {
        case '(':
        case '[': open(false); break;
        case ')':
        case ']':
            while (levels_.size() > 1 && levels_.back().is_case)
                close();
            if (levels_.size() > 1) close();
            break;
        case ',': separate(); break;
        case ';':
            separate();
            if (levels_.size() == 1) {
                result_ = std::max(result_, levels_.front().deepest + levels_.front().joins);
                levels_.front() = level{};
            }
            break;
        case ':': ++levels_.back().operators; break;
        default: break;
        }
    }

    void word(std::string_view text) {
        static constexpr std::array<std::string_view, 5> separators{
            "and",
            "or",
            "when",
            "then",
            "else"};
        static constexpr std::array<std::string_view, 4> joins{
            "join",
            "union",
            "intersect",
            "except"};
        static constexpr std::array<std::string_view, 13> prefixes{
            "not",
            "collate",
            "at",
            "is",
            "isnull",
            "notnull",
            "operator",
            "like",
            "ilike",
            "similar",
            "in",
            "overlaps",
            "between"};
        if (is_any(text, separators)) {
            separate();
        } else if (is_any(text, joins)) {
            ++levels_.back().joins;
        } else if (is_any(text, prefixes)) {
            ++levels_.back().operators;
        } else if (is_word(text, "case")) {
            open(true);
        } else if (is_word(text, "end") && levels_.back().is_case) {
            close();
        }
    }

    std::vector<level> levels_;
    std::size_t result_ = 0;
};

}  // namespace

text_scan scan_text(std::string_view text, std::string& key) {
    key.clear();
    lexer tokens(text);
    shape_builder shape(key);
    text_scan result;
    token part = tokens.next();
    result.hint_bypass = tokens.hint_bypass();
    if (!starts_shape(part)) return result;
    while (part.kind != token_kind::end) {
        if (!shape.add(part)) return result;
        part = tokens.next();
    }
    result.has_shape = true;
    result.lifted_time_constant = shape.lifted_time_constant();
    return result;
}

std::size_t nesting_bound(std::string_view text) {
    lexer tokens(text);
    nesting_counter depth;
    for (token part = tokens.next(); part.kind != token_kind::end; part = tokens.next()) {
        if (part.kind == token_kind::broken) return nesting_max + 1;  // no valid SQL either
        depth.add(part);
    }
    return depth.result();
}

std::string without_values(std::string_view text) {
    std::string out;
    lexer scanner{text};
    for (auto one = scanner.next(); one.kind != token_kind::end; one = scanner.next()) {
        if (one.space_before && !out.empty()) out += ' ';
        switch (one.kind) {
        case token_kind::plain_string:
        case token_kind::other_string:
        case token_kind::unicode_quote:
        case token_kind::integer:
        case token_kind::decimal:
        case token_kind::glued_number: out += '?'; break;
        case token_kind::broken: return out + "…";
        default: out += one.text; break;
        }
    }
    return out;
}

}  // namespace postern::sql
