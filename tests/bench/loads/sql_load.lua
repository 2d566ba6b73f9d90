-- sysbench: every event is one statement over MySQL's protocol, as text. sysbench sql_load.lua --work=WORK … run
sysbench.cmdline.options = {
  work = {"what each event is: insert, update, read, mix, or batch (ten INSERTs in one transaction)", "insert"},
}
local statements = dofile("statements.lua")
local BATCH = 10
local connection, work

function thread_init()
  connection = sysbench.sql.driver():connect()
  work = statements(sysbench.rand.uniform)
end

function thread_done()
  connection:disconnect()
end

function event()
  if sysbench.opt.work ~= "batch" then
    connection:query(work[sysbench.opt.work]())
    return
  end
  connection:query("BEGIN")
  for _ = 1, BATCH do
    connection:query(work.insert())
  end
  connection:query("COMMIT")
end
