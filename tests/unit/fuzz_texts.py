"""Texts that nobody would write: what the parser and the door are fuzzed with, and how long.

Most are made from statements that are right: only what is nearly a statement gets deep into a parser. The pieces are those that
have a meaning of their own to MySQL (ends, quotes, comments, clauses with effects), so that a mutation can matter.

FUZZ_MINUTES widens a run: that many minutes, divided among the properties. Every failure prints its smallest text.
"""

import os
import random
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.errors import HypothesisWarning

PROPERTIES = 3
"""Tests that share FUZZ_MINUTES."""
_UNIT = Path(__file__).parent
_VISIBLE = str.maketrans({"⏎": "\n", "␍": "\r", "⇥": "\t", "␀": "\0", "␉": "\v", "␏": "\x0f"})
T = TypeVar("T")


def _statements(name: str) -> list[tuple[str, str]]:
    lines = [line for line in (_UNIT / name).read_text("utf-8").splitlines() if line and line[0] != "#"]
    return [(verdict, text.translate(_VISIBLE)) for verdict, _, text in (line.partition(" | ") for line in lines)]


STATEMENTS = [text for name in ("statement_corpus.txt", "schema_corpus.txt") for _, text in _statements(name)]
READS = [text for verdict, text in _statements("statement_corpus.txt") if verdict.startswith("READ")]
_PIECES = r"""
'  "  `  \  ;  #  --  /*  */  /*!  /*+  /*!50110  (  )  ,  .  @  @@  :=  ?  $$  {  }  0x  x'  1e  1  0  -1
18446744073709551616  NULL  ''  a  t  id  users  *  ⏎  ␍  ⇥  ␀  ␉  ␏  é  漢  🙂  ſ  İ  ＳＬＥＥＰ  SELECT
FROM  WHERE  INTO  VALUES  VALUES ROW(1)  TABLE  WITH  WITH RECURSIVE  AS  UNION  UNION ALL  EXCEPT  INTERSECT  ORDER BY
GROUP BY  HAVING  LIMIT 1  LIMIT 1, 2  OFFSET 1  FOR UPDATE  FOR SHARE  LOCK IN SHARE MODE  SKIP LOCKED  NOWAIT
INTO OUTFILE 'f'  INTO DUMPFILE 'f'  INTO @v  PROCEDURE ANALYSE()  INSERT INTO t (a) VALUES (1)  INSERT INTO t
REPLACE INTO t  UPDATE t SET a = 1  DELETE FROM t  DROP TABLE t  TRUNCATE t  CREATE TABLE n (id INT PRIMARY KEY)  SET
SET GLOBAL  SET @v = 1  CALL p()  DO  EXPLAIN  EXPLAIN ANALYZE  DESCRIBE  SHOW  PREPARE  EXECUTE  HANDLER  LOAD DATA  XA
BEGIN  COMMIT  ROLLBACK  ON DUPLICATE KEY UPDATE  IGNORE  PARTITION (p0)  JOIN  LEFT JOIN  USING (id)  ON  LATERAL  OVER ()
CASE  WHEN  THEN  ELSE  END  AND  OR  NOT  IN  EXISTS  BETWEEN  LIKE  IS  INTERVAL 1 DAY  SLEEP(0)  BENCHMARK(1, 1)
GET_LOCK('l', 0)  LAST_INSERT_ID(7)  UUID()  RANDOM_BYTES(8)  RAND()  NOW(6)  LOAD_FILE('f')  f()  mysql.user
_replication.meta  information_schema.tables  MATCH (a) AGAINST ('x')  SUM(a)  MIN(b)  GROUP_CONCAT(b ORDER BY id)  COUNT(*)
AS new  DISTINCT  @@sql_mode  SQL_CALC_FOUND_ROWS  CREATE TRIGGER g BEFORE INSERT ON t FOR EACH ROW  SET NEW.a = 1
ADD COLUMN
"""
PIECES = [piece.translate(_VISIBLE) for line in _PIECES.splitlines() for piece in line.split("  ") if piece]
PIECES += ["-- ", "\x7f", "\xa0", "\ufeff", "\u2028", "\ud800"]
_gaps = st.sampled_from([" ", " ", " ", "", "\n", "/**/"])
_pieces = st.sampled_from(PIECES)


