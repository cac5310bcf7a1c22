# The one image of API, workers and scheduler, on a laptop and on Google Cloud: the command says which.
#
#   docker build -t poolhouse .                        any machine that reaches the package index
#   docker build --target pubsub -t poolhouse-pubsub . our Pub/Sub emulator alone
#   docker build --secret id=ca,src=BUNDLE.pem .       behind a proxy with its own certificate authority
#   docker build --secret id=pip_conf,src=pip.conf .   with an index of your own
#
# No `# syntax=` line: it would pull a frontend. Needs BuildKit, which is Docker's default since 23.
# All stages have the same base, so that the virtual environment finds the interpreter that made it
# (/usr/local/bin in the public image, /usr/bin in the stand-in that `invoke images` makes from Debian packages).
ARG PYTHON_IMAGE=python:3.11.14-slim-bookworm

FROM ${PYTHON_IMAGE} AS dependencies
COPY requirements.lock /build/
#project| # Poolhouse's own wheels, as long as it is not on an index; without them the folder holds its README alone.
#project| COPY vendor /build/vendor/
# The wheelhouse is empty on most machines; `invoke images` fills it for those that must build with no network.
# It counts only while its own copy of the lock is the one in hand.
RUN --mount=type=bind,source=.wheelhouse,target=/wheelhouse \
    --mount=type=secret,id=ca \
    --mount=type=secret,id=pip_conf \
    --mount=type=cache,target=/root/.cache/pip \
    set -eu; \
    [ ! -s /run/secrets/ca ] || export PIP_CERT=/run/secrets/ca; \
    [ ! -s /run/secrets/pip_conf ] || export PIP_CONFIG_FILE=/run/secrets/pip_conf; \
    if cmp -s /build/requirements.lock /wheelhouse/requirements.lock; \
    then export PIP_NO_INDEX=1 PIP_FIND_LINKS=/wheelhouse; fi; \
    python3 -m venv --without-pip /opt/venv; \
    python3 -m pip --python /opt/venv/bin/python --disable-pip-version-check install --quiet --no-warn-script-location \
        --no-user --target= --require-hashes --only-binary :all: -r /build/requirements.lock \
        #project| --find-links /build/vendor \
        ; \
    # Packages' own tests are never imported in production.
    find /opt/venv -depth -type d \( -name tests -o -name test \) -path '*/site-packages/*' -exec rm -rf {} +

# Compiled here: the containers' file systems are read-only, so that each start would compile everything again.
# The mode: a checkout made under a strict umask must not give files that the image's user can't read.
FROM ${PYTHON_IMAGE} AS source
WORKDIR /app
# kit: its source is here, and what production needs of it goes into the image; a project installs it.
COPY --chmod=755 poolhouse/__init__.py poolhouse/project.py ./poolhouse/
COPY --chmod=755 poolhouse/client ./poolhouse/client
COPY --chmod=755 poolhouse/pipeline ./poolhouse/pipeline
COPY --chmod=755 poolhouse/telemetry ./poolhouse/telemetry
COPY --chmod=755 poolhouse/worker ./poolhouse/worker
COPY --chmod=755 poolhouse/api ./poolhouse/api
# The deployed console, and what it has in common with the local stack.
COPY --chmod=755 poolhouse/local/__init__.py poolhouse/local/backend.py poolhouse/local/errors.py \
     poolhouse/local/logs.py ./poolhouse/local/
COPY --chmod=755 poolhouse/local/console ./poolhouse/local/console
# end of kit
#project| # A package of your own beside these: a line for it here, and one in .dockerignore.
COPY --chmod=755 worker ./worker
COPY --chmod=755 api ./api
RUN python3 -m compileall -q --invalidation-mode unchecked-hash .
COPY --chmod=755 pipeline.toml ./

# kit: the local stack; an installed kit has it, too.
FROM source AS local-source
COPY --chmod=755 poolhouse ./poolhouse
RUN python3 -m compileall -q --invalidation-mode unchecked-hash poolhouse

