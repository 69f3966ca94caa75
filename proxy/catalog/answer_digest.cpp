#include "catalog/answer_digest.hpp"

#include <string>

namespace postern::catalog {

namespace {

/// Unambiguous: each value with its length, NULL with one that no value has.
hash128 hash_fields(answer_digest::fields values) {
    thread_local std::string material;
    material.clear();
    for (const auto& value : values) {
        const std::uint64_t size = value ? value->size() : UINT64_MAX;
        material.append(reinterpret_cast<const char*>(&size), sizeof size);
        if (value) material.append(*value);
    }
    const auto hash = hash_bytes(material);
    // A row of a gigabyte shall not leave that much behind.
    if (material.capacity() > std::size_t{1} << 20) std::string{}.swap(material);
    return hash;
}

}  // namespace

void answer_digest::columns(fields names) {
    columns_ = hash_fields(names);
}

void answer_digest::row(fields values) {
    const auto one = hash_fields(values);
    sum_.low += one.low;
    sum_.high += one.high;
    ++rows_;
}

}  // namespace postern::catalog
