"""What a statement may say: the tables behind query_parser.py, as data.

A statement runs again on every node, so a write may only use what gives the same result there. Time, seeds, ids, the
default database and the session's settings travel with the log entry ("pinned"); the names below say which functions
need no more than that, which ones may only be read, and which ones never. Every name that is followed by `(` and is
in none of these tables is refused: it would be a stored or loadable function, about which the text says nothing.

Sentences say what to do instead, because they go to the user as they are.
"""

RESERVED_SCHEMA = "_replication"
"""Refused as any name in any place: the cluster's own account may write it, so MySQL would not stop it."""
SYSTEM_SCHEMAS = frozenset({"mysql", "sys", "performance_schema", RESERVED_SCHEMA})
READ_ONLY_SCHEMAS = SYSTEM_SCHEMAS | {"information_schema"}

_LOCKS = "named locks do not outlive a request: use one atomic batch"
_WAITS = "it only waits, and would hold up others: leave the function out"
_SESSION = "no session outlives a request: use the insert id and row count in the answer to the write"

NEVER_CALLED = {
    "SLEEP": _WAITS,
    "BENCHMARK": _WAITS,
    "GET_LOCK": _LOCKS,
    "RELEASE_LOCK": _LOCKS,
    "RELEASE_ALL_LOCKS": _LOCKS,
    "IS_FREE_LOCK": _LOCKS,
    "IS_USED_LOCK": _LOCKS,
    "MASTER_POS_WAIT": _WAITS,
    "SOURCE_POS_WAIT": _WAITS,
    "WAIT_FOR_EXECUTED_GTID_SET": _WAITS,
    "WAIT_UNTIL_SQL_THREAD_AFTER_GTIDS": _WAITS,
    "LOAD_FILE": "files of a server are not reachable: send the content as a literal",
    "LAST_INSERT_ID": _SESSION,
    "ROW_COUNT": _SESSION,
    "FOUND_ROWS": "no session outlives a request: ask for COUNT(*)",
}

_NODE = "its value differs between nodes: write the value itself"
_RANDOM = "its value differs at every execution: make it in the client and write the value"
_ACCOUNT = "every statement runs under the cluster's own account: write the name itself"
_ROW_ORDER = "its result depends on the order of rows, which may differ between nodes: read first, then write the value"

NOT_IN_WRITES = NEVER_CALLED | {
    "UUID": _RANDOM,
    "UUID_SHORT": _RANDOM,
    "RANDOM_BYTES": _RANDOM,
    "CONNECTION_ID": _NODE,
    "VERSION": _NODE,
    "ICU_VERSION": _NODE,
    "STATEMENT_DIGEST": _NODE,
    "STATEMENT_DIGEST_TEXT": _NODE,
    "USER": _ACCOUNT,
    "CURRENT_USER": _ACCOUNT,
    "SESSION_USER": _ACCOUNT,
    "SYSTEM_USER": _ACCOUNT,
    "CURRENT_ROLE": _ACCOUNT,
    "CONVERT_TZ": "its result depends on each server's time zone tables: convert in the client",
    "MATCH": "full-text relevance depends on each node's index: read first, then write by key",
    "OVER": "window functions depend on the order of rows, which may differ between nodes: read first, then write by key",
    "ANY_VALUE": _ROW_ORDER,
    "JSON_ARRAYAGG": _ROW_ORDER,
    "JSON_OBJECTAGG": _ROW_ORDER,
    "ST_COLLECT": _ROW_ORDER,
    # Running sums in floating point: another order of rows gives another last digit.
    "STD": _ROW_ORDER,
    "STDDEV": _ROW_ORDER,
    "STDDEV_POP": _ROW_ORDER,
    "STDDEV_SAMP": _ROW_ORDER,
    "VAR_POP": _ROW_ORDER,
    "VAR_SAMP": _ROW_ORDER,
    "VARIANCE": _ROW_ORDER,
}

LOCKING_READ = (
    "locking reads are not supported, no transaction outlives a request: send one atomic batch, in which a plain SELECT"
    " is enough"
)
_NO_INTO = "SELECT … INTO writes a file or a variable, neither outlives a request: read the rows from the answer"
_NOT_A_READ = "it does not belong into a read: send it as a statement of its own"

