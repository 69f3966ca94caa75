#include "session/admission.hpp"

namespace postern::session {

void admission::pause(const database_scope& which) {
    const std::scoped_lock lock{mutex_};
    if (which) {
        paused_.insert(*which);
    } else {
        all_ = true;
    }
    if (!fence_.raised()) fence_ = versions_.raise_everything();
}

bool admission::resume(const database_scope& which) {
    const std::scoped_lock lock{mutex_};
    const bool was_paused = which ? paused_.erase(*which) != 0 : all_;
    if (!which) all_ = false;
    if (!anything_is_paused()) fence_.commit();
    return was_paused;
}

bool admission::is_switched(const database_scope& which) const {
    const std::scoped_lock lock{mutex_};
    return which ? paused_.contains(*which) : all_;
}

bool admission::is_paused(const std::string& database) const {
    const std::scoped_lock lock{mutex_};
    return all_ || paused_.contains(database);
}

bool admission::restricts() const {
    const std::scoped_lock lock{mutex_};
    return anything_is_paused() || !disabled_.empty();
}

std::size_t admission::fences() const {
    const std::scoped_lock lock{mutex_};
    return fence_.raised() ? 1 : 0;
}

void admission::disable(const std::string& database, bool disabled) {
    const std::scoped_lock lock{mutex_};
    if (disabled) {
        disabled_.insert(database);
    } else {
        disabled_.erase(database);
    }
}

bool admission::is_disabled(const std::string& database) const {
    const std::scoped_lock lock{mutex_};
    return disabled_.contains(database);
}

}  // namespace postern::session
