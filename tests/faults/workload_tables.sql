-- The tables of the fault tests' workload (tests/faults/workload.py, insert_workload.py): every node begins with them, empty.
CREATE TABLE IF NOT EXISTS distributed_db.lists (
  id       INT UNSIGNED NOT NULL PRIMARY KEY,
  elements TEXT         NOT NULL COMMENT 'each with a comma before it'
) ENGINE = InnoDB;

CREATE TABLE IF NOT EXISTS distributed_db.registers (
  id    INT UNSIGNED NOT NULL PRIMARY KEY,
  value INT UNSIGNED NOT NULL
) ENGINE = InnoDB;

CREATE TABLE IF NOT EXISTS distributed_db.accounts (
  id      INT UNSIGNED NOT NULL PRIMARY KEY,
  balance INT          NOT NULL
) ENGINE = InnoDB;

CREATE TABLE IF NOT EXISTS distributed_db.arrivals (
  id   BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
  name VARCHAR(60)     NOT NULL UNIQUE
) ENGINE = InnoDB;
