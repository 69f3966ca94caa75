// The JDBC driver: server-side preparation after some runs, at once and never, its query modes, batches
// rewritten and not, fetch size, cursors, savepoints of its own, COPY, large objects, two-phase transactions.

import java.io.StringReader;
import java.io.StringWriter;
import java.nio.charset.StandardCharsets;
import java.sql.Array;
import java.sql.BatchUpdateException;
import java.sql.CallableStatement;
import java.sql.Connection;
import java.sql.DatabaseMetaData;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.SQLWarning;
import java.sql.Savepoint;
import java.sql.Statement;
import java.sql.Types;
import java.util.Arrays;
import java.util.Properties;
import javax.sql.XAConnection;
import javax.transaction.xa.XAException;
import javax.transaction.xa.XAResource;
import javax.transaction.xa.Xid;
import org.postgresql.PGConnection;
import org.postgresql.PGNotification;
import org.postgresql.copy.CopyManager;
import org.postgresql.largeobject.LargeObject;
import org.postgresql.largeobject.LargeObjectManager;
import org.postgresql.xa.PGXADataSource;

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

    // Each of the ways in which the driver can be told to ask, with other names for its statements.
    static void waysOfAsking(String[] place) throws SQLException {
        String[][] ways = {
            {"prepareThreshold=1"}, {"prepareThreshold=-1"}, {"prepareThreshold=0"},
            {"prepareThreshold=1", "preparedStatementCacheQueries=2"},
            {"prepareThreshold=1", "binaryTransfer=false"},
            {"preferQueryMode=simple"}, {"preferQueryMode=extendedForPrepared"},
            {"preferQueryMode=extendedCacheEverything", "prepareThreshold=2"},
        };
        for (String[] way : ways) {
            try (Connection link = connect(place, way); Connection other = connect(place, way)) {
                for (int turn = 1; turn <= 3; turn++) {
                    for (String column : new String[] {"name", "born", "score", "tags"}) {
                        show(way[0], byId(link, column, turn) + byId(other, column + ", id", turn));
                    }
                }
                show("plain", ask(link, "SELECT count(*) FROM person") + ask(link, "SELECT count(*) FROM person"));
                link.setAutoCommit(false);
                show("fetched", count(link, 7));
                link.commit();
            }
        }
    }

    static String byId(Connection link, String columns, int id) throws SQLException {
        try (PreparedStatement statement = link.prepareStatement("SELECT " + columns + " FROM person WHERE id = ?")) {
            statement.setInt(1, id);
            return rows(statement.executeQuery());
        }
    }

    static int count(Connection link, int size) throws SQLException {
        try (PreparedStatement statement = link.prepareStatement("SELECT id FROM person WHERE id > ? ORDER BY id")) {
            statement.setFetchSize(size);
            statement.setInt(1, 3);
            int found = 0;
            try (ResultSet result = statement.executeQuery()) {
                while (result.next()) {
                    found++;
                }
            }
            return found;
        }
    }

    static void batches(String[] place) throws SQLException {
        for (String way : new String[] {"reWriteBatchedInserts=true", "reWriteBatchedInserts=false"}) {
            try (Connection link = connect(place, way)) {
                try (PreparedStatement insert = link.prepareStatement("INSERT INTO scratch VALUES (?, ?)")) {
                    for (int id = 100; id < 375; id++) {
                        insert.setInt(1, id);
                        insert.setString(2, "b" + id);
                        insert.addBatch();
                    }
                    show(way, insert.executeBatch().length);
                    insert.setInt(1, 500);
                    insert.setString(2, "before");
                    insert.addBatch();
                    insert.setInt(1, 100);
                    insert.setString(2, "twice");
                    insert.addBatch();
                    insert.executeBatch();
                } catch (BatchUpdateException error) {
                    show("batch failed", error.getSQLState() + " " + Arrays.toString(error.getUpdateCounts()));
                }
                show("inserted", ask(link, "SELECT count(*), min(note), max(id) FROM scratch"));
                try (Statement several = link.createStatement()) {
                    several.addBatch("UPDATE scratch SET note = 'x' WHERE id < 110");
                    several.addBatch("DELETE FROM scratch WHERE id >= 120");
                    several.addBatch("INSERT INTO scratch VALUES (1, NULL)");
                    show("several", Arrays.toString(several.executeBatch()));
                    show("left", several.executeUpdate("DELETE FROM scratch"));
                }
            }
        }
    }

    // The driver sets a savepoint before each statement and goes back to it by itself.
    static void ownSavepoints(String[] place) throws SQLException {
        for (String cleanup : new String[] {"cleanupSavepoints=true", "cleanupSavepoints=false"}) {
            try (Connection link = connect(place, "autosave=always", cleanup, "prepareThreshold=2")) {
                link.setAutoCommit(false);
                for (int turn = 1; turn <= 4; turn++) {
                    try (Statement statement = link.createStatement()) {
                        statement.execute("INSERT INTO scratch VALUES (" + turn + ", 'saved')");
                    }
                    failing(link, "INSERT INTO scratch VALUES (" + turn + ", 'twice')");
                    show("goes on", byId(link, "name", turn));
                }
                link.commit();
                show("kept", ask(link, "DELETE FROM scratch RETURNING id"));
                link.commit();
            }
        }
        // Asked to save only then, it heals statements whose table has changed.
        try (Connection link = connect(place, "autosave=conservative", "prepareThreshold=1");
                Connection other = connect(place)) {
            try (Statement statement = other.createStatement()) {
                statement.execute("CREATE TABLE changing AS SELECT 1 AS id");
            }
            link.setAutoCommit(false);
            try (PreparedStatement statement = link.prepareStatement("SELECT * FROM changing WHERE id = ?")) {
                for (String change : new String[] {"ADD COLUMN more int DEFAULT 7", "DROP COLUMN more"}) {
                    for (int turn = 0; turn < 2; turn++) {
                        statement.setInt(1, 1);
                        show("changing", rows(statement.executeQuery()));
                    }
                    link.commit();
                    try (Statement alter = other.createStatement()) {
                        alter.execute("ALTER TABLE changing " + change);
                    }
                }
                show("healed", rows(statement.executeQuery()));
            }
            link.commit();
            try (Statement statement = other.createStatement()) {
                statement.execute("DROP TABLE changing");
            }
        }
    }

    static void objects(Connection link) throws SQLException {
        link.setAutoCommit(false);
        try (Statement statement = link.createStatement()) {
            statement.execute("INSERT INTO scratch SELECT g, 'g' || g FROM generate_series(1, 5) g");
        }
        try (Statement statement = link.createStatement(
                ResultSet.TYPE_SCROLL_INSENSITIVE, ResultSet.CONCUR_UPDATABLE);
                ResultSet result = statement.executeQuery("SELECT id, note FROM scratch ORDER BY id")) {
            result.absolute(3);
            result.updateString("note", "changed in place");
            result.updateRow();
            result.moveToInsertRow();
            result.updateInt("id", 6);
            result.insertRow();
            result.absolute(-2);
            result.deleteRow();
        }
        show("changed", ask(link, "SELECT * FROM scratch ORDER BY id"));
        link.rollback();
        link.setAutoCommit(true);
        Array array = link.createArrayOf("int4", new Object[] {1, null, 3});
        try (PreparedStatement statement = link.prepareStatement("SELECT ?, ?::mood, ?::jsonb, encode(?, 'hex'), cardinality(?)")) {
            statement.setArray(1, array);
            statement.setString(2, "happy");
            statement.setString(3, "{\"a\": 1}");
            statement.setBytes(4, new byte[] {0, -1, 127});
            statement.setArray(5, array);
            for (int turn = 0; turn < 6; turn++) {
                show("objects", rows(statement.executeQuery()));
            }
        }
        try (CallableStatement call = link.prepareCall("{? = call upper(?)}")) {
            call.registerOutParameter(1, Types.VARCHAR);
            call.setString(2, "called");
            call.execute();
            show("called", call.getString(1));
        }
    }

    static void notifications(Connection link) throws SQLException {
        try (Statement statement = link.createStatement()) {
            statement.execute("LISTEN words");
            statement.execute("SELECT pg_notify('words', 'a word')");
        }
        for (PGNotification note : link.unwrap(PGConnection.class).getNotifications(5000)) {
            show("notified", note.getName() + " " + note.getParameter());
        }
    }

    record Branch(int number) implements Xid {
        @Override
        public int getFormatId() {
            return 5;
        }

        @Override
        public byte[] getGlobalTransactionId() {
            return ("global " + number).getBytes(StandardCharsets.UTF_8);
        }

        @Override
        public byte[] getBranchQualifier() {
            return new byte[] {1, 2};
        }
    }

    static void twoPhases(String[] place, Connection other) throws SQLException, XAException {
        PGXADataSource source = new PGXADataSource();
        source.setUrl("jdbc:postgresql://" + place[0] + ":" + place[1] + "/" + place[2]);
        source.setUser(place[3]);
        source.setPassword(place[4]);
        XAConnection connection = source.getXAConnection();
        XAResource resource = connection.getXAResource();
        for (int number = 1; number <= 2; number++) {
            Xid xid = new Branch(number);
            resource.start(xid, XAResource.TMNOFLAGS);
            try (Connection link = connection.getConnection(); Statement statement = link.createStatement()) {
                statement.execute("INSERT INTO scratch VALUES (" + (70 + number) + ", 'in two phases')");
            }
            resource.end(xid, XAResource.TMSUCCESS);
            show("prepared", resource.prepare(xid) == XAResource.XA_OK);
            show("not yet", ask(other, "SELECT id FROM scratch ORDER BY id"));
            show("recovered", resource.recover(XAResource.TMSTARTRSCAN).length);
            if (number == 1) {
                resource.commit(xid, false);
            } else {
                resource.rollback(xid);
            }
            show("then", ask(other, "SELECT id FROM scratch ORDER BY id"));
        }
        connection.close();
    }

    static Connection connect(String[] place, String... more) throws SQLException {
        Properties properties = new Properties();
        properties.setProperty("user", place[3]);
        properties.setProperty("password", place[4]);
        properties.setProperty("loggerLevel", "OFF");
        for (String property : more) {
            properties.setProperty(property.split("=")[0], property.split("=")[1]);
        }
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
            try (Statement statement = link.createStatement()) {
                statement.execute("TRUNCATE scratch");
            }
            objects(link);
            cancel(link);
            twoPhases(place, other);
            try (Statement statement = link.createStatement()) {
                statement.execute("TRUNCATE scratch");
            }
            show("emptied", ask(other, "SELECT count(*) FROM scratch"));
        }
        waysOfAsking(place);
        batches(place);
        ownSavepoints(place);
        // Each by itself: what a fast-path function does to its session is unknown, so it keeps its server,
        // and so does who listens.
        try (Connection link = connect(place)) {
            largeObjects(link);
        }
        try (Connection link = connect(place)) {
            notifications(link);
        }
    }
}
