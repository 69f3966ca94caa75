#include "catalog/index.hpp"

#include <algorithm>

namespace postern::catalog {
namespace {

std::string lower_case(std::string_view text) {
    std::string lowered(text);
    std::transform(lowered.begin(), lowered.end(), lowered.begin(), [](char c) {
        return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    });
    return lowered;
}

template <class Map, class Key>
auto find_or_null(const Map& map, const Key& key) -> typename Map::mapped_type {
    const auto found = map.find(key);
    return found == map.end() ? nullptr : found->second;
}

template <class Map>
const typename Map::mapped_type& find_or_empty(const Map& map, oid key) {
    static const typename Map::mapped_type empty{};
    const auto found = map.find(key);
    return found == map.end() ? empty : found->second;
}

// Those of `named` that `schema`, or without it each schema of `path` in its order, holds.
template <class Map>
typename Map::mapped_type visible(
    const Map& map,
    std::string_view schema,
    std::string_view name,
    const search_path& path) {
    typename Map::mapped_type found;
    const auto named = map.find(name);
    if (named == map.end()) return found;
    const auto take_from = [&](std::string_view where) {
        std::copy_if(
            named->second.begin(),
            named->second.end(),
            std::back_inserter(found),
            [&](const auto* one) { return one->schema == where; });
    };
    if (!schema.empty()) {
        take_from(schema);
    } else {
        for (const auto& one : path.schemas)
            take_from(one);
    }
    return found;
}

known_policy prepare(const policy& rule) {
    known_policy known{&rule, {}};
    if (rule.using_expression.empty()) {
        known.visible.understood = true;
    } else {
        known.visible = understand("SELECT " + rule.using_expression);
    }
    return known;
}

bool is_system(const relation& one) {
    return one.schema == "pg_catalog" || one.schema == "information_schema";
}

}  // namespace

catalog_index::catalog_index(const snapshot_data& data)
    : operators_(data.operators.begin(), data.operators.end())
    , volatile_operators_(data.volatile_operators.begin(), data.volatile_operators.end())
    , types_(data.types.begin(), data.types.end()) {
    for (const auto& one : data.relations) {
        relations_by_id_.emplace(one.id, &one);
        relations_by_name_[one.name].push_back(&one);
        if (one.kind == 'v' && !is_system(one)) {
            views_.emplace(one.id, understand(one.view_definition));
        }
    }
    for (const auto& one : data.functions) {
        functions_by_id_.emplace(one.id, &one);
        functions_by_name_[one.name].push_back(&one);
    }
    for (const auto& one : data.roles) {
        roles_by_id_.emplace(one.id, &one);
        roles_by_name_[one.name].push_back(&one);
    }
    for (const auto& one : data.vouched)
        vouched_by_name_[one.name].push_back(&one);
    for (const auto& one : data.policies)
        policies_[one.table].push_back(prepare(one));
    for (const auto& one : data.triggers)
        triggers_[one.table].push_back(&one);
    for (const auto& one : data.cascades)
        cascades_[one.parent].push_back(&one);
    for (const auto& one : data.identity_variables)
        identity_variables_.insert(lower_case(one));
}

const relation* catalog_index::relation_by_id(oid id) const {
    return find_or_null(relations_by_id_, id);
}

const function* catalog_index::function_by_id(oid id) const {
    return find_or_null(functions_by_id_, id);
}

const role* catalog_index::role_by_id(oid id) const {
    return find_or_null(roles_by_id_, id);
}

const role* catalog_index::role_by_name(std::string_view name) const {
    const auto found = roles_by_name_.find(name);
    return found == roles_by_name_.end() ? nullptr : found->second.front();
}

std::vector<const relation*> catalog_index::relations(
    std::string_view schema,
    std::string_view name,
    const search_path& path) const {
    return visible(relations_by_name_, schema, name, path);
}

std::vector<const function*> catalog_index::functions(
    std::string_view schema,
    std::string_view name,
    const search_path& path) const {
    return visible(functions_by_name_, schema, name, path);
}

const vouched_function* catalog_index::vouched(std::string_view schema, std::string_view name)
    const {
    const auto found = visible(vouched_by_name_, schema, name, catalog_only());
    return found.empty() ? nullptr : found.front();
}

const std::vector<known_policy>& catalog_index::policies(oid table) const {
    return find_or_empty(policies_, table);
}

const std::vector<const trigger*>& catalog_index::triggers(oid table) const {
    return find_or_empty(triggers_, table);
}

const std::vector<const cascade*>& catalog_index::cascades(oid parent) const {
    return find_or_empty(cascades_, parent);
}

const expression& catalog_index::view(oid id) const {
    return find_or_empty(views_, id);
}

bool catalog_index::contains(
    const qualified_names& names,
    std::string_view schema,
    std::string_view name,
    const search_path& path) {
    const auto in = [&](std::string_view where) {
        return names.contains({std::string(where), std::string(name)});
    };
    if (!schema.empty()) return in(schema);
    return std::any_of(path.schemas.begin(), path.schemas.end(), in);
}

bool catalog_index::has_operator(
    std::string_view schema,
    std::string_view name,
    const search_path& path) const {
    return contains(operators_, schema, name, path);
}

bool catalog_index::has_volatile_operator(
    std::string_view schema,
    std::string_view name,
    const search_path& path) const {
    return contains(volatile_operators_, schema, name, path);
}

bool catalog_index::has_type(
    std::string_view schema,
    std::string_view name,
    const search_path& path) const {
    return contains(types_, schema, name, path);
}

bool catalog_index::is_identity_variable(std::string_view name) const {
    return identity_variables_.contains(lower_case(name));
}

}  // namespace postern::catalog