@st.composite
def mutated(draw: st.DrawFn, texts: list[str], changes_max: int = 5) -> str:
    """One of `texts`, changed in a few places."""
    text: str = draw(st.sampled_from(texts))
    for _ in range(draw(st.integers(1, changes_max))):
        borders = [0, *(place for place, sign in enumerate(text) if not sign.isalnum()), len(text)]
        first, last = sorted((draw(st.sampled_from(borders)), draw(st.sampled_from(borders))))
        change = draw(st.integers(0, 7))
        if change <= 2:
            text = text[:first] + draw(_gaps) + draw(_pieces) + draw(_gaps) + text[first:]
        elif change == 3:
            text = text[:first] + text[last:]
        elif change == 4:
            text = text[:first] + draw(_pieces) + text[last:]
        elif change == 5:
            other = draw(st.sampled_from(texts))
            text = text[:first] + draw(_gaps) + other[draw(st.integers(0, len(other))) :]
        elif change == 6:
            text = text[:last] + draw(_gaps) + text[first:]
        else:
            text = text[:first] + text[first:last].swapcase() + text[last:]
    return text


soups = st.lists(st.tuples(_pieces, _gaps), max_size=40).map(lambda pairs: "".join(a + b for a, b in pairs))
truncated = st.sampled_from(STATEMENTS).flatmap(lambda text: st.integers(0, len(text)).map(lambda end: text[:end]))
_NESTS = """
(…)  SELECT (…)  (SELECT …)  SELECT * FROM (…) AS d  NOT …  - …  CASE WHEN … THEN 1 END  IF(…, 1, 2)  SELECT 1 UNION …
WITH c AS (…) SELECT * FROM c  EXISTS (SELECT …)  a.…  /*…*/  a IN (…)  1 + …  '…'  ROW(…)  t JOIN (…) USING (id)
"""
NESTS = [
    (nest.partition("…")[0], nest.partition("…")[2])
    for line in _NESTS.splitlines()
    for nest in line.split("  ")
    if nest
]


@st.composite
def nested(draw: st.DrawFn) -> str:
    """Something inside itself, up to far beyond what any parser's stack holds."""
    nest: tuple[str, str] = draw(st.sampled_from(NESTS))
    opening, closing = nest
    depth = draw(st.sampled_from([1, 3, 20, 100, 255, 256, 257, 1000, 5000, 20_000]))
    head = draw(
        st.sampled_from(["", "SELECT ", "UPDATE t SET a = ", "DELETE FROM t WHERE ", "INSERT INTO t (a) VALUES ("])
    )
    unclosed = draw(st.sampled_from([0, 0, 0, 1]))
    return head + opening * depth + draw(_pieces) + closing * (depth - unclosed) + (")" if head.endswith("(") else "")


_LISTS = """
INSERT INTO t VALUES …, …  SELECT …, … FROM t  SELECT * FROM t WHERE a IN (…, …)  UPDATE t SET …, …  DELETE FROM t WHERE … OR …
SELECT 1 FROM …, …  CREATE TABLE t (…, …)  SELECT * FROM t ORDER BY …, …  WITH …, … SELECT 1  SELECT … UNION SELECT …  … …
SELECT * FROM t … JOIN …  SELECT * FROM t WHERE a = …...…  INSERT INTO t SELECT * FROM … JOIN … ORDER BY id
"""
LISTS = [tuple(shape.split("…")) for line in _LISTS.splitlines() for shape in line.split("  ") if shape.count("…") == 2]


@st.composite
def long(draw: st.DrawFn) -> str:
    """A list, up to what a request may hold."""
    head, between, tail = draw(st.sampled_from(LISTS))
    item = draw(
        st.one_of(_pieces, st.sampled_from(["(1, 'a')", "a = 1", "c AS (SELECT 1)", "(a + 1, NOW())", "a.b.c"]))
    )
    return head + between.join([item] * draw(st.sampled_from([2, 10, 500, 1023, 1024, 1025, 20_000]))) + tail


texts = st.one_of(mutated(STATEMENTS), mutated(STATEMENTS), soups, truncated, st.text(max_size=60), nested(), long())


def fuzz(strategy: st.SearchStrategy[T], prove: Callable[[T], None], *, examples: int) -> int:
    """Try `examples` of the strategy, the same at every run; then new ones for this property's part of FUZZ_MINUTES."""
    tried = 0

    def counted(value: T) -> None:
        nonlocal tried
        tried += 1
        prove(value)

    def rounds(number: int) -> None:
        wrapped = given(strategy)(counted)
        limits = settings(
            max_examples=examples,
            deadline=None,
            database=None,
            phases=(Phase.generate, Phase.shrink),
            suppress_health_check=list(HealthCheck),
        )
        with warnings.catch_warnings():
            # a text of a megabyte that fails is shown whole
            warnings.simplefilter("ignore", HypothesisWarning)
            limits(seed(number)(wrapped))()

    rounds(0)
    end_s = time.monotonic() + float(os.environ.get("FUZZ_MINUTES", "0")) * 60 / PROPERTIES
    while time.monotonic() < end_s:
        rounds(random.SystemRandom().getrandbits(32))
    return tried
