#include "cache/redis_value.hpp"

#include "base/assert.hpp"

#include <boost/endian/conversion.hpp>

#include <lz4.h>
#include <optional>
#include <type_traits>

namespace postern::cache {

namespace {

constexpr std::string_view magic = "PSTN";
constexpr std::uint8_t format_version = 1;
constexpr std::size_t header_size = magic.size() + 1 + 1 + 2 + 4 + 8;
constexpr std::size_t tag_size = 4 + 8;
/// The body's numbers without the tags.
constexpr std::size_t body_overhead = 8 + 4 + 8 + 4 + 3 * 4;

enum class body_form : std::uint8_t { plain = 0, lz4 = 1 };

template <class Number>
void append(std::string& to, Number number) {
    const auto little = boost::endian::native_to_little(number);
    to.append(reinterpret_cast<const char*>(&little), sizeof(little));
}

/// Takes numbers and bytes off the front; sticky: after the first failure all is zero and empty.
class reader {
public:
    explicit reader(std::string_view bytes)
        : rest_{bytes} {}

    template <class Number>
    Number number() {
        const auto taken = bytes(sizeof(Number));
        if (taken.empty()) return 0;
        return boost::endian::endian_load<Number, sizeof(Number), boost::endian::order::little>(
            reinterpret_cast<const unsigned char*>(taken.data()));
    }
    std::string_view bytes(std::size_t count) {
        if (failed_ || count > rest_.size()) {
            failed_ = true;
            return {};
        }
        const auto taken = rest_.substr(0, count);
        rest_.remove_prefix(count);
        return taken;
    }
    std::string_view rest() const noexcept { return rest_; }
    bool failed() const noexcept { return failed_; }
    bool at_end() const noexcept { return !failed_ && rest_.empty(); }

private:
    std::string_view rest_;
    bool failed_ = false;
};

/// Size of the message at the front, tag included; 0: there is no whole one.
std::size_t message_size(std::string_view bytes) noexcept {
    constexpr std::size_t header =
        5;  // a tag and a big-endian length that counts itself, not the tag
    if (bytes.size() < header) return 0;
    const auto length = boost::endian::load_big_u32(
        reinterpret_cast<const unsigned char*>(bytes.data() + 1));
    return length < 4 || length > bytes.size() - 1 ? 0 : std::size_t{length} + 1;
}

/// Nothing, or one RowDescription.
bool is_row_description(std::string_view bytes) noexcept {
    return bytes.empty() || (bytes.front() == 'T' && message_size(bytes) == bytes.size());
}

/// DataRows and one CommandComplete, which is the last.
bool is_rows(std::string_view bytes) noexcept {
    while (!bytes.empty()) {
        const auto size = message_size(bytes);
        if (size == 0) return false;
        if (bytes.front() == 'C') return size == bytes.size();
        if (bytes.front() != 'D') return false;
        bytes.remove_prefix(size);
    }
    return false;
}

std::string encode_body(const entry& kept) {
    std::string body;
    body.reserve(
        body_overhead + kept.depends_on.tags.size() * tag_size + kept.material.size() +
        kept.row_description.size() + kept.rows.size());
    append(body, kept.expires_at);
    append(body, kept.rule);
    append(body, kept.depends_on.everything);
    append(body, static_cast<std::uint32_t>(kept.depends_on.tags.size()));
    for (const auto& tag : kept.depends_on.tags) {
        append(body, tag.slot);
        append(body, tag.version);
    }
    for (const auto* part : {&kept.material, &kept.row_description, &kept.rows}) {
        append(body, static_cast<std::uint32_t>(part->size()));
    }
    return body.append(kept.material).append(kept.row_description).append(kept.rows);
}

/// The compressed body, or nothing where compression does not pay.
std::optional<std::string> compressed(std::string_view body) {
    const int size = static_cast<int>(body.size());
    std::string out(static_cast<std::size_t>(LZ4_compressBound(size)), '\0');
    const int written =
        LZ4_compress_default(body.data(), out.data(), size, static_cast<int>(out.size()));
    if (written <= 0 || written >= size) return std::nullopt;
    out.resize(static_cast<std::size_t>(written));
    return out;
}

std::optional<std::string> decompressed(std::string_view bytes, std::size_t body_size) {
    std::string out(body_size, '\0');
    const int written = LZ4_decompress_safe(
        bytes.data(),
        out.data(),
        static_cast<int>(bytes.size()),
        static_cast<int>(body_size));
    if (written < 0 || static_cast<std::size_t>(written) != body_size) return std::nullopt;
    return out;
}

bool decode_tags(reader& from, coherence::dependencies& into) {
    into.everything = from.number<std::uint64_t>();
    const auto count = from.number<std::uint32_t>();
    // Before anything is reserved: the count must fit what is there.
    if (from.failed() || count > from.rest().size() / tag_size) return false;
    into.tags.reserve(count);
    for (std::uint32_t i = 0; i < count; ++i) {
        const auto slot = from.number<std::uint32_t>();
        const auto version = from.number<std::uint64_t>();
        if (slot >= coherence::version_table::slot_count) return false;
        if (!into.tags.empty() && slot <= into.tags.back().slot) return false;
        into.tags.push_back({slot, version});
    }
    return true;
}

entry_ptr decode_body(std::string_view body, std::string_view material, monotonic_ns now) {
    reader from{body};
    auto made = std::make_shared<entry>();
    made->expires_at = from.number<monotonic_ns>();
    made->rule = from.number<std::uint32_t>();
    if (made->expires_at <= now || !decode_tags(from, made->depends_on)) return nullptr;
    const auto material_size = from.number<std::uint32_t>();
    const auto row_description_size = from.number<std::uint32_t>();
    const auto rows_size = from.number<std::uint32_t>();
    const auto stored_material = from.bytes(material_size);
    const auto row_description = from.bytes(row_description_size);
    const auto rows = from.bytes(rows_size);
    if (!from.at_end() || stored_material != material) return nullptr;
    if (!is_row_description(row_description) || !is_rows(rows)) return nullptr;
    made->material = stored_material;
    made->row_description = row_description;
    made->rows = rows;
    made->hash = hash_bytes(made->material);  // never believed from outside
    return made;
}

}  // namespace

std::string encode_value(const entry& kept, const value_limits& limits) {
    POSTERN_ASSERT(limits.body_bytes_max <= LZ4_MAX_INPUT_SIZE);
    const auto size = body_overhead + kept.depends_on.tags.size() * tag_size +
                      kept.material.size() + kept.row_description.size() + kept.rows.size();
    if (size > limits.body_bytes_max) return {};
    const auto body = encode_body(kept);
    POSTERN_ASSERT(body.size() == size);
    const auto small = size > limits.compress_above_bytes ? compressed(body) : std::nullopt;

    std::string value{magic};
    append(value, format_version);
    append(value, static_cast<std::uint8_t>(small ? body_form::lz4 : body_form::plain));
    append(value, std::uint16_t{0});
    append(value, static_cast<std::uint32_t>(size));
    append(value, hash_bytes(body).low);
    POSTERN_ASSERT(value.size() == header_size);
    return value.append(small ? *small : body);
}

entry_ptr decode_value(
    std::string_view value,
    std::string_view material,
    monotonic_ns now,
    const value_limits& limits) {
    POSTERN_ASSERT(limits.body_bytes_max <= LZ4_MAX_INPUT_SIZE);
    reader from{value};
    if (from.bytes(magic.size()) != magic) return nullptr;
    if (from.number<std::uint8_t>() != format_version) return nullptr;
    const auto form = static_cast<body_form>(from.number<std::uint8_t>());
    if (from.number<std::uint16_t>() != 0) return nullptr;
    const auto body_size = from.number<std::uint32_t>();
    const auto checksum = from.number<std::uint64_t>();
    if (from.failed() || body_size < body_overhead || body_size > limits.body_bytes_max)
        return nullptr;

    const auto stored = from.rest();
    if (form == body_form::plain) {
        if (stored.size() != body_size || hash_bytes(stored).low != checksum) return nullptr;
        return decode_body(stored, material, now);
    }
    // Compressed is smaller, or it would not have been: more is a lie that LZ4 need not look at.
    if (form != body_form::lz4 || stored.size() >= body_size) return nullptr;
    const auto body = decompressed(stored, body_size);
    if (!body || hash_bytes(*body).low != checksum) return nullptr;
    return decode_body(*body, material, now);
}

}  // namespace postern::cache
