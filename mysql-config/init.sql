-- The state that every node starts from. It is run once per data folder, as root, before the node joins, and is the
-- only thing that is not in the replication log: all four nodes must run the same text.
--
-- ${…} is filled in from the environment by whoever runs this file (the server itself cannot read an environment):
--   COORDINATOR_DB_PASSWORD  READER_DB_PASSWORD  COLLECTOR_DB_PASSWORD  CLONER_DB_PASSWORD  DDL_DB_PASSWORD
--   SCHEMA_READER_DB_PASSWORD
--   VERIFIER_DB_PASSWORD  HISTORIAN_DB_PASSWORD
-- Times and logs: see coordinator/DESIGN.md, "What each node stores".

CREATE DATABASE IF NOT EXISTS distributed_db CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_ai_ci;
CREATE DATABASE IF NOT EXISTS _replication CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_ai_ci;

-- One row: the fence (epoch, owner) and how far this node has come. The write path locks this row first, so a changed
-- fence and a write of the old owner can never both be committed.
CREATE TABLE IF NOT EXISTS _replication.meta (
  id                  TINYINT UNSIGNED NOT NULL PRIMARY KEY,
  cluster_id          VARCHAR(36)      NOT NULL COMMENT 'empty: counts for no quorum',
  node                VARCHAR(64)      NOT NULL COMMENT 'whose data this is: another name means that it is a copy',
  epoch               BIGINT UNSIGNED  NOT NULL,
  owner               VARCHAR(64)      NOT NULL,
  master              VARCHAR(64)      NOT NULL,
  committed_timestamp BIGINT UNSIGNED  NOT NULL,
  applied_timestamp   BIGINT UNSIGNED  NOT NULL,
  applied_entries     BIGINT UNSIGNED  NOT NULL,
  log_epoch           BIGINT UNSIGNED  NOT NULL DEFAULT 0 COMMENT 'where the log ends: under the same lock as the fence',
  log_timestamp       BIGINT UNSIGNED  NOT NULL DEFAULT 0,
  ddl_timestamp       BIGINT UNSIGNED  NULL COMMENT 'the schema change that was begun here last and is not applied yet',
  ddl_fingerprint     CHAR(32)         NULL COMMENT 'of the data dictionary before it',
  copy_note           VARCHAR(96)      NOT NULL DEFAULT '' COMMENT 'for which node a copy of this data is meant',
  CONSTRAINT meta_is_one_row CHECK (id = 1)
) ENGINE = InnoDB;

-- The log: one row carries a whole batch of entries. It is never empty: row 0 is the common beginning of all nodes, and when
-- old rows are removed, the last applied one stays.
CREATE TABLE IF NOT EXISTS _replication.log (
  last_timestamp      BIGINT UNSIGNED NOT NULL PRIMARY KEY,
  first_timestamp     BIGINT UNSIGNED NOT NULL,
  epoch               BIGINT UNSIGNED NOT NULL,
  previous_timestamp  BIGINT UNSIGNED NOT NULL,
  previous_epoch      BIGINT UNSIGNED NOT NULL,
  entries_total       BIGINT UNSIGNED NOT NULL COMMENT 'entries in this row and all before it',
  bytes_total         BIGINT UNSIGNED NOT NULL COMMENT 'bytes of payload in this row and all before it',
  now_us              BIGINT UNSIGNED NOT NULL COMMENT 'time of the batch: microseconds since 1970, UTC',
  payload             LONGBLOB        NOT NULL,
  checksum            BINARY(16)      NOT NULL COMMENT 'of this row chained to the checksum of the row before',
  open_change         BIGINT UNSIGNED NOT NULL COMMENT 'the schema change that waits for its outcome; 0: none'
) ENGINE = InnoDB;

-- Where ids are used up that a session must not give to the next statement. Always empty.
CREATE TABLE IF NOT EXISTS _replication.spent_ids (id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY) ENGINE = InnoDB;

-- Requests that took effect and had a key of the client's: written by entries of the log like users' rows, and so is their removal.
CREATE TABLE IF NOT EXISTS _replication.requests (
  idempotency_key     VARBINARY(128)  NOT NULL PRIMARY KEY,
  digest              BINARY(16)      NOT NULL COMMENT 'of what was asked',
  timestamp           BIGINT UNSIGNED NOT NULL,
  made_at             DATETIME(6)     NOT NULL,
  KEY made_at (made_at)
) ENGINE = InnoDB;

INSERT IGNORE INTO _replication.meta VALUES (1, '', '', 0, '', '', 0, 0, 0, 0, 0, NULL, NULL, '');
INSERT IGNORE INTO _replication.log VALUES (0, 0, 0, 0, 0, 0, 0, 0, '', REPEAT('\0', 16), 0);

CREATE TABLE IF NOT EXISTS distributed_db.users (
  id         BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
  name       VARCHAR(100)    NOT NULL,
  email      VARCHAR(255)    NOT NULL,
  created_at TIMESTAMP       NOT NULL DEFAULT CURRENT_TIMESTAMP,
  timestamp  BIGINT UNSIGNED NULL COMMENT 'timestamp of the write that made the row'
) ENGINE = InnoDB;

-- @row_timestamp is set by the coordinator for each entry, on the master and again on every replica that applies it.
-- @row_step is 0, but where several writes are executed as one statement. (The coordinator knows this body, word for word.)
-- A trigger, because it gives the same value for every form of INSERT, and costs nothing where a table has no such column.
CREATE DEFINER = root@localhost TRIGGER distributed_db.users_timestamp BEFORE INSERT ON distributed_db.users
  FOR EACH ROW SET NEW.timestamp = @row_timestamp, @row_timestamp = @row_timestamp + @row_step;

