#!/usr/bin/env bash
# Installs what the tests need beside Python: PostgreSQL's programs. Does nothing where they are, or where it may not;
# without them the tests of PostgreSQL are skipped, and fail on a build server (CI=true).
set -euo pipefail
shopt -s nullglob

if command -v initdb > /dev/null || [ -n "$(echo /usr/lib/postgresql/*/bin/initdb)" ]; then
    exit 0
fi
if [ "$(id -u)" != 0 ] || ! command -v apt-get > /dev/null; then
    echo "PostgreSQL is not installed; its tests will be skipped"
    exit 0
fi
# Debian would start a server with the package; the tests start their own and need none.
mkdir -p /etc/postgresql-common
[ -e /etc/postgresql-common/createcluster.conf ] \
    || echo 'create_main_cluster = false' > /etc/postgresql-common/createcluster.conf
export DEBIAN_FRONTEND=noninteractive
{ apt-get update -qq && apt-get install -y -qq --no-install-recommends postgresql > /dev/null; } \
    || echo "PostgreSQL could not be installed; its tests will be skipped"
