#include "base/result.hpp"

#include <stdexcept>

namespace postern {

void throw_exception_from_error(const failure& error, const boost::source_location&) {
    throw std::runtime_error(error.message);
}

}  // namespace postern
