INSERT INTO plain VALUES
  (1, 90, 'x', 0.1, NULL), (2, 80, 'X', 1e17, NULL), (3, 70, 'y', -1e17, NULL), (4, 60, 'Y', 0.3, NULL), (5, 40, 'z', 1e-3, NULL),
  (6, 30, 'Z', 7e16, NULL), (7, 20, 'ä', -7e16, NULL), (8, 10, 'a', 0.7, NULL), (9, 10, 'A', 0.9, NULL), (10, NULL, NULL, NULL, NULL);
INSERT INTO counted (id, a, b, at) VALUES (1, 1, 'a', '2025-01-01'), (2, 1, 'b', '2025-01-01'), (3, 2, 'c', '2025-01-01');
INSERT INTO two_keys VALUES (1, 'one', 10, 0), (2, 'two', 20, 0), (3, 'three', 30, 0), (4, 'k4', 1004, 0), (5, 'k5', 1005, 0),
  (6, 'k6', 1006, 0), (7, 'k7', 1007, 0), (8, 'k8', 1008, 0), (9, 'k9', 1009, 0), (10, 'l0', 1010, 0), (11, 'l1', 1011, 0);
INSERT INTO computed (id, a) VALUES (1, 1), (2, 2), (3, 3);
INSERT INTO parents VALUES (1, 'p'), (2, 'q'), (3, 'p');
INSERT INTO children VALUES (1, 1, 1), (2, 1, 2), (3, 2, 3), (4, NULL, 4);
INSERT INTO parted VALUES (1, 4), (2, 3), (3, 2), (4, 2), (5, 1);
INSERT INTO words VALUES (1, 'red green'), (2, 'green blue');
INSERT INTO source VALUES (11, 9, 'x'), (12, 8, 'X'), (13, 7, 'y'), (14, 6, 'Y'), (15, 5, 'z');
