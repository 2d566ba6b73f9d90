-- What makes further statements unsafe, and what no node of the cluster has: each of these is refused by the parser, by name.
CREATE TABLE loose (id INT NOT NULL PRIMARY KEY) ENGINE = MyISAM;
CREATE TABLE second_part (a INT NOT NULL, id INT NOT NULL AUTO_INCREMENT, PRIMARY KEY (a, id)) ENGINE = MyISAM;
CREATE TABLE tokens (id INT NOT NULL PRIMARY KEY, u VARCHAR(40) NOT NULL DEFAULT (UUID()));
CREATE TABLE audit (id INT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY, what VARCHAR(40) NULL);
CREATE TABLE watched (id INT NOT NULL PRIMARY KEY, a INT NULL);
CREATE TRIGGER watched_to_audit AFTER INSERT ON watched FOR EACH ROW INSERT INTO audit (what) VALUES ('row');
CREATE TABLE guarded (id INT NOT NULL PRIMARY KEY, a INT NULL);
CREATE TRIGGER guarded_to_tokens AFTER INSERT ON guarded FOR EACH ROW INSERT INTO tokens (id) VALUES (NEW.id);
CREATE FUNCTION service_release_locks RETURNS INT SONAME 'locking_service.so';
CREATE FUNCTION adds_a_row() RETURNS INT MODIFIES SQL DATA BEGIN INSERT INTO audit (what) VALUES ('call'); RETURN 1; END;
