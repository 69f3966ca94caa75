// From a statement's text to its facts: by text when it was seen before, by shape when only its
// constants are new, by parsing with libpg_query when the shape is new.

#pragma once

#include "sql/facts.hpp"

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

namespace postern::sql {

/// Finds the facts of statements, remembering texts and shapes within a bound.
///
/// Thread safety: none; each thread has its own.
class analyzer {
public:
    struct limits {
        std::size_t text_bytes_max = std::size_t{16}
                                     << 20;  ///< bytes of texts, and of shapes, remembered
        std::size_t shape_count_max = 8192;  ///< shapes remembered
        std::size_t parse_size_max = std::size_t{1} << 20;  ///< longer texts are not understood
    };

    analyzer();
    explicit analyzer(limits bounds);
    ~analyzer();
    analyzer(const analyzer&) = delete;
    analyzer& operator=(const analyzer&) = delete;

    /// Never null and never fails: what can't be parsed is `understood == false`.
    /// `text` is assumed to be lexed with standard_conforming_strings = on; a session that has it
    /// off must call analyze_uncached_unknown() instead.
    /// `again`: its sender has not sent it once more, the same request is only looked at anew. That
    /// is no reason to remember it.
    analysis_ptr analyze(std::string_view text, bool again = false);

    /// What a text counts as when nothing about it may be believed.
    static analysis_ptr unknown();

    struct counts {
        std::uint64_t text_hits = 0;
        std::uint64_t shape_hits = 0;
        std::uint64_t parses = 0;
    };
    counts statistics() const noexcept;

private:
    struct state;
    std::unique_ptr<state> state_;
};

/// Parses `text` afresh. For the catalog (views, policies) and for `postern explain`.
text_facts parse_facts(std::string_view text);

/// libpg_query's fingerprint of `text`, 0 when it can't be parsed. For rules' statement patterns.
std::uint64_t fingerprint(std::string_view text);

/// `text` on one line with a question mark in place of every constant, and without comments: what
/// may be shown of a statement whose values are nobody's business.
std::string without_values(std::string_view text);

/// Whether `value`, as the input of some type, could depend on the current time ('now', 'today',
/// 'tomorrow', 'yesterday' anywhere as a word, in any case). For constants and text-format
/// parameters.
bool depends_on_time(std::string_view value) noexcept;

}  // namespace postern::sql
