# ruby-pg: prepared statements, pipeline mode, COPY with encoders, single-row mode, type maps,
# asynchronous calls, large objects, notifications.

require 'pg'

HOST, PORT, DATABASE, USER, PASSWORD = ARGV

def show(what, value = '')
  puts "#{what}: #{value.inspect}"
end

def connected
  PG.connect(host: HOST, port: PORT, dbname: DATABASE, user: USER, password: PASSWORD)
end

def failing(link, sql, values = [])
  link.exec_params(sql, values)
  show 'no error', sql
rescue PG::Error => e
  show e.class.name, [e.result&.error_field(PG::PG_DIAG_SQLSTATE), e.message.lines.first.chomp]
end

def reads(link)
  link.prepare('by_id', 'SELECT id, name, score, born, tags, data FROM person WHERE id = $1')
  [1, 2, 1].each { |id| show 'prepared', link.exec_prepared('by_id', [id]).to_a }
  described = link.describe_prepared('by_id')
  show 'described', [described.nparams, described.paramtype(0), described.fields]
  link.exec('DEALLOCATE by_id')
  begin
    link.exec_prepared('by_id', [1])
  rescue PG::InvalidSqlStatementName => e
    show 'deallocated', e.result.error_field(PG::PG_DIAG_SQLSTATE)
  end
  show 'binary', link.exec_params('SELECT id, name FROM person WHERE id < $1 ORDER BY id', [3], 1).values
  show 'several', link.exec('SELECT 1; SELECT 2 AS two').to_a
  link.type_map_for_results = PG::BasicTypeMapForResults.new(link)
  show 'typed', link.exec_params('SELECT id, score, born, data, ARRAY[1, 2] FROM person WHERE id = $1', [4]).values
  link.type_map_for_results = PG::TypeMapAllStrings.new
end

def single_rows(link)
  link.send_query_params('SELECT id, name FROM person ORDER BY id LIMIT $1', [4])
  link.set_single_row_mode
  link.get_result.stream_each_row { |row| show 'streamed', row }
  show 'ended', link.get_result
  link.send_query_params('SELECT 10 / (3 - id) FROM generate_series(1, $1::int) id', [6])
  link.set_single_row_mode
  begin
    link.get_result.stream_each_row { |row| show 'before the error', row }
  rescue PG::Error => e
    show 'broken off', e.class.name
  end
  link.discard_results
end

def answer(link)
  result = link.get_result
  return nil unless result
  [result.res_status(result.result_status),
   result.ntuples.positive? ? result.values : result.error_field(PG::PG_DIAG_SQLSTATE)]
end

# Each statement's answer ends with a nil; a synchronization point is an answer without one.
def answers(link, count)
  count.times do
    show 'in the pipeline', answer(link)
    link.get_result
  end
  yield if block_given?
  show 'synchronized', answer(link)
end

def pipelines(link)
  link.enter_pipeline_mode
  link.send_prepare('piped', 'SELECT name FROM person WHERE id = $1')
  (1..3).each { |id| link.send_query_prepared('piped', [id]) }
  link.send_query_params('INSERT INTO scratch VALUES ($1, $2)', [50, 'piped'])
  link.pipeline_sync
  link.send_query_params('SELECT 1 / $1::int', [0])
  link.send_query_params("SELECT 'skipped'", [])
  link.pipeline_sync
  link.send_query_params('SELECT count(*) FROM scratch WHERE id = $1', [50])
  link.send_flush_request
  link.flush
  answers(link, 5)
  answers(link, 2)
  answers(link, 1) { link.pipeline_sync }
  link.exit_pipeline_mode
  show 'status', link.pipeline_status == PG::PQ_PIPELINE_OFF
  link.exec('DEALLOCATE piped')
end

def transactions(link, other)
  link.transaction do
    link.exec_params('INSERT INTO scratch VALUES ($1, $2)', [1, 'one'])
    link.exec('SAVEPOINT a')
    failing(link, 'INSERT INTO scratch VALUES ($1, $2)', [1, 'twice'])
    show 'status', link.transaction_status == PG::PQTRANS_INERROR
    link.exec('ROLLBACK TO a')
    show 'inside', link.exec('SELECT * FROM scratch WHERE id < 50').values
  end
  show 'elsewhere', other.exec('SELECT * FROM scratch ORDER BY id').values
  begin
    link.transaction do
      link.exec('DELETE FROM scratch')
      raise KeyError, 'changed my mind'
    end
  rescue KeyError
    show 'rolled back', other.exec('SELECT count(*) FROM scratch').values
  end
  show 'tag', link.exec("UPDATE scratch SET note = 'new'").cmd_status
end

def copies(link)
  encoder = PG::TextEncoder::CopyRow.new
  result = link.copy_data('COPY scratch FROM STDIN', encoder) do
    (10..12).each { |id| link.put_copy_data([id, id == 11 ? nil : "row #{id}"]) }
  end
  show 'copied in', result.cmd_status
  decoder = PG::TextDecoder::CopyRow.new
  link.copy_data('COPY (SELECT * FROM scratch WHERE id >= 10 ORDER BY id) TO STDOUT', decoder) do
    while (row = link.get_copy_data)
      show 'copied out', row
    end
  end
  begin
    link.copy_data('COPY scratch FROM STDIN', encoder) do
      link.put_copy_data([60, 'lost'])
      raise KeyError, 'given up'
    end
  rescue KeyError => e
    show 'given up', e.message
  end
  show 'then', link.exec('SELECT count(*) FROM scratch').values
end

def asynchronous(link)
  link.setnonblocking(true)
  link.send_query('SELECT pg_sleep(30)')
  # A cancel that comes before the statement has begun finds nothing.
  show 'not yet', link.block(0.3)
  link.cancel
  begin
    link.get_last_result
  rescue PG::QueryCanceled => e
    show 'cancelled', e.result.error_field(PG::PG_DIAG_SQLSTATE)
  end
  link.setnonblocking(false)
  notices = []
  link.set_notice_receiver { |result| notices << result.error_field(PG::PG_DIAG_MESSAGE_PRIMARY) }
  link.exec('DROP TABLE IF EXISTS no_such_table')
  show 'notices', notices
end

def alone(link)
  link.exec('LISTEN ruby')
  link.exec_params('SELECT pg_notify($1, $2)', %w[ruby words])
  link.wait_for_notify(5) { |channel, _, payload| show 'notified', [channel, payload] }
  link.exec('UNLISTEN *')
  link.transaction do
    id = link.lo_creat
    object = link.lo_open(id, PG::INV_READ | PG::INV_WRITE)
    show 'written', link.lo_write(object, 'a large object')
    link.lo_lseek(object, 2, PG::SEEK_SET)
    show 'read', link.lo_read(object, 5)
    link.lo_close(object)
    link.lo_unlink(id)
  end
  link.reset
  show 'after a reset', link.exec("SELECT 'alive'").values
end

link = connected
other = connected
[link, other].each { |one| reads(one) }
single_rows(link)
pipelines(link)
transactions(link, other)
copies(link)
asynchronous(link)
['SELECT 1/0', 'SELEC 1', 'SELECT * FROM nowhere'].each { |sql| failing(link, sql) }
link.exec('TRUNCATE scratch')
show 'emptied', other.exec('SELECT count(*) FROM scratch').values
[link, other].each(&:close)
# By itself: its session keeps its server.
last = connected
alone(last)
last.close
