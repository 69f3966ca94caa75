// The codec of Redis values: what was written is read back, and nothing else is believed.

#include "cache/redis_value.hpp"

#include <doctest/doctest.h>

#include <random>
#include <string>

using namespace postern;
using namespace postern::cache;

namespace {

constexpr value_limits limits{};

std::string message(char tag, std::string_view body) {
    const auto length = static_cast<std::uint32_t>(body.size() + 4);
    std::string made{tag};
    for (const int shift : {24, 16, 8, 0})
        made += static_cast<char>(length >> shift & 0xff);
    return made.append(body);
}

entry sample(std::size_t row_bytes = 20) {
    entry made;
    made.material = "key material with a \0 in it";
    made.hash = hash_bytes(made.material);
    made.row_description = message('T', "two columns");
    made.rows = message('D', std::string(row_bytes, 'r')) + message('D', "") +
                message('C', "SELECT 2");
    made.depends_on = {.tags = {{3, 9}, {70, 1}}, .everything = 5};
    made.expires_at = 1000;
    made.rule = 2;
    return made;
}

entry_ptr decoded(std::string_view value, const entry& asked_for) {
    return decode_value(value, asked_for.material, 0, limits);
}

void check_equal(const entry_ptr& got, const entry& expected) {
    REQUIRE(got != nullptr);
    CHECK(got->material == expected.material);
    CHECK(got->hash == expected.hash);
    CHECK(got->row_description == expected.row_description);
    CHECK(got->rows == expected.rows);
    CHECK(got->depends_on == expected.depends_on);
    CHECK(got->expires_at == expected.expires_at);
    CHECK(got->rule == expected.rule);
}

}  // namespace

TEST_CASE("an entry is read back as it was written") {
    const auto kept = sample();
    check_equal(decoded(encode_value(kept, limits), kept), kept);
}

TEST_CASE("an entry without RowDescription and without dependencies is read back") {
    auto kept = sample();
    kept.row_description.clear();
    kept.depends_on = {};
    check_equal(decoded(encode_value(kept, limits), kept), kept);
}

TEST_CASE("a body above the limit is compressed, one at it is not, and both are read back") {
    const auto large = sample(50'000);
    const auto value = encode_value(large, limits);
    CHECK(value.size() < 1000);
    check_equal(decoded(value, large), large);

    const auto plain = encode_value(large, {.compress_above_bytes = 1'000'000});
    CHECK(plain.size() > 50'000);
    check_equal(decoded(plain, large), large);
}

TEST_CASE("what does not shrink is stored as it is") {
    auto kept = sample();
    std::minstd_rand random{1};
    std::string noise(5000, '\0');
    for (auto& byte : noise)
        byte = static_cast<char>(random() >> 8);
    kept.rows = message('D', noise) + message('C', "SELECT 1");
    const auto value = encode_value(kept, limits);
    CHECK(value.size() > 5000);
    check_equal(decoded(value, kept), kept);
}

TEST_CASE("an entry larger than the limit is neither written nor read") {
    const auto large = sample(2000);
    CHECK(encode_value(large, {.body_bytes_max = 2000}).empty());
    const auto value = encode_value(large, limits);
    CHECK(decode_value(value, large.material, 0, {.body_bytes_max = 2000}) == nullptr);
}

TEST_CASE("an entry for other material is none") {
    const auto kept = sample();
    const auto value = encode_value(kept, limits);
    CHECK(decode_value(value, "other material", 0, limits) == nullptr);
    CHECK(decode_value(value, "", 0, limits) == nullptr);
}

TEST_CASE("an entry is believed until it expires by our own clock") {
    const auto kept = sample();
    const auto value = encode_value(kept, limits);
    CHECK(decode_value(value, kept.material, 999, limits) != nullptr);
    CHECK(decode_value(value, kept.material, 1000, limits) == nullptr);
}

TEST_CASE("no value that is cut short, lengthened or has a byte changed is read as anything else") {
    for (const std::size_t row_bytes : {20U, 3000U}) {
        const auto kept = sample(row_bytes);
        const auto value = encode_value(kept, limits);
        for (std::size_t size = 0; size < value.size(); ++size) {
            REQUIRE(decoded(std::string_view{value}.substr(0, size), kept) == nullptr);
        }
        CHECK(decoded(value + '\0', kept) == nullptr);
        for (std::size_t at = 0; at < value.size(); ++at) {
            for (const char flip : {'\x01', '\x80', '\xff'}) {
                auto changed = value;
                changed[at] = static_cast<char>(changed[at] ^ flip);
                // LZ4 can say the same in more than one way; what it says must be the same then.
                const auto got = decoded(changed, kept);
                REQUIRE((got == nullptr || (row_bytes > 1024 && got->rows == kept.rows)));
            }
        }
    }
}

TEST_CASE("messages out of their framing are not believed, though the checksum be right") {
    const auto refused = [](auto change) {
        auto kept = sample();
        change(kept);
        return decoded(encode_value(kept, limits), kept) == nullptr;
    };
    CHECK(refused([](entry& one) { one.rows.clear(); }));
    CHECK(refused([](entry& one) { one.rows = message('D', "no CommandComplete"); }));
    CHECK(refused([](entry& one) { one.rows += message('C', "SELECT 2"); }));
    CHECK(refused([](entry& one) { one.rows += 'C'; }));
    CHECK(refused([](entry& one) { one.rows.insert(0, message('Z', "I")); }));
    CHECK(refused([](entry& one) { one.rows = std::string{"D\0\0\0\3", 5} + one.rows; }));
    CHECK(refused([](entry& one) { one.rows = std::string{"D\xff\xff\xff\xff", 5} + one.rows; }));
    CHECK(refused([](entry& one) { one.row_description += message('T', ""); }));
    CHECK(refused([](entry& one) { one.row_description = message('D', ""); }));
    CHECK(refused([](entry& one) { one.row_description = "T"; }));
    CHECK_FALSE(refused([](entry&) {}));
}

TEST_CASE("tags out of order, twice or out of range are not believed") {
    const auto refused = [](coherence::dependencies depends_on) {
        auto kept = sample();
        kept.depends_on = std::move(depends_on);
        return decoded(encode_value(kept, limits), kept) == nullptr;
    };
    CHECK(refused({.tags = {{4, 1}, {3, 1}}}));
    CHECK(refused({.tags = {{3, 1}, {3, 1}}}));
    CHECK(refused({.tags = {{coherence::version_table::slot_count, 1}}}));
    CHECK_FALSE(refused({.tags = {{coherence::version_table::slot_count - 1, 1}}}));
}
