// A deterministic scheduler for simulations: fibres are coroutines, each `co_await step()` is a
// point where any other fibre may run any number of its own steps, and a seed decides which.

#pragma once

#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <random>
#include <utility>
#include <vector>

namespace postern::simulation {

/// One piece of a fibre: starts when awaited (or spawned), then goes on where it was awaited.
/// Parameters are taken by value or outlive the scheduler's run.
class [[nodiscard]] task {
public:
    struct promise_type {
        std::coroutine_handle<> continuation = std::noop_coroutine();

        task get_return_object() { return task{handle::from_promise(*this)}; }
        std::suspend_always initial_suspend() noexcept { return {}; }
        auto final_suspend() noexcept {
            struct go_on {
                bool await_ready() noexcept { return false; }
                std::coroutine_handle<> await_suspend(handle done) noexcept {
                    return done.promise().continuation;
                }
                void await_resume() noexcept {}
            };
            return go_on{};
        }
        void return_void() {}
        void unhandled_exception() { std::terminate(); }
    };
    using handle = std::coroutine_handle<promise_type>;

    task(task&& other) noexcept
        : coroutine_{std::exchange(other.coroutine_, nullptr)} {}
    task& operator=(task&&) = delete;
    ~task() {
        if (coroutine_) coroutine_.destroy();
    }

    bool await_ready() const noexcept { return false; }
    std::coroutine_handle<> await_suspend(std::coroutine_handle<> awaiting) noexcept {
        coroutine_.promise().continuation = awaiting;
        return coroutine_;
    }
    void await_resume() const noexcept {}

private:
    friend class scheduler;
    explicit task(handle coroutine)
        : coroutine_{coroutine} {}

    handle coroutine_;
};

class scheduler {
public:
    explicit scheduler(std::uint64_t seed)
        : random_{seed} {}

    /// Less than `bound`. (std::uniform_int_distribution is not the same everywhere.)
    std::size_t below(std::size_t bound) { return random_() % bound; }
    bool one_in(std::size_t chances) { return below(chances) == 0; }

    void spawn(task fibre) {
        wake(fibre.coroutine_);
        fibres_.push_back(std::move(fibre));
    }

    /// Makes a suspended fibre runnable.
    void wake(std::coroutine_handle<> sleeping) { runnable_.push_back(sleeping); }

    /// Lets others run, or not, as chance has it.
    auto step() {
        struct awaitable {
            scheduler& on;
            bool await_ready() const noexcept { return false; }
            void await_suspend(std::coroutine_handle<> self) const { on.wake(self); }
            void await_resume() const noexcept {}
        };
        return awaitable{*this};
    }

    /// Until no fibre is runnable. Returns whether all came to their end.
    bool run() {
        while (!runnable_.empty()) {
            std::swap(runnable_[below(runnable_.size())], runnable_.back());
            const auto next = runnable_.back();
            runnable_.pop_back();
            next.resume();
        }
        for (const auto& fibre : fibres_) {
            if (!fibre.coroutine_.done()) return false;
        }
        return true;
    }

private:
    std::mt19937_64 random_;
    std::vector<task> fibres_;
    std::vector<std::coroutine_handle<>> runnable_;
};

}  // namespace postern::simulation
