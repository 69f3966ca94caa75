# DBD::Pg: preparation on the server from the first or the second run on, COPY, asynchronous
# statements, savepoints, placeholders of three kinds, large objects, notifications.

use strict;
use warnings;
use DBI;
use DBD::Pg qw(:pg_types :async);

my ($host, $port, $database, $user, $password) = @ARGV;

sub show {
    my ($what, @values) = @_;
    print "$what: ", join(', ', map { defined $_ ? $_ : 'null' } @values), "\n";
}

sub rows {
    return join ' ', map { '(' . join(',', map { defined $_ ? $_ : 'null' } @$_) . ')' } @{ $_[0] };
}

sub connected {
    return DBI->connect("dbi:Pg:host=$host;port=$port;dbname=$database", $user, $password,
        { RaiseError => 1, PrintError => 0, PrintWarn => 0, AutoCommit => 1, @_ });
}

sub failing {
    my ($link, $sql, @values) = @_;
    eval { $link->do($sql, undef, @values); 1 } and return show('no error', $sql);
    my ($first) = split /\n/, $link->errstr;
    show('error', $link->state, $first);
}

sub reads {
    my ($link) = @_;
    for my $prepare (0, 1) {
        for my $now (0, 1) {
            my $statement = $link->prepare(
                'SELECT id, name, score, born, tags, data FROM person WHERE id = ?',
                { pg_server_prepare => $prepare, pg_prepare_now => $now });
            for my $id (1, 2, 1) {
                $statement->execute($id);
                my $row = $statement->fetchrow_hashref;
                show('row', map { ref $row->{$_} ? rows([$row->{$_}]) : $row->{$_} } sort keys %$row);
                $statement->finish;
            }
        }
    }
    my $named = $link->prepare('SELECT name FROM person WHERE id = :id OR id = :id + 1 ORDER BY id');
    $named->bind_param(':id', 3, { pg_type => PG_INT4 });
    $named->execute;
    show('named placeholder', rows($named->fetchall_arrayref));
    my $numbered = $link->prepare('SELECT $2::int - $1::int AS difference, $1::int = ANY($3::int[])');
    $numbered->execute(1, 10, [1, 2, 3]);
    show('numbered', rows($numbered->fetchall_arrayref));
    show('columns', @{ $numbered->{NAME} }, @{ $numbered->{pg_type} });
    show('selectall', rows($link->selectall_arrayref('SELECT id, born FROM person ORDER BY id LIMIT 3')));
    show('two in one', $link->do('SELECT 1; SELECT 2'));
}

sub transactions {
    my ($link, $other) = @_;
    $link->begin_work;
    $link->do('INSERT INTO scratch VALUES (?, ?)', undef, 1, 'one');
    $link->pg_savepoint('a');
    failing($link, 'INSERT INTO scratch VALUES (?, ?)', 1, 'twice');
    show('status', $link->ping, $link->state);
    failing($link, 'SELECT 1');
    $link->pg_rollback_to('a');
    $link->pg_release('a');
    show('inside', rows($link->selectall_arrayref('SELECT * FROM scratch')));
    $link->commit;
    show('elsewhere', rows($other->selectall_arrayref('SELECT * FROM scratch')));
    $link->{AutoCommit} = 0;
    $link->do('DELETE FROM scratch');
    $link->rollback;
    show('rolled back', rows($link->selectall_arrayref('SELECT * FROM scratch')));
    $link->commit;
    $link->{AutoCommit} = 1;
    my $insert = $link->prepare('INSERT INTO scratch VALUES (?, ?) RETURNING id, note');
    show('tuples', $insert->execute_array({ ArrayTupleStatus => \my @status }, [2, 3, 4], [qw(b c d)]));
    show('affected', $link->do(q(UPDATE scratch SET note = note || '!' WHERE id > 1)));
    show('elsewhere', rows($other->selectall_arrayref('SELECT * FROM scratch ORDER BY id')));
}

