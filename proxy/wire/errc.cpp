#include "wire/errc.hpp"

namespace postern::wire {

std::string_view describe(errc error) noexcept {
    switch (error) {
    case errc::ok: return "no error";
    case errc::unknown_tag: return "unknown message type";
    case errc::length_too_small: return "message length is too small to count its own field";
    case errc::length_too_large: return "message length is above the limit for its type";
    case errc::truncated: return "a field reaches past the end of its message";
    case errc::trailing_bytes: return "the message goes on after its last field";
    case errc::missing_terminator: return "a string or list lacks its terminating zero byte";
    case errc::bad_count: return "impossible number of elements";
    case errc::bad_value: return "a field holds a value that the protocol does not know";
    case errc::unsupported_version: return "unsupported frontend protocol";
    }
    return "unknown error";
}

}  // namespace postern::wire
