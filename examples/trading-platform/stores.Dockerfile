# What stands behind the example: PostgreSQL, Redis and Prometheus, with psql and redis-cli for hooks, as Debian has
# them. Build it with tools/stores-image, which brings the packages into build/stores: no step in here needs a network
# then. Where it brought none (no Debian), they are fetched here.
ARG BASE=docker.io/library/python:3.11-slim-bookworm
FROM ${BASE}
# Programs and the libraries that they load; not what Debian would install with them. PostgreSQL compiles no queries.
ARG PACKAGES="postgresql-15 postgresql-client-15 libpq5 libicu72 libxml2 libldap-2.5-0 libsasl2-2 redis-server redis-tools libatomic1 libjemalloc2 liblzf1 prometheus python3-psycopg2"
# Unpacked, not installed: nothing is started, nothing configured, and links such as /lib stay links.
RUN --mount=type=bind,source=build/stores,target=/brought \
    set -e; mkdir /tmp/debs; cd /tmp/debs; \
    if ls /brought/*.deb >/dev/null 2>&1; then ln -s /brought/*.deb .; \
    else apt-get update -q; apt-get download -q -o APT::Sandbox::User=root ${PACKAGES}; rm -rf /var/lib/apt/lists/*; fi; \
    for deb in *.deb; do dpkg-deb --fsys-tarfile "$deb" | tar -x -C / --keep-directory-symlink --exclude=./lib/systemd \
      --exclude=./usr/share/doc --exclude=./usr/share/man --exclude=./usr/share/locale --exclude='*/bitcode' --exclude=./usr/bin/promtool; done; \
    rm -r /tmp/debs; echo 'stores:x:10001:10001::/data:/bin/sh' >> /etc/passwd; mkdir /data; chown 10001:10001 /data
ENV PATH=/usr/lib/postgresql/15/bin:/usr/local/bin:/usr/bin:/bin \
    PGHOST=postgres PGUSER=app PGDATABASE=postgres PGCONNECT_TIMEOUT=3 \
    PYTHONPATH=/usr/lib/python3/dist-packages \
    PYTHONUNBUFFERED=1
# The example itself, for a backend that asks the two stores.
WORKDIR /app
COPY examples/trading-platform/app.py ./
USER 10001:10001