WORDS_NOT_IN_READS = {
    "INTO": _NO_INTO,
    "UPDATE": LOCKING_READ,
    "LOCK": LOCKING_READ,
    "PROCEDURE": _NOT_A_READ,
    "DELETE": _NOT_A_READ,
    "DROP": _NOT_A_READ,
    "CREATE": _NOT_A_READ,
    "ALTER": _NOT_A_READ,
    "GRANT": _NOT_A_READ,
    "CALL": _NOT_A_READ,
    "LOAD": _NOT_A_READ,
}
WORDS_NOT_IN_WRITES = {
    "OVER": NOT_IN_WRITES["OVER"],
    "MATCH": NOT_IN_WRITES["MATCH"],
    "CURRENT_USER": _ACCOUNT,
    "TABLESAMPLE": _RANDOM,
    "QUALIFY": NOT_IN_WRITES["OVER"],
    "LOCK": LOCKING_READ,
    "PROCEDURE": "stored programs are not supported: send the statements themselves",
    "@@": "system variables may differ between nodes: write the value itself",
}

RAND_IN_SCAN = "which row gets which random number depends on the order of rows: make the numbers in the client"
RAND_IN_SCHEMA = "an INSERT would not show that it needs a random seed: write RAND() in the INSERT itself"

NOT_IN_VIEWS = NEVER_CALLED | {
    name: reason for name, reason in NOT_IN_WRITES.items() if reason in (_NODE, _RANDOM, _ACCOUNT)
}
NOT_IN_VIEWS["RAND"] = (
    "a view may be read by a write, which then would not show that it needs a random seed: leave it out"
)
WORDS_NOT_IN_VIEWS = WORDS_NOT_IN_READS | {
    word: WORDS_NOT_IN_WRITES[word] for word in ("CURRENT_USER", "@@", "TABLESAMPLE")
}

