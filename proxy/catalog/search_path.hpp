// search_path as text, and the schemas that it makes visible, in PostgreSQL's order.

#pragma once

#include "catalog/footprint.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace postern::catalog {

/// The schemas in which unqualified names are looked for (PostgreSQL manual, 5.9.3 and
/// "search_path"): "$user" is replaced, pg_catalog stands first unless the text names it.
/// pg_temp is left out: sessions with temporary objects are nobody's business here.
struct search_path {
    std::vector<std::string> schemas;
    bool catalog_first = true;

    bool shows(std::string_view schema) const noexcept;
};

/// Text that is no list of names shows pg_catalog alone, so that nothing else is found.
search_path parse_search_path(std::string_view text, std::string_view role);

/// What pg_get_viewdef and pg_get_expr write is meant for: an empty search_path.
search_path catalog_only();

}  // namespace postern::catalog
