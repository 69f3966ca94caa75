#include "pool/allowance.hpp"

#include "pool/pool.hpp"

namespace postern::pool {

void allowance::join(const std::shared_ptr<pool>& member) {
    const std::scoped_lock lock{mutex_};
    members_.push_back(member);
}

std::vector<std::shared_ptr<pool>> allowance::members() const {
    std::vector<std::shared_ptr<pool>> out;
    const std::scoped_lock lock{mutex_};
    for (const auto& one : members_) {
        if (auto alive = one.lock()) out.push_back(std::move(alive));
    }
    return out;
}

bool allowance::take() noexcept {
    auto taken = taken_.load();
    do {
        if (taken >= servers_max_) return false;
    } while (!taken_.compare_exchange_weak(taken, taken + 1));
    return true;
}

void allowance::give_back() {
    --taken_;
    if (!wanted_.exchange(false)) return;
    for (const auto& one : members())
        one->look_for_room();
}

void allowance::make_room(const pool* hungry) {
    wanted_ = true;
    for (const auto& one : members()) {
        if (one.get() != hungry && one->close_one_idle()) return;
    }
}

}  // namespace postern::pool
