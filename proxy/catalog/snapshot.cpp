#include "catalog/snapshot.hpp"

#include "catalog/index.hpp"
#include "catalog/resolver.hpp"

#include <utility>

namespace postern::catalog {

snapshot::snapshot(snapshot_data data, std::uint64_t generation)
    : data_(std::move(data))
    , generation_(generation)
    , index_(std::make_unique<const index>(data_)) {}

snapshot::~snapshot() = default;

footprint snapshot::resolve(const sql::statement_facts& facts, const resolve_context& context)
    const {
    return resolver(*index_, context).run(facts);
}

const relation* snapshot::find(std::string_view name, const resolve_context& context) const {
    const auto path = parse_search_path(context.search_path, context.role);
    const auto dot = name.find('.');
    const auto schema = dot == std::string_view::npos ? std::string_view{} : name.substr(0, dot);
    const auto bare = dot == std::string_view::npos ? name : name.substr(dot + 1);
    const auto found = index_->relations(schema, bare, path);
    return found.empty() ? nullptr : found.front();
}

const relation* snapshot::find(oid id) const {
    return index_->relation_by_id(id);
}

}  // namespace postern::catalog
