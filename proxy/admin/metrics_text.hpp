// The numbers of base/metrics and of a console_source, as Prometheus reads them.
// https://prometheus.io/docs/instrumenting/exposition_formats/

#pragma once

#include "admin/source.hpp"
#include "base/metrics.hpp"

#include <string>

namespace postern::admin {

/// Prometheus' text format. Names are an interface: see proxy/admin/README.md.
std::string render_metrics(const metrics::values& values, const console_source& source);

}  // namespace postern::admin
