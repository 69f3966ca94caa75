#include "sql/parse.hpp"

#include "sql/analyzer.hpp"
#include "sql/collector.hpp"
#include "sql/lexer.hpp"
#include "sql/tree.hpp"

#include <pg_query.h>

#include <string>
#include <utility>

namespace postern::sql {

namespace {

text_facts unknown_text() {
    text_facts facts;
    facts.statements.push_back(unknown_statement());
    return facts;
}

std::uint64_t fingerprint_of(const std::string& text) {
    const PgQueryFingerprintResult result = pg_query_fingerprint(text.c_str());
    const std::uint64_t value = result.error == nullptr ? result.fingerprint : 0;
    pg_query_free_fingerprint_result(result);
    return value;
}

}  // namespace

statement_facts unknown_statement() {
    statement_facts facts;
    facts.kind = statement_kind::not_understood;
    facts.why_not = reason::not_understood;
    facts.repeatable = false;
    facts.writes_everything = true;
    facts.changes_catalog = true;
    facts.takes_locks = true;
    facts.pin = pin_cause::unknown_effect;
    facts.pin_detail = "not understood";
    return facts;
}

parsed_text parse_text(std::string_view text) {
    const std::string terminated(text);
    parsed_text parsed;
    const tree_ptr tree = parse_tree(terminated);
    if (tree == nullptr) {
        parsed.facts = unknown_text();
        return parsed;
    }
    parsed.facts.understood = true;
    parsed.facts.fingerprint = fingerprint_of(terminated);
    parsed.facts.statements.reserve(tree->n_stmts);
    for (std::size_t i = 0; i < tree->n_stmts; ++i) {
        collector walk;
        parsed.facts.statements.push_back(walk.collect(tree->stmts[i]->stmt));
        parsed.has_time_constant = parsed.has_time_constant || walk.has_time_constant();
    }
    return parsed;
}

text_facts parse_facts(std::string_view text) {
    return parse_text(text).facts;
}

std::uint64_t fingerprint(std::string_view text) {
    const std::string terminated(text);
    if (terminated.find('\0') != std::string::npos || nesting_bound(text) > nesting_max) return 0;
    return fingerprint_of(terminated);
}

}  // namespace postern::sql
