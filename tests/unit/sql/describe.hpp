// Every field of a text's facts as one string, to compare two ways of finding them.

#pragma once

#include "sql/facts.hpp"

#include <string>

namespace postern::sql {

inline std::string describe(const statement_facts& facts) {
    std::string text;
    const auto add = [&text](const std::string& value) {
        text += value;
        text += '|';
    };
    add(std::to_string(static_cast<int>(facts.kind)));
    add(std::string(code(facts.why_not)));
    add(facts.why_not_detail);
    for (const auto& use : facts.relations) {
        add(use.schema + '.' + use.name + ':' + std::to_string(static_cast<int>(use.how)));
    }
    for (const auto& use : facts.functions)
        add("f " + use.schema + '.' + use.name);
    for (const auto& use : facts.operators)
        add("o " + use.schema + '.' + use.name);
    for (const auto& use : facts.types)
        add("t " + use.schema + '.' + use.name);
    for (const auto& setting : facts.current_settings)
        add("c " + setting);
    for (const auto& attribute : facts.attributes)
        add("a " + attribute);
    for (const bool flag :
         {facts.repeatable,
          facts.writes_everything,
          facts.changes_catalog,
          facts.takes_locks,
          facts.refuses_transaction,
          facts.is_multi_row_copy,
          facts.only_set_config,
          facts.read_only,
          facts.has_transaction_modes,
          facts.chain}) {
        add(std::string(flag ? "1" : "0"));
    }
    for (const auto& change : facts.settings) {
        add("s " + change.name + '=' + change.value + ' ' + std::to_string(change.name_parameter) +
            ' ' + std::to_string(change.value_parameter) + (change.local ? " local" : "") +
            std::to_string(static_cast<int>(change.what)));
    }
    add(std::string(name(facts.pin)));
    add(facts.pin_detail);
    add(facts.isolation);
    add(facts.object_name);
    add(facts.command_tag);
    return text;
}

inline std::string describe(const text_facts& facts) {
    std::string text = facts.understood ? "understood " : "unknown ";
    text += std::to_string(facts.fingerprint);
    for (const statement_facts& statement : facts.statements)
        text += '\n' + describe(statement);
    return text;
}

}  // namespace postern::sql