_KNOWN = """
ABS ACOS ADDDATE ADDTIME AES_DECRYPT AES_ENCRYPT ANY_VALUE ASCII ASIN ATAN ATAN2 AVG BIN BINARY BIN_TO_UUID BIT_AND
BIT_COUNT BIT_LENGTH BIT_OR BIT_XOR CAST CEIL CEILING CHAR CHARACTER_LENGTH CHARSET CHAR_LENGTH COALESCE COERCIBILITY
COLLATION COMPRESS CONCAT CONCAT_WS CONNECTION_ID CONV CONVERT CONVERT_TZ COS COT COUNT CRC32 CUME_DIST CURDATE
CURRENT_DATE CURRENT_ROLE CURRENT_TIME CURRENT_TIMESTAMP CURRENT_USER CURTIME DATABASE DATE DATEDIFF DATE_ADD
DATE_FORMAT DATE_SUB DAY DAYNAME DAYOFMONTH DAYOFWEEK DAYOFYEAR DEFAULT DEGREES DENSE_RANK ELT EXP EXPORT_SET EXTRACT
EXTRACTVALUE FIELD FIND_IN_SET FIRST_VALUE FLOOR FORMAT FORMAT_BYTES FROM_BASE64 FROM_DAYS FROM_UNIXTIME GET_FORMAT
GREATEST GROUPING GROUP_CONCAT HEX HOUR ICU_VERSION IF IFNULL INET6_ATON INET6_NTOA INET_ATON INET_NTOA INSERT INSTR
INTERVAL ISNULL IS_IPV4 IS_IPV4_COMPAT IS_IPV4_MAPPED IS_IPV6 IS_UUID JSON_ARRAY JSON_ARRAYAGG JSON_ARRAY_APPEND
JSON_ARRAY_INSERT JSON_CONTAINS JSON_CONTAINS_PATH JSON_DEPTH JSON_EXTRACT JSON_INSERT JSON_KEYS JSON_LENGTH
JSON_MERGE_PATCH JSON_MERGE_PRESERVE JSON_OBJECT JSON_OBJECTAGG JSON_OVERLAPS JSON_PRETTY JSON_QUOTE JSON_REMOVE
JSON_REPLACE JSON_SCHEMA_VALID JSON_SCHEMA_VALIDATION_REPORT JSON_SEARCH JSON_SET JSON_STORAGE_SIZE JSON_TABLE
JSON_TYPE JSON_UNQUOTE JSON_VALID JSON_VALUE LAG LAST_DAY LAST_VALUE LCASE LEAD LEAST LEFT LENGTH LN LOCALTIME
LOCALTIMESTAMP LOCATE LOG LOG10 LOG2 LOWER LPAD LTRIM MAKEDATE MAKETIME MAKE_SET MATCH MAX MD5 MICROSECOND MID MIN
MINUTE MOD MONTH MONTHNAME NOW NTH_VALUE NTILE NULLIF OCT OCTET_LENGTH ORD PERCENT_RANK PERIOD_ADD PERIOD_DIFF PI
POSITION POW POWER QUARTER QUOTE RADIANS RAND RANDOM_BYTES RANK REGEXP_INSTR REGEXP_LIKE REGEXP_REPLACE REGEXP_SUBSTR
REPEAT REPLACE REVERSE RIGHT ROUND ROW_NUMBER RPAD RTRIM SCHEMA SECOND SEC_TO_TIME SESSION_USER SHA SHA1 SHA2 SIGN SIN
SOUNDEX SPACE SQRT STATEMENT_DIGEST STATEMENT_DIGEST_TEXT STD STDDEV STDDEV_POP STDDEV_SAMP STRCMP STR_TO_DATE SUBDATE
SUBSTR SUBSTRING SUBSTRING_INDEX SUBTIME SUM SYSDATE SYSTEM_USER TAN TIME TIMEDIFF TIMESTAMP TIMESTAMPADD
TIMESTAMPDIFF TIME_FORMAT TIME_TO_SEC TO_BASE64 TO_DAYS TO_SECONDS TRIM TRUNCATE UCASE UNCOMPRESS UNCOMPRESSED_LENGTH
UNHEX UNIX_TIMESTAMP UPDATEXML UPPER USER UTC_DATE UTC_TIME UTC_TIMESTAMP UUID UUID_SHORT UUID_TO_BIN VALUES VARIANCE
VAR_POP VAR_SAMP VERSION WEEK WEEKDAY WEEKOFYEAR WEIGHT_STRING YEAR YEARWEEK
"""
_KNOWN_SPATIAL = """
GEOMCOLLECTION GEOMETRYCOLLECTION LINESTRING MBRCONTAINS MBRCOVEREDBY MBRCOVERS MBRDISJOINT MBREQUALS MBRINTERSECTS
MBROVERLAPS MBRTOUCHES MBRWITHIN MULTILINESTRING MULTIPOINT MULTIPOLYGON POINT POLYGON ST_AREA ST_ASBINARY
ST_ASGEOJSON ST_ASTEXT ST_BUFFER ST_CENTROID ST_COLLECT ST_CONTAINS ST_CONVEXHULL ST_CROSSES ST_DIFFERENCE
ST_DIMENSION ST_DISJOINT ST_DISTANCE ST_DISTANCE_SPHERE ST_ENDPOINT ST_ENVELOPE ST_EQUALS ST_EXTERIORRING ST_GEOHASH
ST_GEOMETRYN ST_GEOMETRYTYPE ST_GEOMFROMGEOJSON ST_GEOMFROMTEXT ST_GEOMFROMWKB ST_INTERIORRINGN ST_INTERSECTION
ST_INTERSECTS ST_ISCLOSED ST_ISEMPTY ST_ISSIMPLE ST_ISVALID ST_LATITUDE ST_LENGTH ST_LONGITUDE ST_MAKEENVELOPE
ST_NUMGEOMETRIES ST_NUMINTERIORRINGS ST_NUMPOINTS ST_OVERLAPS ST_POINTFROMGEOHASH ST_POINTFROMTEXT ST_POINTN
ST_POLYFROMTEXT ST_SIMPLIFY ST_SRID ST_STARTPOINT ST_SWAPXY ST_SYMDIFFERENCE ST_TOUCHES ST_TRANSFORM ST_UNION
ST_VALIDATE ST_WITHIN ST_X ST_Y
"""
# Words that stand before a `(` and call nothing: they are reserved, or follow where no expression can begin.
_SYNTAX = """
AGAINST ALL ANALYZE AND ANY AS ASC BETWEEN BY CASE COLUMNS DEC DECIMAL DESC DESCRIBE DISTINCT DISTINCTROW DIV DOUBLE
ELSE ELSEIF ESCAPE EXCEPT EXISTS EXPLAIN FLOAT FROM HAVING HIGH_PRIORITY IN INDEX INT INTEGER INTERSECT JOIN KEY LATERAL LIKE
NCHAR NOT NUMERIC OF ON OR OVER PARTITION REAL REGEXP RLIKE ROW SELECT SET SOME SQL_BIG_RESULT SQL_BUFFER_RESULT
SQL_CALC_FOUND_ROWS SQL_NO_CACHE SQL_SMALL_RESULT STRAIGHT_JOIN THEN UNION UPDATE USING VARBINARY VARCHAR VALUE WHEN
WHERE XOR DATETIME BIGINT SMALLINT TINYINT
"""
FUNCTIONS = frozenset(_KNOWN.split()) | frozenset(_KNOWN_SPATIAL.split())
MAY_PRECEDE_PARENTHESIS = FUNCTIONS | frozenset(_SYNTAX.split())

