#include "session/worker.hpp"

#include "session/limits.hpp"
#include "session/session.hpp"

#include <fmt/format.h>

#include <atomic>
#include <utility>

namespace postern::session {

namespace {

/// Distinct statements of the extended protocol that a thread remembers.
constexpr std::size_t prepared_max = 16384;
constexpr std::size_t prepared_bytes_max = std::size_t{32} << 20;
/// Fewer maps of settings are not looked through for those that nobody has any more.
constexpr std::size_t settings_maps_min = 1000;
/// Combinations of search_path, role and settings that are remembered as one.
constexpr std::size_t statement_contexts_max = 1024;
/// Those of one round, and no more memory than that.
constexpr std::size_t spare_buffers_max = 64;
constexpr std::size_t spare_capacity_max = std::size_t{16} << 10;
/// What of a statement's text SHOW CACHE WHY can print.
constexpr std::size_t shown_text_max = 512;

std::string material_of(
    std::string_view text,
    const std::vector<std::uint32_t>& parameter_types,
    std::uint64_t catalog_epoch,
    bool readable) {
    std::string out = std::to_string(catalog_epoch);
    out += readable ? ' ' : '!';
    for (const auto type : parameter_types)
        out += std::to_string(type) + ',';
    out += ' ';
    out += text;
    return out;
}

std::string shortened(std::string_view text) {
    std::string out{text.substr(0, shown_text_max)};
    if (text.size() > shown_text_max) out += "…";
    return out;
}

}  // namespace

traffic& traffic::operator+=(const traffic& other) noexcept {
    transactions += other.transactions;
    queries += other.queries;
    received += other.received;
    sent += other.sent;
    server_time_ns += other.server_time_ns;
    query_time_ns += other.query_time_ns;
    wait_time_ns += other.wait_time_ns;
    hits += other.hits;
    return *this;
}

worker::worker(shared_state& everything, std::size_t own_number)
    : shared{everything}
    , number{own_number}
    , io{1}
    , events{io}
    , front{std::make_unique<front_request>()} {
    if (shared.redis) {
        redis_guest_.emplace(events);
        redis = std::make_unique<cache::redis_store>(io, *shared.redis, shared.start_token);
    }
}

worker::~worker() {
    removed_.clear();
    sessions_.clear();
}

std::string worker::spare_buffer() {
    if (spare_buffers_.empty()) return {};
    auto spare = std::move(spare_buffers_.back());
    spare_buffers_.pop_back();
    return spare;
}

void worker::keep_buffer(std::string emptied) {
    if (emptied.capacity() > spare_capacity_max || spare_buffers_.size() == spare_buffers_max)
        return;
    emptied.clear();
    spare_buffers_.push_back(std::move(emptied));
}

const settings_ptr& worker::settings() {
    const auto epoch = shared.settings_epoch();
    if (epoch != settings_epoch_) {
        settings_ = shared.settings();
        settings_epoch_ = epoch;
    }
    return settings_;
}

prepared_ptr worker::prepare(
    std::string_view text,
    const std::vector<std::uint32_t>& parameter_types,
    std::uint64_t catalog_epoch,
    bool readable,
    bool obscure,
    bool again) {
    hash128 hash = hash_bytes(text);
    hash.high += catalog_epoch * 0x9E3779B97F4A7C15U + (readable ? 0 : 1) + (obscure ? 2 : 0);
    if (!parameter_types.empty()) {
        const auto types = hash_bytes(
            {reinterpret_cast<const char*>(parameter_types.data()),
             parameter_types.size() * sizeof(std::uint32_t)});
        hash.low ^= types.low;
        hash.high += types.high;
    }
    const auto known = prepared_.find(hash);
    if (known != prepared_.end()) {
        const auto& same = *known->second;
        if (same.text == text && same.parameter_types == parameter_types &&
            same.catalog_epoch == catalog_epoch && same.readable == readable &&
            same.obscure == obscure) {
            return known->second;
        }
        forget(known);
    }
    auto fresh = std::make_shared<prepared_statement>();
    auto material = material_of(text, parameter_types, catalog_epoch, readable && !obscure);
    fresh->material = std::make_shared<const std::string>(std::move(material));
    fresh->text = std::string_view{*fresh->material}.substr(fresh->material->size() - text.size());
    fresh->parameter_types = parameter_types;
    fresh->catalog_epoch = catalog_epoch;
    fresh->readable = readable;
    fresh->obscure = obscure;
    fresh->analysis = readable ? analyzer.analyze(text, again) : sql::analyzer::unknown();
    fresh->hash = hash;
    // With constants in its text hardly any is prepared twice.
    const bool comes_again = !again && prepared_once_.met_before(hash);
    if (!comes_again || fresh->material->size() > prepared_bytes_max / 16) return fresh;
    prepared_bytes_ += fresh->material->size();
    while (prepared_.size() >= prepared_max || prepared_bytes_ > prepared_bytes_max)
        forget(prepared_.begin());
    prepared_.emplace(hash, fresh);
    return fresh;
}

statement_context_ptr worker::intern(std::string material) {
    if (const auto known = statement_contexts_.find(material); known != statement_contexts_.end())
        return known->second;
    if (statement_contexts_.size() >= statement_contexts_max) statement_contexts_.clear();
    auto fresh = std::make_shared<statement_context>();
    fresh->hash = hash_bytes(material);
    fresh->material = std::make_shared<const std::string>(material);
    return statement_contexts_.emplace(std::move(material), std::move(fresh)).first->second;
}

pool::settings_map_ptr worker::intern(pool::settings_map settings) {
    std::string material;
    for (const auto& [name, value] : settings)
        material += fmt::format("{}:{}{}:{}", name.size(), name, value.size(), value);
    auto& known = settings_maps_[std::move(material)];
    if (auto found = known.lock()) return found;
    auto fresh = std::make_shared<const pool::settings_map>(std::move(settings));
    known = fresh;
    if (settings_maps_.size() > settings_maps_max_) {
        std::erase_if(settings_maps_, [](const auto& one) { return one.second.expired(); });
        settings_maps_max_ = 2 * settings_maps_.size() + settings_maps_min;
    }
    return fresh;
}

void worker::forget(prepared_map::iterator gone) {
    prepared_bytes_ -= gone->second->material->size();
    prepared_.erase(gone);
}

plan_ptr worker::plan_of(
    const sql::analysis_ptr& analysis,
    std::string_view text,
    const plan_context_ptr& context,
    catalog::watcher* watcher) {
    const auto& configuration = settings();
    // Read before the snapshot: a plan may be called stale for nothing, but never fresh.
    const auto epoch = watcher != nullptr ? watcher->epoch() : 0;
    if (auto known = plans.find(*analysis, context, epoch, configuration)) return known;
    const auto snapshot = watcher != nullptr ? watcher->current() : nullptr;
    auto made = make_plan(analysis, context, snapshot.get(), configuration);
    made->catalog_epoch = epoch;
    made->text = shortened(text);
    if (analysis->kept) plans.keep(made);
    return made;
}

std::uint64_t worker::next_session_id() noexcept {
    static std::atomic<std::uint64_t> next{1};
    return next.fetch_add(1);
}

void worker::adopt(int client_fd, std::string address) {
    const auto id = next_session_id();
    add(std::make_shared<session>(*this, client_fd, std::move(address), id));
}

void worker::on_catalog_read() {
    for (const auto id : std::exchange(awaiting_catalog, {})) {
        if (auto* one = find(id)) {
            const auto keep_alive = one->shared_from_this();
            one->on_catalog_read();
        }
    }
}

void worker::add(const std::shared_ptr<session>& fresh) {
    sessions_.emplace(fresh->id(), fresh);
}

void worker::remove(std::uint64_t id) {
    const auto gone = sessions_.find(id);
    if (gone == sessions_.end()) return;
    awaiting_catalog.erase(id);
    if (removed_.empty()) {
        // Whoever goes may make others go.
        events.post([this] { const auto all = std::exchange(removed_, {}); });
    }
    removed_.push_back(std::move(gone->second));
    sessions_.erase(gone);
}

session* worker::find(std::uint64_t id) const {
    const auto found = sessions_.find(id);
    return found == sessions_.end() ? nullptr : found->second.get();
}

std::vector<client_row> worker::clients() const {
    std::vector<client_row> rows;
    rows.reserve(sessions_.size());
    for (const auto& [unused, one] : sessions_)
        rows.push_back(one->row());
    return rows;
}

worker::counts worker::count_clients() const {
    counts out;
    out.all = sessions_.size();
    for (const auto& [unused, one] : sessions_) {
        if (one->is_on_console()) ++out.on_console;
        if (one->is_busy()) ++out.busy;
    }
    return out;
}

void worker::stop_sessions(bool at_once) {
    std::vector<std::shared_ptr<session>> all;
    for (const auto& [unused, one] : sessions_)
        all.push_back(one);
    for (const auto& one : all)
        one->stop(at_once);
}

void worker::kill_sessions(const std::string& database) {
    std::vector<std::shared_ptr<session>> all;
    for (const auto& [unused, one] : sessions_) {
        if (one->row().database == database) all.push_back(one);
    }
    for (const auto& one : all)
        one->kill();
}

bool worker::kill_session(std::uint64_t id) {
    auto* found = find(id);
    if (found == nullptr) return false;
    const auto keep_alive = found->shared_from_this();
    found->kill();
    return true;
}

std::chrono::milliseconds worker::sweep_interval() {
    const auto& current = settings();
    if (swept_for_ != current) {
        swept_for_ = current;
        sweep_interval_ = postern::session::sweep_interval(*current);
        limits_time_ = limits_time(*current);
    }
    return sweep_interval_;
}

void worker::check_timeouts() {
    if (!limits_time_) return;
    // One that ends takes itself out of the list.
    std::vector<std::pair<std::shared_ptr<session>, session::overdue>> found;
    const auto at = now();
    for (const auto& [unused, one] : sessions_) {
        const auto what = one->look_for_overdue(at);
        if (what != session::overdue::nothing) found.emplace_back(one, what);
    }
    for (const auto& [one, what] : found)
        one->on_overdue(what);
}

bool cancel_client(
    shared_state& shared,
    std::int32_t key,
    std::string_view secret,
    std::function<void()> done) {
    const auto target = shared.cancels.find(key, secret);
    if (!target) return false;
    auto& there = *shared.workers[target->thread];
    there.events.post([&there, id = target->session, done = std::move(done)] {
        auto* found = there.find(id);
        if (found == nullptr) return done();
        const auto keep_alive = found->shared_from_this();
        found->cancel(done);
    });
    return true;
}

}  // namespace postern::session
