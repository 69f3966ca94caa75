// Shadow mode: which reads are copied for the sampler to run again. The client notices nothing:
// what is copied is copied before it goes to the server, or while a hit is written down.

#include "session/session.hpp"

#include <algorithm>
#include <array>

namespace postern::session {

namespace {

/// Of what is copied. As the cache has it.
constexpr std::size_t text_size_max = 16 * 1024;
constexpr std::size_t parameters_size_max = 64 * 1024;

/// What servers announce because answers depend on it, and what SET calls it.
constexpr std::array<std::pair<std::string_view, std::string_view>, 3> announced{
    {{"DateStyle", "datestyle"}, {"IntervalStyle", "intervalstyle"}, {"TimeZone", "timezone"}}};

/// Decided on by the sampler itself, or no matter of an answer's.
bool is_set_otherwise(std::string_view name) {
    return name == "role" || name == "search_path" || name == "client_encoding" ||
           is_shapeless(name);
}

bool is_system_schema(std::string_view name) {
    return name == "pg_catalog" || name == "information_schema";
}

void add_relations(const sql::statement_facts& facts, catalog::sampled_read& into) {
    const auto add = [](std::vector<std::string>& names, std::string name) {
        if (std::ranges::find(names, name) == names.end()) names.push_back(std::move(name));
    };
    for (const auto& use : facts.relations) {
        if (use.schema.empty()) {
            add(into.unqualified, use.name);
        } else if (!is_system_schema(use.schema)) {
            add(into.qualified, use.schema + '.' + use.name);
        }
    }
}

}  // namespace

/// What the request at the front sends to the server.
void session::sample_forwarded() {
    if (in_extended_) return;
    // A read behind a write of the same request sees what nobody else does.
    const bool changes = std::ranges::any_of(front_.executions, [](const execution& one) {
        return one.plan->writes() || one.plan->takes_locks || one.plan->hides_settings ||
               !one.settings.empty();
    });
    if (changes) return;
    for (const auto& one : front_.executions)
        sample(one);
}

void session::sample(const execution& one) {
    refresh_claims();
    if (!may_sample(one)) return;
    const auto& plan = *one.plan;
    if (!plan.was_sampled) {
        plan.was_sampled = sampler_->knows(
            plan.analysis->facts->fingerprint,
            plan_context_->names.role);
    }
    // Rare statements are seen too: the first of its shape always is.
    if (plan.was_sampled && !catalog::is_drawn(worker_.reads_drawn_from++, sampler_->share()))
        return;
    if (sampler_->offer(copy_of(one))) plan.was_sampled = true;
}

/// Whether all that decides its answer is known, so that another connection answers the same.
bool session::may_sample(const execution& one) const {
    const auto* facts = one.plan->single();
    if (!one.plan->may_be_sampled || facts->relations.empty() || one.obscure) return false;
    if (place_ == transaction_place::failed || pins_.any() || !encoding_is_utf8_) return false;
    if (place_ != transaction_place::none && (!transaction_clean_ || local_settings_)) return false;
    if (context_.now().settings->contains("session_authorization")) return false;
    if (claims_->empty || one.text.size() > text_size_max) return false;
    if (front_.is_query) return true;
    return one.bind != nullptr && one.statement != nullptr && one.whole_answer &&
           one.bind->body.size() <= parameters_size_max && read_bind(*one.bind) == wire::errc::ok;
}

/// REQUIRES: may_sample(one).
catalog::sampled_read session::copy_of(const execution& one) const {
    catalog::sampled_read out;
    out.fingerprint = one.plan->analysis->facts->fingerprint;
    out.text = one.text;
    out.role = plan_context_->names.role;
    out.search_path = plan_context_->names.search_path;
    if (!front_.is_query) {
        (void)read_bind(*one.bind);
        out.bound.types = one.statement->parameter_types;
        out.bound.formats = front_.bind.parameter_formats;
        for (const auto& value : front_.bind.values)
            out.bound.values.emplace_back(value);
    }
    const auto& own = *context_.now().settings;
    for (const auto& [name, value] : own) {
        if (!is_set_otherwise(name)) out.settings.emplace_back(name, value);
    }
    if (const auto greeting = pool_->welcome()) {
        for (const auto& [name, value] : greeting->parameters) {
            const auto known = std::ranges::find(announced, name, [](const auto& pair) {
                return pair.first;
            });
            if (known != announced.end() && !own.contains(known->second))
                out.settings.emplace_back(known->second, value);
        }
    }
    for (std::size_t i = 0; i < claims_->values.size(); ++i)
        out.settings.emplace_back(settings_->identity.variables[i], claims_->values[i]);
    add_relations(*one.plan->single(), out);
    return out;
}

}  // namespace postern::session
