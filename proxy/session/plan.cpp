#include "session/plan.hpp"

#include "sql/analyzer.hpp"

#include <algorithm>

namespace postern::session {

namespace {

using sql::statement_kind;

/// Statements whose failure outside a transaction leaves nothing behind.
bool is_atomic_alone(statement_kind kind) {
    switch (kind) {
    case statement_kind::select:
    case statement_kind::insert:
    case statement_kind::update:
    case statement_kind::delete_:
    case statement_kind::merge:
    case statement_kind::copy_from:
    case statement_kind::truncate: return true;
    default: return false;
    }
}

bool controls_transaction(statement_kind kind) {
    switch (kind) {
    case statement_kind::begin:
    case statement_kind::commit:
    case statement_kind::rollback:
    case statement_kind::prepare_transaction:
    case statement_kind::commit_prepared:
    case statement_kind::rollback_prepared:
    case statement_kind::call:
    case statement_kind::do_block:
    case statement_kind::not_understood: return true;
    default: return false;
    }
}

/// Statements that neither show nor change rows: nobody's identity decides anything about them, and
/// some of them must come before the first snapshot of their transaction.
bool needs_identity(const sql::statement_facts& facts) {
    if (facts.refuses_transaction) return false;
    switch (facts.kind) {
    case statement_kind::begin:
    case statement_kind::commit:
    case statement_kind::rollback:
    case statement_kind::savepoint:
    case statement_kind::release_savepoint:
    case statement_kind::rollback_to_savepoint:
    case statement_kind::prepare_transaction:
    case statement_kind::commit_prepared:
    case statement_kind::rollback_prepared:
    case statement_kind::set:
    case statement_kind::set_transaction:
    case statement_kind::discard:
    case statement_kind::listen:
    case statement_kind::unlisten:
    case statement_kind::deallocate:
    case statement_kind::close_cursor:
    case statement_kind::load: return false;
    default: return true;
    }
}

void sort_unique(std::vector<coherence::tag>& tags) {
    std::ranges::sort(tags);
    tags.erase(std::unique(tags.begin(), tags.end()), tags.end());
}

/// Nothing is known: forwarded, has written everything.
void assume_the_worst(plan& out) {
    out.why_not = reason::not_understood;
    out.writes_everything = true;
    out.changes_catalog = true;
    out.controls_transaction = true;
    out.takes_locks = true;
    out.needs_identity = true;
    out.disturbs_identity = true;
    out.uses_savepoints = true;
    out.drops_statements = true;
    out.sets_transaction_modes = true;
    catalog::footprint unknown;
    unknown.why_not = reason::not_understood;
    unknown.writes_everything = true;
    unknown.pin = sql::pin_cause::unknown_effect;
    unknown.pin_detail = "a statement that was not understood";
    out.footprints.assign(
        std::max<std::size_t>(1, out.analysis->facts->statements.size()),
        unknown);
}

/// Without a catalog names can't be resolved: what writes has written everything.
catalog::footprint resolve_blind(const sql::statement_facts& facts) {
    catalog::footprint out;
    out.why_not = facts.why_not != reason::none ? facts.why_not : reason::catalog_stale;
    out.changes_catalog = facts.changes_catalog;
    out.pin = facts.pin;
    out.pin_detail = facts.pin_detail;
    const bool only_reads = std::ranges::all_of(facts.relations, [](const sql::relation_use& use) {
        return use.how == sql::access::read || use.how == sql::access::lock;
    });
    // A function of the user's might write; without the catalog it can't be told from PostgreSQL's.
    out.writes_everything = facts.writes_everything || !only_reads || !facts.functions.empty();
    // Behind any of these names may stand code that changes the session.
    const bool calls = !facts.functions.empty() || !facts.relations.empty() ||
                       !facts.operators.empty() || !facts.attributes.empty();
    if (out.pin == sql::pin_cause::none && calls) {
        out.pin = sql::pin_cause::unread_catalog;
        out.pin_detail = "the catalog was being read";
    }
    return out;
}

void note_effects(plan& out, const sql::statement_facts& facts, const catalog::footprint& found) {
    out.uses_savepoints |= facts.kind == statement_kind::savepoint ||
                           facts.kind == statement_kind::release_savepoint ||
                           facts.kind == statement_kind::rollback_to_savepoint;
    out.drops_statements |= facts.command_tag == "DEALLOCATE ALL" ||
                            facts.command_tag == "DISCARD ALL";
    out.sets_transaction_modes |= facts.kind == statement_kind::set_transaction ||
                                  facts.has_transaction_modes || !facts.isolation.empty();
    const bool resets_all = std::ranges::any_of(facts.settings, [](const auto& change) {
        return change.what == sql::setting_change::action::reset_all;
    });
    out.disturbs_identity |= resets_all || controls_transaction(facts.kind) ||
                             facts.kind == statement_kind::rollback_to_savepoint ||
                             !facts.hidden_settings.empty() ||
                             found.pin == sql::pin_cause::unknown_effect ||
                             found.pin == sql::pin_cause::unread_catalog;
}

/// Run again it changes nothing and takes no lock that anybody would notice, and on one snapshot it
/// answers as before.
bool may_be_sampled(const plan& of) {
    const auto* only = of.single();
    if (of.blind || only == nullptr || only->kind != statement_kind::select) return false;
    const auto& found = of.footprints.front();
    return found.repeatable && !found.reads.empty() && !of.writes() && !of.takes_locks &&
           !of.hides_settings && only->settings.empty() && found.pin == sql::pin_cause::none;
}

void judge(plan& out, const catalog::snapshot* catalog) {
    const auto& statements = out.analysis->facts->statements;
    if (statements.size() != 1) {
        out.why_not = statements.empty() ? reason::not_a_select : reason::several_statements;
        return;
    }
    const auto& only = out.footprints.front();
    out.why_not = only.why_not;
    out.why_not_detail = only.why_not_detail;
    if (out.why_not != reason::none) return;
    if (out.analysis->has_time_constant) {
        out.why_not = reason::time_dependent_constant;
        return;
    }
    if (out.writes() || out.takes_locks || only.pin != sql::pin_cause::none) {
        out.why_not = reason::writes;
        return;
    }
    const auto verdict = cache::decide(
        out.settings->rules,
        only,
        *catalog,
        out.analysis->facts->fingerprint,
        out.context->database_name,
        out.context->names.role);
    out.why_not = verdict.why_not;
    if (!verdict.rule) return;
    const auto& rule = out.settings->rules.rules[*verdict.rule];
    out.rule = *verdict.rule;
    out.ttl_ns = std::chrono::nanoseconds{rule.ttl}.count();
    out.answer_bytes_max = rule.answer_bytes_max;
}

}  // namespace

std::shared_ptr<plan> make_plan(
    const sql::analysis_ptr& analysis,
    const plan_context_ptr& context,
    const catalog::snapshot* catalog,
    const settings_ptr& settings) {
    auto made = std::make_shared<plan>();
    auto& out = *made;
    out.analysis = analysis;
    out.context = context;
    out.settings = settings;
    if (!analysis->facts->understood) {
        assume_the_worst(out);
        return made;
    }
    out.blind = catalog == nullptr;
    for (const auto& facts : analysis->facts->statements) {
        auto found = catalog != nullptr ? catalog->resolve(facts, context->names)
                                        : resolve_blind(facts);
        for (const auto table : found.reads) {
            out.read_tags.push_back(coherence::table_tag(context->database, table));
        }
        for (const auto table : found.writes) {
            out.write_tags.push_back(coherence::table_tag(context->database, table));
        }
        out.writes_everything |= found.writes_everything;
        out.changes_catalog |= found.changes_catalog;
        out.identity_matters |= found.identity_matters;
        out.takes_locks |= facts.takes_locks;
        out.hides_settings |= !facts.hidden_settings.empty();
        note_effects(out, facts, found);
        out.refuses_transaction |= facts.refuses_transaction;
        out.controls_transaction |= controls_transaction(facts.kind);
        out.needs_identity |= needs_identity(facts);
        out.footprints.push_back(std::move(found));
    }
    if (out.changes_catalog) out.writes_everything = true;
    sort_unique(out.read_tags);
    sort_unique(out.write_tags);
    out.atomic_alone = analysis->facts->statements.size() == 1 &&
                       is_atomic_alone(analysis->facts->statements.front().kind);
    out.may_be_sampled = may_be_sampled(out);
    judge(out, catalog);
    return made;
}

plan_context_ptr plan_cache::intern(plan_context context) {
    for (const auto& known : contexts_) {
        if (known->database == context.database && known->names == context.names) return known;
    }
    // Contexts are few (roles times search paths); an application that makes them up without end
    // starts over instead of filling the memory.
    if (contexts_.size() >= 1024) {
        const std::scoped_lock lock{mutex_};
        contexts_.clear();
        plans_.clear();
    }
    return contexts_.emplace_back(std::make_shared<const plan_context>(std::move(context)));
}

plan_ptr plan_cache::find(
    const sql::analysis& analysis,
    const plan_context_ptr& context,
    std::uint64_t catalog_epoch,
    const settings_ptr& settings) const {
    const auto found = plans_.find({analysis.id, context.get()});
    if (found == plans_.end()) return nullptr;
    const auto& known = found->second;
    if (known->catalog_epoch != catalog_epoch || known->settings != settings) return nullptr;
    return known;
}

void plan_cache::keep(const plan_ptr& made) {
    const std::scoped_lock lock{mutex_};
    if (plans_.size() >= capacity_) plans_.erase(plans_.begin());
    plans_.insert_or_assign({made->analysis->id, made->context.get()}, made);
}

std::vector<why_row> plan_cache::why() const {
    const std::scoped_lock lock{mutex_};
    std::vector<why_row> rows;
    for (const auto& [unused, one] : plans_) {
        if (one->count.load() == 0) continue;
        rows.push_back(
            {one->context->database_name,
             one->context->names.role,
             one->text,
             one->analysis->facts->fingerprint,
             one->count.load(),
             one->last.load(),
             one->why_not_detail,
             one->last_seen.load()});
    }
    return rows;
}

}  // namespace postern::session
