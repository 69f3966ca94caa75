#include "sql/analyzer.hpp"

#include "base/hash.hpp"
#include "base/recent_hashes.hpp"
#include "sql/lexer.hpp"
#include "sql/parse.hpp"
#include "sql/text_table.hpp"

#include <array>
#include <atomic>
#include <limits>
#include <string>
#include <utility>
#include <vector>

namespace postern::sql {

namespace {

std::uint64_t next_id() noexcept {
    static std::atomic<std::uint64_t> last{0};
    return ++last;
}

/// Facts up to this size are not counted for a text that shares them with its shape.
constexpr std::size_t shared_facts_bytes_max = 4096;

/// What facts take in memory, roughly: short texts can have long ones ("BEGIN;BEGIN;BEGIN").
std::size_t bytes_of(const text_facts& facts) noexcept {
    std::size_t bytes = sizeof(text_facts);
    for (const statement_facts& each : facts.statements) {
        bytes += sizeof(statement_facts) + each.relations.size() * sizeof(relation_use) +
                 each.functions.size() * sizeof(function_use) +
                 (each.operators.size() + each.types.size()) * sizeof(name_use) +
                 (each.current_settings.size() + each.attributes.size() +
                  each.hidden_settings.size() + each.prepared_names.size()) *
                     sizeof(std::string) +
                 each.settings.size() * sizeof(setting_change);
    }
    return bytes;
}

/// All that is known of a shape, or of a text that has none. Texts that differ neither in facts,
/// nor in what their constants and their leading comment add, share one analysis and so its id.
class variants {
public:
    variants(std::shared_ptr<const text_facts> facts, bool always_time_constant, bool kept)
        : facts_(std::move(facts))
        , always_time_constant_(always_time_constant)
        , kept_(kept) {}

    analysis_ptr get(bool has_time_constant, bool hint_bypass) {
        has_time_constant = has_time_constant || always_time_constant_;
        const std::size_t which = (has_time_constant ? 1U : 0U) + (hint_bypass ? 2U : 0U);
        analysis_ptr& made = made_.at(which);
        if (made == nullptr) {
            made = std::make_shared<const analysis>(
                analysis{facts_, has_time_constant, hint_bypass, kept_, next_id()});
        }
        return made;
    }

private:
    std::shared_ptr<const text_facts> facts_;
    bool always_time_constant_;  ///< a constant that stayed in the shape depends on the time
    bool kept_;
    std::array<analysis_ptr, 4> made_;
};

}  // namespace

struct analyzer::state {
    explicit state(limits limits_given)
        : bounds(limits_given)
        , texts({limits_given.text_bytes_max, std::numeric_limits<std::size_t>::max()})
        , shapes({limits_given.text_bytes_max, limits_given.shape_count_max}) {}

    limits bounds;
    counts seen;
    text_table<analysis_ptr> texts;
    text_table<variants> shapes;
    std::string key;  ///< kept between calls so that scanning a text allocates nothing

    /// Texts that only their shape was known of, or that have none. Where constants are written
    /// into the text hardly any comes twice: to remember each would push out those that do, and
    /// costs more than its shape's answer.
    recent_hashes met;
};

analyzer::analyzer()
    : analyzer(limits{}) {}

analyzer::analyzer(limits bounds)
    : state_(std::make_unique<state>(bounds)) {}

analyzer::~analyzer() = default;

analysis_ptr analyzer::analyze(std::string_view text, bool again) {
    state& self = *state_;
    if (text.size() > self.bounds.parse_size_max) return unknown();
    const hash128 text_hash = hash_bytes(text);
    if (const analysis_ptr* known = self.texts.find(text_hash, text)) {
        ++self.seen.text_hits;
        return *known;
    }
    // PostgreSQL's own texts end at a zero byte, so there is none that holds one.
    if (text.find('\0') != std::string_view::npos) return unknown();
    const text_scan scan = scan_text(text, self.key);
    hash128 shape_hash;
    if (scan.has_shape) {
        shape_hash = hash_bytes(self.key);
        if (variants* shape = self.shapes.find(shape_hash, self.key)) {
            ++self.seen.shape_hits;
            analysis_ptr found = shape->get(scan.lifted_time_constant, scan.hint_bypass);
            if (again || !self.met.met_before(text_hash)) return found;
            const std::size_t bytes = bytes_of(*found->facts);
            self.texts.insert(text_hash, text, found, bytes > shared_facts_bytes_max ? bytes : 0);
            return found;
        }
    }
    ++self.seen.parses;
    parsed_text parsed = parse_text(text);
    const bool has_time_constant = parsed.has_time_constant || scan.lifted_time_constant;
    const bool is_shape = scan.has_shape && parsed.facts.understood && !scan.lifted_time_constant;
    // Where a lifted constant depends on the time, whether one that stayed does too is not known:
    // such a text is remembered by itself.
    const bool is_kept = is_shape || (!again && self.met.met_before(text_hash));
    variants made(
        std::make_shared<const text_facts>(std::move(parsed.facts)),
        parsed.has_time_constant,
        is_kept);
    analysis_ptr found = made.get(has_time_constant, scan.hint_bypass);
    const std::size_t bytes = bytes_of(*found->facts);
    if (is_shape) self.shapes.insert(shape_hash, self.key, std::move(made), bytes);
    const bool is_shared = is_shape && bytes <= shared_facts_bytes_max;
    if (is_kept) self.texts.insert(text_hash, text, found, is_shared ? 0 : bytes);
    return found;
}

analysis_ptr analyzer::unknown() {
    static const analysis_ptr all_unknown = [] {
        auto facts = std::make_shared<text_facts>();
        facts->statements.push_back(unknown_statement());
        return std::make_shared<const analysis>(
            analysis{std::move(facts), false, false, true, next_id()});
    }();
    return all_unknown;
}

analyzer::counts analyzer::statistics() const noexcept {
    return state_->seen;
}

}  // namespace postern::sql
