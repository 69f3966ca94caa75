#include "session/context.hpp"

#include <algorithm>

namespace postern::session {

void context::begin(pool::settings_map_ptr worn) {
    if (at_begin_) return;
    at_begin_ = mark{{}, now_, std::move(worn)};
}

void context::wears(pool::settings_map_ptr worn) {
    if (at_begin_) at_begin_->worn = std::move(worn);
}

void context::savepoint(std::string name, pool::settings_map_ptr worn) {
    savepoints_.push_back({std::move(name), now_, std::move(worn)});
}

void context::release_savepoint(std::string_view name) {
    const auto found = std::find_if(savepoints_.rbegin(), savepoints_.rend(), [&](const mark& one) {
        return one.name == name;
    });
    if (found != savepoints_.rend()) savepoints_.erase(std::prev(found.base()), savepoints_.end());
}

void context::commit() {
    now_.identity_local = pool::no_settings();
    at_begin_.reset();
    savepoints_.clear();
}

pool::settings_map_ptr context::roll_back() {
    savepoints_.clear();
    if (!at_begin_) {
        now_.identity_local = pool::no_settings();
        return nullptr;
    }
    auto worn = std::move(at_begin_->worn);
    now_ = std::move(at_begin_->values);
    now_.identity_local = pool::no_settings();
    at_begin_.reset();
    return worn;
}

pool::settings_map_ptr context::roll_back_to(std::string_view name) {
    const auto found = std::find_if(savepoints_.rbegin(), savepoints_.rend(), [&](const mark& one) {
        return one.name == name;
    });
    if (found == savepoints_.rend()) return nullptr;
    // The savepoint itself stays: it can be rolled back to again.
    now_ = found->values;
    savepoints_.erase(found.base(), savepoints_.end());
    return savepoints_.back().worn;
}

}  // namespace postern::session
