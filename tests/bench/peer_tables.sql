-- What a peer's data begins with, on MySQL and on MariaDB: the README's table (mysql-config/init.sql) and the clients' account.
CREATE DATABASE IF NOT EXISTS distributed_db CHARACTER SET utf8mb4;
CREATE TABLE IF NOT EXISTS distributed_db.users (
  id         BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
  name       VARCHAR(100)    NOT NULL,
  email      VARCHAR(255)    NOT NULL,
  created_at TIMESTAMP       NOT NULL DEFAULT CURRENT_TIMESTAMP,
  timestamp  BIGINT UNSIGNED NULL
) ENGINE = InnoDB;
CREATE USER IF NOT EXISTS app@'%' IDENTIFIED BY 'app';
GRANT ALL ON distributed_db.* TO app@'%';