-- Least privilege, one account a purpose. Nobody but root on the node's own socket can do more.
CREATE USER IF NOT EXISTS coordinator@'%' IDENTIFIED BY '${COORDINATOR_DB_PASSWORD}';
CREATE USER IF NOT EXISTS reader@'%'      IDENTIFIED BY '${READER_DB_PASSWORD}';
CREATE USER IF NOT EXISTS collector@'%'   IDENTIFIED BY '${COLLECTOR_DB_PASSWORD}';
CREATE USER IF NOT EXISTS cloner@'%'      IDENTIFIED BY '${CLONER_DB_PASSWORD}';
CREATE USER IF NOT EXISTS ddl@'%'         IDENTIFIED BY '${DDL_DB_PASSWORD}';
CREATE USER IF NOT EXISTS schema_reader@'%' IDENTIFIED BY '${SCHEMA_READER_DB_PASSWORD}';
CREATE USER IF NOT EXISTS verifier@'%'    IDENTIFIED BY '${VERIFIER_DB_PASSWORD}';
CREATE USER IF NOT EXISTS historian@'%'   IDENTIFIED BY '${HISTORIAN_DB_PASSWORD}';

-- Writes users' rows and the log. SESSION_VARIABLES_ADMIN: it pins what a statement's result depends on.
-- (All databases, because users may make some; less the server's own.)
GRANT SELECT, INSERT, UPDATE, DELETE ON *.* TO coordinator@'%';
REVOKE SELECT, INSERT, UPDATE, DELETE ON mysql.* FROM coordinator@'%';
REVOKE SELECT, INSERT, UPDATE, DELETE ON sys.* FROM coordinator@'%';
GRANT SESSION_VARIABLES_ADMIN ON *.* TO coordinator@'%';
-- Runs users' SELECTs: the second net under the parser. No FILE, no EXECUTE, no look at _replication.
GRANT SELECT, SHOW VIEW ON *.* TO reader@'%';
REVOKE SELECT, SHOW VIEW ON mysql.* FROM reader@'%';
REVOKE SELECT, SHOW VIEW ON sys.* FROM reader@'%';
REVOKE SELECT, SHOW VIEW ON performance_schema.* FROM reader@'%';
REVOKE SELECT, SHOW VIEW ON _replication.* FROM reader@'%';
-- Changes users' schemas. PROCESS: to see the numbers of InnoDB's tables. Views and triggers run with its rights, so it has no more.
GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER, DROP, INDEX, REFERENCES, CREATE VIEW, SHOW VIEW, TRIGGER, PROCESS,
  SESSION_VARIABLES_ADMIN ON *.* TO ddl@'%';
REVOKE SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER, DROP, INDEX, REFERENCES, CREATE VIEW, SHOW VIEW, TRIGGER
  ON mysql.* FROM ddl@'%';
REVOKE SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER, DROP, INDEX, REFERENCES, CREATE VIEW, SHOW VIEW, TRIGGER
  ON sys.* FROM ddl@'%';
REVOKE SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER, DROP, INDEX, REFERENCES, CREATE VIEW, SHOW VIEW, TRIGGER
  ON performance_schema.* FROM ddl@'%';
REVOKE SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER, DROP, INDEX, REFERENCES, CREATE VIEW, SHOW VIEW, TRIGGER
  ON _replication.* FROM ddl@'%';
-- Looks at definitions. TRIGGER: without it MySQL hides triggers, and a write would be judged as if there were none. Runs no user's text.
GRANT SELECT, SHOW VIEW, TRIGGER ON *.* TO schema_reader@'%';
REVOKE SELECT, SHOW VIEW, TRIGGER ON mysql.* FROM schema_reader@'%';
REVOKE SELECT, SHOW VIEW, TRIGGER ON sys.* FROM schema_reader@'%';
REVOKE SELECT, SHOW VIEW, TRIGGER ON performance_schema.* FROM schema_reader@'%';
REVOKE SELECT, SHOW VIEW, TRIGGER ON _replication.* FROM schema_reader@'%';
-- Compares all rows between the nodes, in snapshots that say themselves how far they are. Not the account reader, which runs users'
-- texts and must not see _replication; not coordinator, which may write, and whose connections a fence ends.
GRANT SELECT, SHOW VIEW ON *.* TO verifier@'%';
REVOKE SELECT, SHOW VIEW ON mysql.* FROM verifier@'%';
REVOKE SELECT, SHOW VIEW ON sys.* FROM verifier@'%';
REVOKE SELECT, SHOW VIEW ON performance_schema.* FROM verifier@'%';
REVOKE SELECT, SHOW VIEW ON _replication.* FROM verifier@'%';
GRANT SELECT ON _replication.meta TO verifier@'%';
-- Tells what became of a request. Runs no user's text.
GRANT SELECT ON _replication.* TO historian@'%';
-- Probes.
GRANT SELECT ON _replication.* TO collector@'%';
-- Full copies of a node's data (MySQL's clone plugin), on both ends. SYSTEM_VARIABLES_ADMIN: it names the donor. Runs no user's text.
GRANT BACKUP_ADMIN, CLONE_ADMIN, SYSTEM_VARIABLES_ADMIN ON *.* TO cloner@'%';
