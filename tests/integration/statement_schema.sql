-- The tables that statements are tried on: assorted keys, defaults and generated columns, a foreign key with cascades,
-- partitions, a view. Every node can have them; what no node can have is in unsafe_schema.sql. Statements end with `;` at a line's end.

CREATE TABLE plain (
  id INT NOT NULL PRIMARY KEY, a INT NULL, b VARCHAR(40) NULL, d DOUBLE NULL, made DATETIME(6) NULL, KEY by_a (a), KEY by_b (b)
);
CREATE TABLE counted (
  id INT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY, a INT NULL, b VARCHAR(60) NULL,
  at TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6) ON UPDATE CURRENT_TIMESTAMP(6), KEY by_a (a)
);
CREATE TABLE two_keys (
  id INT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY, code VARCHAR(20) NOT NULL, slot INT NOT NULL, n INT NOT NULL DEFAULT 0,
  UNIQUE KEY by_code (code), UNIQUE KEY by_slot (slot)
);
CREATE TABLE computed (
  id INT NOT NULL PRIMARY KEY, a INT NOT NULL DEFAULT (1 + 2), twice INT AS (a * 2) STORED, minus INT AS (-a) VIRTUAL,
  label VARCHAR(40) NOT NULL DEFAULT (CONCAT('n', '-', 1)), CHECK (a < 1000), KEY by_twice (twice)
);
CREATE TABLE parents (id INT NOT NULL PRIMARY KEY, name VARCHAR(40) NULL, KEY by_name (name));
CREATE TABLE children (
  id INT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY, parent INT NULL, a INT NULL,
  FOREIGN KEY (parent) REFERENCES parents (id) ON DELETE CASCADE ON UPDATE CASCADE
);
CREATE TABLE parted (id INT NOT NULL, a INT NULL, PRIMARY KEY (id), KEY by_a (a)) PARTITION BY HASH (id) PARTITIONS 4;
CREATE TABLE words (id INT NOT NULL PRIMARY KEY, t VARCHAR(80) NOT NULL, FULLTEXT KEY by_t (t));
CREATE TABLE pieces (id INT NOT NULL PRIMARY KEY, t VARCHAR(80) NOT NULL, FULLTEXT KEY by_t (t) WITH PARSER ngram);
CREATE TABLE source (id INT NOT NULL PRIMARY KEY, a INT NULL, b VARCHAR(40) NULL, KEY by_a (a));
CREATE VIEW small AS SELECT id, a, b FROM plain WHERE a < 50;
CREATE VIEW stamped AS SELECT id, a, NOW(6) AS seen FROM plain;
