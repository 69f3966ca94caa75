// A second connection that looks at the first one's backend while a statement runs there: who
// blocks it, and how far an index build is.

#pragma once

#include "migrate/server.hpp"

#include <chrono>
#include <functional>
#include <optional>
#include <string>

namespace postern::migrate {

/// Connects when it is first needed; without a connection it just has nothing to say.
class monitor {
public:
    using speaker = std::function<void(const std::string&)>;

    monitor(std::string conninfo, int backend_pid, speaker say);

    /// For server::on_tick.
    void look(std::chrono::milliseconds running);

    /// Who blocked the statement when it was last looked at; empty if nobody did. Forgets it.
    std::string take_blockers();

private:
    void look_at_blockers();
    void look_at_index_build(std::chrono::milliseconds running);

    std::string conninfo_;
    std::string pid_;
    speaker say_;
    std::optional<server> link_;
    bool failed_ = false;
    std::string blockers_;
    std::chrono::milliseconds looked_{0};
    std::chrono::milliseconds spoken_{0};
    std::string phase_;
    std::chrono::milliseconds phase_since_{0};
};

}  // namespace postern::migrate
