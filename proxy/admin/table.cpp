#include "admin/table.hpp"

#include "base/assert.hpp"

namespace postern::admin {

table& table::columns(column_type type, std::initializer_list<const char*> names) {
    for (const char* name : names) {
        reply_.columns.push_back({name, static_cast<std::uint32_t>(type)});
    }
    return *this;
}

void table::row(std::vector<cell> cells) {
    POSTERN_ASSERT(cells.size() == reply_.columns.size());
    auto& values = reply_.rows.emplace_back();
    for (auto& one : cells)
        values.push_back(one.take());
}

session::console_reply table::take() {
    reply_.command_tag = "SHOW";
    return std::move(reply_);
}

}  // namespace postern::admin
