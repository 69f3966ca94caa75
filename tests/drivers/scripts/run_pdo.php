<?php
// PDO: prepares on the server, emulated ones, scrollable cursors, COPY, large objects, transactions;
// then the pgsql extension's own calls, asynchronous ones and notifications among them.

[$host, $port, $database, $user, $password] = array_slice($argv, 1);

function show(string $what, mixed $value = ''): void
{
    echo $what, ': ', json_encode($value, JSON_UNESCAPED_UNICODE), "\n";
}

function connected(array $options = []): PDO
{
    global $host, $port, $database, $user, $password;
    return new PDO("pgsql:host=$host;port=$port;dbname=$database", $user, $password,
        $options + [PDO::ATTR_ERRMODE => PDO::ERRMODE_EXCEPTION, PDO::ATTR_DEFAULT_FETCH_MODE => PDO::FETCH_ASSOC]);
}

function failing(PDO $link, string $sql, array $values = []): void
{
    try {
        $link->prepare($sql)->execute($values);
        show('no error', $sql);
    } catch (PDOException $error) {
        show('error', [$error->errorInfo[0], strtok($error->errorInfo[2], "\n")]);
    }
}

function reads(PDO $link): void
{
    $ways = ['on the server' => [], 'emulated' => [PDO::ATTR_EMULATE_PREPARES => true],
        'parameters only' => [PDO::PGSQL_ATTR_DISABLE_PREPARES => true]];
    foreach ($ways as $way => $options) {
        $statement = $link->prepare('SELECT id, name, score, born, tags, data FROM person WHERE id = :id', $options);
        foreach ([1, 2, 1] as $id) {
            $statement->execute(['id' => $id]);
            show($way, $statement->fetchAll());
        }
        $column = $statement->getColumnMeta(2);
        show('column', [$column['name'], $column['native_type'], $column['pdo_type']]);
    }
    $typed = $link->prepare('SELECT ?::bool AS yes, ?::int AS three, ?::text AS nothing');
    $typed->bindValue(1, true, PDO::PARAM_BOOL);
    $typed->bindValue(2, 3, PDO::PARAM_INT);
    $typed->bindValue(3, null, PDO::PARAM_NULL);
    $typed->execute();
    show('typed', $typed->fetch());
    show('queried', $link->query('SELECT id, born FROM person ORDER BY id LIMIT 2')->fetchAll(PDO::FETCH_NUM));
    show('executed', $link->exec("UPDATE scratch SET note = 'x'; SELECT 1"));
}

function cursors(PDO $link): void
{
    $link->beginTransaction();
    $statement = $link->prepare('SELECT id FROM person ORDER BY id', [PDO::ATTR_CURSOR => PDO::CURSOR_SCROLL]);
    $statement->execute();
    foreach ([['next', PDO::FETCH_ORI_NEXT, 0], ['absolute', PDO::FETCH_ORI_ABS, 7], ['prior', PDO::FETCH_ORI_PRIOR, 0],
        ['relative', PDO::FETCH_ORI_REL, 3], ['last', PDO::FETCH_ORI_LAST, 0]] as [$what, $way, $offset]) {
        show($what, $statement->fetch(PDO::FETCH_NUM, $way, $offset));
    }
    $statement->closeCursor();
    $link->commit();
}

function transactions(PDO $link, PDO $other): void
{
    $link->beginTransaction();
    $link->prepare('INSERT INTO scratch VALUES (?, ?)')->execute([1, 'one']);
    $link->exec('SAVEPOINT a');
    failing($link, 'INSERT INTO scratch VALUES (?, ?)', [1, 'twice']);
    failing($link, 'SELECT 1');
    $link->exec('ROLLBACK TO a');
    show('inside', [$link->inTransaction(), $link->query('SELECT * FROM scratch')->fetchAll()]);
    $link->commit();
    show('elsewhere', $other->query('SELECT * FROM scratch')->fetchAll());
    $link->beginTransaction();
    $link->exec('DELETE FROM scratch');
    $link->rollBack();
    show('rolled back', [$link->inTransaction(), $other->query('SELECT count(*) FROM scratch')->fetchColumn()]);
}