# end of kit
# Our Pub/Sub emulator has dependencies of its own, and none of the pipeline's: its image is a third of the size.
FROM ${PYTHON_IMAGE} AS pubsub-dependencies
COPY requirements-pubsub.lock /build/
#project| COPY vendor /build/vendor/
RUN --mount=type=bind,source=.wheelhouse,target=/wheelhouse \
    --mount=type=secret,id=ca \
    --mount=type=secret,id=pip_conf \
    --mount=type=cache,target=/root/.cache/pip \
    set -eu; \
    [ ! -s /run/secrets/ca ] || export PIP_CERT=/run/secrets/ca; \
    [ ! -s /run/secrets/pip_conf ] || export PIP_CONFIG_FILE=/run/secrets/pip_conf; \
    if cmp -s /build/requirements-pubsub.lock /wheelhouse/requirements-pubsub.lock; \
    then export PIP_NO_INDEX=1 PIP_FIND_LINKS=/wheelhouse; fi; \
    python3 -m venv --without-pip /opt/venv; \
    python3 -m pip --python /opt/venv/bin/python --disable-pip-version-check install --quiet --no-warn-script-location \
        --no-user --target= --require-hashes --only-binary :all: -r /build/requirements-pubsub.lock \
        #project| --find-links /build/vendor \
        ; \
    # Packages' own tests are never imported in production.
    find /opt/venv -depth -type d \( -name tests -o -name test \) -path '*/site-packages/*' -exec rm -rf {} +

FROM ${PYTHON_IMAGE} AS pubsub-source
WORKDIR /app
# kit: the emulator is source here, too.
COPY --chmod=755 poolhouse_pubsub ./poolhouse_pubsub
# end of kit
# A new volume takes over owner and mode of the folder that it covers.
RUN python3 -m compileall -q --invalidation-mode unchecked-hash . && install -d -o 65532 -g 65532 /data

FROM ${PYTHON_IMAGE} AS pubsub
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/tmp
LABEL dev.poolhouse.image=pubsub
WORKDIR /app
COPY --from=pubsub-dependencies /opt/venv /opt/venv
COPY --from=pubsub-source --chown=65532:65532 /data /data
COPY --from=pubsub-source /app /app
USER 65532:65532
EXPOSE 8085
# Messages, topics and subscriptions outlive the container where /data is a volume.
CMD ["python", "-m", "poolhouse_pubsub", "--host", "0.0.0.0", "--port", "8085", "--data-dir", "/data", "--ui"]

FROM ${PYTHON_IMAGE} AS runtime
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/tmp \
    HOST=0.0.0.0
LABEL dev.poolhouse.image=pipeline
WORKDIR /app
#project| # The Debian packages that handlers need. Without any there is no call of apt, which would need a network.
#project| COPY apt.txt /build/
#project| RUN set -eu; \
#project|     packages=$(sed 's/#.*//' /build/apt.txt | xargs); \
#project|     [ -n "$packages" ] || exit 0; \
#project|     export DEBIAN_FRONTEND=noninteractive; \
#project|     apt-get -o Acquire::Retries=3 -o APT::Update::Error-Mode=any update --quiet; \
#project|     apt-get -o Acquire::Retries=3 install --quiet --yes --no-install-recommends $packages; \
#project|     apt-get clean; \
#project|     rm -rf /var/lib/apt/lists/*
COPY --from=dependencies /opt/venv /opt/venv
# A number, not a name: Kubernetes and Cloud Run can see that it is not root. It owns nothing; /tmp is all it writes.
USER 65532:65532

# `--target local` adds what realises the topology on emulators (the `setup` service); production never has it.
FROM runtime AS local
# kit: with the local stack.
COPY --from=local-source /app /app
# end of kit
#project| COPY --from=source /app /app
CMD ["python", "-m", "poolhouse.local.setup"]

# The last stage is what a plain `docker build` and Cloud Build make.
FROM runtime AS production
COPY --from=source /app /app
EXPOSE 8080
# No shell in between: SIGTERM reaches Python. The workers' command is `python -m poolhouse.worker run`.
CMD ["python", "-m", "poolhouse.api"]