sub copies {
    my ($link) = @_;
    $link->do('COPY scratch FROM STDIN');
    $link->pg_putcopydata("$_\trow $_\n") for 10 .. 13;
    show('copied in', $link->pg_putcopyend);
    $link->do('COPY (SELECT * FROM scratch WHERE id >= 10 ORDER BY id) TO STDOUT CSV');
    my $line;
    while ($link->pg_getcopydata(\$line) >= 0) { chomp $line; show('copied out', $line) }
    $link->do('COPY scratch FROM STDIN');
    $link->pg_putcopydata("10\tduplicate\n");
    eval { $link->pg_putcopyend };
    show('copy failed', $link->state);
    show('then', rows($link->selectall_arrayref('SELECT count(*) FROM scratch')));
}

sub asynchronous {
    my ($link) = @_;
    $link->do('SELECT pg_sleep(0.05)', { pg_async => PG_ASYNC });
    show('result', $link->pg_result);
    my $statement = $link->prepare('SELECT name FROM person WHERE id = ?', { pg_async => PG_ASYNC });
    for my $id (5, 6) {
        $statement->execute($id);
        show('rows', $statement->pg_result);
        show('asynchronous', rows($statement->fetchall_arrayref));
    }
    $statement->execute(7);
    my $replacing = $link->prepare('SELECT name FROM person WHERE id = 8',
        { pg_async => PG_ASYNC + PG_OLDQUERY_WAIT });
    $replacing->execute;
    $replacing->pg_result;
    show('after waiting for the old one', rows($replacing->fetchall_arrayref));
    $link->do('SELECT pg_sleep(30)', { pg_async => PG_ASYNC });
    # A cancel that comes before the statement has begun finds nothing.
    select undef, undef, undef, 0.3;
    show('cancelled', $link->pg_cancel);
    show('then', rows($link->selectall_arrayref(q(SELECT 'alive'))));
}

sub large_objects {
    my ($link) = @_;
    $link->begin_work;
    my $id = $link->pg_lo_creat($link->{pg_INV_READ} | $link->{pg_INV_WRITE});
    my $object = $link->pg_lo_open($id, $link->{pg_INV_WRITE} | $link->{pg_INV_READ});
    show('written', $link->pg_lo_write($object, 'a large object', 14));
    $link->pg_lo_lseek($object, 2, 0);
    my $buffer = '';
    show('read', $link->pg_lo_read($object, $buffer, 5), $buffer);
    show('unlinked', $link->pg_lo_close($object), $link->pg_lo_unlink($id));
    $link->commit;
}

sub listening {
    my ($link) = @_;
    $link->do('LISTEN perl');
    $link->do(q(NOTIFY perl, 'a word'));
    my $note = $link->pg_notifies;
    show('notified', @$note[0, 2]);
    $link->do('UNLISTEN perl');
}

sub values_kept {
    my ($link) = @_;
    my $bytes = join '', map { chr } 0 .. 255;
    my $statement = $link->prepare('SELECT ?, length(?), ?::text IS NULL');
    $statement->bind_param($_, $bytes, { pg_type => PG_BYTEA }) for 1, 2;
    $statement->bind_param(3, undef);
    $statement->execute;
    my ($back, $length, $null) = $statement->fetchrow_array;
    show('bytes', $back eq $bytes ? 'same' : 'different', $length, $null);
    show('described', map { $_->{COLUMN_NAME} . ' ' . $_->{TYPE_NAME} }
        @{ $link->column_info(undef, 'public', 'person', '%')->fetchall_arrayref({}) });
    show('keys', $link->primary_key(undef, 'public', 'person'));
}

my ($link, $other) = (connected(), connected());
reads($_) for $link, $other;
transactions($link, $other);
copies($link);
asynchronous($link);
values_kept($link);
failing($link, $_) for 'SELECT 1/0', 'SELEC 1', 'SELECT * FROM nowhere';
$link->do('TRUNCATE scratch');
show('emptied', rows($other->selectall_arrayref('SELECT count(*) FROM scratch')));
$_->disconnect for $link, $other;
# Each by itself: these sessions keep their server.
for my $part (\&large_objects, \&listening) {
    my $alone = connected();
    $part->($alone);
    $alone->disconnect;
}
