// What SHOW prints, one function a subject.

#pragma once

#include "admin/source.hpp"
#include "session/console_reply.hpp"

#include <cstddef>
#include <string>
#include <string_view>

namespace postern::admin {

session::console_reply show_stats(const console_source& source);
session::console_reply show_stats_totals(const console_source& source);
session::console_reply show_stats_averages(const console_source& source);
session::console_reply show_totals(const console_source& source);
session::console_reply show_pools(const console_source& source);
session::console_reply show_clients(const console_source& source);
session::console_reply show_servers(const console_source& source);
session::console_reply show_sockets(const console_source& source);
session::console_reply show_active_sockets(const console_source& source);
session::console_reply show_fds(const console_source& source);
session::console_reply show_databases(const console_source& source);
session::console_reply show_users(const console_source& source);
session::console_reply show_lists(const console_source& source);
session::console_reply show_config(const console_source& source);
session::console_reply show_version(const console_source& source);
session::console_reply show_mem(const console_source& source);
session::console_reply show_state(const console_source& source);
session::console_reply show_dns_hosts(const console_source& source);
session::console_reply show_dns_zones(const console_source& source);
session::console_reply show_peers(const console_source& source);
session::console_reply show_peer_pools(const console_source& source);

session::console_reply show_cache(const console_source& source);
session::console_reply show_cache_why(const console_source& source);
session::console_reply show_rules(const console_source& source);
session::console_reply show_shadow(const console_source& source);

/// `text` on one line: white space runs become one space, and what is beyond `size_max` characters
/// becomes "…". Never cuts a UTF-8 sequence.
std::string shorten(std::string_view text, std::size_t size_max);

}  // namespace postern::admin
