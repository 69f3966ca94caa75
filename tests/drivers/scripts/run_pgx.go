// pgx: its statement cache that prepares or only describes, the simple protocol, batches as one pipeline,
// COPY in binary, transactions in transactions, cancels by context, its pool, database/sql above it.
package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/jackc/pgconn"
	"github.com/jackc/pgconn/stmtcache"
	"github.com/jackc/pgx/v4"
	"github.com/jackc/pgx/v4/pgxpool"
	_ "github.com/jackc/pgx/v4/stdlib"
)

var ctx = context.Background()
var place string

func show(what string, values ...interface{}) {
	parts := make([]string, len(values))
	for number, value := range values {
		parts[number] = fmt.Sprintf("%v", value)
	}
	fmt.Printf("%s: %s\n", what, strings.Join(parts, ", "))
}

func must(err error) {
	if err != nil {
		fmt.Println("died:", err)
		os.Exit(1)
	}
}

func state(err error) string {
	var answer *pgconn.PgError
	if errors.As(err, &answer) {
		return answer.Code + " " + answer.Message
	}
	return fmt.Sprintf("%v", err)
}

func connect(change func(*pgx.ConnConfig)) *pgx.Conn {
	config, err := pgx.ParseConfig(place)
	must(err)
	if change != nil {
		change(config)
	}
	link, err := pgx.ConnectConfig(ctx, config)
	must(err)
	return link
}

type asker interface {
	Query(ctx context.Context, sql string, values ...interface{}) (pgx.Rows, error)
}

func ask(link asker, query string, values ...interface{}) string {
	rows, err := link.Query(ctx, query, values...)
	if err != nil {
		return state(err)
	}
	defer rows.Close()
	text := ""
	for rows.Next() {
		row, err := rows.Values()
		must(err)
		text += fmt.Sprintf("%v", row)
	}
	if rows.Err() != nil {
		return text + " then " + state(rows.Err())
	}
	return text + " " + string(rows.CommandTag())
}

func cached(mode int, size int) func(*pgx.ConnConfig) {
	return func(config *pgx.ConnConfig) {
		config.BuildStatementCache = func(link *pgconn.PgConn) stmtcache.Cache {
			return stmtcache.New(link, mode, size)
		}
	}
}

// Two connections of each kind take turns; their caches give statements the same names.
func waysOfAsking() {
	ways := []struct {
		name   string
		change func(*pgx.ConnConfig)
	}{
		{"prepared", nil},
		{"prepared, two at most", cached(stmtcache.ModePrepare, 2)},
		{"described", cached(stmtcache.ModeDescribe, 2)},
		{"not cached", func(config *pgx.ConnConfig) { config.BuildStatementCache = nil }},
		{"simple", func(config *pgx.ConnConfig) { config.PreferSimpleProtocol = true }},
	}
	for _, way := range ways {
		link, other := connect(way.change), connect(way.change)
		for id := 1; id <= 3; id++ {
			for _, column := range []string{"name", "born", "score::text", "tags"} {
				show(way.name, ask(link, "SELECT "+column+" FROM person WHERE id = $1", id),
					ask(other, "SELECT "+column+", id FROM person WHERE id > $1 ORDER BY id LIMIT 1", id))
			}
		}
		show(way.name, ask(link, "SELECT 10 / (3 - id) FROM generate_series(1, $1::int) id", 5))
		show(way.name, ask(link, "SELEC 1"), ask(link, "SELECT * FROM nowhere"), ask(link, "SELECT $1::int", 1))
		link.Close(ctx)
		other.Close(ctx)
	}
}

func batches(link *pgx.Conn) {
	batch := &pgx.Batch{}
	for id := 1; id <= 5; id++ {
		batch.Queue("INSERT INTO scratch VALUES ($1, $2)", id, fmt.Sprint("n", id))
	}
	batch.Queue("SELECT count(*), max(note) FROM scratch")
	results := link.SendBatch(ctx, batch)
	for id := 1; id <= 5; id++ {
		tag, err := results.Exec()
		must(err)
		show("queued", tag)
	}
	var count int
	var note string
	must(results.QueryRow().Scan(&count, &note))
	show("counted", count, note)
	must(results.Close())

	failing := &pgx.Batch{}
	failing.Queue("INSERT INTO scratch VALUES ($1, $2)", 6, "undone")
	failing.Queue("INSERT INTO scratch VALUES ($1, $2)", 1, "twice")
	failing.Queue("SELECT 1")
	results = link.SendBatch(ctx, failing)
	for turn := 0; turn < 3; turn++ {
		_, err := results.Exec()
		show("in a failing batch", state(err))
	}
	results.Close()
	show("all undone", ask(link, "SELECT count(*) FROM scratch"))
}

