// The JDBC driver: server-side preparation after some runs, batches, fetch size, COPY, large objects.

import java.io.StringReader;
import java.io.StringWriter;
import java.sql.Connection;
import java.sql.DatabaseMetaData;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.SQLWarning;
import java.sql.Savepoint;
import java.sql.Statement;
import java.util.Arrays;
import java.util.Properties;
import org.postgresql.PGConnection;
import org.postgresql.copy.CopyManager;
import org.postgresql.largeobject.LargeObject;
import org.postgresql.largeobject.LargeObjectManager;

public class RunJdbc {
    static void show(String what, Object value) {
        System.out.println(what + ": " + value);
    }

    static String rows(ResultSet result) throws SQLException {
        StringBuilder text = new StringBuilder();
        int columns = result.getMetaData().getColumnCount();
        while (result.next()) {
            text.append('(');
            for (int column = 1; column <= columns; column++) {
                text.append(column > 1 ? ", " : "").append(result.getString(column));
            }
            text.append(')');
        }
        return text.toString();
    }

    static String ask(Connection link, String sql) throws SQLException {
        try (Statement statement = link.createStatement()) {
            return rows(statement.executeQuery(sql));
        }
    }

    static void failing(Connection link, String sql) {
        try (Statement statement = link.createStatement()) {
            statement.execute(sql);
            show("no error", sql);
        } catch (SQLException error) {
            show("error", error.getSQLState() + " " + error.getMessage().split("\n")[0]);
        }
    }

    static void reads(Connection link) throws SQLException {
        String sql = "SELECT id, name, score, born, tags, data FROM person WHERE id = ?";
        try (PreparedStatement statement = link.prepareStatement(sql)) {
            // The driver prepares on the server at the fifth run, and then asks for binary results.
            for (int run = 0; run < 12; run++) {
                statement.setInt(1, run % 3 + 1);
                show("row", rows(statement.executeQuery()));
            }
            show("parameters", statement.getParameterMetaData().getParameterTypeName(1));
            show("columns", statement.getMetaData().getColumnTypeName(3));
        }
        link.setAutoCommit(false);
        try (Statement statement = link.createStatement()) {
            statement.setFetchSize(4);
            show("fetched by four", rows(statement.executeQuery("SELECT id FROM person ORDER BY id LIMIT 10")));
            statement.setFetchSize(0);
            statement.setMaxRows(3);
            show("three at most", rows(statement.executeQuery("SELECT id FROM person ORDER BY id")));
        }
        link.commit();
        link.setAutoCommit(true);
        try (Statement statement = link.createStatement()) {
            boolean more = statement.execute("SELECT 1; SELECT 2; UPDATE scratch SET note = note");
            while (more || statement.getUpdateCount() != -1) {
                show("several", more ? rows(statement.getResultSet()) : statement.getUpdateCount());
                more = statement.getMoreResults();
            }
        }
    }

    static void transactions(Connection link, Connection other) throws SQLException {
        link.setAutoCommit(false);
        try (PreparedStatement insert = link.prepareStatement("INSERT INTO scratch VALUES (?, ?)")) {
            for (int id = 1; id <= 20; id++) {
                insert.setInt(1, id);
                insert.setString(2, "n" + id);
                insert.addBatch();
            }
            show("batch", Arrays.stream(insert.executeBatch()).sum());
        }
        Savepoint savepoint = link.setSavepoint();
        failing(link, "INSERT INTO scratch VALUES (1, 'twice')");
        failing(link, "SELECT 1");
        link.rollback(savepoint);
        show("inside", ask(link, "SELECT count(*) FROM scratch"));
        link.commit();
        show("elsewhere after", ask(other, "SELECT count(*) FROM scratch"));
        try (Statement statement = link.createStatement()) {
            statement.executeUpdate("DELETE FROM scratch");
        }
        link.rollback();
        show("rolled back", ask(link, "SELECT count(*) FROM scratch"));
        link.commit();
        link.setTransactionIsolation(Connection.TRANSACTION_SERIALIZABLE);
        link.setReadOnly(true);
        show("isolation", ask(link, "SHOW transaction_isolation"));
        failing(link, "DELETE FROM scratch");
        link.rollback();
        link.setReadOnly(false);
        link.setTransactionIsolation(Connection.TRANSACTION_READ_COMMITTED);
        link.setAutoCommit(true);
        try (PreparedStatement insert = link.prepareStatement(
                "INSERT INTO scratch VALUES (?, ?)", Statement.RETURN_GENERATED_KEYS)) {
            insert.setInt(1, 30);
            insert.setString(2, "keys");
            insert.executeUpdate();
            show("generated", rows(insert.getGeneratedKeys()));
        }
    }

