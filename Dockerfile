# The operator. `tools/operator-image` builds it: it first brings the locked wheels into build/wheels, so that no
# step in here needs a network, and what is installed is exactly what requirements/operator.lock names.
ARG BASE=docker.io/library/python:3.11-slim-bookworm

# What is installed, without what installs it.
FROM ${BASE} AS installed
COPY requirements/operator.lock /opt/
# pip comes as a wheel too: a base need not have one. Every wheel is checked against its hash in the lock. The
# asynchronous twin of the `kubernetes` client, 40 MB that nothing here imports, is left out.
RUN --mount=type=bind,source=build/wheels,target=/wheels \
    python3 "$(echo /wheels/pip-*.whl)/pip" install --quiet --no-cache-dir --disable-pip-version-check \
      --root-user-action=ignore --no-index --find-links=/wheels --require-hashes --no-deps --only-binary=:all: \
      --no-compile --target=/opt/wheels --requirement=/opt/operator.lock \
 && rm -rf /opt/wheels/bin /opt/wheels/kubernetes/aio
# Compiled here, for the root file system is read-only later; by hash, for times change when layers are copied; by one
# process and one hash seed, so that two builds give the same bytes. Thousands of models and calls of the `kubernetes`
# client that are loaded only when asked for are not.
ENV PYTHONHASHSEED=0
RUN python3 -m compileall -q -j 1 --invalidation-mode unchecked-hash -x 'kubernetes/client/(api|models)/' /opt/wheels
COPY operator/tradingrelease /opt/operator/tradingrelease
RUN python3 -m compileall -q -j 1 --invalidation-mode unchecked-hash /opt/operator

FROM ${BASE}
# Layers of its own, the operator last: a change of it builds in seconds.
COPY --from=installed /opt/wheels /opt/wheels
COPY --from=installed /opt/operator /opt/operator
# LOGNAME: kopf asks for the user's name, and no base knows UID 10001.
ENV LOGNAME=tradingrelease \
    PYTHONPATH=/opt/operator:/opt/wheels \
    PYTHONSAFEPATH=1 \
    PYTHONUNBUFFERED=1
# What differs from build to build (version, revision, created, source) is given as --label: the cache of older engines
# takes no notice of an ARG in a LABEL.
LABEL org.opencontainers.image.title="tradingrelease-operator" \
      org.opencontainers.image.description="A Kubernetes operator for blue-green releases of several components at once" \
      org.opencontainers.image.licenses="Apache-2.0"
USER 10001:10001
EXPOSE 8080
ENTRYPOINT ["python3", "-m", "tradingrelease"]