func transactions(link *pgx.Conn, other *pgx.Conn) {
	must(link.BeginFunc(ctx, func(outer pgx.Tx) error {
		inner := outer.BeginFunc(ctx, func(inner pgx.Tx) error {
			_, err := inner.Exec(ctx, "INSERT INTO scratch VALUES (1, 'twice')")
			return err
		})
		show("inner", state(inner))
		_, err := outer.Exec(ctx, "UPDATE scratch SET note = $1 WHERE id = 1", "changed")
		return err
	}))
	show("elsewhere", ask(other, "SELECT note FROM scratch WHERE id = $1", 1))
	show("rolled back", link.BeginFunc(ctx, func(outer pgx.Tx) error {
		_, err := outer.Exec(ctx, "DELETE FROM scratch")
		must(err)
		return errors.New("changed my mind")
	}))
	options := pgx.TxOptions{IsoLevel: pgx.Serializable, AccessMode: pgx.ReadOnly, DeferrableMode: pgx.Deferrable}
	must(link.BeginTxFunc(ctx, options, func(outer pgx.Tx) error {
		show("isolation", ask(outer, "SHOW transaction_isolation"))
		return nil
	}))
	show("left", ask(other, "SELECT count(*) FROM scratch"))
}

func copies(link *pgx.Conn) {
	rows := make([][]interface{}, 500)
	for number := range rows {
		rows[number] = []interface{}{1000 + number, strings.Repeat("x", number)}
	}
	count, err := link.CopyFrom(ctx, pgx.Identifier{"scratch"}, []string{"id", "note"}, pgx.CopyFromRows(rows))
	must(err)
	show("copied", count, ask(link, "SELECT sum(length(note)) FROM scratch WHERE id >= 1000"))
	_, err = link.CopyFrom(ctx, pgx.Identifier{"scratch"}, []string{"id"}, pgx.CopyFromRows([][]interface{}{{1}}))
	show("copy failed", state(err))
	var out strings.Builder
	tag, err := link.PgConn().CopyTo(ctx, &out, "COPY (SELECT * FROM scratch WHERE id < 4 ORDER BY id) TO STDOUT CSV")
	must(err)
	show("copied out", tag, strings.ReplaceAll(out.String(), "\n", "|"))
	tag, err = link.PgConn().CopyFrom(ctx, strings.NewReader("2000\ttext\n"), "COPY scratch FROM STDIN")
	must(err)
	show("copied in", tag)
}

// A cancelled context ends pgx's connection, so each has its own; then the statement must end too.
func cancels(other *pgx.Conn) {
	link := connect(nil)
	short, stop := context.WithTimeout(ctx, 300*time.Millisecond)
	_, err := link.Exec(short, "SELECT pg_sleep(30)")
	stop()
	show("timed out", pgconn.Timeout(err), link.IsClosed())
	show("then", ask(other, "SELECT 'alive'"))
	link = connect(nil)
	done := make(chan string)
	go func() {
		_, err := link.Exec(ctx, "SELECT pg_sleep(30)")
		done <- state(err)
	}()
	time.Sleep(300 * time.Millisecond) // a cancel before the statement has begun finds nothing
	must(link.PgConn().CancelRequest(ctx))
	show("cancelled", <-done)
	link.Close(ctx)
}

func above() {
	pool, err := pgxpool.Connect(ctx, place+" pool_max_conns=3")
	must(err)
	names := make(chan string, 12)
	for id := 1; id <= 12; id++ {
		go func(id int) {
			names <- ask(pool, "SELECT name FROM person WHERE id = $1", id)
		}(id)
	}
	lengths := 0
	for id := 1; id <= 12; id++ {
		lengths += len(<-names)
	}
	show("pooled", lengths)
	pool.Close()
	db, err := sql.Open("pgx", place)
	must(err)
	statement, err := db.Prepare("SELECT name, born, score::float8 FROM person WHERE id = $1")
	must(err)
	for id := 1; id <= 3; id++ {
		var name string
		var born time.Time
		var score float64
		must(statement.QueryRow(id).Scan(&name, &born, &score))
		show("database/sql", name, born.Format("2006-01-02"), score)
	}
	must(db.Close())
}

// By itself: who listens keeps its server.
func listening() {
	link := connect(nil)
	_, err := link.Exec(ctx, "LISTEN words")
	must(err)
	_, err = link.Exec(ctx, "SELECT pg_notify('words', $1)", "a word")
	must(err)
	note, err := link.WaitForNotification(ctx)
	must(err)
	show("notified", note.Channel, note.Payload)
	must(link.BeginFunc(ctx, func(outer pgx.Tx) error {
		objects := outer.LargeObjects()
		id, err := objects.Create(ctx, 0)
		must(err)
		object, err := objects.Open(ctx, id, pgx.LargeObjectModeRead|pgx.LargeObjectModeWrite)
		must(err)
		_, err = object.Write([]byte("a large object"))
		must(err)
		_, err = object.Seek(2, 0)
		must(err)
		text := make([]byte, 5)
		_, err = object.Read(text)
		must(err)
		show("large object", string(text))
		return objects.Unlink(ctx, id)
	}))
	link.Close(ctx)
}

func main() {
	if len(os.Args) == 2 {
		fmt.Println("pgx 4")
		return
	}
	place = fmt.Sprintf("host=%s port=%s dbname=%s user=%s password=%s sslmode=disable",
		os.Args[1], os.Args[2], os.Args[3], os.Args[4], os.Args[5])
	waysOfAsking()
	link, other := connect(nil), connect(nil)
	batches(link)
	transactions(link, other)
	copies(link)
	cancels(other)
	show("emptied", ask(link, "TRUNCATE scratch"), ask(other, "SELECT count(*) FROM scratch"))
	link.Close(ctx)
	other.Close(ctx)
	above()
	listening()
}