    static void copies(Connection link) throws Exception {
        CopyManager copy = new CopyManager((org.postgresql.core.BaseConnection) link.unwrap(PGConnection.class));
        show("copy in", copy.copyIn("COPY scratch FROM STDIN", new StringReader("40\tforty\n41\t\\N\n")));
        StringWriter out = new StringWriter();
        show("copy out", copy.copyOut("COPY (SELECT * FROM scratch WHERE id > 19 ORDER BY id) TO STDOUT CSV", out));
        show("data", out.toString().replace("\n", "|"));
        try {
            copy.copyIn("COPY scratch FROM STDIN", new StringReader("x\ty\n"));
        } catch (SQLException error) {
            show("copy failed", error.getSQLState());
        }
        show("then", ask(link, "SELECT count(*) FROM scratch"));
    }

    static void largeObjects(Connection link) throws SQLException {
        link.setAutoCommit(false);
        LargeObjectManager manager = link.unwrap(PGConnection.class).getLargeObjectAPI();
        long id = manager.createLO(LargeObjectManager.READWRITE);
        LargeObject object = manager.open(id, LargeObjectManager.READWRITE);
        object.write("a large object".getBytes());
        object.seek(2);
        show("large object", new String(object.read(5)) + " of " + object.size());
        object.close();
        manager.delete(id);
        link.commit();
        link.setAutoCommit(true);
    }

    static void errors(Connection link) throws SQLException {
        failing(link, "SELECT 1/0");
        failing(link, "SELEC 1");
        failing(link, "SELECT * FROM nowhere");
        failing(link, "INSERT INTO scratch VALUES (1, 'duplicate')");
        try (Statement statement = link.createStatement()) {
            statement.execute("DROP TABLE IF EXISTS no_such_table");
            for (SQLWarning one = statement.getWarnings(); one != null; one = one.getNextWarning()) {
                show("warning", one.getSQLState() + " " + one.getMessage());
            }
        }
    }

    static void cancel(Connection link) throws Exception {
        try (Statement statement = link.createStatement()) {
            Thread canceller = new Thread(() -> {
                try {
                    Thread.sleep(300);
                    statement.cancel();
                } catch (Exception error) {
                    show("cancel failed", error);
                }
            });
            canceller.start();
            statement.execute("SELECT pg_sleep(30)");
        } catch (SQLException error) {
            show("cancelled", error.getSQLState());
        }
        try (Statement statement = link.createStatement()) {
            statement.setQueryTimeout(1);
            statement.execute("SELECT pg_sleep(30)");
        } catch (SQLException error) {
            show("timed out", error.getSQLState());
        }
        show("then", ask(link, "SELECT 'alive'"));
    }

    static void metadata(Connection link) throws SQLException {
        DatabaseMetaData data = link.getMetaData();
        show("product", data.getDatabaseProductName() + " " + data.getDatabaseMajorVersion());
        ResultSet columns = data.getColumns(null, "public", "person", null);
        while (columns.next()) {
            show("column", columns.getString("COLUMN_NAME") + " " + columns.getString("TYPE_NAME"));
        }
        show("keys", rows(data.getPrimaryKeys(null, "public", "person")));
    }

    static Connection connect(String[] place) throws SQLException {
        Properties properties = new Properties();
        properties.setProperty("user", place[3]);
        properties.setProperty("password", place[4]);
        properties.setProperty("loggerLevel", "OFF");
        return DriverManager.getConnection(
            "jdbc:postgresql://" + place[0] + ":" + place[1] + "/" + place[2], properties);
    }

    public static void main(String[] place) throws Exception {
        if (place.length == 1) {
            show("PostgreSQL JDBC Driver", org.postgresql.util.DriverInfo.DRIVER_VERSION);
            return;
        }
        try (Connection link = connect(place); Connection other = connect(place)) {
            metadata(link);
            reads(link);
            reads(other);
            transactions(link, other);
            copies(link);
            errors(link);
            cancel(link);
            try (Statement statement = link.createStatement()) {
                statement.execute("TRUNCATE scratch");
            }
            show("emptied", ask(other, "SELECT count(*) FROM scratch"));
        }
        // By itself: what a fast-path function does to its session is unknown, so it keeps its server.
        try (Connection link = connect(place)) {
            largeObjects(link);
        }
    }
}
