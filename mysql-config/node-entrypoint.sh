#!/bin/bash
# How a node starts in a container, the same way as from the Makefile: the first start makes the data folder out of init.sql, with the
# environment's passwords in it; every start gives the accounts the passwords that the environment has now.
#
# Not the official entrypoint: it runs init.sql as an ordinary root, who may not take rights on performance_schema away again, and a
# first start that is cut off leaves it a folder that it holds to be finished. Here a mark is made before the folder's first file and
# removed after the last; while it is there, nobody has been answered by this node, and it is begun anew.
set -euo pipefail
shopt -s dotglob nullglob

DATA=/var/lib/mysql
MARK=$DATA/.first-start-unfinished
SQL=/node/start.sql

case ${1:-mysqld} in -*) set -- mysqld "$@" ;; esac
[ "${1:-}" = mysqld ] || exec "$@"

# Its text with each ${NAME} replaced by the environment's value, which stands between single quotes in SQL.
filled_in() {
  local text=$1 name value
  while [[ $text =~ \$\{([A-Z_]+)\} ]]; do
    name=${BASH_REMATCH[1]}
    value=${!name:-}
    [ -n "$value" ] || { echo "node-entrypoint: set $name in the environment" >&2; exit 1; }
    [[ $value != *['$']* ]] || { echo "node-entrypoint: $name must not contain a dollar sign" >&2; exit 1; }
    value=${value//\\/\\\\}
    value=${value//\'/\'\'}
    text=${text//"\${$name}"/"$value"}
  done
  printf '%s\n' "$text"
}

# init.sql without its comments, which name passwords too; and an ALTER USER for each account that it makes.
init= accounts="ALTER USER root@localhost IDENTIFIED BY '\${MYSQL_ROOT_PASSWORD}';"$'\n'
while IFS= read -r line; do
  [[ $line == --* ]] && continue
  init+=$line$'\n'
  if [[ $line =~ ^CREATE\ USER\ IF\ NOT\ EXISTS\ ([a-z_]+@\'%\')\ +(IDENTIFIED\ BY\ .*\;)$ ]]; then
    accounts+="ALTER USER ${BASH_REMATCH[1]} ${BASH_REMATCH[2]}"$'\n'
  fi
done </node/init.sql

umask 077
if [ -e "$MARK" ]; then
  echo "node-entrypoint: the last first start was cut off: $DATA is made anew"
  for path in "$DATA"/*; do [ "$path" = "$MARK" ] || rm -rf "$path"; done
fi
if [ ! -d "$DATA/mysql" ]; then
  : >"$MARK"
  # the user's own tables, the same on every node
  for file in /docker-entrypoint-initdb.d/*.sql; do init+=$(<"$file")$'\n'; done
  filled_in "$init" >$SQL
  "$@" --initialize-insecure --init-file=$SQL
  sync
  rm "$MARK"
fi
filled_in "$accounts" >$SQL
# a server needs none of them in its environment ("|| true": there may be none)
unset MYSQL_ROOT_PASSWORD $(compgen -e | grep "_DB_PASSWORD$" || true)
exec "$@" --init-file=$SQL
