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

std::string_view prepared_lru::find(const statement_key& what) {
    const auto found = index_.find(what.hash);
    if (found == index_.end() || found->second->what != what) return {};
    order_.splice(order_.begin(), order_, found->second);
    return found->second->name;
}

void prepared_lru::evict(std::list<one>::iterator gone, std::vector<std::string>& evicted) {
    evicted.push_back(std::move(gone->name));
    index_.erase(gone->what.hash);
    order_.erase(gone);
}

std::string_view prepared_lru::add(const statement_key& what, std::vector<std::string>& evicted) {
    // One hash, one statement: another with the same makes room.
    if (const auto other = index_.find(what.hash); other != index_.end()) {
        POSTERN_ASSERT(other->second->what != what);
        evict(other->second, evicted);
    }
    while (order_.size() >= capacity_)
        evict(std::prev(order_.end()), evicted);
    order_.push_front({what, std::string{prefix} + std::to_string(next_++)});
    index_.emplace(what.hash, order_.begin());
    return order_.front().name;
}

void prepared_lru::remove(const statement_key& what) {
    const auto found = index_.find(what.hash);
    if (found == index_.end() || found->second->what != what) return;
    order_.erase(found->second);
    index_.erase(found);
}

void prepared_lru::clear() {
    order_.clear();
    index_.clear();
}

}  // namespace postern::pool