_BATCH = "no transaction outlives a request: send the statements as one atomic batch"
_SET = "no session outlives a request and settings are the same on all nodes: write the value into the statement"
_ACCOUNTS = "accounts are managed by the cluster's administrator on the nodes, not through statements"
_SERVER = "servers are managed by the cluster's administrator, not through statements"
_TABLE_LOCK = "locks do not outlive a request: send the statements as one atomic batch"
_TEXT = "prepared statements do not outlive a request: send the statement itself with its values"
_PROGRAM = "stored programs are not supported: send the statements themselves"
_ROUTINE = (
    "what a stored program does is not in the text that calls it, so it cannot be shown to be the same on every node:"
    " send the statements themselves, use a view, a generated column or a trigger"
)
_FILES = "files are not reachable by the cluster: send the rows as INSERT … VALUES"
_UPKEEP = "table maintenance is done on each node by its administrator, not through statements"
_CLIENT = "it is a command of the mysql client, not of the server: send one statement without it"

# By the first word, or by the first two where they tell more.
REFUSED_VERBS = {
    **dict.fromkeys(("BEGIN", "START", "COMMIT", "ROLLBACK", "SAVEPOINT", "RELEASE", "XA"), _BATCH),
    **dict.fromkeys(("LOCK", "UNLOCK"), _TABLE_LOCK),
    **dict.fromkeys(("PREPARE", "EXECUTE", "DEALLOCATE"), _TEXT),
    **dict.fromkeys(("CALL", "SIGNAL", "RESIGNAL", "GET", "DECLARE", "RETURN", "IF", "LEAVE"), _PROGRAM),
    **dict.fromkeys(("LOAD", "IMPORT"), _FILES),
    **dict.fromkeys(("ANALYZE", "OPTIMIZE", "CHECK", "REPAIR", "CHECKSUM", "CACHE"), _UPKEEP),
    **dict.fromkeys(("GRANT", "REVOKE"), _ACCOUNTS),
    **dict.fromkeys(
        ("FLUSH", "KILL", "SHUTDOWN", "RESTART", "INSTALL", "UNINSTALL", "CLONE", "CHANGE", "RESET", "PURGE", "BINLOG"),
        _SERVER,
    ),
    **dict.fromkeys(("STOP", "START REPLICA", "START SLAVE", "START GROUP_REPLICATION", "LOCK INSTANCE"), _SERVER),
    **dict.fromkeys(("DELIMITER", "SOURCE", "CONNECT", "STATUS", "QUIT", "EXIT"), _CLIENT),
    "SET": _SET,
    "USE": "no session outlives a request: name the table as db.table",
    "HANDLER": "handlers do not outlive a request: use SELECT",
    "DO": "its result is thrown away: use SELECT",
    "HELP": "the servers' help tables are not reachable: see MySQL's manual",
}
REFUSED_DEFINER = "everything is made and run under the cluster's own account: leave DEFINER out"
REFUSED_OBJECTS = {
    **dict.fromkeys(("USER", "ROLE"), _ACCOUNTS),
    **dict.fromkeys(("PROCEDURE", "FUNCTION", "AGGREGATE", "LIBRARY"), _ROUTINE),
    "EVENT": "every node would run it by itself, at its own time: let a client send the statement when it is due",
    "DEFINER": REFUSED_DEFINER,
    **dict.fromkeys(("TABLESPACE", "UNDO", "LOGFILE", "SERVER", "INSTANCE", "RESOURCE"), _SERVER),
    "TEMPORARY": "temporary tables do not outlive a request: use a subquery, WITH, or an ordinary table",
}
TRIGGER_BODY = (
    "a body may be SET NEW.column = …, INSERT, REPLACE, UPDATE, DELETE or SIGNAL, or BEGIN … END of those and IF:"
    " write it with these"
)
FILES_OF_NODES = (
    "where a node keeps its files is the administrator's to say: leave it out (a column of that name: in backticks)"
)
_KEYRING = "it needs a keyring on every node, which the administrator would have to set up: leave it out"
REFUSED_TABLE_OPTIONS = {
    "TABLESPACE": FILES_OF_NODES,
    "SECONDARY_ENGINE": FILES_OF_NODES,
    "SECONDARY_LOAD": FILES_OF_NODES,
    "SECONDARY_UNLOAD": FILES_OF_NODES,
    "ENCRYPTION": _KEYRING,
}
DATABASE_OPTIONS = "only the character set and the collation of a database can be given: leave it out"
SCHEMA_SELECT = (
    "CREATE TABLE … SELECT gives no fixed order of rows: create the table, then INSERT … SELECT … ORDER BY its key"
)
UNCLEAR_LIMIT = "which rows it takes cannot be told from the text: read the keys first, then write by key"
TOO_INVOLVED = "too many columns and tables stand in its queries: send it in parts"
UNCLEAR_QUERY = (
    "the order of its rows cannot be told: write one SELECT … ORDER BY, without parentheses around its parts"
)
WRITE_HINT = "optimizer hints may change which rows are met first: leave the hint out of a write"

