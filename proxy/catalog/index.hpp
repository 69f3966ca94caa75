// A snapshot's rows by what they are looked up by. Points into the snapshot_data it was made from.

#pragma once

#include "base/hash.hpp"
#include "catalog/expression.hpp"
#include "catalog/search_path.hpp"
#include "catalog/snapshot.hpp"

#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace postern::catalog {

struct known_policy {
    const policy* rule = nullptr;
    expression visible;  ///< "SELECT " USING; understood and empty where there is none
};

class catalog_index {
public:
    explicit catalog_index(const snapshot_data& data);

    const relation* relation_by_id(oid id) const;
    const function* function_by_id(oid id) const;
    const role* role_by_id(oid id) const;
    const role* role_by_name(std::string_view name) const;

    /// All relations that the name can mean: the one in `schema`, or without it those of that name
    /// in each schema of `path`, first things first. More than one, because PostgreSQL skips
    /// schemas that the role may not use, and that is not known here.
    std::vector<const relation*> relations(
        std::string_view schema,
        std::string_view name,
        const search_path& path) const;
    std::vector<const function*> functions(
        std::string_view schema,
        std::string_view name,
        const search_path& path) const;
    const vouched_function* vouched(std::string_view schema, std::string_view name) const;

    const std::vector<known_policy>& policies(oid table) const;
    const std::vector<const trigger*>& triggers(oid table) const;
    const std::vector<const cascade*>& cascades(oid parent) const;
    const expression& view(oid id) const;

    /// Whether an operator (type) of that name stands in `schema`, or without it in one of `path`.
    bool has_operator(std::string_view schema, std::string_view name, const search_path& path)
        const;
    bool has_volatile_operator(
        std::string_view schema,
        std::string_view name,
        const search_path& path) const;
    bool has_type(std::string_view schema, std::string_view name, const search_path& path) const;
    bool is_identity_variable(std::string_view name) const;

private:
    template <class T>
    using by_name = std::unordered_map<std::string, std::vector<T>, string_hasher, std::equal_to<>>;
    template <class T>
    using by_oid = std::unordered_map<oid, T>;
    using qualified_names = std::set<std::pair<std::string, std::string>>;

    static bool contains(
        const qualified_names& names,
        std::string_view schema,
        std::string_view name,
        const search_path& path);

    by_oid<const relation*> relations_by_id_;
    by_oid<const function*> functions_by_id_;
    by_oid<const role*> roles_by_id_;
    by_name<const relation*> relations_by_name_;
    by_name<const function*> functions_by_name_;
    by_name<const role*> roles_by_name_;
    by_name<const vouched_function*> vouched_by_name_;
    by_oid<std::vector<known_policy>> policies_;
    by_oid<std::vector<const trigger*>> triggers_;
    by_oid<std::vector<const cascade*>> cascades_;
    by_oid<expression> views_;
    qualified_names operators_;
    qualified_names volatile_operators_;
    qualified_names types_;
    std::set<std::string> identity_variables_;
};

struct snapshot::index : catalog_index {
    using catalog_index::catalog_index;
};

}  // namespace postern::catalog
