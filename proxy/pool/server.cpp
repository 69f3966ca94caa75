#include "pool/server.hpp"

#include "base/assert.hpp"

namespace postern::pool {

void report(reported_parameters& into, std::string_view name, std::string_view value) {
    for (auto& [known, current] : into) {
        if (known == name) {
            current = value;
            return;
        }
    }
    into.emplace_back(name, value);
}

std::string_view prepared_lru::find(const hash128& what) {
    const auto found = index_.find(what);
    if (found == index_.end()) return {};
    order_.splice(order_.begin(), order_, found->second);
    return found->second->name;
}

std::string_view prepared_lru::add(const hash128& what, std::vector<std::string>& evicted) {
    POSTERN_ASSERT(!index_.contains(what));
    while (order_.size() >= capacity_) {
        evicted.push_back(std::move(order_.back().name));
        index_.erase(order_.back().what);
        order_.pop_back();
    }
    order_.push_front({what, std::string{prefix} + std::to_string(next_++)});
    index_.emplace(what, order_.begin());
    return order_.front().name;
}

void prepared_lru::remove(const hash128& what) {
    const auto found = index_.find(what);
    if (found == index_.end()) return;
    order_.erase(found->second);
    index_.erase(found);
}

void prepared_lru::clear() {
    order_.clear();
    index_.clear();
}

}  // namespace postern::pool