# What schema_judge.py says: a reason, and what to do instead.
UNORDERED_LIMIT = "which rows it takes depends on the order of rows, which may differ between nodes"
UNORDERED_IGNORE = "which rows it skips depends on the order of rows, which may differ between nodes"
UNORDERED_KEY = "whether two rows collide on the way depends on the order of rows, which may differ between nodes"
TRIGGER_ORDER = "the trigger {} reads or writes tables, so the order of rows shows, which may differ between nodes"
FOREIGN_KEY_ORDER = "by the foreign key {} the order of rows decides whether it fails, and it may differ between nodes"
FOREIGN_KEY_READ = (
    "the foreign key {} changes {} row by row, which the statement reads: whether before or after is not defined"
)
SEVERAL_MATCHES = "a row may match several rows with another {}, and which of them counts may differ between nodes"
UNKNOWN_COLUMN = "which column it is cannot be told"
NOT_UNDERSTOOD = "it cannot be shown to be the same for any order of rows"
INEXACT_SUM = "floating point sums depend on the order of rows, and text is added as floating point"
INEXACT_VALUES = (
    "of values that are equal but not identical ('a' and 'A', 0 and -0) it takes the one that it meets first"
)
UNORDERED_CONCAT = "its ORDER BY leaves the order of some rows open"
INEXACT_VIEW = "what is in it (DISTINCT, GROUP BY, LIMIT, an aggregate) may depend on the order of rows"
VIEW_KEYS = "which of its keys collides cannot be told"
UNKNOWN_TRIGGER = "its trigger {} was not made through the cluster and is not understood"
TRIGGER_IDS = "its trigger {} inserts into a table with AUTO_INCREMENT, whose ids the log cannot carry"
IDS_IN_TRIGGER = "the table has AUTO_INCREMENT, and the log carries the ids of one table only"
DUPLICATE_IDS = "the ids that it makes for {} cannot be told from those that it finds"
MIXED_IDS = (
    "an id ({}) that the server makes stands behind one that is named, and only the first run of made ids can be logged"
)
UNKNOWN_ID = "which value is the id ({}) cannot be told"
VIEW_IDS = "which of its values is the id cannot be told"
NEW_ID = "the id that a row would have got is not the same on all nodes"
SEVERAL_KEYS = "a row may collide with one row in each of its unique keys ({}), and which one is updated is not defined"
ORDER_OF_DUPLICATES = "which of several rows with one key comes first depends on the order of rows"
ORDER_OF_IDS = "which row gets which id ({}) depends on the order of rows"
ORDER_OF_PARENTS = "the table points to itself, so the order of rows decides whether it fails"
NUMBERS_WITHOUT_KEY = "the rows have no primary key, so their order may differ between nodes: add one first"
DEFAULT_DATABASE = "it is the database that every session is in: drop its tables instead"
KEPT_FOR_TRIGGER = "{} is written to by the trigger {}: drop the trigger first, and make it again afterwards"
TRIGGER_CHAIN = "the trigger {} would be fired by a trigger: write to another table, or do it in one trigger"

ORDER_BY_KEY = "add ORDER BY {} (its primary key), or a WHERE that names one row by a unique key"
ONE_ROW_ONLY = "name one row by all columns of a unique key in WHERE, of the table itself"
ONE_TABLE = "change one table a statement, with ORDER BY its primary key"
ORDER_THE_QUERY = "add an ORDER BY with a unique key of each table that it reads"
ORDER_INSIDE = "add a unique key to the ORDER BY inside"
NAME_THE_TABLES = "name the tables themselves, and each column as table.column"
CAST_IT = "write SUM(CAST(… AS DECIMAL(65, 10)))"
READ_FIRST = "read first, then write the values"
SUBQUERY = "join by a unique key, or write SET a = (SELECT …)"
SEND_IDS_APART = "send the rows with ids and those without in statements of their own"
NAME_THE_COLUMNS = "name the columns, and give each row as many values"
MAKE_AGAIN = "drop it and make it again through the cluster"
KEY_OF_ITS_OWN = "give that table a key without AUTO_INCREMENT, such as the row's id and CURRENT_TIMESTAMP(6)"
ONE_EACH = "send one statement a row"
DELETE_FIRST = "delete the rows first, then insert"
