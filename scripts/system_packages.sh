#!/usr/bin/env bash
# Installs what the tests need beside Python: PostgreSQL's programs, Java for Spark, a browser for pages, Chinese fonts for
# certificates, a C compiler for clocks that are wrong. Does nothing where they are, or where it may not; without them
# their tests are skipped, and fail on a build server (CI=true).
set -euo pipefail
shopt -s nullglob

packages=()
if ! command -v initdb > /dev/null && [ -z "$(echo /usr/lib/postgresql/*/bin/initdb)" ]; then
    packages+=(postgresql)
fi
if ! command -v java > /dev/null && [ ! -x "${JAVA_HOME:-}/bin/java" ]; then
    packages+=(openjdk-17-jre-headless)
fi
if ! command -v chromium > /dev/null && ! command -v chromium-browser > /dev/null \
    && ! command -v google-chrome > /dev/null; then
    packages+=(chromium fonts-noto-cjk)
elif [ ! -e /usr/share/fonts/opentype/noto/NotoSerifCJK-Bold.ttc ]; then
    packages+=(fonts-noto-cjk)
fi
if ! command -v cc > /dev/null; then
    packages+=(gcc libc6-dev)
fi
if [ ${#packages[@]} = 0 ]; then
    exit 0
fi
if [ "$(id -u)" != 0 ] || ! command -v apt-get > /dev/null; then
    echo "not installed: ${packages[*]}; their tests will be skipped"
    exit 0
fi
# Debian would start a server with the package; the tests start their own and need none.
mkdir -p /etc/postgresql-common
[ -e /etc/postgresql-common/createcluster.conf ] \
    || echo 'create_main_cluster = false' > /etc/postgresql-common/createcluster.conf
export DEBIAN_FRONTEND=noninteractive
{ apt-get update -qq && apt-get install -y -qq --no-install-recommends "${packages[@]}" > /dev/null; } \
    || echo "could not be installed: ${packages[*]}; their tests will be skipped"