function copies(PDO $link): void
{
    show('copied in', $link->pgsqlCopyFromArray('scratch', ["10\tten", "11\t\\N", "12\ttwelve"]));
    show('copied out', $link->pgsqlCopyToArray('(SELECT * FROM scratch ORDER BY id)'));
    try {
        $link->pgsqlCopyFromArray('scratch', ["10\tduplicate"]);
    } catch (PDOException $error) {
        show('copy failed', $error->getCode());
    }
    show('then', $link->query('SELECT count(*) FROM scratch')->fetchColumn());
}

function largeObjects(PDO $link): void
{
    $link->beginTransaction();
    $id = $link->pgsqlLOBCreate();
    $stream = $link->pgsqlLOBOpen($id, 'w+');
    fwrite($stream, 'a large object');
    fseek($stream, 2);
    show('large object', fread($stream, 5));
    fclose($stream);
    show('unlinked', $link->pgsqlLOBUnlink($id));
    $link->commit();
    $bytes = implode('', array_map('chr', range(0, 255)));
    $statement = $link->prepare('SELECT ?::bytea AS bytes');
    $statement->bindParam(1, $bytes, PDO::PARAM_LOB);
    $statement->execute();
    $statement->bindColumn(1, $back, PDO::PARAM_LOB);
    $statement->fetch(PDO::FETCH_BOUND);
    show('bytes', stream_get_contents($back) === $bytes);
    $link->exec('LISTEN php');
    $link->exec("NOTIFY php, 'a word'");
    $note = $link->pgsqlGetNotify(PDO::FETCH_ASSOC, 5000);
    show('notified', [$note['message'], $note['payload']]);
    $link->exec('UNLISTEN php');
}

function asynchronous(): void
{
    global $host, $port, $database, $user, $password;
    $link = pg_connect("host=$host port=$port dbname=$database user=$user password=$password");
    pg_send_query($link, 'SELECT 1; SELECT 2 AS two');
    while ($result = pg_get_result($link)) {
        show('asynchronous', pg_fetch_all($result));
    }
    pg_prepare($link, 'mine', 'SELECT name FROM person WHERE id = $1');
    foreach ([5, 6] as $id) {
        show('executed', pg_fetch_all(pg_execute($link, 'mine', [$id])));
    }
    pg_send_execute($link, 'mine', [7]);
    show('sent', pg_fetch_all(pg_get_result($link)));
    show('inserted', pg_insert($link, 'scratch', ['id' => 20, 'note' => "o'clock"]) !== false);
    show('selected', pg_select($link, 'scratch', ['id' => 20]));
    show('parameters', pg_fetch_row(pg_query_params($link, 'SELECT $1::int + 1', [1])));
    pg_send_query($link, 'SELECT pg_sleep(30)');
    usleep(300000); // a cancel that comes before the statement has begun finds nothing
    show('cancelled', pg_cancel_query($link));
    show('then', pg_fetch_row(pg_query($link, "SELECT 'alive'")));
    pg_close($link);
}

function persistent(): void
{
    $link = connected([PDO::ATTR_PERSISTENT => true]);
    $statement = $link->prepare('SELECT name FROM person WHERE id = ?');
    $statement->execute([8]);
    show('persistent', $statement->fetchColumn());
    [$link, $statement] = [null, null];
    $again = connected([PDO::ATTR_PERSISTENT => true]);
    $statement = $again->prepare('SELECT name FROM person WHERE id = ?');
    $statement->execute([9]);
    show('persistent', $statement->fetchColumn());
}

[$link, $other] = [connected(), connected()];
foreach ([$link, $other] as $one) {
    reads($one);
}
cursors($link);
transactions($link, $other);
copies($link);
asynchronous();
persistent();
foreach (['SELECT 1/0', 'SELEC 1', 'SELECT * FROM nowhere'] as $sql) {
    failing($link, $sql);
}
$link->exec('TRUNCATE scratch');
show('emptied', $other->query('SELECT count(*) FROM scratch')->fetchColumn());
[$link, $other, $one] = [null, null, null];
// By itself: what a fast-path function does to its session is unknown, so it keeps its server.
largeObjects(connected());
