// libpqxx: prepared statements, transactions of several kinds, table streams, pipelines, cursors,
// large objects, notifications.

#include <chrono>
#include <condition_variable>
#include <functional>
#include <iostream>
#include <mutex>
#include <pqxx/pqxx>
#include <string>
#include <thread>
#include <tuple>
#include <vector>

namespace {

void show(const std::string& what, const std::string& value) {
    std::cout << what << ": " << value << '\n';
}

std::string rows(const pqxx::result& result) {
    std::string text;
    for (const auto& row : result) {
        text += '(';
        for (const auto& field : row) {
            text += field.is_null() ? "null" : field.c_str();
            text += ',';
        }
        text += ')';
    }
    return text;
}

void failing(pqxx::connection& link, const std::string& sql) {
    try {
        pqxx::work transaction{link};
        transaction.exec(sql);
        transaction.commit();
        show("no error", sql);
    } catch (const pqxx::sql_error& error) {
        show("error", error.sqlstate());
    }
}

void reads(pqxx::connection& link) {
    link.prepare("by_id", "SELECT id, name, score, born FROM person WHERE id = $1");
    pqxx::nontransaction plain{link};
    for (int turn = 0; turn < 6; ++turn) {
        show("prepared", rows(plain.exec_prepared("by_id", turn % 3 + 1)));
        show("parameters", rows(plain.exec_params("SELECT name FROM person WHERE id = $1", 4)));
        show("plain", rows(plain.exec("SELECT count(*), max(name) FROM person")));
    }
    pqxx::pipeline pipe{plain};
    const auto first = pipe.insert("SELECT 1");
    const auto second = pipe.insert("SELECT name FROM person WHERE id = 2");
    show("pipelined", rows(pipe.retrieve(second)) + rows(pipe.retrieve(first)));
}

/// Many queries held back and sent at once, as several statements of one Query.
void pipelines(pqxx::connection& link) {
    pqxx::work transaction{link};
    pqxx::pipeline pipe{transaction};
    pipe.retain(10);
    std::vector<pqxx::pipeline::query_id> asked;
    for (int id = 1; id <= 25; ++id)
        asked.push_back(pipe.insert("SELECT name FROM person WHERE id = " + std::to_string(id)));
    for (auto one = asked.rbegin(); one != asked.rend(); one += 5)
        show("retained", rows(pipe.retrieve(*one)));
    pipe.complete();
    pipe.insert("SELECT 1/0");
    const auto after = pipe.insert("SELECT 2");
    try {
        pipe.complete();
        show("after an error", rows(pipe.retrieve(after)));
    } catch (const std::exception&) {
        show("after an error", "nothing");
    }
}

void cursors(pqxx::connection& link) {
    pqxx::work transaction{link};
    pqxx::icursorstream stream{
        transaction,
        "SELECT id FROM person ORDER BY id LIMIT 10",
        "pieces",
        4};
    pqxx::result piece;
    while (stream >> piece)
        show("piece", rows(piece));
    pqxx::icursorstream other{transaction, "SELECT name FROM person ORDER BY id", "others", 2};
    other.ignore(6);
    other.get(piece);
    show("skipped to", rows(piece));
}

/// With prepared statements of the same names on two connections.
void names(pqxx::connection& link, pqxx::connection& other) {
    link.prepare("one", "SELECT name FROM person WHERE id = $1");
    other.prepare("one", "SELECT born + $2::int FROM person WHERE id = $1");
    for (int id = 1; id <= 4; ++id) {
        {
            pqxx::work transaction{link};
            show("mine", rows(transaction.exec_prepared("one", id)));
        }
        pqxx::work transaction{other};
        show("the other's", rows(transaction.exec_prepared("one", id, id)));
    }
    link.unprepare("one");
    pqxx::nontransaction plain{link};
    try {
        plain.exec_prepared("one", 1);
        show("unprepared", "still there");
    } catch (const std::exception&) {
        show("unprepared", "gone");
    }
}

class Heard : public pqxx::notification_receiver {
public:
    explicit Heard(pqxx::connection& link)
        : notification_receiver{link, "words"} {}
    void operator()(const std::string& payload, int) override { show("notified", payload); }
};

/// By itself: large objects are read by fast path, and who listens keeps the server.
void alone(pqxx::connection& link) {
    {
        pqxx::work transaction{link};
        pqxx::largeobjectaccess object{transaction};
        object.write("a large object");
        object.seek(2, std::ios::beg);
        char text[6] = {};
        object.read(text, 5);
        show("large object", text);
        object.remove(transaction);
        transaction.commit();
    }
    Heard heard{link};
    {
        pqxx::work transaction{link};
        transaction.exec_params("SELECT pg_notify('words', $1)", "a word");
        transaction.commit();
    }
    show("notifications", std::to_string(link.await_notification(5, 0)));
}

void transactions(pqxx::connection& link, pqxx::connection& other) {
    {
        pqxx::work transaction{link};
        transaction.exec_params("INSERT INTO scratch VALUES ($1, $2)", 1, "one");
        try {
            pqxx::subtransaction inner{transaction, "inner"};
            inner.exec("INSERT INTO scratch VALUES (1, 'twice')");
        } catch (const pqxx::unique_violation& error) {
            show("inner", error.sqlstate());
        }
        show("outer", rows(transaction.exec("SELECT * FROM scratch")));
        transaction.commit();
    }
    {
        pqxx::work transaction{other};
        show("elsewhere", rows(transaction.exec("SELECT * FROM scratch")));
    }
    {
        pqxx::work transaction{link};
        transaction.exec("DELETE FROM scratch");
        transaction.abort();
    }
    {
        pqxx::transaction<pqxx::serializable> transaction{link};
        show("isolation", rows(transaction.exec("SHOW transaction_isolation")));
        pqxx::stateless_cursor<pqxx::cursor_base::read_only, pqxx::cursor_base::owned> cursor{
            transaction,
            "SELECT id FROM person ORDER BY id",
            "listed",
            false};
        show("cursor", rows(cursor.retrieve(2, 5)));
    }
    {
        pqxx::read_transaction transaction{link};
        show("rolled back", rows(transaction.exec("SELECT count(*) FROM scratch")));
    }
}

void copies(pqxx::connection& link) {
    {
        pqxx::work transaction{link};
        pqxx::stream_to stream{transaction, "scratch"};
        for (int id = 10; id < 14; ++id)
            stream << std::make_tuple(id, "row " + std::to_string(id));
        stream.complete();
        transaction.commit();
    }
    pqxx::work transaction{link};
    pqxx::stream_from stream{transaction, "scratch"};
    std::tuple<int, std::string> row;
    while (stream >> row)
        show("streamed", std::to_string(std::get<0>(row)) + std::get<1>(row));
    stream.complete();
}

void cancel(pqxx::connection& link) {
    // A cancel that comes before the query has begun finds nothing: then another follows.
    std::mutex mutex;
    std::condition_variable ended;
    bool failed = false;
    std::thread canceller{[&] {
        std::unique_lock lock{mutex};
        while (!ended.wait_for(lock, std::chrono::milliseconds{300}, [&] { return failed; }))
            link.cancel_query();
    }};
    failing(link, "SELECT pg_sleep(30)");
    {
        const std::scoped_lock lock{mutex};
        failed = true;
    }
    ended.notify_all();
    canceller.join();
    pqxx::work transaction{link};
    show("then", rows(transaction.exec("SELECT 'alive'")));
}

}  // namespace

int main(int count, char** arguments) {
    if (count == 2) show("libpqxx", PQXX_VERSION);
    if (count != 6) return count == 2 ? 0 : 2;
    const std::string place = "host=" + std::string{arguments[1]} + " port=" + arguments[2] +
                              " dbname=" + arguments[3] + " user=" + arguments[4] +
                              " password=" + arguments[5];
    pqxx::connection link{place};
    pqxx::connection other{place};
    reads(link);
    reads(other);
    pipelines(link);
    cursors(link);
    names(link, other);
    transactions(link, other);
    copies(link);
    for (const char* sql : {"SELECT 1/0", "SELEC 1", "SELECT * FROM nowhere"})
        failing(link, sql);
    cancel(link);
    {
        pqxx::work transaction{link};
        transaction.exec("TRUNCATE scratch");
        transaction.commit();
    }
    {
        pqxx::work transaction{other};
        show("emptied", rows(transaction.exec("SELECT count(*) FROM scratch")));
    }
    pqxx::connection last{place};
    alone(last);
    return 0;
}
