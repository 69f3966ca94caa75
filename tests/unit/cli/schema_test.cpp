// The shipped configuration loads, its JSON Schemas accept it, and schema and loader know the same
// keys: whichever of them is changed alone fails here.

#include "cli/configuration_parts.hpp"

// Boost.JSON, compiled here: nothing else in the tree uses it.
#include <boost/json/src.hpp>
#include <doctest/doctest.h>
#include <yaml-cpp/yaml.h>

#include <charconv>
#include <cstdlib>
#include <set>
#include <string>
#include <valijson/adapters/boost_json_adapter.hpp>
#include <valijson/schema.hpp>
#include <valijson/schema_parser.hpp>
#include <valijson/validation_results.hpp>
#include <valijson/validator.hpp>

using namespace postern;
using namespace postern::cli;

namespace {

const std::string folder = POSTERN_CONFIG;

loaded_configuration load_shipped() {
    for (const char* name :
         {"POSTERN_SERVICE_PASSWORD", "POSTERN_APP_PASSWORD", "POSTERN_ADMIN_PASSWORD"}) {
        ::setenv(name, "any", 1);
    }
    return read_configuration(folder + "/postern.yaml");
}

/// A YAML file as a YAML node; JSON is YAML too.
YAML::Node node(const std::string& name) {
    return YAML::LoadFile(folder + "/" + name);
}

boost::json::value scalar_to_json(const YAML::Node& from) {
    const auto& text = from.Scalar();
    if (from.Tag() == "!") return boost::json::value(text);  // quoted: text whatever it looks like
    if (text == "true" || text == "false") return text == "true";
    std::int64_t number = 0;
    const auto* const end = text.data() + text.size();
    const auto [rest, error] = std::from_chars(text.data(), end, number);
    if (error == std::errc{} && rest == end) return number;
    return boost::json::value(text);
}

boost::json::value to_json(const YAML::Node& from) {
    if (from.IsScalar()) return scalar_to_json(from);
    if (from.IsSequence()) {
        boost::json::array list;
        for (const auto& one : from)
            list.push_back(to_json(one));
        return list;
    }
    boost::json::object object;
    if (!from.IsMap()) return nullptr;
    for (const auto& one : from)
        object[one.first.Scalar()] = to_json(one.second);
    return object;
}

std::string complaints(const std::string& schema_name, const YAML::Node& document) {
    const auto schema_json = to_json(node(schema_name));
    const auto document_json = to_json(document);
    valijson::Schema schema;
    valijson::SchemaParser parser;
    parser.populateSchema(valijson::adapters::BoostJsonAdapter{schema_json}, schema);
    valijson::Validator validator;
    valijson::ValidationResults results;
    validator.validate(schema, valijson::adapters::BoostJsonAdapter{document_json}, &results);
    std::string all;
    for (const auto& error : results) {
        for (const auto& part : error.context)
            all += part;
        all += ": " + error.description + "\n";
    }
    return all;
}

/// Every key that a schema knows, as section.hpp writes them.
void collect_keys(
    const YAML::Node& root,
    YAML::Node at,
    const std::string& prefix,
    std::set<std::string>& into) {
    if (const auto reference = at["$ref"]) {
        const std::string below = "#/definitions/";
        at.reset(root["definitions"][reference.as<std::string>().substr(below.size())]);
    }
    for (const auto& property : at["properties"]) {
        const auto name = (prefix.empty() ? "" : prefix + ".") + property.first.as<std::string>();
        into.insert(name);
        collect_keys(root, property.second, name, into);
    }
    if (const auto items = at["items"]) collect_keys(root, items, prefix + "[]", into);
    if (const auto others = at["additionalProperties"]; others && others.IsMap()) {
        collect_keys(root, others, prefix + ".*", into);
    }
}

std::set<std::string> difference(const std::set<std::string>& a, const std::set<std::string>& b) {
    std::set<std::string> only;
    for (const auto& one : a) {
        if (!b.contains(one)) only.insert(one);
    }
    return only;
}

}  // namespace

TEST_CASE("the shipped configuration loads") {
    const auto all = load_shipped();
    CHECK(all.found.message() == "");
    CHECK(all.settings.session.databases.size() == 1);
    CHECK(all.settings.session.rules.rules.size() == 3);
}

TEST_CASE("the schemas accept the shipped configuration") {
    CHECK(complaints("postern.schema.json", node("postern.yaml")) == "");
    CHECK(complaints("rules.schema.json", node("rules.yaml")) == "");
}

TEST_CASE("the schemas refuse unknown keys and impossible values") {
    auto document = node("postern.yaml");
    document["pool"]["size"] = 0;
    CHECK(complaints("postern.schema.json", document) != "");
    document = node("postern.yaml");
    document["databases"]["tracker"]["hots"] = "x";
    CHECK(complaints("postern.schema.json", document) != "");
    document = node("rules.yaml");
    document["rules"][0]["ttl"] = "5 minutes";
    CHECK(complaints("rules.schema.json", document) != "");
}

TEST_CASE("schemas and loader know the same keys") {
    const auto all = load_shipped();
    std::set<std::string> described;
    collect_keys(node("postern.schema.json"), node("postern.schema.json"), "", described);
    collect_keys(node("rules.schema.json"), node("rules.schema.json"), "", described);
    CHECK(difference(described, all.found.keys) == std::set<std::string>{});
    CHECK(difference(all.found.keys, described) == std::set<std::string>{});
}
